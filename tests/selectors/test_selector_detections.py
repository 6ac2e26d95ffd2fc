"""A detector's scores as an input: read where a selector sees them, and nowhere else; part of what it was made from."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.trainings import (
    DETECTOR,
    SAM2,
    TEXT,
    make_toy,
    toy_config,
    toy_job,
    write_toy_prompts,
    write_toy_tracks,
)

from stages import score_tracks, train_selector
from stages.comparison.selectors import Asked, open_selectors
from stages.comparison.video import VideoScorer, open_view
from stages.core.config.file import Config
from stages.core.config.loading import parse_config, settings_of
from stages.core.config.selector_sections import Detector
from stages.core.records import Expression
from stages.core.state.cache import CacheError, read_json, read_stamp
from stages.core.state.graph import BUILD_TRACKS, GENERATE_PROMPTS, SCORE_TRACKS, TRAIN_SELECTOR, Layout
from stages.core.state.track_file import read_columns
from stages.datasets import open_split
from stages.selectors import scoring_detector, selector_file, trained_detector
from stages.selectors.checkpoint import read_header
from stages.selectors.inputs import read_inputs
from stages.selectors.samples import open_video

GDINO = Detector(source="gdino", match_iou=0.5)


def make_alike(folder: Path, config: Config) -> None:
    """The toy data set, but only the detector knows which object is of which kind."""
    make_toy(folder, config)
    for split in ("train", "valid_u"):
        layout = Layout.of(config, "toy", split)
        for video in open_split(config, "toy", split).videos():
            write_toy_prompts(layout, video)
            for source in ("gt", "grid", "gdino"):
                write_toy_tracks(layout, video, source, alike=True)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = toy_config(tmp_path)
    make_alike(tmp_path, config)
    return config


@pytest.fixture(scope="module", params=["sola", "soc"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    folder = tmp_path_factory.mktemp("detected")
    without = {"dropout": 0.0, "attention_dropout": 0.0}
    both = ["course", "detector"]
    config = toy_config(folder, without, request.param, both, epochs=3, learning_rate=1e-2, batch_size=3)
    make_alike(folder, config)
    train_selector.run(toy_job(config))
    yield config


# ------------------------------------------------------------- what is read


def test_boxes_are_shares_of_the_frame(config: Config) -> None:
    layout = Layout.of(config, "toy", "valid_u")
    video = open_split(config, "toy", "valid_u").videos()[1]
    boxes_MT4 = open_video(layout, video, ["grid", "gdino"]).read().tracks.boxes_MT4
    pixels_NT4 = read_columns(layout.file(BUILD_TRACKS, video.id, "grid"), ("bbox",))["bbox"]
    height, width = 24, 32
    assert boxes_MT4.dtype == np.float32 and boxes_MT4.max() <= 1
    np.testing.assert_allclose(boxes_MT4[0, 3] * [width, height, width, height], pixels_NT4[0, 3])
    np.testing.assert_allclose(boxes_MT4[0, 3], [3 / 32, 2 / 24, 11 / 32, 8 / 24], rtol=1e-6)


def test_samples_hold_the_scores_of_their_own_sentence(config: Config) -> None:
    layout = Layout.of(config, "toy", "valid_u")
    video = open_split(config, "toy", "valid_u").videos()[1]
    statement = Expression("s0", "kind 1", (), "kind 1")
    tracks = open_video(layout, video, ["grid"], GDINO)
    loaded = tracks.read()
    assert loaded.n_bytes > replace(loaded, detections=None).n_bytes
    second, absent = tracks.samples([1, 4], 0.7, loaded)
    nothing = [np.nan, np.nan]
    np.testing.assert_array_equal(second.detections_N2, np.float32([[0.3] * 2, [0.9] * 2, nothing]))
    np.testing.assert_array_equal(absent.detections_N2, np.float32([[0.3] * 2, nothing, nothing]))
    more = replace(tracks, video=replace(video, statements=(statement,)))
    stated = replace(loaded, text=[*loaded.text, loaded.text[0]])
    (unasked,) = more.samples([len(video.expressions)], 0.7, stated)
    assert unasked.detections_N2 is not None and np.isnan(unasked.detections_N2).all() and len(unasked) == 3


def test_without_a_detector_no_prompt_is_read(config: Config) -> None:
    layout = Layout.of(config, "toy", "valid_u")
    video = open_split(config, "toy", "valid_u").videos()[1]
    plain, seen = read_inputs(layout, [video], ["grid"]), read_inputs(layout, [video], ["grid"], GDINO)
    extra = seen.fingerprints.keys() - plain.fingerprints.keys()
    assert extra == {f"toy/valid_u/prompts/gdino/{video.id}.h5"}
    assert (plain.weights, seen.weights) == (
        {"sam2": SAM2, "text": TEXT},
        {**plain.weights, "grounding_dino": DETECTOR},
    )
    layout.file(GENERATE_PROMPTS, video.id, "gdino").unlink()
    assert open_video(layout, video, ["grid"]).samples([0], 0.7)[0].detections_N2 is None
    missing = (
        rf"prompts/gdino/{video.id}.h5: does not exist; run `python -m stages.generate_prompts` on its split again"
    )
    with pytest.raises(CacheError, match=missing):
        read_inputs(layout, [video], ["grid"], GDINO)
    with pytest.raises(CacheError, match=missing):
        open_video(layout, video, ["grid"], GDINO).read()


def test_prompts_of_another_sam2_are_refused(config: Config) -> None:
    layout = Layout.of(config, "toy", "valid_u")
    video = open_split(config, "toy", "valid_u").videos()[0]
    write_toy_tracks(layout, video, "grid", sam2="f" * 16)
    with pytest.raises(CacheError, match=r"made with sam2 weights .*, other files with f{16}"):
        read_inputs(layout, [video], ["grid"], GDINO)


# ------------------------------------------------------------- training and scoring


def test_training_learns_what_only_the_detector_knows(trained: Config) -> None:
    marker = Layout.of(trained, "toy", "train").folder(TRAIN_SELECTOR) / "training.json"
    best = read_json(marker, TRAIN_SELECTOR.name, TRAIN_SELECTOR.version)["best"]["validation"]
    assert best["f1"] > 0.95
    stamped = read_stamp(marker, TRAIN_SELECTOR.name).ingredients
    assert stamped["config"]["selector.inputs"] == ["course", "detector"]
    assert stamped["config"]["selector.detector"] == {"source": "gdino", "match_iou": 0.5}
    assert stamped["weights"] == {"sam2": SAM2, "text": TEXT, "grounding_dino": DETECTOR}


def test_the_file_says_what_it_sees_whatever_the_config_says(trained: Config, tmp_path: Path) -> None:
    header = read_header(selector_file(trained, "toy"))
    assert header.inputs == ["course", "detector"] and header.seen_detector == GDINO
    assert scoring_detector(trained, "toy") == trained_detector(settings_of(trained, "toy").selector) == GDINO
    document = trained.model_dump(mode="json")
    given = shutil.copy(selector_file(trained, "toy"), tmp_path / "given.safetensors")
    document["datasets"]["toy"]["selector"]["weights"] = str(given)
    document["datasets"]["toy"]["settings"]["selector"] |= {"inputs": [], "detector": {"match_iou": 0.9}}
    elsewhere = parse_config(document)
    assert trained_detector(settings_of(elsewhere, "toy").selector) is None
    assert scoring_detector(elsewhere, "toy") == GDINO
    score_tracks.run(toy_job(trained, "valid_u", overwrite=True))
    scored = Layout.of(trained, "toy", "valid_u").file(SCORE_TRACKS, "v1")
    before = read_json(scored, SCORE_TRACKS.name, SCORE_TRACKS.version)
    score_tracks.run(toy_job(elsewhere, "valid_u", overwrite=True))
    assert read_json(scored, SCORE_TRACKS.name, SCORE_TRACKS.version) == before
    document["datasets"]["toy"]["selector"]["weights"] = "nowhere.safetensors"
    assert scoring_detector(parse_config(document), "toy") is None


def test_other_prompts_make_scores_and_training_stale(trained: Config, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    job = toy_job(trained, "valid_u")
    score_tracks.run(job)
    video = open_split(trained, "toy", "valid_u").videos()[1]
    scored = job.layout.file(SCORE_TRACKS, video.id)
    before = read_stamp(scored, SCORE_TRACKS.name)
    assert before.ingredients["detector"] == {"source": "gdino", "match_iou": 0.5}
    try:
        write_toy_prompts(job.layout, video, seed=1)
        caplog.clear()
        score_tracks.run(job)
        assert read_stamp(scored, SCORE_TRACKS.name).fingerprint != before.fingerprint
        again = [r.message for r in caplog.records if "is made again" in r.message]
        assert len(again) == 1 and f"prompts/gdino/{video.id}.h5" in again[0]
        write_toy_prompts(job.layout, video, detector="e" * 16)
        with pytest.raises(SystemExit):
            score_tracks.run(job)
        assert "trained on features of grounding_dino weights" in caplog.text
        stop = {"run": {**settings_of(trained, "toy").run.model_dump(mode="json"), "on_stale": "stop"}}
        document = trained.model_dump(mode="json")
        document["datasets"]["toy"]["settings"] |= stop
        write_toy_prompts(job.layout, video, seed=1)
        with pytest.raises(CacheError, match=r"holds another training \(inputs: "):
            train_selector.run(toy_job(parse_config(document)))
    finally:
        write_toy_prompts(job.layout, video)


def test_a_comparison_scores_in_place_as_the_stage_does_and_knows_stale_scores(trained: Config) -> None:
    job = toy_job(trained, "valid_u")
    score_tracks.run(job)
    asked = [Asked("files", "scores"), Asked("weights", "pipeline")]
    from_files, in_place = open_selectors(job, asked, [0], ["calibrated"], "cpu")
    split = open_split(trained, "toy", "valid_u")
    video = split.videos()[1]
    view = open_view(VideoScorer(job.layout, split, video, ["grid", "gdino"], 0.008), ["grid", "gdino"])
    for found, expected in zip(in_place.method(view), from_files.method(view), strict=True):
        np.testing.assert_array_equal(found.logits_N, expected.logits_N)
    try:
        write_toy_prompts(job.layout, video, seed=1)
        with pytest.raises(CacheError, match=r"scores/v1.json: was made from other files than there are now"):
            from_files.method(view)
    finally:
        write_toy_prompts(job.layout, video)
