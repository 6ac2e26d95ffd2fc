"""Every part on a CUDA device gives what it gives on the CPU, and asks of the device no more than is written down here.

On the double float32 is exact but for the order of sums; a real device rounds otherwise. What is counted is one unit of
work, the first, without the loading of the model.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from support import cuda_parts as parts
from support.cuda_double import Double
from support.cuda_double_counts import Counts
from support.cuda_parts import Arrays, Place, Unit


class Case(NamedTuple):
    """A part, and the most that a unit may ask.

    Attributes:
        copies, syncs: what blocks the launching thread.
        launches: kernels; casts: of these, from one type of numbers to another.
        half: in bfloat16, where results are near the CPU's and not equal.
    """

    load: Callable[..., Unit]
    options: dict[str, Any]
    copies: int
    syncs: int
    launches: int
    casts: int
    half: bool = False


HALF = {"precision": "bfloat16"}
CASES = {
    # two captions in one frame, in one pass
    "detector": Case(parts.detector, {}, 11, 3, 842, 25),
    "detector, bfloat16": Case(parts.detector, HALF, 11, 3, 1242, 427, half=True),
    "detector of the package": Case(parts.detector, {"backend": "groundingdino"}, 16, 226, 2078, 36),
    # one frame, three boxes
    "box masks": Case(parts.box_masks, {}, 6, 0, 479, 2),
    "box masks, bfloat16": Case(parts.box_masks, HALF, 6, 0, 623, 146, half=True),
    # one frame, 16 points in two passes
    "automatic masks": Case(parts.automatic_masks, {}, 5, 17, 670, 1),
    # one sentence
    "text": Case(parts.text, {}, 2, 1, 46, 4),
    # two samples in one pass
    "sola": Case(parts.selector, {"kind": "sola"}, 17, 0, 358, 11),
    "soc": Case(parts.selector, {"kind": "soc"}, 17, 0, 314, 3),
    "course": Case(parts.selector, {"kind": "course"}, 17, 0, 264, 10),
    # six questions of one context
    "judge": Case(parts.judge, {}, 89, 37, 1682, 33),
    "judge, bfloat16": Case(parts.judge, HALF, 89, 37, 1881, 232, half=True),
    # two sentences of six frames, five of them decoded
    "[SEG]": Case(parts.seg, {}, 34, 25, 1921, 12),
    "[SEG], tuned": Case(parts.seg, {"follow": "tuned"}, 40, 17, 2858, 37),
    "[SEG], Qwen, generated": Case(parts.seg, {"family": "qwen3_vl", "answer": "generated"}, 33, 66, 1444, 25),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_part(place: Place, device: Double | None, case: Case) -> None:
    expected = case.load(place, "cpu", **case.options)()
    unit, counts = case.load(place, "cuda", **case.options), Counts()
    if device is None:
        got = unit()
    else:
        with device.counting.during() as counts:
            got = unit()
    compare(got, expected, near=case.half or device is None)
    most = {name: getattr(case, name) for name in vars(counts)}
    asked = {name: counter.total() for name, counter in vars(counts).items()}
    over = {name: (n, most[name], vars(counts)[name].most_common(5)) for name, n in asked.items() if n > most[name]}
    assert not over, "more than before: name, count, limit, and the lines that ask most"


def compare(got: Arrays, expected: Arrays, *, near: bool) -> None:
    """Masks and numbers, as far as two devices agree."""
    assert [array.shape for array in got] == [array.shape for array in expected] and len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        if theirs.dtype == bool:
            assert np.mean(mine != theirs) <= (0.02 if near else 0.0)
        else:
            np.testing.assert_allclose(mine, theirs, rtol=0.05 if near else 1e-5, atol=0.05 if near else 1e-5)
