"""Tokenizers made in code: byte-level BPE over the byte alphabet and the merges of a fixed word list.

Every byte is a token, so any text can be encoded; common words are one token each, so captions keep a
realistic length. Two kinds: RoBERTa's for the text encoder, Qwen2's with a chat template for the VLM.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Words that are one token after a blank.
WORDS = (
    "a an the this that it its they their he she his her and or not no yes is are was one two three four all both "
    "each other another object objects outlined number numbers image images frame frames video match matches does "
    "answer only with which who what while then first last of in on at to from by into over under behind near "
    "between toward towards away across around up down left right back forward top bottom middle side "
    "red green blue yellow orange purple pink white black grey brown big small large tiny round "
    "circle square triangle star cross ring shape person man woman child dog cat bird car truck bike horse "
    "moving moves move still staying stays turning turns turn walking walks running runs jumping going goes "
    "growing grows shrinking shrinks fast slow faster slower slowly quickly spinning rotating bouncing "
    # the rest of what the grammar of `shapes` says
    "cyan bar diamond bars circles crosses diamonds squares stars triangles thing things little plain striped dotted "
    "spotted checked chequered do go come comes coming grow spin spins rotate rotates shrink stop stops start starting "
    "stay stand stands standing set sets enter enters entering leave leaves disappear disappears vanishing hide hides "
    "pass passes covering bounce bounces touching touch turn follow follows following followed overtake overtakes "
    "overtaken approach getting pausing bigger smaller above below ahead again along apart before beginning bent "
    "border circular curve path downwards upwards edge end for front good halt late later mid air moment off out outside "
    "part picture sight there wall way without farthest fastest slowest highest lowest leftmost rightmost topmost nearest "
    "lower upper"
)
# What the views and questions of stage two say besides (stages/evidence); the text encoder's tokenizer does not have them,
# because its weights are trained with those above alone.
QWEN_WORDS = (
    "x y h gone fit eight crops time picture height its centre times described describe description something these words "
    "what never "
    "always starts ends overall inside late pauses hidden hardly seen returns outermost faster slower than moves then back "
    "left right up down still circle curve approaches parts overtaken passed by in front after before at on a "
    "for while vanishes appears bounces leaves same kind none whole shown shows card facts first one candidate candidates "
    ': . , ; ( ) " ?'
)
NUMBERS = 64  # candidates are called 1 … 64 in one token each
COORDINATES = "xyh"  # x0 … x99, y0 … y99, h0 … h99 are one token each
# Answers are also one token at the start of a reply, without a blank before them.
ANSWERS = ("yes", "no", "Yes", "No", "YES", "NO")
ROLES = ("user", "assistant")

ROBERTA_FIRST = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0 … 3, as published
QWEN_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.content is string %}{{- message.content }}"
    "{%- else %}{%- for part in message.content %}"
    "{%- if part.type == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif part.type == 'video' %}{{- '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{%- elif part.type == 'text' %}{{- part.text }}{%- endif %}"
    "{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
# What a message says before what it shows: image tokens of a small model find what a sentence means where they have read it.
SENTENCE_FIRST = CHAT_TEMPLATE.replace(
    "{%- for part in message.content %}",
    "{%- for part in message.content if part.type == 'text' %}{{- part.text }}{%- endfor %}"
    "{%- for part in message.content if part.type != 'text' %}",
)


def roberta_tokenizer(max_tokens: int) -> "PreTrainedTokenizerBase":
    """`<s> text </s>`, padded with `<pad>` (id 1); `max_tokens` is its model_max_length."""
    from transformers import RobertaTokenizer

    merges = word_merges()
    tokens = [*ROBERTA_FIRST, *byte_tokens(), *merged(merges), "<mask>"]
    return RobertaTokenizer(vocab=numbered(tokens), merges=merges, model_max_length=max_tokens)


def qwen_tokenizer(max_tokens: int, more: Sequence[str] = ()) -> "PreTrainedTokenizerBase":
    """Qwen2's tokenizer with the special tokens of its chats and of its vision inputs, and `more` added ones behind all.

    Numbers and coordinates are added tokens, since Qwen2's pattern cuts every digit off: they take the blank before
    them, and stand for themselves only where no letter or digit touches them.
    """
    from transformers import AddedToken, Qwen2Tokenizer

    merges = word_merges(QWEN_WORDS.split(), ROLES)
    tokens = [*byte_tokens(), *merged(merges), *QWEN_SPECIAL]
    tokenizer = Qwen2Tokenizer(
        vocab=numbered(tokens),
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=[*QWEN_SPECIAL[1:2], *QWEN_SPECIAL[3:]],
        model_max_length=max_tokens,
    )
    tokenizer.add_tokens(
        [AddedToken(name, lstrip=True, single_word=True, normalized=False, special=False) for name in number_names()]
    )
    tokenizer.add_tokens([AddedToken(text, lstrip=True, normalized=False, special=False) for text in more])
    return tokenizer


def number_names() -> list[str]:
    """Numbers of candidates, then coordinates, in the order of their ids."""
    return [*(str(n) for n in range(1, NUMBERS + 1)), *(f"{axis}{n}" for axis in COORDINATES for n in range(100))]


def word_merges(more: Sequence[str] = (), bare: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Merges that build every word from its left end: (Ġ, r), (Ġr, e), (Ġre, d) for " red".

    All of them grow from the blank "Ġ", so no merge of one word can cut into another; the bare answers (and `bare`)
    come last and apply only without a blank.

    Args:
        more: words beyond WORDS; the merges of WORDS keep their places.
    """
    merges: dict[tuple[str, str], None] = {}
    for word in [f"Ġ{word}" for word in (*WORDS.split(), *ANSWERS, *more)] + [*ANSWERS, *bare]:
        for end in range(1, len(word)):
            merges.setdefault((word[:end], word[end]))
    return list(merges)


def merged(merges: list[tuple[str, str]]) -> list[str]:
    return [left + right for left, right in merges]


def byte_tokens() -> list[str]:
    """The 256 printable stand-ins for bytes, sorted."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def numbered(tokens: list[str]) -> dict[str, int]:
    assert len(set(tokens)) == len(tokens)
    return {token: index for index, token in enumerate(tokens)}
