"""PNGs that are written from run lengths: three decoders see every pixel, and no file is larger than zlib's."""

import io
import zlib

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support.pngs import pixels_of, runs_of
from torchvision.io import ImageReadMode, decode_png

from benchmarks.masks import blob
from stages.core.media import masks
from stages.exchange.deflate import LONGEST, SHORTEST, zlib_stream
from stages.exchange.png import davis_palette, label_map, label_png, mask_png


def drawn(rng: np.random.Generator, kind: str, height: int, width: int) -> NDArray[np.bool_]:
    if kind == "blob":
        return blob(rng, height, width)
    if kind == "noise":
        return rng.random((height, width)) < rng.random()
    if kind == "chequered":
        return np.indices((height, width)).sum(0) % 2 == 0
    return np.full((height, width), kind == "full")


@pytest.mark.parametrize("kind", ["empty", "full", "noise", "chequered", "blob"])
def test_three_decoders_see_the_mask(kind: str) -> None:
    rng = np.random.default_rng(0)
    sizes = [(1, 1), (1, 700), (700, 1), (2, 3), (97, 61), (480, 854)]
    for height, width in sizes + [tuple(rng.integers(1, 70, 2).tolist()) for _ in range(20)]:
        mask_HW = drawn(rng, kind, height, width)
        rle = masks.encode(mask_HW)
        data = mask_png(tuple(rle["size"]), rle["counts"])
        want = np.where(mask_HW, 255, 0)
        with Image.open(io.BytesIO(data)) as image:
            assert image.mode == "L" and np.array_equal(np.asarray(image), want)
        raw = np.frombuffer(data, np.uint8)
        assert np.array_equal(cv2.imdecode(raw, cv2.IMREAD_UNCHANGED), want)
        libpng = decode_png(torch.from_numpy(raw.copy()), ImageReadMode.UNCHANGED)
        assert np.array_equal(libpng[0].numpy(), want)


def test_label_maps_are_painted_run_by_run() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        size = (int(rng.integers(1, 60)), int(rng.integers(1, 60)))
        own = {n: drawn(rng, str(rng.choice(["blob", "noise", "empty", "full"])), *size) for n in (1, 3, 4, 255)}
        scores = {n: float(rng.choice([0.2, 0.5, 0.9])) for n in own}
        want = np.zeros(size, np.uint8)
        for n in sorted(own, key=lambda n: (scores[n], -n)):
            want[own[n]] = n
        labels = label_map({n: masks.encode(mask) for n, mask in own.items()}, scores, size)
        assert np.array_equal(pixels_of(labels), want) and np.array_equal(pixels_of(runs_of(want)), want)
        for runs in (labels, runs_of(want)):
            with Image.open(io.BytesIO(label_png(runs))) as image:
                assert image.mode == "P" and image.getpalette() == davis_palette()
                assert np.array_equal(np.asarray(image), want)


@pytest.mark.parametrize("size", [(480, 854), (1080, 1920)])
def test_files_are_no_larger_than_those_of_zlib(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    for mask_HW in [*(blob(rng, *size) for _ in range(4)), np.zeros(size, bool)]:
        rle = masks.encode(mask_HW)
        buffer = io.BytesIO()
        image = Image.fromarray(mask_HW.astype(np.uint8) * 255)
        image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
        assert len(mask_png(tuple(rle["size"]), rle["counts"])) <= len(buffer.getvalue())


def test_any_runs_become_a_stream_that_zlib_reads() -> None:
    """Lengths around every bound of the format, every byte, and frequencies whose best codes were too long."""
    rng = np.random.default_rng(3)
    bounds = [
        1,
        2,
        3,
        4,
        5,
        10,
        11,
        257,
        258,
        259,
        260,
        261,
        262,
        516,
        517,
        518,
        519,
        65_520,
        65_521,
        65_522,
        3_000_000,
    ]
    assert bounds.count(LONGEST) and bounds.count(SHORTEST)
    cases = [(np.array([value], np.uint8), np.array([n])) for value in (0, 7, 255) for n in bounds]
    for _ in range(300):
        n = int(rng.integers(1, rng.choice([2, 5, 50, 600]) + 1))
        values = rng.integers(0, rng.choice([2, 4, 256]), n).astype(np.uint8)
        cases.append((values, np.maximum(1, rng.exponential(rng.choice([1, 3, 100, 5000]), n).astype(np.int64))))
    fibonacci = [1, 1]
    while len(fibonacci) < 24:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    skewed = rng.permutation(np.repeat(2 * np.arange(24, dtype=np.uint8), fibonacci))
    cases.append((skewed, np.ones(len(skewed), np.int64)))
    for values, lengths in cases:
        assert zlib.decompress(zlib_stream(values, lengths)) == np.repeat(values, lengths).tobytes()


@pytest.mark.parametrize("counts", ["1", "02", "0O2"])
def test_runs_that_are_no_image_are_refused(counts: str) -> None:
    with pytest.raises(ValueError, match="restore the mask"):
        mask_png((4, 6), counts)
