"""The prompt file: every mask prompt of one video from one source (written by generate_prompts).

Legend: P prompts, K phrase tokens.

| dataset | dtype, shape | meaning |
|---|---|---|
| /prompts/frame | i4 (P) | index of the frame in the frame folder |
| /prompts/expression | i4 (P) | index of the expression in the video; −1 = serves all |
| /prompts/annotation | str (P) | annotation key of a gt prompt, else "" |
| /prompts/area | u4 (P) | mask area in pixels |
| /prompts/box | f4 (P,4) | x0 y0 x1 y1 in pixels: the detector's box, or the mask's |
| /prompts/box_score, mask_score, stability | f4 (P) | detector score, predicted IoU, stability; nan where there is none |
| /prompts/phrase | str (P) | the detector's phrase, "" where there is none |
| /token_scores/{values,offset} | f4 (ΣK), i8 (P+1) | the detector's score for each caption token of a box |
| /rle/{bytes,offset} | | the masks |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.core.media import masks
from stages.core.records import Rle
from stages.core.state.cache import Stamp, create_h5, open_h5
from stages.core.state.graph import GENERATE_PROMPTS
from stages.core.state.h5_arrays import (
    parts_of,
    read_rles,
    read_size,
    read_strings,
    write_array,
    write_rles,
    write_strings,
)

NAN = float("nan")
SERVES_ALL = -1  # a prompt of no expression in particular
NUMBERS = ("box_score", "mask_score", "stability")
STRINGS = ("annotation", "phrase")


@dataclass(frozen=True)
class Prompt:
    """A mask in one frame that SAM2 is asked to track.

    Attributes:
        frame: index of the frame in the frame folder.
        mask: at frame size.
        expression: index of the expression it was detected for; −1 = serves all expressions.
        annotation: key of the annotation it came from ("" unless ground truth).
        box: x0 y0 x1 y1 in pixels.
        box_score, mask_score, stability: nan where the source has none.
        phrase, token_scores: what the detector matched, and its score for each caption token.
    """

    frame: int
    mask: Rle
    box: tuple[float, float, float, float]
    expression: int = SERVES_ALL
    annotation: str = ""
    box_score: float = NAN
    mask_score: float = NAN
    stability: float = NAN
    phrase: str = ""
    token_scores: tuple[float, ...] = ()

    @property
    def area(self) -> int:
        return int(masks.area([self.mask])[0])


def write_prompts(
    path: Path,
    stamp: Stamp,
    prompts: Sequence[Prompt],
    size: tuple[int, int],
    history: Mapping[str, Any] | None = None,
) -> None:
    """Writes a prompt file; no prompt at all is a valid, finished file. `size` = (height, width)."""
    with create_h5(path, stamp, history) as file:
        file.attrs["size"] = size
        group = file.create_group("prompts")
        write_array(group, "frame", np.array([p.frame for p in prompts], np.int32))
        write_array(group, "expression", np.array([p.expression for p in prompts], np.int32))
        write_array(group, "area", masks.area([p.mask for p in prompts]))
        write_array(group, "box", np.array([p.box for p in prompts], np.float32).reshape(-1, 4))
        for name in NUMBERS:
            write_array(group, name, np.array([getattr(p, name) for p in prompts], np.float32))
        for name in STRINGS:
            write_strings(group, name, [getattr(p, name) for p in prompts])
        scores = file.create_group("token_scores")
        write_array(scores, "values", np.array([s for p in prompts for s in p.token_scores], np.float32))
        write_array(scores, "offset", np.cumsum([0, *(len(p.token_scores) for p in prompts)], dtype=np.int64))
        write_rles(file.create_group("rle"), [p.mask for p in prompts])


def read_prompts(path: Path) -> list[Prompt]:
    """All prompts of a file, in the order they were written; raises CacheError where it cannot be used."""
    with open_h5(path, GENERATE_PROMPTS.name, GENERATE_PROMPTS.version) as file:
        rles = read_rles(file["rle"], read_size(file))
        columns = {name: file["prompts"][name][:] for name in ("frame", "expression", "box", *NUMBERS)}
        strings = {name: read_strings(file["prompts"], name) for name in STRINGS}
        scores = parts_of(file["token_scores/values"][:], file["token_scores/offset"][:], len(rles))
        if uneven := [name for name, column in (columns | strings).items() if len(column) != len(rles)]:
            raise ValueError(f"its columns {uneven} are not as long as its {len(rles)} masks")
    return [
        Prompt(
            frame=int(columns["frame"][i]),
            mask=rle,
            box=tuple(map(float, columns["box"][i])),  # type: ignore[arg-type]
            expression=int(columns["expression"][i]),
            token_scores=tuple(map(float, scores[i])),
            annotation=str(strings["annotation"][i]),
            box_score=float(columns["box_score"][i]),
            mask_score=float(columns["mask_score"][i]),
            stability=float(columns["stability"][i]),
            phrase=str(strings["phrase"][i]),
        )
        for i, rle in enumerate(rles)
    ]
