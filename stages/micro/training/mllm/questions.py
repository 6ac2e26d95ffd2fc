"""Which questions a step asks about a candidate, with their answers: noun phrases, places and ways, sentences.

Legend: N candidates, E sentences.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.micro.training.mllm.records import STATEMENT, UNKNOWN, Record
from stages.micro.training.sentences import ASPECT_WORDS, put_in_words, random_looks
from stages.worlds.shapes.meaning import Description, Looks
from stages.worlds.shapes.motion import DIRECTIONS
from stages.worlds.shapes.scene import Generator

ASPECTS = tuple(ASPECT_WORDS)
WORDS_SHARES = (0.45, 0.35, 0.2)  # of noun phrases of one, two and three aspects
FAR, NEAR = 0.1, 0.025  # shares of the picture: clearly a movement, clearly none
ASIDE = 0.07  # from the middle: clearly on one side


@dataclass(frozen=True)
class Asked:
    """A text, and whether it is true of the candidate.

    Attributes:
        wrong: of a noun phrase the place of its wrong word, −1 = none is wrong; None where words are not judged one by one.
    """

    text: str
    true: bool
    wrong: int | None = None


def noun_phrase(rng: Generator, looks_4: NDArray[np.int8]) -> Asked:
    """One to three aspects, all of them true or one of them wrong; of what has no looks none is true."""
    if (looks_4[1:] == UNKNOWN).any():
        return Asked(_worded(rng, random_looks(rng)), False)
    known = [i for i in range(len(ASPECTS)) if looks_4[i] != UNKNOWN]
    chosen = rng.permutation(known)[: 1 + int(rng.choice(3, p=WORDS_SHARES))]
    values = {int(i): int(looks_4[i]) for i in chosen}
    true = rng.random() < 0.5
    wrong = int(rng.choice(list(values)))
    if not true:
        n_words = len(ASPECT_WORDS[ASPECTS[wrong]])
        values[wrong] = (values[wrong] + 1 + int(rng.integers(n_words - 1))) % n_words
    said = Looks(**{ASPECTS[i]: ASPECT_WORDS[ASPECTS[i]][value] for i, value in values.items()})
    place = -1 if true else 1 + sorted(values).index(wrong)  # behind the article, in the order of the aspects
    return Asked(_worded(rng, said), true, place)


def all_looks(rng: Generator, looks_4: NDArray[np.int8]) -> Asked:
    """Everything that is known of its looks: what is there to be said."""
    known = {name: ASPECT_WORDS[name][value] for name, value in zip(ASPECTS, looks_4) if value != UNKNOWN}
    return Asked(_worded(rng, Looks(**known)), True, -1) if known else Asked(_worded(rng, random_looks(rng)), False)


def place_or_way(rng: Generator, record: Record, n: int) -> Asked:
    """Where the candidate is, or which way it goes; where nothing is clear, its looks."""
    course_82 = record.course_N82[n]
    path_T2 = course_82[~np.isnan(course_82[:, 0])]
    options = _ways(path_T2) if len(path_T2) >= 2 else []
    wanted = rng.random() < 0.5
    options = [option for option in options if option[1] == wanted]
    if not options:
        return noun_phrase(rng, record.looks_N4[n])
    name, true = options[int(rng.integers(len(options)))]
    return Asked(put_in_words(rng, [Description(Looks(), name)], 1).text, true)


def _ways(path_T2: NDArray[np.float32]) -> list[tuple[str, bool]]:
    """Clauses that are clearly true or clearly false of a path."""
    options = []
    run_2 = path_T2[-1] - path_T2[0]
    for name, unit in DIRECTIONS.items():
        along, across = float(run_2 @ np.array(unit)), float(abs(run_2) @ (1 - abs(np.array(unit))))
        if along >= FAR and along > 1.5 * across:
            options.append((f"moves {name}", True))
        elif along < NEAR:
            options.append((f"moves {name}", False))
        aside_T = (path_T2 - 0.5) @ np.array(unit)
        if aside_T.min() > ASIDE:
            options.append((f"lies {name}", True))
        elif aside_T.max() < 0:
            options.append((f"lies {name}", False))
    return options


def about_candidate(
    rng: Generator, record: Record, n: int, count: int, nouns: float, statements: float, longest: int
) -> list[Asked]:
    """`count` questions: noun phrases, then statements and sentences, about as many true ones as false ones.

    Args:
        nouns, statements: shares.
        longest: words of a sentence; where too few are as short, noun phrases take their place.
    """
    n_nouns, n_statements, _ = rng.multinomial(count, [nouns, statements, max(0.0, 1 - nouns - statements)])
    asked = [noun_phrase(rng, record.looks_N4[n]) for _ in range(n_nouns)]
    is_statement_E = np.array([form == STATEMENT for form in record.forms])
    short_E = np.array([text.count(" ") < longest for text in record.sentences])
    asked += _sentences(rng, record, n, np.flatnonzero(is_statement_E & short_E), int(n_statements))
    asked += _sentences(rng, record, n, np.flatnonzero(~is_statement_E & short_E), count - len(asked))
    while len(asked) < count:
        asked.append(noun_phrase(rng, record.looks_N4[n]))
    return asked


def _sentences(rng: Generator, record: Record, n: int, rows: NDArray[np.intp], count: int) -> list[Asked]:
    """Some of these sentences, half of them true as far as there are such."""
    labels = record.labels_EN[rows, n]
    true, false = rng.permutation(rows[labels == 1]), rng.permutation(rows[labels == 0])
    n_true = min(len(true), max(count // 2 + int(rng.integers(2)) * (count % 2), count - len(false)))
    chosen = [*true[:n_true], *false[: count - n_true]]
    return [Asked(record.sentences[e], bool(record.labels_EN[e, n] == 1)) for e in chosen]


def _worded(rng: Generator, looks: Looks) -> str:
    return put_in_words(rng, [Description(looks)], 1).text
