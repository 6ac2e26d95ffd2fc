"""Kind `selector`: another trained selector's logits as evidence, exactly those of score_tracks; several are averaged."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.decisions import with_settings
from support.trainings import DETECTOR, make_toy, toy_config, toy_job, write_toy_prompts, write_toy_tracks

from stages import gather_evidence, score_tracks, train_selector
from stages.core.config.file import Config
from stages.core.config.loading import ConfigError, parse_config
from stages.core.run.cli import Job
from stages.core.state.cache import read_stamp
from stages.core.state.choices import read_choices
from stages.core.state.evidence_file import read_evidence
from stages.core.state.graph import ENCODE_TEXT, GATHER_EVIDENCE, GENERATE_PROMPTS, SCORE_TRACKS
from stages.core.tables import EVIDENCE
from stages.datasets import open_split
from stages.selectors import selector_file

NAMES = ("sola", "soc")  # the second sees the detector
MEAN = {"kind": "average", "of": list(NAMES), "drop_invalid": True, "min_mass": 0.5, "weights": "equal"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """Two trainings, copied out of the cache, and a data set that has no selector but what it is given."""
    folder = tmp_path_factory.mktemp("selectors")
    for name in NAMES:
        inputs = ["detector"] if name == "soc" else []
        config = toy_config(folder, {"dropout": 0.0}, name, inputs, epochs=1)
        if name == NAMES[0]:
            make_toy(folder, config)
            for job in (toy_job(config, split) for split in ("train", "valid_u")):
                for video in open_split(config, "toy", job.split).videos():
                    write_toy_prompts(job.layout, video)
        train_selector.run(toy_job(config, overwrite=True))
        shutil.copy(selector_file(config, "toy"), folder / f"{name}.safetensors")
        shutil.rmtree(selector_file(config, "toy").parent)
    named = {name: {"kind": "selector", "weights": str(folder / f"{name}.safetensors")} for name in NAMES}
    yield with_settings(config, {"evidence": {**named, "mean": MEAN}})


def gather(config: Config, name: str) -> dict[str, dict[str, dict[Any, float]]]:
    """Video → expression id → the log-odds of its tracks."""
    job = toy_job(config, "valid_u")
    gather_evidence.run(job, name)
    return {
        video.id: {e: known.log_odds for e, known in read_evidence(file_of(job, name, video.id)).items()}
        for video in open_split(config, "toy", "valid_u").videos()
    }


def file_of(job: Job, name: str, video: str = "v1") -> Path:
    return job.layout.file(GATHER_EVIDENCE, video, name)


def scored_with(config: Config, weights: str) -> dict[str, dict[str, dict[Any, float]]]:
    """The same from score_tracks, as the data set's own selector."""
    raw = config.model_dump(mode="json")
    raw["datasets"]["toy"]["selector"] = {"weights": weights, "train": None, "validate_on": None}
    job = toy_job(parse_config(raw), "valid_u", overwrite=True)
    score_tracks.run(job)
    files = {v.id: job.layout.file(SCORE_TRACKS, v.id) for v in open_split(config, "toy", "valid_u").videos()}
    return {
        video: {e: {c.id: c.score for c in candidates} for e, candidates in read_choices(file, SCORE_TRACKS).items()}
        for video, file in files.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_logits_are_those_of_score_tracks(trained: Config, name: str) -> None:
    gathered = gather(trained, name)
    expected = scored_with(trained, toy_job(trained).settings.evidence[name].weights)
    assert gathered == expected and all(gathered["v1"].values())
    job = toy_job(trained, "valid_u")
    scored = read_stamp(job.layout.file(SCORE_TRACKS, "v1"), SCORE_TRACKS.name).ingredients
    stamped = read_stamp(file_of(job, name), GATHER_EVIDENCE.name).ingredients
    assert {key: stamped[key] for key in scored if key != "config"} == {
        key: value for key, value in scored.items() if key != "config"
    }
    assert ("detector" in stamped) == (name == "soc")
    assert stamped["config"] == {f"evidence.{name}": {"kind": "selector"}}


def test_trainings_are_averaged(trained: Config) -> None:
    sola, soc = (gather(trained, name)["v1"] for name in NAMES)
    mean = gather(trained, "mean")["v1"]
    assert sola != soc
    assert mean == {
        e: {track: pytest.approx((one + soc[e][track]) / 2) for track, one in of_e.items()} for e, of_e in sola.items()
    }


def test_another_file_is_gathered_anew_and_a_moved_one_is_not(trained: Config, tmp_path: Path) -> None:
    before = gather(trained, "sola")
    job = toy_job(trained, "valid_u")
    own = job.settings.evidence
    moved = tmp_path / "moved.safetensors"
    elsewhere = with_settings(trained, {"evidence": {"sola": {"weights": str(moved)}}})
    shutil.copy(own["sola"].weights, moved)
    inode = file_of(job, "sola").stat().st_ino
    assert gather(elsewhere, "sola") == before and file_of(job, "sola").stat().st_ino == inode
    shutil.copy(own["soc"].weights, moved)
    assert gather(elsewhere, "sola") == gather(trained, "soc")


def test_what_it_needs_is_known_before_it_runs(trained: Config, tmp_path: Path) -> None:
    own = toy_job(trained).settings
    text, prompts = ENCODE_TEXT.task(None), GENERATE_PROMPTS.task("gdino")
    kind = EVIDENCE["selector"]
    assert kind.tasks(own.evidence["sola"]) == (text,) and kind.tasks(own.evidence["soc"]) == (text, prompts)
    assert kind.files(own.evidence["sola"]) == {"weights": own.evidence["sola"].weights}
    assert not kind.uses_scores(own.evidence["sola"]) and GATHER_EVIDENCE.gpus(own, "sola") == 1
    assert GATHER_EVIDENCE.gpus(own, "detector") == 0
    bill = gather_evidence.dry_run(toy_job(trained, "valid_u"), "sola")
    assert bill.questions == 0 and "asks nothing" in bill.counted_by


def test_a_missing_or_foreign_file_is_refused(
    trained: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    absent = with_settings(trained, {"evidence": {"sola": {"weights": str(tmp_path / "none.safetensors")}}})
    with pytest.raises(ValueError, match=r"none\.safetensors: does not exist \(evidence\.sola\.weights\)"):
        gather_evidence.run(toy_job(absent, "valid_u"), "sola")
    assert EVIDENCE["selector"].tasks(toy_job(absent).settings.evidence["sola"]) == (ENCODE_TEXT.task(None),)
    (tmp_path / "none.safetensors").write_bytes(b"something else")
    with pytest.raises(SystemExit):
        gather_evidence.run(toy_job(absent, "valid_u"), "sola")
    assert "not a readable safetensors file" in caplog.text
    cached = Path(trained.paths.cache) / "toy/train/selector/best.safetensors"
    with pytest.raises(ConfigError, match=r"paths\.cache and evidence\.sola\.weights: .* is written to and removed"):
        with_settings(trained, {"evidence": {"sola": {"weights": str(cached)}}})


@pytest.mark.parametrize(("name", "role"), [("sola", "sam2"), ("soc", "grounding_dino")])
def test_features_of_other_weights_are_refused(trained: Config, name: str, role: str) -> None:
    job = toy_job(trained, "valid_u")
    video = open_split(trained, "toy", "valid_u").videos()[1]
    try:
        if role == "sam2":
            for source in ("grid", "gdino"):
                write_toy_tracks(job.layout, video, source, sam2="f" * 16)
        else:
            write_toy_prompts(job.layout, video, detector="f" * 16)
        with pytest.raises(SystemExit):
            gather_evidence.run(job, name)
        record = json.loads((job.layout.errors(GATHER_EVIDENCE, name) / f"{video.id}.json").read_text())
        assert f"trained on features of {role} weights" in record["error"] and f"{name}.safetensors" in record["error"]
    finally:
        for source in ("grid", "gdino"):
            write_toy_tracks(job.layout, video, source)
        write_toy_prompts(job.layout, video, detector=DETECTOR)
