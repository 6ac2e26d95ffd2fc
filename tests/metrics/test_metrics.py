"""J and F against golden values of the official functions and a plain copy of the official algorithm."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.official_f import Bool, disk, official_f, random_mask
from support.project import ROOT

from stages.core.media import masks
from stages.metrics import boundary_f, clips, edges, jaccard
from stages.metrics.boundary import bound_radius, clip_f


def box(shape: tuple[int, int], rows: tuple[int, int], cols: tuple[int, int]) -> Bool:
    mask = np.zeros(shape, bool)
    mask[rows[0] : rows[1] + 1, cols[0] : cols[1] + 1] = True
    return mask


def scores(pred: Bool, truth: Bool, void: Bool | None = None) -> tuple[float, float]:
    void_THW = None if void is None else void[None]
    return float(jaccard(pred[None], truth[None], void_THW)[0]), float(boundary_f(pred[None], truth[None], void_THW)[0])


# ------------------------------------------------------------------------------------------ golden values
@pytest.mark.parametrize(
    ("height", "width", "radius"),
    [(480, 854, 8), (480, 910, 9), (720, 1280, 12), (1080, 1920, 18), (240, 320, 4), (64, 64, 1)],
)
def test_radius(height: int, width: int, radius: int) -> None:
    assert bound_radius(height, width) == radius


def ranges(edge: Bool) -> tuple[NDArray[Any], ...]:
    """A boundary map, scanned by columns, as `edges.match` takes it."""
    low, high, ptr = [], [], [0]
    for column in edge.T:
        rows = np.flatnonzero(np.diff(column.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
        low += rows[:, 0].tolist()
        high += rows[:, 1].tolist()
        ptr.append(len(low))
    arrays = (np.array(low, np.int32), np.array(high, np.int32), np.array(ptr, np.int64))
    return (*arrays, np.array([0, len(ptr)]), np.zeros(1, np.int64))


@pytest.mark.parametrize(("radius", "pixels"), [(1, 5), (2, 13), (3, 29), (8, 197)])
def test_a_pixel_matches_within_the_disk(radius: int, pixels: int) -> None:
    everywhere = np.ones((2 * radius + 5, 2 * radius + 7), bool)
    one = np.zeros_like(everywhere)
    one[radius + 2, radius + 3] = True
    reach = np.array([math.isqrt(radius * radius - d * d) for d in range(radius + 1)])
    assert disk(radius).sum() == pixels
    assert edges.match(ranges(everywhere), ranges(one), len(one), reach).tolist() == [[one.size, 1, pixels, 1]]


def boundary_map(mask: Bool) -> Bool:
    """The boundary of a mask as `clips` finds it, drawn."""
    low, high, ptr, _, first = clips.from_rles([masks.encode(mask)], mask.shape).boundary
    edge = np.zeros_like(mask)
    for line in range(len(ptr) - 1):
        for k in range(ptr[line], ptr[line + 1]):
            edge[low[k] : high[k], first[0] + line] = True
    return edge


G = box((480, 854), (100, 299), (200, 499))
NONE, ALL = np.zeros_like(G), np.ones_like(G)


@pytest.mark.parametrize(
    ("pred", "truth", "j", "f"),
    [
        (np.roll(G, 8, 1), G, 0.948052, 1),
        (np.roll(G, 9, 1), G, 0.941748, 0.616),
        (np.roll(G, 12, 1), G, 0.923077, 0.610),
        (box((480, 854), (100, 299), (200, 349)), G, 0.5, 0.608235),
        (NONE, G, 0, 0),
        (ALL, G, 0.146370, 0),
        (ALL, NONE, 0, 1),
        (NONE, NONE, 1, 1),
        (G, G, 1, 1),
    ],
)
def test_golden_boxes(pred: Bool, truth: Bool, j: float, f: float) -> None:
    assert scores(pred, truth) == pytest.approx((j, f), abs=5e-4 if f in (0.616, 0.610) else 5e-7)


def ellipse(dx: int = 0, height: int = 30, width: int = 40) -> Bool:
    y, x = np.mgrid[:120, :160]
    return ((y - 60) / height) ** 2 + ((x - 80 - dx) / width) ** 2 <= 1


def test_golden_ellipses() -> None:
    truth, void = ellipse(), box((120, 160), (50, 69), (100, 124))
    assert truth.sum() == 3761 and boundary_map(truth).sum() == 284
    assert scores(ellipse(2), truth) == pytest.approx((0.938160, 1), abs=5e-7)
    assert scores(ellipse(3), truth) == pytest.approx((0.909137, 0.718310), abs=5e-7)
    assert scores(ellipse(0, 34, 44), truth) == pytest.approx((0.802090, 0), abs=5e-7)
    assert scores(ellipse(3), truth, void) == pytest.approx((0.914540, 0.817035), abs=5e-7)


def test_golden_boundary() -> None:
    edge = boundary_map(box((64, 64), (10, 19), (10, 29)))
    rows, cols = np.nonzero(edge)
    assert (len(rows), rows.min(), rows.max(), cols.min(), cols.max()) == (60, 9, 19, 9, 29)


def test_golden_rle() -> None:
    assert masks.encode(box((4, 5), (1, 2), (2, 3)))["counts"] == "92203"
    assert masks.encode(np.zeros((4, 5), bool))["counts"] == "d0"


def mean_f(pred: list[Bool], truth: list[Bool]) -> float:
    return float(boundary_f(np.stack(pred), np.stack(truth)).mean())


def test_golden_clips() -> None:
    """Where the reference track-selection code deviates: official F over clips with empty frames."""
    shifted, half = np.roll(G, 12, 1), box((480, 854), (100, 299), (200, 349))
    assert mean_f([shifted, shifted, NONE, NONE], [G, G, NONE, NONE]) == pytest.approx(0.805, abs=5e-4)
    assert mean_f([half] * 4, [G, G, NONE, NONE]) == pytest.approx(0.304, abs=5e-4)
    assert mean_f([NONE] * 4, [G, G, NONE, NONE]) == 0.5
    assert mean_f([NONE] * 4, [NONE] * 4) == 1


# --------------------------------------------------------------------------------------------- properties
def both_ways(pred: Bool, truth: Bool, ratio: float) -> list[list[float]]:
    """F of clips, from dense masks and from RLE."""
    size = pred.shape[1:]
    pair = [clips.from_rles([masks.encode(m) for m in clip], size) for clip in (pred, truth)]
    return [
        boundary_f(pred, truth, bound_ratio=ratio).tolist(),
        clip_f(*pair, bound_radius(*size, ratio)).tolist(),
    ]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ratio", [0.008, 0.03])
def test_fuzz_against_the_official_algorithm_to_the_last_bit(seed: int, ratio: float) -> None:
    """8 · 2 · 15 clips of three frames: 720 pairs, each with and without void pixels."""
    rng = np.random.default_rng(seed)
    for _ in range(15):
        height, width = (int(n) for n in rng.integers(1, 160 if seed % 2 else 9, 2))
        pred, truth, void = (np.stack([random_mask(rng, height, width) for _ in range(3)]) for _ in range(3))
        keep = ~void
        for p, t, v in ((pred, truth, None), (pred & keep, truth & keep, void)):
            expected = [official_f(a, b, ratio) for a, b in zip(p, t)]
            assert boundary_f(pred, truth, v, bound_ratio=ratio).tolist() == expected
            assert both_ways(p, t, ratio) == [expected, expected]
            union = np.sum(p | t, axis=(1, 2))
            inter = np.sum(p & t, axis=(1, 2))
            assert jaccard(pred, truth, v).tolist() == [i / u if u else 1.0 for i, u in zip(inter, union)]


def blob(rng: np.random.Generator, height: int, width: int) -> Bool:
    """An object as a model outlines it: a closed wobbly contour, a hole, specks; may cross the border."""
    mask = np.zeros((height, width), np.uint8)
    angle = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    for value, share in ((1, 0.3), (0, 0.08)):
        centre = rng.uniform(0.2, 0.8, 2) * (width, height)
        radius = share * height * (1 + 0.25 * np.sin(3 * angle) + 0.08 * rng.standard_normal(90))
        outline = centre + np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
        cv2.fillPoly(mask, [outline.astype(np.int32)], value)
    mask[tuple(rng.integers(0, (height, width), (12, 2)).T)] ^= 1
    return mask.astype(bool)


@pytest.mark.parametrize(("height", "width"), [(480, 854), (1080, 1920)])
def test_real_shapes_against_the_official_algorithm_to_the_last_bit(height: int, width: int) -> None:
    rng = np.random.default_rng(height)
    truth = np.stack([blob(rng, height, width) for _ in range(4)])
    pred = np.stack([np.roll(mask, rng.integers(-12, 13, 2), (0, 1)) for mask in truth])
    pred[3] = blob(rng, height, width)
    expected = [official_f(a, b) for a, b in zip(pred, truth)]
    assert len(set(expected)) == 4
    assert both_ways(pred, truth, 0.008) == [expected, expected]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_runs_count_what_dense_masks_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = tuple(int(n) for n in rng.integers(1, 40, 2))
    a, b = (np.stack([random_mask(rng, *size) for _ in range(3)]) for _ in range(2))
    mine, other = (clips.from_rles([masks.encode(m) for m in clip], size) for clip in (a, b))
    for found, expected in [
        (mine, a),
        (clips.union(mine, other), a | b),
        (clips.without(mine, other), a & ~b),
        (mine.take([2, 0]), a[[2, 0]]),
    ]:
        assert found.area.tolist() == expected.sum((1, 2)).tolist()
        again = clips.from_rles([masks.encode(m) for m in expected], size)
        assert found.turns.tolist() == again.turns.tolist() and found.offset.tolist() == again.offset.tolist()
        rows = clips.from_scans([clips.scan(m) for m in expected], *size)
        assert rows.area.tolist() == expected.sum((1, 2)).tolist()
    assert clips.intersection(mine, other).tolist() == (a & b).sum((1, 2)).tolist()


def test_absent_masks_and_runs_of_no_pixels() -> None:
    clip = clips.from_rles([None, {"size": (4, 5), "counts": "92203"}, {"size": (4, 5), "counts": "d0"}], (4, 5))
    assert clip.area.tolist() == [0, 4, 0]
    runs = coco_counts([9, 1, 0, 1, 2, 2, 5])
    assert clips.from_rles([{"size": (4, 5), "counts": runs}], (4, 5)).turns.tolist() == clip.turns.tolist()
    assert clips.from_rles([{"size": (4, 5), "counts": coco_counts([0, 20])}], (4, 5)).area.tolist() == [20]


def coco_counts(runs: list[int]) -> str:
    """Runs in COCO's compressed text, written out."""
    text = ""
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            char, value = value & 31, value >> 5
            more = value != (-1 if char & 16 else 0)
            text += chr(48 + char + 32 * more)
            if not more:
                break
    return text


@pytest.mark.parametrize("counts", ["92202", "92204", "d", "922", "9220~", "92203d0", ""])
def test_broken_counts_are_an_error(counts: str) -> None:
    with pytest.raises(ValueError, match=r"frame 1: broken RLE.*\(4, 5\)"):
        clips.from_rles([None, {"size": (4, 5), "counts": counts}], (4, 5))


def test_areas_of_more_masks_than_a_byte_counts() -> None:
    """pycocotools refuses more than 255 at once; the longest video of MeViS valid has 292 frames."""
    rles = [masks.encode(box((9, 9), (0, t % 9), (0, t // 9 % 9))) for t in range(600)]
    assert masks.area(rles).tolist() == [(t % 9 + 1) * (t // 9 % 9 + 1) for t in range(600)]
    assert masks.area(rles).tolist() == clips.from_rles(rles, (9, 9)).area.tolist()
    assert masks.boxes(rles)[599].tolist() == [0, 0, 599 // 9 % 9 + 1, 599 % 9 + 1]


def test_masks_of_another_size_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"\[\(5, 4\)\].*\(4, 5\)"):
        clips.from_rles([{"size": (5, 4), "counts": "d0"}], (4, 5))
    with pytest.raises(ValueError, match="nothing is resized"):
        clips.intersection(clips.empty(2, (4, 5)), clips.empty(2, (5, 4)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_symmetric_and_blind_to_type_and_memory_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(1, 40, 2))
    pred, truth = (np.stack([random_mask(rng, height, width) for _ in range(2)]) for _ in range(2))
    for metric in (jaccard, boundary_f):
        value = metric(pred, truth)
        assert value.dtype == np.float64 and value.shape == (2,)
        assert ((value >= 0) & (value <= 1)).all()
        np.testing.assert_array_equal(value, metric(truth, pred))
        np.testing.assert_array_equal(value, metric(pred.astype(np.uint8) * 255, np.asfortranarray(truth)))
        assert (metric(pred, pred) == 1).all()


def test_bools_of_any_byte() -> None:
    """A view of 0/255 as bool holds bytes that are neither 0 nor 1."""
    rng = np.random.default_rng(0)
    pred, truth = (np.stack([random_mask(rng, 19, 23) for _ in range(9)]) for _ in range(2))
    strange = (pred.astype(np.uint8) * 255).view(np.bool_)
    assert boundary_f(strange, truth).tolist() == boundary_f(pred, truth).tolist()
    assert jaccard(truth, strange).tolist() == jaccard(truth, pred).tolist()


@pytest.mark.parametrize("metric", [jaccard, boundary_f])
def test_shapes_must_match(metric: Any) -> None:
    with pytest.raises(ValueError, match=r"\(2, 4, 5\) and \(2, 5, 4\)"):
        metric(np.zeros((2, 4, 5)), np.zeros((2, 5, 4)))
    with pytest.raises(ValueError, match="one shape"):
        metric(np.zeros((4, 5)), np.zeros((4, 5)))
    with pytest.raises(ValueError, match="one shape"):
        metric(np.zeros((2, 4, 5)), np.zeros((2, 4, 5)), np.zeros((1, 4, 5)))


# ------------------------------------------------------------------------------------------ compiled code
def test_compiled_code_needs_no_place_to_write(tmp_path: Path) -> None:
    """In an installation that cannot be written, with no home: compiled in memory, nothing left behind."""
    package = tmp_path / "package"
    shutil.copytree(ROOT / "stages", package / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    probe = (
        "import numba.core.caching as caching\n"
        "def refuse(self): raise PermissionError('read-only')\n"
        "for locator in caching.CacheImpl._locator_classes: locator.ensure_cache_path = refuse\n"
        "import numpy as np\n"
        "from stages.metrics import boundary_f\n"
        "print(boundary_f(np.ones((1, 4, 5)), np.eye(4, 5)[None]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", probe],
        cwd=package,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0.]"
    assert not list(package.rglob("__pycache__"))
