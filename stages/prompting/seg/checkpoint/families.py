"""The open table FAMILIES: bases that published [SEG] checkpoints are built on. One file implements one or two of them.

A family says how its config.json becomes a native class, and which published tensor each native one is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.table import Table

if TYPE_CHECKING:
    from stages.prompting.seg.checkpoint.language import LanguageSide
    from stages.prompting.seg.checkpoint.origins import Origin
    from stages.prompting.seg.checkpoint.shards import Shape


@dataclass(frozen=True)
class Opened:
    """What is known of a checkpoint before a tensor is read.

    Attributes:
        folder: of the checkpoint.
        raw: its config.json.
        shapes: published name → shape, of every tensor.
        tokenizer: of the checkpoint.
    """

    folder: Path
    raw: Mapping[str, Any]
    shapes: Mapping[str, "Shape"]
    tokenizer: Any


@dataclass(frozen=True)
class Native:
    """A family's model in native classes.

    Attributes:
        side: the language side, parameters on the meta device.
        origin: name of a tensor of side.mllm → where in the checkpoint it comes from.
        tied: names of side.mllm's tensors that are copies of another and are not stored.
    """

    side: "LanguageSide"
    origin: Callable[[str], "Origin"]
    tied: Sequence[str] = ()


@dataclass(frozen=True)
class Family:
    """A base of [SEG] checkpoints.

    Attributes:
        name: what `presets.<name>.models.seg.family` says.
        kind: what a checkpoint's config.json says it is, in words: see `kind_of`.
        kinds: those that the family reads.
        heads, sam2: what names of text_hidden_fcs and of SAM2's tensors begin with; sam2 "" = SAM2 is beside the
            checkpoint, and only its tuned decoder is inside.
        gamma: what the memory encoder's `gamma` is called.
        shift: where the state of a [SEG] is: 0 = at it, after it was read; −1 = at the token before, which predicts it.
        build: makes the language side. Imports its models itself.
        ignored: patterns of published names that no native class stores, such as constant buffers of older versions.
    """

    name: str
    kinds: tuple[str, ...]
    heads: str
    sam2: str
    gamma: str
    shift: int
    build: Callable[[Opened, str], Native]
    ignored: tuple[str, ...] = ()

    def check(self) -> None:
        if not self.kinds:
            raise ValueError(f"family {self.name!r}: name the kinds of config.json that it reads")


FAMILIES = Table[Family]("family of [SEG] checkpoints", "stages.prompting.seg.checkpoint.listed:LISTED")
