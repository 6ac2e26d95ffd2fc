"""The stage rerank_tracks: scores and evidence, weighed; on the CPU, without a model."""

import dataclasses
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.evidence import decide as rerank
from support.evidence import gather, job_of, layout_of, make_config, weighed, write_project, write_scores
from support.project import ROOT

from stages import rerank_tracks
from stages.core.run import runner
from stages.core.state.cache import Stamp, read_json, read_stamp, write_json
from stages.core.state.evidence_file import read_evidence
from stages.core.state.fingerprints import upstream
from stages.core.state.graph import GATHER_EVIDENCE, RERANK_TRACKS, SCORE_TRACKS
from stages.micro.mllm import build_random_mllm

ALONE = {"rerank": {"evidence": []}}


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    """A split whose evidence a real tiny VLM has given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        root = tmp_path_factory.mktemp("project")
        write_project(root, build_random_mllm(root / "mllm", 0))
        gather(root, patch)
    return root


@pytest.fixture
def project(tmp_path, gathered, monkeypatch) -> Path:
    monkeypatch.chdir(ROOT)
    return Path(shutil.copytree(gathered, tmp_path / "project"))


def reason(root: Path) -> str:
    """Why the video failed."""
    with pytest.raises(SystemExit) as stopped:
        rerank(root)
    assert stopped.value.code == 1
    record = layout_of(root).errors(RERANK_TRACKS) / "v.json"
    return str(json.loads(record.read_text(encoding="utf-8"))["error"])


# ---------------------------------------------------------------- the stage


def test_the_stage_weighs_what_was_gathered(project):
    decisions = rerank(project)
    layout = layout_of(project)
    evidence = read_evidence(layout.file(GATHER_EVIDENCE, "v", "judge"))
    assert decisions["empty"] == {"0": []} and [len(c) for c in decisions["v"].values()] == [4, 3, 3]
    for key, candidates in decisions["v"].items():
        for c in candidates:
            expected = {"judge": evidence[key].log_odds[c.id]} if c.id in evidence[key].log_odds else {}
            assert c.evidence == expected and (bool(expected) == (c.id != ("grid", 2)))
            assert c.final == c.score + sum(0.5 * x for x in expected.values())
            assert c.chosen == (1 / (1 + math.exp(-c.final)) > 0.5)
    document = read_json(layout.file(RERANK_TRACKS, "v"), RERANK_TRACKS.name, RERANK_TRACKS.version)
    assert document["threshold"] == 0.5 and document["why"]["weights"] == {"score": 1.0, "evidence.judge": 0.5}
    assert document["why"]["rule"] == {"kind": "threshold", "low": 0.5} and document["why"]["fitted_on"] is None
    assert document["why"]["expressions"]["0"] == {"number": 1, "existence": {}}
    assert document["stamp"]["ingredients"]["evidence"] == {
        "judge": upstream(layout, GATHER_EVIDENCE, "v", "judge"),
    }


def test_another_weight_or_threshold_decides_anew(project):
    first = rerank(project)
    again = rerank(project, weighed(2.0))
    assert [c.evidence for c in again["v"]["0"]] == [c.evidence for c in first["v"]["0"]]
    assert [c.final for c in again["v"]["0"]] != [c.final for c in first["v"]["0"]]
    none = rerank(project, {"selector": {"threshold": 1.0}})
    assert not any(c.chosen for candidates in none["v"].values() for c in candidates)


def test_without_evidence_the_scores_decide_and_nothing_else_is_needed(project):
    unweighed = rerank(project, weighed(0.0))
    shutil.rmtree(project / "weights")
    shutil.rmtree(layout_of(project).root / GATHER_EVIDENCE.folder)
    plain = rerank(project, ALONE)
    for key, candidates in plain["v"].items():
        assert [dataclasses.replace(c, evidence={}) for c in unweighed["v"][key]] == candidates
        assert [c.chosen for c in candidates] == [c.score > 0 for c in candidates]
    stamp = read_stamp(layout_of(project).file(RERANK_TRACKS, "v"), RERANK_TRACKS.name)
    assert stamp.ingredients["evidence"] == {}


def test_missing_evidence_names_the_file_and_the_command(project):
    layout_of(project).file(GATHER_EVIDENCE, "v", "judge").unlink()
    error = reason(project)
    assert "evidence/judge/v.json: does not exist" in error and "stages.gather_evidence" in error
    assert layout_of(project).file(RERANK_TRACKS, "empty").exists()


def test_evidence_on_other_scores_is_refused_until_it_is_gathered_again(project, monkeypatch):
    rerank(project)
    layout = layout_of(project)
    before = upstream(layout, RERANK_TRACKS, "v")
    write_scores(layout, "v", {"grid": 2, "gdino": 0}, "other")
    assert "was gathered for other scores" in (error := reason(project)) and "gather_evidence --name judge" in error
    gather(project, monkeypatch)
    decisions = rerank(project)
    assert upstream(layout, RERANK_TRACKS, "v") != before and len(decisions["v"]["0"]) == 2


def test_scores_without_an_expression_are_refused(project, monkeypatch):
    layout = layout_of(project)
    write_scores(layout, "v", {"grid": 2, "gdino": 0}, "s", ["0", "1"])
    assert "holds no scores for expressions ['2']" in (error := reason(project)) and "stages.score_tracks" in error


def test_decisions_of_the_older_layout_are_made_again_with_one_line(project, caplog):
    whole = rerank(project)
    path = layout_of(project).file(RERANK_TRACKS, "v")
    current = path.read_bytes()
    old = {"source": "grid", "track": 0, "score": 1.5, "match": None, "final": 1.5, "chosen": True}
    stamp = read_stamp(path, RERANK_TRACKS.name)
    write_json(path, {"expressions": {"0": [old]}, "threshold": 0.5}, Stamp(stamp.stage, 1, stamp.ingredients))
    caplog.clear()
    assert rerank(project) == whole and path.read_bytes() == current
    lines = [line for line in caplog.messages if "made again" in line]
    assert len(lines) == 1 and f"layout version 1 → {RERANK_TRACKS.version}" in lines[0]


def test_scores_of_the_older_layout_say_so(project):
    path = layout_of(project).file(SCORE_TRACKS, "v")
    write_json(path, {"expressions": {}}, Stamp(SCORE_TRACKS.name, SCORE_TRACKS.version - 1, {}))
    layout_of(project).file(GATHER_EVIDENCE, "v", "judge").unlink()
    assert "layout version" in reason_alone(project)


def reason_alone(root: Path) -> str:
    with pytest.raises(SystemExit):
        rerank(root, ALONE)
    record = layout_of(root).errors(RERANK_TRACKS) / "v.json"
    return str(json.loads(record.read_text(encoding="utf-8"))["error"])


def test_no_device_is_leased(project, monkeypatch):
    monkeypatch.setattr(runner, "lease_device", lambda *_: pytest.fail("leased a device"))
    config = make_config(project, {"run": {"device": "cuda"}})
    rerank_tracks.run(job_of(config))
    assert layout_of(project).file(RERANK_TRACKS, "v").exists()


def test_deciding_loads_no_model_library(project):
    make_config(project)
    probe = (
        "import sys\n"
        "from stages import rerank_tracks\n"
        "assert rerank_tracks.main(sys.argv[1:]) == 0\n"
        "heavy = {'torch', 'transformers', 'sam2', 'cv2', 'PIL.ImageDraw'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    flags = ["--config", "config.yaml", "--config", str(project / "overlay.yaml"), "--dataset", "shapes"]
    command = [sys.executable, "-c", probe, *flags, "--split", "valid_u"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 videos to do" in done.stderr and layout_of(project).file(RERANK_TRACKS, "v").exists()
