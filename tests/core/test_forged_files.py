"""Files of the cache whose checksums are right and whose content does not fit together: named as damaged, by their readers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.drawn_tracks import tracks_of

from stages.core.digests import canonical_json, digest
from stages.core.media import masks
from stages.core.records import Expression, Video
from stages.core.state.cache import CONTENT, CacheError, Stamp
from stages.core.state.choices import Candidate, read_choices, write_choices
from stages.core.state.graph import BUILD_TRACKS, ENCODE_TEXT, GENERATE_PROMPTS, SCORE_TRACKS, Stage
from stages.core.state.prompt_file import Prompt, read_prompts, write_prompts
from stages.core.state.text_file import TextFeatures, read_text, write_text
from stages.core.state.track_file import read_columns, read_membership, read_tracks, write_tracks

VIDEO = Video("v", ("0", "1"), Path("v"), tuple(Expression(f"{n}", "a dog", None, "A dog") for n in range(2)), 2)
MASK = masks.encode(np.eye(9))


def stamp_of(stage: Stage) -> Stamp:
    return Stamp(stage.name, stage.version, {})


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.h5"
    write_text(path, stamp_of(ENCODE_TEXT), VIDEO, [TextFeatures(np.ones((3, 8), "f4"), np.ones(8, "f4"))] * 2)
    assert len(read_text(path, VIDEO)) == 2
    return path


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.h5"
    write_prompts(path, stamp_of(GENERATE_PROMPTS), [Prompt(0, MASK, (0, 0, 9, 9), token_scores=(0.5,))] * 2, (9, 9))
    assert len(read_prompts(path)) == 2
    return path


@pytest.fixture
def tracks(tmp_path: Path) -> Path:
    path, rles_NT = tmp_path / "tracks.h5", [[MASK, MASK]] * 3
    write_tracks(path, stamp_of(BUILD_TRACKS), tracks_of((9, 9), rles_NT, 2, 2), rles_NT)
    assert read_tracks(path).tokens_NTC.shape == (3, 2, 256)
    return path


def put(path: Path, name: str, values: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = values


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("words/offset", [0, 3, 3]),
        ("words/offset", [0, 3, 9]),
        ("words/offset", [0, 0, 6]),
        ("words/offset", [0, 6]),
        ("words/offset", [0.5, 3, 6]),
        ("words/offset", np.array([b"0", b"3", b"6"])),
        ("words/values", np.ones((5, 8), "f4")),
        ("words/values", np.ones((6, 8), "f8")),
        ("mean", np.ones((2, 7), "f4")),
        ("mean", np.ones((1, 8), "f4")),
        ("mean", np.full((2, 8), b"1")),
        ("mean", 7),
    ],
)
def test_text_that_does_not_fit_together(text: Path, name: str, values: Any) -> None:
    put(text, name, values)
    with pytest.raises(CacheError, match=r"text\.h5: damaged .*encode_text"):
        read_text(text, VIDEO)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("prompts/frame", [0]),
        ("prompts/box", np.zeros((3, 4), "f4")),
        ("token_scores/offset", [0, 2, 1]),
        ("token_scores/offset", [0, 1]),
        ("token_scores/values", [0.5, 0.5, 0.5]),
    ],
)
def test_prompts_that_do_not_fit_together(prompts: Path, name: str, values: Any) -> None:
    put(prompts, name, values)
    with pytest.raises(CacheError, match=r"prompts\.h5: damaged .*generate_prompts"):
        read_prompts(prompts)


@pytest.mark.parametrize("read", [read_tracks, read_membership], ids=["tracks", "membership"])
@pytest.mark.parametrize(("name", "values"), [("track", [0, 1, 2, 0, 1, 3]), ("track", [-1] * 6), ("ptr", [0, 3, 7])])
def test_expressions_that_name_no_track(tracks: Path, name: str, values: Any, read: Callable[[Path], object]) -> None:
    put(tracks, f"expr/{name}", values)
    with pytest.raises(CacheError, match=r"tracks\.h5: damaged .*build_tracks"):
        read(tracks)


def test_a_column_of_another_length(tracks: Path) -> None:
    put(tracks, "tracks/area", np.ones((2, 2), "u4"))
    with pytest.raises(CacheError, match=r"tracks\.h5: damaged .*\['area'\].*build_tracks"):
        read_columns(tracks, ["area", "iou"])


@pytest.mark.parametrize(
    "change",
    [
        {"source": {}},
        {"track": True},
        {"track": "1"},
        {"score": None},
        {"final": "x"},
        {"chosen": 1},
        {"evidence": {"a": []}},
    ],
    ids=str,
)
def test_candidates_of_other_types(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "scores.json"
    write_choices(path, stamp_of(SCORE_TRACKS), {"0": [Candidate("grid", 0, 0.5)]}, 0.5)
    document = json.loads(path.read_text())
    document["expressions"]["0"][0] |= change
    del document[CONTENT]
    path.write_text(json.dumps({CONTENT: digest(json.loads(canonical_json(document))), **document}))
    with pytest.raises(CacheError, match=r"scores\.json: damaged .*score_tracks"):
        read_choices(path, SCORE_TRACKS)
