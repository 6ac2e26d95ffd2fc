"""The parts of an ensemble: J from votes is J of the masks, weights that are found, what is refused, memory, label maps."""

import json
import tracemalloc
import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.answers import answer, config_files, job_of

from stages.core.media import masks
from stages.core.records import Expression, Video
from stages.core.state.frames import FrameFolder
from stages.exchange.ensemble.fit import Parameters, Table, equal_weights, fit, search
from stages.exchange.ensemble.mean import Mean, Mixture
from stages.exchange.ensemble.runs import Run
from stages.exchange.ensemble.votes import FRAMES, LEVELS, Votes, distinct, joined, spread
from stages.exchange.incoming import Answer
from stages.metrics.region import jaccard
from stages.tools import ensemble_predictions, export_predictions, import_predictions

SIZE = (12, 16)
Said = list[list[NDArray[np.uint8]]]  # sentences of frames of (H, W, R) levels
Truth = list[list[NDArray[np.bool_]]]


def drawn(seed: int, quality: tuple[float, ...], n_sentences: int = 4) -> tuple[Said, Truth]:
    """Runs that have a pixel right with these probabilities; every fourth sentence has no target."""
    rng = np.random.default_rng(seed)
    said: Said = []
    truth: Truth = []
    for sentence in range(n_sentences):
        said.append([])
        truth.append([])
        for _ in range(1 + sentence % 3):
            row, column = rng.integers(0, 6, 2)
            truth_HW = np.zeros(SIZE, bool)
            truth_HW[row : row + 6, column : column + 8] = sentence % 4 != 3
            right_HWR = rng.random((*SIZE, len(quality))) < quality
            said[-1].append(np.where(right_HWR, truth_HW[..., None], ~truth_HW[..., None]).astype(np.uint8) * LEVELS)
            truth[-1].append(truth_HW)
    return said, truth


def votes(said: Said, truth: Truth) -> Votes:
    """What `count` makes of them."""
    rows = [distinct(levels, mask) for s, t in zip(said, truth, strict=True) for levels, mask in zip(s, t, strict=True)]
    sizes, pixels_U2 = [len(levels) for levels, _ in rows], np.concatenate([pixels for _, pixels in rows])
    frames = [mask.sum() for t in truth for mask in t]
    sentences = [i for i, t in enumerate(truth) for _ in t]
    return Votes(
        np.concatenate([levels for levels, _ in rows]),
        pixels_U2[:, 1],
        pixels_U2[:, 0],
        np.repeat(np.arange(len(rows)), sizes),
        np.array(frames, np.int64),
        np.array(sentences, np.int64),
    )


def plain_j(said: Said, truth: Truth, parameters: Parameters) -> float:
    means = []
    for levels, shown in zip(said, truth, strict=True):
        on_THW = np.stack([s @ parameters.weight_R / LEVELS > parameters.threshold + 1e-9 for s in levels])
        means.append(float(jaccard(on_THW, np.stack(shown)).mean()))
    return float(np.mean(means))


@pytest.mark.parametrize("seed", range(3))
def test_j_from_votes_is_that_of_the_masks(seed: int) -> None:
    quality = (0.9, 0.8, 0.6)
    parts = [drawn(10 * seed + i, quality, 3 + i) for i in range(3)]
    table = Table.of(joined([votes(*part) for part in parts]))
    said, truth = [s for part in parts for s in part[0]], [t for part in parts for t in part[1]]
    rng = np.random.default_rng(seed)
    for _ in range(10):
        parameters = Parameters(rng.dirichlet(np.ones(3)), float(rng.random()))
        assert table.j(parameters) == pytest.approx(plain_j(said, truth, parameters), abs=1e-12)
    assert table.n_sentences == 12 and len(table.votes.truth_F) == len([mask for t in truth for mask in t])


def test_a_good_run_outweighs_three_bad_ones() -> None:
    """Who votes with half of the pixels wrong gets no say; and the better of two gets more."""
    parts = [votes(*drawn(i, (0.97, 0.55, 0.55, 0.55))) for i in range(5)]
    fitted = fit(parts)
    assert fitted.taken and fitted.equal < fitted.held_out <= fitted.fitted + 1e-9
    assert fitted.parameters.weight_R[0] > 0.5 and fitted.parameters.weight_R.sum() == pytest.approx(1)
    assert fitted.fitted >= max(fitted.alone_R) - 1e-4 and (fitted.n_videos, fitted.n_sentences) == (5, 20)


def test_fitted_weights_that_do_not_help_on_other_videos_are_not_taken() -> None:
    """Runs that are the same: nothing is better than equal weights."""
    parts = []
    for seed in range(4):
        said, truth = drawn(seed, (0.9,))
        parts.append(votes([[np.repeat(levels, 3, -1) for levels in s] for s in said], truth))
    fitted = fit(parts)
    assert not fitted.taken and fitted.parameters.weight_R.tolist() == [1 / 3] * 3
    assert fitted.parameters.threshold == 0.5 and fitted.fitted == fitted.equal == pytest.approx(fitted.held_out)


def test_a_search_is_the_same_again_and_never_worse_than_where_it_began() -> None:
    table = Table.of(votes(*drawn(3, (0.8, 0.8, 0.7), 12)))
    one, two = search(table), search(table)
    assert one.weight_R.tolist() == two.weight_R.tolist() and one.threshold == two.threshold
    assert table.j(one) >= table.j(equal_weights(3))


def test_one_run_has_a_threshold_alone() -> None:
    rng = np.random.default_rng(0)
    truth = [[rng.random(SIZE) < 0.3] for _ in range(4)]
    said = [[np.where(t[0], 5, 3).astype(np.uint8)[..., None]] for t in truth]  # never above a half
    fitted = fit([votes(said, truth), votes(said, truth)])
    assert fitted.equal == 0 and fitted.fitted == 1 and 3 / LEVELS < fitted.parameters.threshold < 5 / LEVELS


def test_too_little_to_fit_to_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 videos"):
        fit([votes(*drawn(0, (0.9, 0.9)))])


@pytest.mark.parametrize("n", [1, FRAMES, FRAMES + 1, 500])
def test_frames_are_spread_evenly_with_both_ends(n: int) -> None:
    frames = spread(range(100, 100 + n))
    assert frames == sorted(set(frames)) and len(frames) == min(n, FRAMES)
    assert frames[0] == 100 and frames[-1] == 99 + n
    assert len({b - a for a, b in pairwise(frames)}) <= 2


# ------------------------------------------------------------------------------------------ the mean


class Given:
    """Implements `Incoming`: masks that are there."""

    surplus: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, rles: Mapping[str, list[Any]]) -> None:
        self.rles = rles

    def facts(self, video: Video) -> str:
        return video.id

    def missing(self, video: Video) -> list[str]:
        return []

    def answers(self, video: Video, frames: FrameFolder) -> dict[str, Answer]:
        return {expression: Answer(rles_T, 0.0) for expression, rles_T in self.rles.items()}


def clip(n_frames: int, size: tuple[int, int]) -> tuple[Video, FrameFolder]:
    names = tuple(f"{t:05d}" for t in range(n_frames))
    expressions = tuple(Expression(str(e), "it", None, "it") for e in range(3))
    video = Video("v", names, Path("nowhere"), expressions, n_frames)
    return video, FrameFolder(Path("nowhere"), names, ".jpg", size, None, "0" * 16)


def peak_of_a_mean(n_frames: int) -> int:
    """Bytes, beside the masks themselves."""
    size = (240, 320)
    video, frames = clip(n_frames, size)
    corner = [masks.encode(np.arange(320)[None] + np.arange(240)[:, None] < 100 + 40 * r) for r in range(3)]
    runs = [Run(f"r{r}", "", Given({str(e): [corner[r]] * n_frames for e in range(3)})) for r in range(3)]  # type: ignore[arg-type]
    mean = Mean(runs, Mixture({run.name: 1.0 for run in runs}, 0.5))
    tracemalloc.start()
    try:
        answers = mean.answers(video, frames)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert all(rle == corner[1] for one in answers.values() for rle in one.rles_T), "the middle one has two votes"
    return peak


def test_a_long_video_takes_the_memory_of_one_frame() -> None:
    frame = 240 * 320 * 8
    assert peak_of_a_mean(10) < 5 * frame and peak_of_a_mean(100) < 5 * frame + 100 * 3 * 2000


def test_an_answer_is_as_sure_as_the_runs_are_on_average() -> None:
    from scipy.special import expit

    video, frames = clip(1, SIZE)
    shown, nothing = masks.encode(np.ones(SIZE, bool)), masks.empty(SIZE)
    runs = [Run("a", "", Given({"0": [shown]})), Run("b", "", Given({"0": [nothing]})), Run("c", "", Given({}))]  # type: ignore[arg-type]
    answers = Mean(runs, Mixture({"a": 3.0, "b": 1.0, "c": 1.0}, 0.5)).answers(video, frames)
    assert expit(answers["0"].score) == pytest.approx(0.5 * 3 / 5)
    assert masks.area(answers["0"].rles_T).all() and not masks.area(answers["1"].rles_T).any()


# ------------------------------------------------------------------------------------------ label maps


def test_label_maps_of_ref_davis_are_averaged_per_sentence(tmp_path, capsys) -> None:
    """Two systems' submissions by protocol A; both submissions come out, and both protocols are scored."""
    from support.trees_davis import plant_davis

    plant_davis(tmp_path / "data")
    entry = {
        "format": "davis17",
        "root": str(tmp_path / "data"),
        "generate": False,
        "models": "micro",
        "selector": {"weights": None, "train": "tiny/train", "validate_on": "tiny/valid_u"},
        "splits": {"val": {"role": "evaluate", "limit": None}},
        "settings": {"render": {"overlays": False}},
    }
    flags = config_files(tmp_path, {"datasets": {"other": entry}})
    usual = [*flags, "--dataset", "other", "--split", "val"]
    job = job_of(flags, "other", "val")
    for name, shift in (("a", 0), ("b", 1), ("c", 2)):
        answer(job, lambda v, e, t, size, shift=shift: columns(e, size, shift))
        assert export_predictions.main([*usual, "--format", "palette", "--out", str(tmp_path / f"{name}.zip")]) == 0
    given = [word for name in "abc" for word in ("--run", f"{name}={tmp_path / name}.zip")]
    assert ensemble_predictions.main([*usual, "--name", "mean", *given]) == 0
    made = tmp_path / "results/imports/mean/ensemble/other/val"
    figures = json.loads((made / "ensemble.json").read_text())["mean"]["figures"]
    assert {"A J&F", "B J&F"} <= figures.keys()
    with (
        zipfile.ZipFile(made / "submission_per_expression.zip") as archive,
        archive.open("dogs-scale/0/00000.png") as file,
        Image.open(file) as image,
    ):
        assert np.array_equal(np.asarray(image) > 0, columns(Expression("0", "x", (), "x"), image.size[::-1], 1))
    assert (made / "submission.zip").is_file()
    capsys.readouterr()
    assert ensemble_predictions.main([*usual, "--name", "soft", *given, "--soft", "a"]) == 2
    assert "run 'a': " in (error := capsys.readouterr().err) and "holds label maps" in error
    assert import_predictions.main([*usual, "--from", str(made / "submission_per_expression.zip"), "--name", "x"]) == 0


def columns(expression: Expression, size: tuple[int, int], shift: int) -> NDArray[np.bool_]:
    """Objects side by side, as wide as the shift says: the median of three systems is the middle one."""
    mask_HW = np.zeros(size, bool)
    left = 4 * (int(expression.id) // 4)
    mask_HW[1:5, left : left + 1 + shift] = True
    return mask_HW
