"""Long videos of the embedded world: what is written, and the stages on a shortened one."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.jobs import make_job
from support.project import make_config

from stages import build_tracks, extract_frames, generate_prompts, make_shapes
from stages.core.state.graph import BUILD_TRACKS, GENERATE_PROMPTS
from stages.core.state.prompt_file import read_prompts
from stages.core.state.track_file import read_columns
from stages.datasets import open_split
from stages.weights.fetch import fetch_preset
from stages.worlds.shapes.facts import facts_of
from stages.worlds.shapes.long import AWAY, LongParameters, comes_back, make_long_scene
from stages.worlds.shapes.write import make_data_set, read_stamp

N_FRAMES, BUDGET = 60, 5
PARAMETERS = LongParameters(0, {"valid": 1}, (N_FRAMES,))
OVER = {"datasets": {"shapes_long": {"settings": {"prompts": {"gdino": {"frames": {"count": BUDGET}}}}}}}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Of a folder with one video, as `shapes_long` has it but shorter."""
    config = make_config(tmp_path_factory.mktemp("long"), OVER)
    assert make_data_set(root_of(config), PARAMETERS)
    return config


@pytest.fixture(scope="module")
def split(config):
    return open_split(config, "shapes_long", "valid")


def test_sentences_refer_to_one_object_each_and_one_comes_back(config, split):
    (video,) = split.videos()
    truth = split.annotations(video)
    assert len(video.frames) == N_FRAMES and len(video.expressions) >= 4
    assert all(len(expression.annotations) == 1 for expression in video.expressions)
    assert not any(split.left_out) and not video.defect
    absent = {key: np.array([rle is None for rle in rles]) for key, rles in truth.items()}
    assert any(comes_back(gone_T) for gone_T in absent.values())
    index = json.loads((root_of(config) / "valid/meta_expressions.json").read_text())
    assert {entry["type"] for entry in index["videos"][video.id]["expressions"].values()} <= {
        "static",
        "dynamic",
        "hybrid",
    }


def test_a_longer_video_is_the_same_scene_taking_its_time():
    (short, said), (long, again) = make_long_scene(0, "valid_0000", 40), make_long_scene(0, "valid_0000", 196)
    assert said == again and [one.looks for one in short.things] == [one.looks for one in long.things]
    for slow, quick in zip(long.things, short.things):
        assert (slow.path_T2[::5] == quick.path_T2).all() and (slow.radius_T[::5] == quick.radius_T).all()
    gone = [(a.gone_T, b.gone_T) for a, b in zip(facts_of(long).objects, facts_of(short).objects)]
    assert [comes_back(a) for a, _ in gone] == [comes_back(b) for _, b in gone]
    assert not comes_back(np.array([True] * 5 + [False] * 5)) and not comes_back(np.array([False] * 5 + [True] * 5))
    assert AWAY * 12 == 2 and comes_back(np.repeat([False, True, False], [5, 2, 5]))


def test_make_shapes_makes_them_for_a_set_in_that_layout(config, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(make_shapes, "LONG_FRAMES", (12, 14))
    monkeypatch.setattr(make_shapes, "LONG_SIZES", {"demo": {"valid": 1}, "full": {"valid": 2}})
    root = tmp_path / "long"
    make_shapes.run(root, None, None, 1, long=True)
    assert read_stamp(root)["frames"] == [12, 14] and not (root / "valid/JPEGImages/valid_0001").exists()
    first = (root / "valid/JPEGImages/valid_0000/00011.jpg").read_bytes()
    make_shapes.run(root, None, make_shapes.LONG_SIZES["full"], 1, long=True)
    assert (root / "valid/JPEGImages/valid_0000/00011.jpg").read_bytes() == first
    assert len(list((root / "valid/JPEGImages/valid_0001").iterdir())) == 14
    make_shapes.run(root, None, None, 1, long=True)
    assert caplog.messages == [] or "is there already" in caplog.messages[-1]


def test_the_stages_ask_for_few_frames_and_notice_when_an_object_is_away(config, split):
    """Presence is the tracker's: a mask is empty where its object score is not above 0."""
    for role in ("sam2", "grounding_dino"):
        fetch_preset(config, "micro", role, overwrite=False, source=None)
    extract_frames.run(make_job(config, "shapes_long", "valid"))
    for source in ("gdino", "gt"):
        generate_prompts.run(make_job(config, "shapes_long", "valid", source=source))
    job = make_job(config, "shapes_long", "valid", source="gt")
    build_tracks.run(job)
    (video,) = split.videos()
    found = read_prompts(job.layout.file(GENERATE_PROMPTS, video.id, "gdino"))
    assert {prompt.frame for prompt in found} <= {i * N_FRAMES // BUDGET for i in range(BUDGET)}

    columns = read_columns(job.layout.file(BUILD_TRACKS, video.id, "gt"), ["score", "area", "prompt_id"])
    prompts, truth = read_prompts(job.layout.file(GENERATE_PROMPTS, video.id, "gt")), split.annotations(video)
    checked = 0
    for score_T, area_T, row in zip(*columns.values()):
        there_T = np.array([rle is not None for rle in truth[prompts[row].annotation]])
        assert ((area_T > 0) <= (score_T > 0)).all()
        if comes_back(~there_T):
            checked, left = checked + 1, int(np.argmin(there_T))
            away_T = ~there_T & (np.arange(N_FRAMES) >= left)
            assert (area_T[:left] > 0).mean() > 0.9 and (area_T[away_T] > 0).mean() < 0.2
    assert checked


def root_of(config):
    return Path(config.datasets["shapes_long"].root)
