"""Batches of the embedded MLLM's training: made by other processes, resumed with tracks of a cache, moved to a GPU."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from support.drawn_tracks import tracks_of
from support.jobs import make_job
from support.kernel import same, train_and_die
from support.project import ROOT, config_document

from stages import extract_frames
from stages.core.config.loading import parse_config
from stages.core.media import masks
from stages.core.state.cache import Stamp
from stages.core.state.graph import BUILD_TRACKS, Layout
from stages.core.state.track_file import write_tracks
from stages.micro.training.mllm import __main__ as command
from stages.micro.training.mllm.batches import Batches, Looks, Questions
from stages.micro.training.mllm.recipe import Recipe
from stages.micro.training.mllm.tracked import DATA_SEED, Tracked
from stages.micro.training.mllm.training import MllmTraining
from stages.training import checkpoint
from stages.training.clock import Length
from stages.training.loop import train
from stages.worlds.shapes.clip import draw_clip
from stages.worlds.shapes.write import Parameters, make_data_set, make_scene, stream

SMALL = Recipe(
    window=3,
    fresh=0.5,
    fresh_tracks=0.5,
    cards=6,
    clips=1,
    candidates=2,
    questions=3,
    vision_until=0.2,
    nouns_until=0.4,
    moves_until=0.5,
    tracks_from=0.5,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder whose scenes are made once for all tests."""
    return tmp_path_factory.mktemp("mllm")


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> str:
    """A config file whose cache holds the true objects of two videos of shapes/train as tracks."""
    root = tmp_path_factory.mktemp("shapes")
    make_data_set(root / "data" / "shapes", Parameters(DATA_SEED, {"train": 2}))
    document = config_document(root)
    file = root / "config.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    parsed = parse_config(document)
    extract_frames.run(make_job(parsed, "shapes", "train"))
    layout = Layout.of(parsed, "shapes", "train")
    for video in ("train_0000", "train_0001"):
        world, _ = make_scene(DATA_SEED, video)
        clip = draw_clip(stream(DATA_SEED, f"{video}/pixels"), world)
        rles_NT = [masks.encode_all(masks_THW) for masks_THW in clip.masks_NTHW]
        for source, rles in (("gt", rles_NT), ("grid", rles_NT[:1])):
            tracks = tracks_of(world.size, rles, 1, len(clip.frames_THW3))
            stamp = Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {})
            write_tracks(layout.file(BUILD_TRACKS, video, source), stamp, tracks, rles)
    return str(file)


def flat(batch: Looks | Questions) -> dict[str, torch.Tensor]:
    values = dict(vars(batch))
    packed = values.pop("packed", None)
    if packed is not None:
        values |= {k: v for k, v in vars(packed).items() if k != "lengths"}
        values |= {k: v for k, v in vars(packed.lengths).items() if k.endswith(("BC", "BAP", "BAKQ"))}
    return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


def test_other_processes_make_the_same_batches(place, tmp_path):
    length = Length(steps=10)
    ahead = MllmTraining(SMALL, 0, tmp_path, length=length, workers=2).ahead
    here = Batches(SMALL, 0, place, None)
    for step in (0, 1, 3, 9):  # a resumed training begins anywhere
        ours, theirs = (flat(make(step, step / 10)) for make in (ahead, here))
        assert ours.keys() == theirs.keys() and len(ours) >= 2
        assert all(torch.equal(ours[name], theirs[name]) for name in ours), step
    assert not any(key[0] in (0, 1, 3, 9) for key in ahead.pending) and len(ahead.pending) == 6
    assert {path.name for path in (tmp_path / "scenes").iterdir()} == {f"{i:06d}.npz" for i in range(7)}


def test_resume_with_tracks_equals_an_uninterrupted_training(place, tmp_path, config, monkeypatch):
    monkeypatch.setattr("stages.training.loop.CHECKPOINT_SECONDS", 0.0)
    tracks = Tracked.of(config, "shapes", "train")
    assert len(tracks) == 2 and tracks.sources == ("gt", "grid")
    record = tracks(0)
    assert (record.labels_EN == 1).any() and (record.looks_N4 >= 0).all(), "true objects, each of them once"
    length = Length(steps=8)
    whole = MllmTraining(SMALL, 0, place, tracks)
    train(whole, length, tmp_path / "whole")
    assert (place / "tracks" / "000001.npz").exists(), "steps drew from tracks"
    train_and_die(MllmTraining(SMALL, 0, place, tracks), length, tmp_path / "cut", 6)
    resumed = MllmTraining(SMALL, 0, tmp_path / "cut", tracks, length=length, workers=1)
    train(resumed, length, tmp_path / "cut", resume=True)
    assert same(dict(whole.model.state_dict()), dict(resumed.model.state_dict()))
    without = MllmTraining(SMALL, 0, place)
    with pytest.raises(ValueError, match="another recipe or seed"):
        train(without, length, tmp_path / "cut", resume=True)


def test_a_training_on_a_gpu_mixes_no_devices(place):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    program = [sys.executable, "-m", "support.fake_gpu", str(place)]
    done = subprocess.run(program, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == dict.fromkeys(("vision", "nouns", "moves", "all", "weights"), "cuda")


def test_a_checkpoint_is_stored_as_it_is_on_the_host():
    state = {"a": torch.zeros(2), "b": [torch.ones(1), {"c": (torch.ones(3), 4)}]}
    stored = checkpoint._on_host(state)
    assert same(stored, state) and stored["a"] is state["a"], "shared storage stays shared"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path, capsys):
    assert command.main(["--out", str(tmp_path / "out"), "--steps", "1", "--device", "cuda"]) == 2
    assert "train with --device cpu" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_steps_in_minutes_take_scenes_made_ahead(place, tmp_path):
    training = MllmTraining(dataclasses.replace(SMALL, cards=4), 0, tmp_path, length=Length(minutes=1.0), workers=1)
    ours, theirs = (flat(make(0, 0.05)) for make in (training.ahead, Batches(training.recipe, 0, place, None)))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs) and not training.ahead.pending
