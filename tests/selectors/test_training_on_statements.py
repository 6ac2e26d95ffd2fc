"""Selectors that train on statements: which tracks they have, when they are drawn, and that nothing else changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.trainings import features, make_toy, selector_section, toy_config, toy_job, training_section

from stages import score_tracks, train_selector
from stages.core.config.file import Config
from stages.core.records import Video
from stages.core.state.cache import read_json
from stages.core.state.choices import read_choices
from stages.core.state.graph import SCORE_TRACKS, TRAIN_SELECTOR, Layout
from stages.datasets import open_split
from stages.selectors.order import drawn_statements, foreign_rows, known_expressions, steps_of, trainable
from stages.selectors.overfit import undisturbed
from stages.selectors.samples import VideoTracks, open_video
from stages.selectors.store import Store
from stages.training import loop
from stages.training.checkpoint import read

FIVE = 5  # expressions of every video of the small data set, and statements


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("stated")
    config = toy_config(folder)
    make_toy(folder, config, statements=True)
    return config


def videos_of(config: Config, split: str = "train") -> list[Video]:
    return open_split(config, "toy", split).videos()


def tracks_of(config: Config, *sources: str, split: str = "train") -> list[VideoTracks]:
    layout = Layout.of(config, "toy", split)
    return [open_video(layout, video, sources or ("gt", "grid")) for video in videos_of(config, split)]


# ------------------------------------------------------------- tracks, labels, samples


def test_a_statement_chooses_from_the_tracks_that_serve_all_expressions(config: Config) -> None:
    grid, gdino, both = (tracks_of(config, *sources)[0] for sources in (("grid",), ("gdino",), ("grid", "gdino")))
    assert len(grid.sentences) == 2 * FIVE
    assert grid.tracks_of(FIVE).tolist() == [0, 1, 2]
    assert gdino.tracks_of(FIVE).tolist() == [], "each of these belongs to the expressions that name its kind"
    assert both.tracks_of(FIVE).tolist() == [0, 1, 2]


def test_labels_follow_what_a_statement_refers_to(config: Config) -> None:
    (first, *_) = tracks_of(config)
    rows = {e: first.sentences[e].annotations for e in range(FIVE, 2 * FIVE)}
    assert list(rows.values()) == [("0", "1"), ("0", "2"), ("1", "2"), (), ()]
    for e, keys in rows.items():
        expected = [str(i) in (keys or ()) for i in range(3)] * 2
        assert first.labels_of(e, 0.7).tolist() == expected
    assert first.best_annotation(FIVE + 2, 1) == "1"


def test_samples_hold_its_words_and_the_same_tracks(config: Config) -> None:
    (first, *_) = tracks_of(config)
    store = Store([first], training_section(), lambda video: open_split(config, "toy", "train").annotations(video))
    expression, statement = store.samples(0, [0, FIVE + 1])
    assert statement.tracks is expression.tracks and len(statement) == 6
    np.testing.assert_array_equal(statement.words_WD, features(first.sentences[FIVE + 1].text).words_WD)
    assert statement.labels_N is not None and statement.labels_N.tolist() == [True, False, True] * 2
    assert statement.seen_NT is not None
    assert statement.seen_NT.any(1).tolist() == statement.labels_N.tolist()


def test_tracks_of_expressions_are_hard_negatives_of_statements(config: Config) -> None:
    (gdino, *_) = tracks_of(config, "gdino")
    assert sorted(foreign_rows(gdino, FIVE, 99, [1])) == [0, 1, 2]


# ------------------------------------------------------------- what an epoch holds


def test_so_many_are_drawn_anew_every_epoch(config: Config) -> None:
    videos, training = tracks_of(config), training_section(statements=2, seed=4)
    epochs = [drawn_statements(videos, training, epoch) for epoch in range(30)]
    assert epochs[:3] == [drawn_statements(videos, training, epoch) for epoch in range(3)]
    assert epochs != [drawn_statements(videos, training_section(statements=2, seed=5), epoch) for epoch in range(30)]
    for drawn in epochs:
        assert all(len(set(some)) == 2 and set(some) <= set(range(FIVE, 2 * FIVE)) for some in drawn)
    assert len({tuple(some) for drawn in epochs for some in drawn}) == 20, "every pair, in either order"
    assert all(
        sorted(some) == list(range(FIVE, 2 * FIVE))
        for some in drawn_statements(videos, training_section(statements=9), 0)
    )


def test_none_without_a_track(config: Config) -> None:
    assert drawn_statements(tracks_of(config, "gdino"), training_section(statements=2), 0) == [[]] * 6


def test_off_means_none_and_only_expressions_are_validated(config: Config) -> None:
    videos = tracks_of(config)
    assert drawn_statements(videos, training_section(statements=0), 0) == [[]] * 6
    assert [known_expressions(tracks) for tracks in videos] == [list(range(FIVE))] * 6 == trainable(videos)
    assert undisturbed(selector_section("sola", statements=3)).training.statements == 0


# ------------------------------------------------------------- training


def train(folder: Path, *, stated: bool = True, **training: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Trains from nothing; returns the best weights and the marker's content."""
    config = toy_config(folder, epochs=1, **training)
    make_toy(folder, config, statements=stated)
    train_selector.run(toy_job(config))
    return result(config)


def result(config: Config) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    folder = Layout.of(config, "toy", "train").folder(TRAIN_SELECTOR)
    marker = read_json(folder / "training.json", TRAIN_SELECTOR.name, TRAIN_SELECTOR.version)
    return load_file(folder / "best.safetensors"), marker


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_off_trains_as_if_there_were_none(tmp_path: Path) -> None:
    """And so does any number, where a data set has no statements."""
    without, history = train(tmp_path / "without", stated=False, statements=0)
    off, history_off = train(tmp_path / "off", statements=0)
    lacking, history_lacking = train(tmp_path / "lacking", stated=False, statements=3)
    assert same(without, off) and same(without, lacking)
    assert history["history"] == history_off["history"] == history_lacking["history"]


def test_on_they_change_what_is_learnt_and_not_what_is_measured(tmp_path: Path) -> None:
    off, _ = train(tmp_path / "off", statements=0)
    on, history = train(tmp_path / "on", statements=3)
    assert not same(off, on)
    config = toy_config(tmp_path / "on", epochs=1, statements=3)
    steps = steps_of(
        [[*range(FIVE), *drawn] for drawn in drawn_statements(tracks_of(config), training_section(statements=3), 0)],
        [1] * 6,
        training_section(batch_size=3),
        epoch=0,
    )
    assert sum(len(some) for step in steps for _, some in step) == 6 * (FIVE + 3)
    job = toy_job(config, "valid_u")
    score_tracks.run(job)
    for video in videos_of(config, "valid_u"):
        assert video.statements and set(read_choices(job.layout.file(SCORE_TRACKS, video.id), SCORE_TRACKS)) == {
            expression.id for expression in video.expressions
        }
    assert history["best"]["validation"]["jf"] > 0


def interrupt_after(saves: int, patch: pytest.MonkeyPatch) -> None:
    """Ends a training with so many checkpoints, one after every step."""
    calls, save = 0, loop.save

    def save_and_end(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        save(*arguments)
        if calls == saves:
            raise KeyboardInterrupt

    patch.setattr(loop, "save", save_and_end)
    patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)


def test_an_interrupted_training_ends_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted in the second epoch, whose statements are others than those of the first."""
    config = toy_config(tmp_path, epochs=2, statements=3)
    make_toy(tmp_path, config, statements=True)
    folder = Layout.of(config, "toy", "train").folder(TRAIN_SELECTOR)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_after(20, patch)
        train_selector.run(toy_job(config))
    state = read(folder)
    assert state is not None and state.clock.epoch == 1 and state.clock.epoch_step > 0
    train_selector.run(toy_job(config))
    names = ("best.safetensors", "training.json")
    resumed = [(folder / name).read_bytes() for name in names]
    train_selector.run(toy_job(config, overwrite=True))
    assert [(folder / name).read_bytes() for name in names] == resumed
