"""masks.check: every RLE of a mask passes, and what passes is a mask of its size, run for run."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.records import Rle

ALPHABET = "".join(map(chr, range(46, 114)))  # the encoding's characters and two on either side


def spell(runs: list[int]) -> str:
    """rleToString of maskApi.c, in plain steps."""
    text = ""
    for index, run in enumerate(runs):
        rest = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            digit, rest = rest & 31, rest >> 5
            more = rest != (-1 if digit & 16 else 0)
            text += chr(48 + (digit | 32 if more else digit))
    return text


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10), st.integers(0, 1000))
def test_every_mask_passes(height: int, width: int, density: int, seed: int) -> None:
    mask: NDArray[np.bool_] = np.random.default_rng(seed).random((height, width)) < density / 10
    rle = masks.encode(mask)
    assert masks.check(rle) is rle


@pytest.mark.parametrize("runs", [[20], [0, 20], [3, 2, 15], [0, 1, 18, 1], [7, 5, 0, 3, 5]])
def test_what_is_spelt_is_read(runs: list[int]) -> None:
    rle: Rle = {"size": (4, 5), "counts": spell(runs)}
    flat = np.repeat(np.arange(len(runs)) % 2, runs).astype(bool)
    np.testing.assert_array_equal(masks.decode(masks.check(rle)), flat.reshape((4, 5), order="F"))
    assert masks.area([rle])[0] == flat.sum()


@settings(max_examples=300)
@given(st.text(ALPHABET, min_size=1, max_size=12))
def test_what_passes_decodes_to_its_own_runs(counts: str) -> None:
    rle: Rle = {"size": (4, 5), "counts": counts}
    try:
        masks.check(rle)
    except ValueError:
        return
    decoded = masks.decode(rle)
    assert decoded.shape == (4, 5) and masks.area([rle])[0] == decoded.sum()
    np.testing.assert_array_equal(masks.decode(masks.encode(decoded)), decoded)


@pytest.mark.parametrize(
    ("size", "counts", "reason"),
    [
        ((4, 5), "9220", "its runs hold 15 pixels instead of 20"),  # pycocotools decodes it without a word
        ((4, 5), "922033", "instead of 20"),
        ((4, 5), "", "empty"),
        ((4, 5), "d", "cut inside their last run"),
        ((4, 5), "9 203", "characters outside"),
        ((4, 5), "é", "characters outside"),
        ((4, 5), spell([30, -10]), "run 1 is negative"),
        ((4, 5), "o" * 9 + "0", "more than 7 digits"),
        ((4, -5), "d0", "integers from 1"),
        ((0, 5), "0", "integers from 1"),
        ((4.0, 5), "d0", "integers from 1"),
        ((True, 20), "d0", "integers from 1"),
        ((70000, 1), spell([70000]), "integers from 1"),
        ((60000, 60000), spell([3_600_000_000]), "more than 268435456 pixels"),
    ],
)
def test_broken_ones_are_refused(size: tuple[int, int], counts: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        masks.check({"size": size, "counts": counts})


def test_masks_of_film_size_pass() -> None:
    mask = np.zeros((1080, 1920), bool)
    mask[200:900, 300:1700] = True
    mask[::7, ::5] ^= True
    masks.check(masks.encode(mask))
