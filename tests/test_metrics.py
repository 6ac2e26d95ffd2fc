"""J and F against golden values of the official functions and a plain copy of the official algorithm."""

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.core import masks
from stages.core.records import Expression
from stages.metrics import boundary_f, jaccard
from stages.metrics.boundary import bound_radius, boundary_map, matched_pixels
from stages.metrics.expression import Truth, score_expression
from stages.metrics.report import summarise

Bool = NDArray[np.bool_]


# ------------------------------------------------- the official algorithm, plainly (DAVIS 2017 evaluation)
def official_map(mask: Bool) -> Bool:
    east, south, corner = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    east[:, :-1] = mask[:, 1:]
    south[:-1, :] = mask[1:, :]
    corner[:-1, :-1] = mask[1:, 1:]
    edge = mask ^ east | mask ^ south | mask ^ corner
    edge[-1, :] = mask[-1, :] ^ east[-1, :]
    edge[:, -1] = mask[:, -1] ^ south[:, -1]
    edge[-1, -1] = 0
    return edge


def disk(radius: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return (x**2 + y**2 <= radius**2).astype(np.uint8)


def official_f(pred: Bool, truth: Bool, ratio: float = 0.008) -> float:
    radius = math.ceil(ratio * np.linalg.norm(pred.shape))
    fg, gt = official_map(pred), official_map(truth)
    fg_dilated, gt_dilated = (cv2.dilate(m.astype(np.uint8), disk(radius)) for m in (fg, gt))
    n_fg, n_gt = np.sum(fg), np.sum(gt)
    if n_fg == 0 and n_gt > 0:
        precision, recall = 1.0, 0.0
    elif n_fg > 0 and n_gt == 0:
        precision, recall = 0.0, 1.0
    elif n_fg == 0 and n_gt == 0:
        precision, recall = 1.0, 1.0
    else:
        precision, recall = np.sum(fg * gt_dilated) / float(n_fg), np.sum(gt * fg_dilated) / float(n_gt)
    return 0.0 if precision + recall == 0 else float(2 * precision * recall / (precision + recall))


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


@pytest.mark.parametrize(("radius", "pixels"), [(1, 5), (2, 13), (3, 29), (8, 197)])
def test_a_pixel_matches_within_the_disk(radius: int, pixels: int) -> None:
    everywhere = np.ones((2 * radius + 5, 2 * radius + 7), bool)
    one = np.zeros_like(everywhere)
    one[radius + 2, radius + 3] = True
    assert disk(radius).sum() == pixels
    assert matched_pixels(everywhere, one, radius) == pixels
    assert matched_pixels(one, everywhere, radius) == 1


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


def clip_f(pred: list[Bool], truth: list[Bool]) -> float:
    return float(boundary_f(np.stack(pred), np.stack(truth)).mean())


def test_golden_clips() -> None:
    """Where the reference track-selection code deviates: official F over clips with empty frames."""
    shifted, half = np.roll(G, 12, 1), box((480, 854), (100, 299), (200, 349))
    assert clip_f([shifted, shifted, NONE, NONE], [G, G, NONE, NONE]) == pytest.approx(0.805, abs=5e-4)
    assert clip_f([half] * 4, [G, G, NONE, NONE]) == pytest.approx(0.304, abs=5e-4)
    assert clip_f([NONE] * 4, [G, G, NONE, NONE]) == 0.5
    assert clip_f([NONE] * 4, [NONE] * 4) == 1


# --------------------------------------------------------------------------------------------- properties
def random_mask(rng: np.random.Generator, height: int, width: int) -> Bool:
    kind = rng.integers(7)
    if kind < 2:
        return np.full((height, width), bool(kind))
    if kind == 2:
        return rng.random((height, width)) < rng.random() ** 2
    mask = np.zeros((height, width), bool)
    for _ in range(rng.integers(1, 4)):  # boxes that may touch or cross the border
        top, left = rng.integers(-3, height), rng.integers(-3, width)
        bottom, right = top + rng.integers(1, height + 6), left + rng.integers(1, width + 6)
        mask[max(top, 0) : bottom, max(left, 0) : right] ^= True
    return mask


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ratio", [0.008, 0.03])
def test_equal_to_the_official_algorithm_to_the_last_bit(seed: int, ratio: float) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(15):
        height, width = (int(n) for n in rng.integers(1, 160 if seed % 2 else 9, 2))
        pred, truth, void = (np.stack([random_mask(rng, height, width) for _ in range(3)]) for _ in range(3))
        keep = ~void
        for p, t, v in ((pred, truth, None), (pred & keep, truth & keep, void)):
            expected = [official_f(a, b, ratio) for a, b in zip(p, t)]
            assert boundary_f(pred, truth, v, bound_ratio=ratio).tolist() == expected
            union = np.sum(p | t, axis=(1, 2))
            inter = np.sum(p & t, axis=(1, 2))
            assert jaccard(pred, truth, v).tolist() == [i / u if u else 1.0 for i, u in zip(inter, union)]


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


@pytest.mark.parametrize("metric", [jaccard, boundary_f])
def test_shapes_must_match(metric: Any) -> None:
    with pytest.raises(ValueError, match=r"\(2, 4, 5\) and \(2, 5, 4\)"):
        metric(np.zeros((2, 4, 5)), np.zeros((2, 5, 4)))
    with pytest.raises(ValueError, match="one shape"):
        metric(np.zeros((4, 5)), np.zeros((4, 5)))
    with pytest.raises(ValueError, match="one shape"):
        metric(np.zeros((2, 4, 5)), np.zeros((2, 4, 5)), np.zeros((1, 4, 5)))


# -------------------------------------------------------------------------------- expressions and splits
def expression(*keys: str) -> Expression:
    return Expression("0", "the box", keys, "the box")


def test_an_expression_is_the_union_of_its_annotations_over_all_frames() -> None:
    left, right = box((480, 854), (100, 299), (200, 349)), box((480, 854), (100, 299), (350, 499))
    annotations = {"1": [masks.encode(left), masks.encode(left), None], "2": [masks.encode(right), None, None]}
    truth = Truth(annotations, (480, 854), 3)
    pred_T = [masks.encode(m) for m in (G, G, NONE)]
    row = score_expression(expression("1", "2"), pred_T, truth.of(expression("1", "2")), 0.008)
    assert row["J"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert row["F"] == pytest.approx((1 + 0.608235 + 1) / 3, abs=1e-6)
    assert row["J&F"] == (row["J"] + row["F"]) / 2
    assert (row["no_target"], row["predicted_empty"]) == (False, False)


def test_the_mean_is_over_all_frames_of_a_long_video() -> None:
    small, n = box((20, 30), (5, 9), (5, 9)), 37
    truth_T = [masks.encode(small)] * n
    pred_T = [masks.encode(small if t % 4 else np.zeros_like(small)) for t in range(n)]
    row = score_expression(expression("1"), pred_T, truth_T, 0.008)
    assert row["J"] == row["F"] == pytest.approx(27 / 37)


def test_truth_that_does_not_fit_the_frames_is_an_error() -> None:
    annotation = [masks.encode(np.ones((4, 5), bool))]
    with pytest.raises(ValueError, match=r"annotation 7 is of size \[\(4, 5\)\].*\(5, 4\)"):
        Truth({"7": annotation}, (5, 4), 1)
    with pytest.raises(ValueError, match="annotation 7 has 1 masks, the video has 2 frames"):
        Truth({"7": annotation}, (4, 5), 2)
    with pytest.raises(ValueError, match=r"annotations \['8'\]"):
        Truth({"7": annotation}, (4, 5), 1).of(expression("8"))


def row(j: float | None, f: float | None, no_target: bool | None = False, empty: bool = False) -> dict[str, Any]:
    both = None if j is None or f is None else (j + f) / 2
    values = {"J": j, "F": f, "J&F": both, "no_target": no_target, "predicted_empty": empty}
    return {
        "video": "v",
        "expression": "0",
        "caption": "c",
        "tracks": 1,
        "frames": 3,
        "boundary_ratio": 0.008,
        **values,
    }


def test_figures_of_a_split() -> None:
    rows = [row(0.5, 0.7), row(0, 0, empty=True), row(1, 1, True, True), row(0, 0, True), row(0, 0.2, True)]
    summary = summarise(rows, "mevis", "valid_u")
    assert summary["metric"] == "J&F" and summary["truth"] is True
    assert summary["protocol"] == "MeViS v2: mean over expressions of the mean over frames; official DAVIS J and F"
    assert summary["counts"] == {"videos": 1, "expressions": 5, "scored": 5, "no_target": 3, "predicted_empty": 2}
    figures = summary["figures"]
    expected = {"J": 0.3, "F": 0.38, "J&F": 0.34, "J&F target": 0.3, "N-acc": 1 / 3, "T-acc": 0.5}
    expected["Final"] = (0.34 + 1 / 3 + 0.5) / 3
    assert figures == pytest.approx(expected)


def test_figures_that_are_not_defined_are_none() -> None:
    summary = summarise([row(0.5, 0.7), row(None, None, None)], "mevis", "valid_u")
    assert summary["figures"]["N-acc"] is None and summary["figures"]["Final"] is None
    assert summary["figures"]["J&F"] == pytest.approx(0.6) and summary["counts"]["scored"] == 1
    assert summary["protocol"].startswith("MeViS v1")


def test_without_ground_truth_there_is_no_figure() -> None:
    summary = summarise([row(None, None, None, True)], "mevis", "valid")
    assert summary["truth"] is False and "figures" not in summary
    assert summary["counts"]["predicted_empty"] == 1


def test_another_tolerance_is_not_called_official() -> None:
    other = row(1, 1) | {"boundary_ratio": 0.02}
    assert "official" not in summarise([other], "mevis", "valid_u")["protocol"]
    with pytest.raises(ValueError, match=r"\[0\.008, 0\.02\]"):
        summarise([other, row(1, 1)], "mevis", "valid_u")
