"""Training a selector and scoring with it, over real cache files of a small data set (training_support.py)."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.kernel import same
from support.killed import KILLER
from support.project import ROOT
from support.trainings import (
    COURSE,
    MODEL,
    SAM2,
    SIZE,
    SOC,
    TEXT,
    make_toy,
    toy_config,
    toy_job,
    training_section,
    write_split,
    write_toy_tracks,
)

from stages import score_tracks, train_selector
from stages.core.config.file import Config
from stages.core.config.loading import merge, parse_config, settings_of
from stages.core.media import masks
from stages.core.state.cache import CacheError, read_json
from stages.core.state.choices import read_choices, read_threshold
from stages.core.state.graph import BUILD_TRACKS, ENCODE_TEXT, SCORE_TRACKS, TRAIN_SELECTOR, Layout
from stages.datasets import open_split
from stages.metrics import boundary_f, jaccard
from stages.selectors import finished_selector, load, selector_file
from stages.selectors.checkpoint import read_header, save_selector
from stages.selectors.order import Group, foreign_rows, share, steps_of
from stages.selectors.quality import TrackQuality
from stages.selectors.samples import VideoTracks, open_video
from stages.selectors.store import Store
from stages.selectors.validation import Outcome, best_threshold, precision_recall_f1, summary
from stages.training.checkpoint import read

EPOCHS = 12


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = toy_config(tmp_path)
    make_toy(tmp_path, config)
    return config


@pytest.fixture(scope="module", params=["sola", "soc", "course"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """A selector that has learnt the small data set."""
    folder = tmp_path_factory.mktemp("trained")
    without = {"dropout": 0.0, "attention_dropout": 0.0}
    config = toy_config(folder, without, request.param, epochs=EPOCHS, learning_rate=2e-3, batch_size=2)
    make_toy(folder, config)
    train_selector.run(toy_job(config))
    yield config


def folder_of(config: Config) -> Path:
    return Layout.of(config, "toy", "train").folder(TRAIN_SELECTOR)


def marker(config: Config) -> dict[str, object]:
    return read_json(folder_of(config) / "training.json", TRAIN_SELECTOR.name, TRAIN_SELECTOR.version)


# ------------------------------------------------------------- what training achieves


def test_training_overfits_what_can_be_told_apart(trained: Config) -> None:
    found = marker(trained)
    best = found["best"]["validation"]
    assert best["f1"] == 1 and best["precision"] == 1 and best["recall"] == 1
    assert best["jf"] == pytest.approx(1), "every object is covered by its track, and no-target ones stay empty"
    assert 0 < found["threshold"] < 1
    history = found["history"]
    assert read_header(selector_file(trained, "toy")).threshold == found["threshold"]
    assert [entry["epoch"] for entry in history] == list(range(1, EPOCHS + 1))
    assert history[-1]["train"]["loss"] < history[0]["train"]["loss"]
    losses = history[-1]["train"]
    weights = {"bce": 1, "alignment": 0.3, "contrastive": 0.3, "gate": 0.1, "listwise": 0.3}
    assert losses["loss"] == pytest.approx(sum(weights[name] * x for name, x in losses.items() if name != "loss"))
    ranks = [(entry["validation"]["jf"], -entry["validation"]["loss"]) for entry in history]
    assert found["best"] == history[ranks.index(max(ranks))]


def test_the_selector_says_what_it_was_made_for(trained: Config) -> None:
    header = read_header(selector_file(trained, "toy"))
    name = settings_of(trained, "toy").selector.name
    assert (header.name, header.token_dim, header.text_dim) == (name, 16, 32)
    assert header.weights == {"sam2": SAM2, "text": TEXT}
    own = {"sola": MODEL, "soc": SOC, "course": COURSE}[name]
    assert {name: header.model[name] for name in own} == own
    assert list((folder_of(trained) / "tensorboard").glob("events.out.tfevents.*"))


def test_a_finished_training_is_left_alone(trained: Config, caplog: pytest.LogCaptureFixture) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder_of(trained).iterdir()}
    with caplog.at_level(logging.INFO):
        train_selector.run(toy_job(trained))
    assert {path.name: path.stat().st_mtime_ns for path in folder_of(trained).iterdir()} == before
    assert "complete" in caplog.text


def test_training_ends_when_it_gets_no_better(tmp_path: Path) -> None:
    config = toy_config(tmp_path, epochs=9, patience=1, learning_rate=1e-12)
    make_toy(tmp_path, config)
    train_selector.run(toy_job(config))
    assert len(marker(config)["history"]) == 2 and marker(config)["best"]["epoch"] == 1


def test_overfit_learns_by_heart_and_leaves_nothing(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(path for path in folder_of(config).parent.rglob("*"))
    assert train_selector.check_overfit(toy_job(config), 2) == 0
    monkeypatch.setattr("stages.selectors.overfit.LEARNING_RATE", 1e-12)
    monkeypatch.setattr("stages.selectors.overfit.EPOCHS", 1)
    assert train_selector.check_overfit(toy_job(config), 2) == 1
    assert sorted(path for path in folder_of(config).parent.rglob("*")) == before


# ------------------------------------------------------------- kill -9


def kill_after(saves: int, flags: list[str]) -> None:
    """Runs training in a process of its own, which is killed one step after it has saved that often."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLER, str(saves), "stages.train_selector", *flags]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_killed_training_ends_in_the_same_bytes(config: Config, tmp_path: Path) -> None:
    train_selector.run(toy_job(config))
    names = ("best.safetensors", "training.json")
    expected = {name: (folder_of(config) / name).read_bytes() for name in names}
    last = read(folder_of(config))
    curve = [json.loads(line)["step"] for line in (folder_of(config) / "curve.jsonl").read_text().splitlines()]
    assert curve == [12, 20, 24, 36]
    over = tmp_path / "over.yaml"
    document = config.model_dump(mode="json")
    over.write_text(yaml.safe_dump(merge(document, {"paths": {"results": str(tmp_path / "other")}})))
    flags = ["--config", str(over), "--dataset", "toy", "--split", "train"]
    shutil.rmtree(folder_of(config))
    kill_after(5, flags)  # in the first epoch of 12 steps
    assert progress_of(config) == (0, 5)
    kill_after(11, flags)  # in the second: the last 7 steps of the first epoch, 4 steps
    assert progress_of(config) == (1, 4)
    assert not (folder_of(config) / "training.json").exists()
    train_selector.run(toy_job(config))
    for name in names:
        assert (folder_of(config) / name).read_bytes() == expected[name], name
    found = read(folder_of(config))
    assert found is not None and last is not None
    assert same(found.parts, last.parts) and found.identity == last.identity
    assert [json.loads(line)["step"] for line in (folder_of(config) / "curve.jsonl").read_text().splitlines()] == curve


def progress_of(config: Config) -> tuple[int, int]:
    found = read(folder_of(config))
    assert found is not None
    return found.clock.epoch, found.clock.epoch_step


# ------------------------------------------------------------- another config, damage


def test_another_config_starts_anew_and_says_what_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = toy_config(tmp_path, epochs=1)
    make_toy(tmp_path, config)
    train_selector.run(toy_job(config))
    before = (folder_of(config) / "best.safetensors").read_bytes()
    other = toy_config(tmp_path, epochs=1, seed=1)
    train_selector.run(toy_job(other))
    assert "config.selector.training.seed: 0 → 1" in caplog.text
    assert (folder_of(config) / "best.safetensors").read_bytes() != before
    # the same for an unfinished one: only the checkpoint says what it was
    caplog.clear()
    (folder_of(config) / "training.json").unlink()
    train_selector.run(toy_job(config))
    assert "config.selector.training.seed: 1 → 0" in caplog.text
    assert (folder_of(config) / "best.safetensors").read_bytes() == before


def test_other_tracks_start_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = toy_config(tmp_path, epochs=1)
    make_toy(tmp_path, config)
    train_selector.run(toy_job(config))
    video = open_split(config, "toy", "valid_u").videos()[0]
    write_toy_tracks(Layout.of(config, "toy", "valid_u"), video, "gdino", seed=9)
    train_selector.run(toy_job(config))
    assert "starts anew: inputs:" in caplog.text


def test_a_stale_training_stops_where_the_config_says_so(tmp_path: Path) -> None:
    config = toy_config(tmp_path, epochs=1)
    make_toy(tmp_path, config)
    train_selector.run(toy_job(config))
    document = toy_config(tmp_path, epochs=1, seed=1).model_dump(mode="json")
    document["datasets"]["toy"]["settings"]["run"]["on_stale"] = "stop"
    with pytest.raises(CacheError, match=r"run\.on_stale is 'stop'"):
        train_selector.run(toy_job(parse_config(document)))
    assert (folder_of(config) / "training.json").exists()


def test_a_damaged_state_starts_anew_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = toy_config(tmp_path, epochs=1)
    make_toy(tmp_path, config)
    folder_of(config).mkdir(parents=True)
    (folder_of(config) / "checkpoint.pt").write_bytes(b"PK\x03\x04 cut short")
    train_selector.run(toy_job(config))
    assert "checkpoint.pt: not readable" in caplog.text
    assert len(marker(config)["history"]) == 1


# ------------------------------------------------------------- input that cannot be trained on


@pytest.mark.parametrize(
    ("stage", "source", "split"), [(BUILD_TRACKS, "grid", "train"), (BUILD_TRACKS, "gdino", "valid_u"), (ENCODE_TEXT, None, "train")]
)  # fmt: skip
def test_a_missing_file_is_named(config: Config, stage, source, split: str) -> None:
    path = Layout.of(config, "toy", split).file(stage, "v1", source)
    path.unlink()
    with pytest.raises(CacheError, match=rf"{path}: does not exist; run `python -m stages\.{stage.name}`"):
        train_selector.run(toy_job(config))


def test_a_split_without_ground_truth_is_refused(config: Config, tmp_path: Path) -> None:
    write_split(tmp_path / "data" / "toy" / "valid", 2, 0, truth=False)
    with pytest.raises(ValueError, match="toy/valid has no ground truth"):
        train_selector.run(toy_job(config, "valid"))


def test_no_tracks_at_all_is_an_error_and_some_are_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = toy_config(tmp_path, epochs=1)
    make_toy(tmp_path, config)
    layout, videos = Layout.of(config, "toy", "train"), open_split(config, "toy", "train").videos()
    for video in videos:
        for source in ("gt", "grid"):
            write_toy_tracks(layout, video, source, empty=True)
    with pytest.raises(ValueError, match="no tracks to train on: none of the 6 videos of toy/train"):
        train_selector.run(toy_job(config))
    write_toy_tracks(layout, videos[2], "grid")
    train_selector.run(toy_job(config))
    assert (folder_of(config) / "training.json").exists()


def test_no_positive_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = toy_config(tmp_path, epochs=1, positive_iou=1.0)
    make_toy(tmp_path, config)
    train_selector.run(toy_job(config))
    assert "no track exceeds an IoU of 1.0" in caplog.text
    assert marker(config)["best"]["validation"]["recall"] == 0


def test_tracks_of_two_sam2_weights_are_refused(config: Config) -> None:
    video = open_split(config, "toy", "train").videos()[3]
    write_toy_tracks(Layout.of(config, "toy", "train"), video, "gt", sam2="f" * 16)
    with pytest.raises(CacheError, match=r"v3\.h5: made with sam2 weights f{16}"):
        train_selector.run(toy_job(config))


def test_shards_make_no_sense(config: Config) -> None:
    with pytest.raises(ValueError, match="training is one job"):
        train_selector.run(toy_job(config, n_pids=2))


# ------------------------------------------------------------- samples, order, measures


def test_samples_follow_membership_and_labels(config: Config) -> None:
    layout = Layout.of(config, "toy", "valid_u")
    video = open_split(config, "toy", "valid_u").videos()[0]
    tracks = open_video(layout, video, ["grid", "gdino"])
    pair = next(e for e, expression in enumerate(video.expressions) if " and " in expression.text)
    rows_N = tracks.tracks_of(pair)
    assert [tracks.ids[row] for row in rows_N] == [
        ("grid", 0), ("grid", 1), ("grid", 2), ("gdino", 0), ("gdino", 2),
    ]  # fmt: skip
    assert tracks.labels_of(pair, 0.7).tolist() == [True, False, True, True, True]
    assert not tracks.labels_of(len(video.expressions) - 1, 0.7).any(), "no target: all negative"
    first, second = tracks.samples([pair, 0], 0.7)
    assert first.tracks is second.tracks and len(first) == 5 and len(second) == 4
    assert first.iou_N is not None and first.iou_N.tolist() == [1, 0, 1, 1, 1]


def order(**change: int) -> list[list[Group]]:
    """Three videos of 10, 3 and 7 expressions, the second far larger."""
    config = training_section(**{"batch_size": 8, "expressions_per_video": 4, "seed": 5, **change})
    return steps_of([range(10), range(3), range(7)], [10, 900, 20], config, epoch=0)


def test_an_epoch_is_seeded_complete_and_bounded() -> None:
    steps = order()
    assert steps == order() != order(seed=6)
    flat = sorted((video, e) for step in steps for video, expressions in step for e in expressions)
    assert flat == [(v, e) for v, n in enumerate((10, 3, 7)) for e in range(n)]
    for step in steps:
        assert sum(len(expressions) for _, expressions in step) <= 8
        assert all(len(expressions) <= 4 for _, expressions in step)
    published = order(batch_size=1)
    assert len(published) == 20 and all(len(step) == 1 and len(step[0][1]) == 1 for step in published)


def test_steps_hold_groups_of_about_one_size() -> None:
    config = training_section(batch_size=4, expressions_per_video=2, seed=1)
    sizes = [1, 1000] * 20
    steps = steps_of([[0, 1]] * 40, sizes, config, epoch=3)
    mixed = [step for step in steps if len({sizes[video] for video, _ in step}) > 1]
    assert len(steps) == 20 and len(mixed) <= 2, "at most one a window"


def test_processes_share_a_step_completely_and_evenly() -> None:
    groups: list[Group] = [(0, [0, 1]), (1, [4]), (2, [7, 8, 9]), (0, [2])]
    sizes = [10, 100, 10]
    shares = [share(groups, sizes, rank, 3) for rank in range(3)]
    assert sorted(group for mine in shares for group in mine) == sorted(groups)
    assert shares[0] == [(1, [4])], "the largest alone"
    assert share(groups[:1], sizes, 1, 2) == []
    assert share(groups, sizes, 0, 1) == groups


def test_tracks_of_other_expressions_are_hard_negatives(config: Config) -> None:
    layout, video = Layout.of(config, "toy", "valid_u"), open_split(config, "toy", "valid_u").videos()[0]
    tracks = open_video(layout, video, ["gdino"])
    own = tracks.tracks_of(0)
    others = foreign_rows(tracks, 0, 99, [1])
    assert len(own) == 1 and len(others) == 2 and not set(own) & set(others)
    assert foreign_rows(tracks, 0, 1, [1]).tolist() == others[:1].tolist()
    store = Store([tracks], training_section(foreign_tracks=2), None)
    sample = store.samples(0, [0], epoch=0)[0]
    assert sorted(sample.rows_N) == [0, 1, 2] and sample.labels_N is not None
    assert sample.labels_N.tolist() == [True, False, False], "labelled by what they cover"
    assert len(store.samples(0, [0])[0]) == 1, "validation chooses from what it will find"


def test_a_video_is_read_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, videos = Layout.of(config, "toy", "train"), open_split(config, "toy", "train").videos()
    tracks = [open_video(layout, video, ["gt", "grid"]) for video in videos]
    store, read = Store(tracks, training_section(), None), []
    original = VideoTracks.read
    monkeypatch.setattr(VideoTracks, "read", lambda self: read.append(self.video.id) or original(self))
    samples = [store.samples(v, [e]) for e in range(3) for v in range(3)]
    assert read == ["v0", "v1", "v2"] and samples[0][0].tracks is samples[3][0].tracks
    monkeypatch.setattr("stages.selectors.store.KEPT_BYTES", 1)
    small = Store(tracks, training_section(), None)
    for v in (0, 0, 1, 1, 0):
        small.samples(v, [0])
    assert read == ["v0", "v1", "v2", "v0", "v1", "v0"], "one is kept, however large"


def test_frame_labels_follow_the_masks(config: Config) -> None:
    """A positive track is labelled frame by frame against the annotation that it fits; others not at all."""
    layout, split = Layout.of(config, "toy", "valid_u"), open_split(config, "toy", "valid_u")
    video = split.videos()[2]
    tracks = open_video(layout, video, ["grid"])
    annotations = {key: list(rles) for key, rles in split.annotations(video).items()}
    key = tracks.best_annotation(0, 0)
    empty = masks.empty(SIZE)
    annotations[key][1], annotations[key][2] = None, empty
    store = Store([tracks], training_section(), lambda _: annotations)
    sample = store.samples(0, [0])[0]
    assert sample.seen_NT is not None and sample.labels_N is not None
    assert sample.labels_N.tolist() == [True, False, False]
    assert sample.seen_NT[0].tolist() == [t not in (1, 2) for t in range(tracks.n_frames)]
    assert not sample.seen_NT[1:].any()


def test_quality_is_the_official_measure_and_remembered(config: Config) -> None:
    calls = []

    def counted(predicted_T, truth_T, size):
        calls.append(size)
        return train_selector.j_and_f(predicted_T, truth_T, size)

    layout, split = Layout.of(config, "toy", "valid_u"), open_split(config, "toy", "valid_u")
    video = split.videos()[2]
    tracks = open_video(layout, video, ["grid", "gdino"])
    quality = TrackQuality(layout, split, counted)
    assert quality(tracks, 0, (("grid", 0),)) == (1, 1)
    assert quality(tracks, 0, (("grid", 1),))[0] == 0
    assert quality(tracks, 0, ()) == (0, 0)
    j, f = quality(tracks, 0, (("grid", 0), ("gdino", 1)))
    assert j == pytest.approx(0.5) and 0 < f < 1, "two squares where one is meant"
    no_target = len(video.expressions) - 1
    assert quality(tracks, no_target, ()) == (1, 1)
    assert quality(tracks, no_target, (("grid", 0),)) == (0, 0)
    before = len(calls)
    assert quality(tracks, 0, (("grid", 0),)) == (1, 1)
    assert len(calls) == before and set(calls) == {SIZE}


def test_the_measure_is_that_of_the_metrics() -> None:
    rng = np.random.default_rng(0)
    predicted, truth = rng.random((2, 5, *SIZE)) < 0.3
    predicted[1], truth[1], truth[2] = False, False, False
    found = train_selector.j_and_f(masks.encode_all(predicted), masks.encode_all(truth), SIZE)
    assert found == (
        pytest.approx(jaccard(predicted, truth).mean()),
        pytest.approx(boundary_f(predicted, truth).mean()),
    )


def test_precision_recall_and_f1_by_hand() -> None:
    label_K = np.array([True, False, True, False])
    assert precision_recall_f1(np.array([True, True, False, False]), label_K) == (0.5, 0.5, 0.5)
    assert precision_recall_f1(np.zeros(4, bool), label_K) == (0, 0, 0)
    assert precision_recall_f1(np.zeros(0, bool), np.zeros(0, bool)) == (0, 0, 0)


def test_the_threshold_is_that_of_best_j_and_f() -> None:
    """Everything is reported at it; of equals it is the one nearest one half."""
    outcomes = [
        Outcome(1.0, np.array([0.9, 0.3]), np.array([True, True]), np.array([[0.8, 0.6], [0.2, 0.4], [0.2, 0.4]])),
        Outcome(None, np.zeros(0), np.zeros(0, bool), np.ones((3, 2))),
    ]
    found = summary(outcomes, (0.2, 0.4, 0.6))
    assert (found.threshold, found.recall, found.loss) == (0.2, 1.0, 1.0)
    assert (found.j, found.f, found.jf) == (pytest.approx(0.9), pytest.approx(0.8), pytest.approx(0.85))
    assert best_threshold(np.array([0.1, 0.7, 0.7, 0.7, 0.2]), (0.1, 0.3, 0.4, 0.7, 0.9)) == 2


# ------------------------------------------------------------- scoring


def sigmoid(x_N: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x_N))


def test_scores_are_candidates_in_order_and_do_not_depend_on_batches(trained: Config) -> None:
    job = toy_job(trained, "valid_u")
    score_tracks.run(job)
    selector = load(selector_file(trained, "toy"), weights={"sam2": SAM2, "text": TEXT})
    right = 0
    for video in open_split(trained, "toy", "valid_u").videos():
        path = job.layout.file(SCORE_TRACKS, video.id)
        choices = read_choices(path, SCORE_TRACKS)
        tracks = open_video(job.layout, video, ["grid", "gdino"])
        assert list(choices) == [expression.id for expression in video.expressions]
        for e, sample in enumerate(tracks.samples(range(len(choices)), 0.7)):
            found = choices[video.expressions[e].id]
            assert [c.id for c in found] == [tracks.ids[row] for row in sample.rows_N]
            assert all(not c.chosen and c.evidence == {} and c.final is None for c in found)
            scores_N = np.array([c.score for c in found])
            np.testing.assert_array_equal(scores_N, scores_N.astype(np.float32))
            alone_N = selector.score_all([sample], tokens_per_pass=1)[0]
            np.testing.assert_allclose(scores_N, alone_N, atol=1e-4, rtol=1e-4)
            right += int(((sigmoid(scores_N) > selector.threshold) == sample.labels_N).all())
        assert read_threshold(path) == selector.threshold == marker(trained)["threshold"]
        before = path.read_bytes()
        path.unlink()
        score_tracks.run(job)
        assert path.read_bytes() == before
    assert right == 15, "three videos of five expressions"


def test_no_track_gives_no_candidate(trained: Config) -> None:
    job = toy_job(trained, "valid_u", overwrite=True)
    video = open_split(trained, "toy", "valid_u").videos()[1]
    scores = job.layout.file(SCORE_TRACKS, video.id)
    for source in ("grid", "gdino"):
        write_toy_tracks(job.layout, video, source, empty=True)
    score_tracks.run(job)
    assert read_choices(scores, SCORE_TRACKS) == {expression.id: [] for expression in video.expressions}
    scores.unlink()  # other tests share this cache
    for source in ("grid", "gdino"):
        write_toy_tracks(job.layout, video, source)


def test_scoring_needs_a_finished_training(config: Config) -> None:
    wanted = r"run `python -m stages\.train_selector --dataset toy --split train`"
    with pytest.raises(ValueError, match=wanted):
        score_tracks.run(toy_job(config, "valid_u"))
    folder_of(config).mkdir(parents=True)
    selector_file(config, "toy").write_bytes(b"the best of an unfinished training")
    with pytest.raises(ValueError, match=wanted):
        finished_selector(config, "toy")


def test_a_given_selector_is_used_and_a_foreign_one_refused(
    trained: Config, config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from stages.selectors.checkpoint import load_model

    model, header = load_model(selector_file(trained, "toy"))
    given = tmp_path / "given.safetensors"
    save_selector(given, model, header)
    document = config.model_dump(mode="json")
    document["datasets"]["toy"]["selector"] = {"weights": str(given), "train": None, "validate_on": None}
    job = toy_job(parse_config(document), "valid_u")
    assert selector_file(job.config, "toy") == given
    score_tracks.run(job)
    for video in open_split(config, "toy", "valid_u").videos():
        write_toy_tracks(job.layout, video, "grid", sam2="f" * 16)
        write_toy_tracks(job.layout, video, "gdino", sam2="f" * 16)
    with pytest.raises(SystemExit):
        score_tracks.run(job)
    record = json.loads((job.layout.errors(SCORE_TRACKS) / "v0.json").read_text())
    assert f"trained on features of sam2 weights {SAM2}, but toy/valid_u, video v0" in record["error"]
    assert str(given) in record["error"]
