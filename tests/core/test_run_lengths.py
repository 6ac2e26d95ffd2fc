"""Masks to COCO's run lengths without a transposed copy: the bytes of pycocotools, whatever the memory looks like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from stages.core.media import masks


def of_pycocotools(mask_HW: np.ndarray) -> dict[str, object]:
    rle = coco.encode(np.asfortranarray(mask_HW != 0).view(np.uint8))
    return {"size": tuple(rle["size"]), "counts": rle["counts"].decode()}


LAYOUTS = {
    "by rows": lambda mask: mask,
    "by columns": np.asfortranarray,
    "every other": lambda mask: mask.repeat(2, 0).repeat(2, 1)[::2, 1::2],
    "upside down": lambda mask: mask[::-1][::-1],
    "numbers": lambda mask: mask * np.float32(0.25),
    "bytes that are no bools": lambda mask: (mask * np.uint8(7)).view(np.bool_),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.integers(1, 90), st.sampled_from([0, 0.02, 0.5, 0.98, 1]))
def test_encoded_as_pycocotools_does(layout, seed, height, width, share):
    mask_HW = LAYOUTS[layout](np.random.default_rng(seed).random((height, width)) < share)
    rle = masks.encode(mask_HW)
    assert rle == of_pycocotools(mask_HW)
    assert np.array_equal(masks.decode(rle), np.asarray(mask_HW) != 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (1080, 1920)])
def test_long_runs_and_single_lines(size):
    rng = np.random.default_rng(0)
    for mask_HW in (np.zeros(size, bool), np.ones(size, bool), rng.random(size) < 1e-3):
        assert masks.encode(mask_HW) == of_pycocotools(mask_HW)


def test_many_at_once_are_as_each():
    masks_NHW = np.random.default_rng(1).random((300, 7, 9)) < 0.4
    assert masks.encode_all(masks_NHW) == [of_pycocotools(mask_HW) for mask_HW in masks_NHW]
    with pytest.raises(ValueError, match="shape"):
        masks.encode_all(masks_NHW[0])
    with pytest.raises(ValueError, match="shape"):
        masks.encode(masks_NHW)
