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
import torch
import yaml
from conftest import ROOT
from training_support import MODEL, SAM2, SIZE, TEXT, make_toy, toy_config, toy_job, write_split, write_toy_tracks

from stages import score_tracks, train_selector
from stages.core.cache import CacheError, read_json
from stages.core.choices import read_choices
from stages.core.config import merge
from stages.core.config_file import Config
from stages.core.graph import BUILD_TRACKS, ENCODE_TEXT, SCORE_TRACKS, TRAIN_SELECTOR, Layout
from stages.datasets import open_split
from stages.metrics import boundary_f, jaccard
from stages.selectors import finished_selector, load, selector_file
from stages.selectors.checkpoint import read_header, save_selector
from stages.selectors.order import read_steps, steps_of, trainable
from stages.selectors.quality import TrackQuality
from stages.selectors.samples import open_video
from stages.selectors.state import read_state
from stages.selectors.validation import best_threshold, precision_recall_f1

EPOCHS = 12


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = toy_config(tmp_path)
    make_toy(tmp_path, config)
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """A selector that has learnt the small data set."""
    folder = tmp_path_factory.mktemp("trained")
    without = {"dropout": 0.0, "attention_dropout": 0.0}
    config = toy_config(folder, without, epochs=EPOCHS, learning_rate=2e-3, batch_size=1)
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
    assert [entry["epoch"] for entry in history] == list(range(1, EPOCHS + 1))
    assert history[-1]["train"]["loss"] < history[0]["train"]["loss"]
    assert history[-1]["train"]["loss"] == pytest.approx(
        history[-1]["train"]["bce"] + 0.3 * history[-1]["train"]["alignment"]
    )
    ranks = [(entry["validation"]["jf"], -entry["validation"]["loss"]) for entry in history]
    assert found["best"] == history[ranks.index(max(ranks))]


def test_the_selector_says_what_it_was_made_for(trained: Config) -> None:
    header = read_header(selector_file(trained, "toy"))
    assert (header.name, header.token_dim, header.text_dim) == ("sola", 16, 32)
    assert header.weights == {"sam2": SAM2, "text": TEXT}
    assert {name: header.model[name] for name in MODEL} == MODEL
    assert list((folder_of(trained) / "tensorboard").glob("events.out.tfevents.*"))


def test_a_finished_training_is_left_alone(trained: Config, caplog: pytest.LogCaptureFixture) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder_of(trained).iterdir()}
    with caplog.at_level(logging.INFO):
        train_selector.run(toy_job(trained))
    assert {path.name: path.stat().st_mtime_ns for path in folder_of(trained).iterdir()} == before
    assert "complete" in caplog.text


# ------------------------------------------------------------- kill -9

KILLER = """
import os, signal, sys
from stages import train_selector
from stages.selectors import training
training.CHECKPOINT_SECONDS = 0.0
save, calls = training.save_state, 0
def save_or_die(*arguments):
    global calls
    calls += 1
    if calls > int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    save(*arguments)
training.save_state = save_or_die
raise SystemExit(train_selector.main(sys.argv[2:]))
"""


def kill_after(saves: int, flags: list[str]) -> None:
    """Runs training in a process of its own, which is killed one step after it has saved that often."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLER, str(saves), *flags]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_killed_training_ends_in_the_same_bytes(config: Config, tmp_path: Path) -> None:
    train_selector.run(toy_job(config))
    names = ("best.safetensors", "training.json")
    expected = {name: (folder_of(config) / name).read_bytes() for name in names}
    last = read_state(folder_of(config))
    over = tmp_path / "over.yaml"
    document = config.model_dump(mode="json")
    over.write_text(yaml.safe_dump(merge(document, {"paths": {"results": str(tmp_path / "other")}})))
    flags = ["--config", str(over), "--dataset", "toy", "--split", "train"]
    shutil.rmtree(folder_of(config))
    kill_after(5, flags)  # in the first epoch of 12 steps
    assert progress_of(config) == (0, 5)
    kill_after(12, flags)  # in the second: 7 steps, the end of the first epoch, 4 steps
    assert progress_of(config) == (1, 4)
    assert not (folder_of(config) / "training.json").exists()
    train_selector.run(toy_job(config))
    for name in names:
        assert (folder_of(config) / name).read_bytes() == expected[name], name
    assert same(read_state(folder_of(config)), last)


def same(found: object, expected: object) -> bool:
    """Whether two states are equal to the last bit."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in found)
    if isinstance(found, torch.Tensor) and isinstance(expected, torch.Tensor):
        return torch.equal(found, expected)
    return found == expected


def progress_of(config: Config) -> tuple[int, int]:
    state = read_state(folder_of(config))
    assert state is not None
    return state["progress"]["epoch"], state["progress"]["step"]


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
    # the same for an unfinished one: only last.pt says what it was
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
        train_selector.run(toy_job(Config.model_validate(document)))
    assert (folder_of(config) / "training.json").exists()


def test_a_damaged_state_starts_anew_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = toy_config(tmp_path, epochs=1)
    make_toy(tmp_path, config)
    folder_of(config).mkdir(parents=True)
    (folder_of(config) / "last.pt").write_bytes(b"PK\x03\x04 cut short")
    train_selector.run(toy_job(config))
    assert "last.pt: not readable" in caplog.text
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
    write_split(tmp_path / "data" / "valid", 2, 0, truth=False)
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
    assert [tracks.origins[row] for row in rows_N] == [
        ("grid", 0), ("grid", 1), ("grid", 2), ("gdino", 0), ("gdino", 2),
    ]  # fmt: skip
    assert tracks.labels_of(pair, 0.7).tolist() == [True, False, True, True, True]
    assert not tracks.labels_of(len(video.expressions) - 1, 0.7).any(), "no target: all negative"
    first, second = tracks.samples([pair, 0], 0.7)
    assert first.tokens_MTC is second.tokens_MTC and len(first) == 5 and len(second) == 4


def test_an_epoch_is_seeded_complete_and_grouped_by_video(config: Config) -> None:
    layout = Layout.of(config, "toy", "train")
    videos = [open_video(layout, video, ["gt"]) for video in open_split(config, "toy", "train").videos()]
    expressions = trainable(videos)
    steps = steps_of(expressions, 3, seed=5, epoch=0)
    assert steps == steps_of(expressions, 3, seed=5, epoch=0) != steps_of(expressions, 3, seed=5, epoch=1)
    assert steps != steps_of(expressions, 3, seed=6, epoch=0)
    assert sorted((v, e) for v, step in steps for e in step) == [(v, e) for v in range(6) for e in expressions[v]]
    visited = [v for i, (v, _) in enumerate(steps) if i == 0 or steps[i - 1][0] != v]
    assert len(visited) == len(set(visited)) == 6, "a video's steps follow each other"
    late = list(read_steps(videos, steps[7:], 0.7))
    for found, whole in zip(late, list(read_steps(videos, steps, 0.7))[7:], strict=True):
        for a, b in zip(found, whole, strict=True):
            np.testing.assert_array_equal(a.tokens_MTC[a.rows_N], b.tokens_MTC[b.rows_N])
            np.testing.assert_array_equal(a.labels_N, b.labels_N)


def test_quality_is_the_official_measure_and_remembered(config: Config) -> None:
    calls = []

    def counted(predicted_THW, truth_THW):
        calls.append(predicted_THW.shape)
        return jaccard(predicted_THW, truth_THW)

    layout, split = Layout.of(config, "toy", "valid_u"), open_split(config, "toy", "valid_u")
    video = split.videos()[2]
    tracks = open_video(layout, video, ["grid", "gdino"])
    quality = TrackQuality(layout, split, counted, boundary_f)
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
    assert len(calls) == before and {shape[1:] for shape in calls} == {SIZE}


def test_precision_recall_and_threshold_by_hand() -> None:
    label_K = np.array([True, False, True, False])
    assert precision_recall_f1(np.array([True, True, False, False]), label_K) == (0.5, 0.5, 0.5)
    assert precision_recall_f1(np.zeros(4, bool), label_K) == (0, 0, 0)
    assert precision_recall_f1(np.zeros(0, bool), np.zeros(0, bool)) == (0, 0, 0)
    probability_K = np.array([0.9, 0.3, 0.4, 0.1])
    assert best_threshold(probability_K, label_K, 0.5) == pytest.approx(0.35)
    assert best_threshold(probability_K, np.zeros(4, bool), 0.5) == 0.5
    tied_K = np.array([0.6, 0.6, 0.6, 0.2])  # no threshold parts the first three
    assert best_threshold(tied_K, label_K, 0.5) == pytest.approx(0.4)


# ------------------------------------------------------------- scoring


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
            assert [(c.source, c.track) for c in found] == [tracks.origins[row] for row in sample.rows_N]
            assert all(not c.chosen and c.match is None and c.final is None for c in found)
            scores_N = np.array([c.score for c in found])
            np.testing.assert_array_equal(scores_N, scores_N.astype(np.float32))
            alone_N = selector.score(sample.tokens_MTC[sample.rows_N], sample.words_WD)
            np.testing.assert_allclose(scores_N, alone_N, atol=1e-4, rtol=1e-4)
            right += int(((scores_N > 0) == sample.labels_N).all())
        before = path.read_bytes()
        path.unlink()
        score_tracks.run(job)
        assert path.read_bytes() == before
    assert right == 15, "three videos of five expressions"


def test_no_track_gives_no_candidate(trained: Config) -> None:
    job = toy_job(trained, "valid_u", overwrite=True)
    video = open_split(trained, "toy", "valid_u").videos()[1]
    for source in ("grid", "gdino"):
        write_toy_tracks(job.layout, video, source, empty=True)
    score_tracks.run(job)
    assert read_choices(job.layout.file(SCORE_TRACKS, video.id), SCORE_TRACKS) == {
        expression.id: [] for expression in video.expressions
    }
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
    job = toy_job(Config.model_validate(document), "valid_u")
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
