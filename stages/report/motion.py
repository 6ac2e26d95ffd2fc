"""Words of motion in a sentence: what moves, how, and which way. A list of stems, so that no parser is needed."""

import re

VERBS = (
    "accelerate appear approach arrive ascend bend bounce bow bring carry catch chase circle climb collide come crawl cross "
    "cycle dance dash descend disappear dive drag drift drive drop enter exit fall fight flap flee float fly follow gallop "
    "glide go grow halt hide hit hop hover hunt jog jump kick land lead leap leave lift lower march merge move nod orbit "
    "overtake pace pass paddle play pull push raise reach ride rise roam rock roll rotate run rush sail scatter shake shrink "
    "skate ski slide slip spin split squat stalk start stop stretch stride stroll surf swap sway swim swing swoop take throw "
    "tilt travel trot turn twist vanish wag walk wander wave wiggle zigzag"
)
DIRECTIONS = "across around away back backward backwards downward downwards forward forwards onward upward upwards"
IRREGULAR = {
    "went": "go", "gone": "go", "ran": "run", "flew": "fly", "flown": "fly", "fell": "fall", "fallen": "fall",
    "drove": "drive", "rode": "ride", "ridden": "ride", "came": "come", "left": "leave", "threw": "throw", "lying": "",
}  # fmt: skip
NOT_ALONE = {"left"}  # a side far more often than a verb


def _forms(verb: str) -> list[str]:
    """The verb with -s, -ed and -ing, by the rules of spelling."""
    stem = verb[:-1] if verb.endswith("e") else verb
    doubled = stem + stem[-1] if re.search(r"[^aeiou][aeiou][bdgklmnprt]$", verb) else stem
    third = verb + "es" if re.search(r"(s|sh|ch|x|o)$", verb) else verb + "s"
    forms = [verb, third, stem + "ed", stem + "ing", doubled + "ed", doubled + "ing"]
    if re.search(r"[^aeiou]y$", verb):
        forms += [verb[:-1] + "ies", verb[:-1] + "ied"]
    return forms


STEMS: dict[str, str] = {form: verb for verb in VERBS.split() for form in _forms(verb)}
STEMS |= {word: word for word in DIRECTIONS.split()}
STEMS |= {form: verb for form, verb in IRREGULAR.items() if verb and form not in NOT_ALONE}


def motion_words(text: str) -> tuple[str, ...]:
    """The stems of a sentence's words of motion, each once, in the order of the sentence."""
    words = re.findall(r"[a-z]+", text.lower())
    return tuple(dict.fromkeys(STEMS[word] for word in words if word in STEMS))
