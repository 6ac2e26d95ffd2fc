"""Kind `detector`: the detector's scores become evidence about tracks of any source; no selector, no model."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.evidence import decide, job_of, layout_of, make_config, write_index, write_scores, write_source
from support.fusion import DETECTOR, N_TRACKS, write_detections, write_split
from support.project import ROOT

from stages import gather_evidence
from stages.core.config.loading import ConfigError
from stages.core.records import TrackId
from stages.core.run import runner
from stages.core.state.cache import read_stamp
from stages.core.state.evidence_file import ExpressionEvidence, read_evidence
from stages.core.state.graph import GATHER_EVIDENCE, SCORE_TRACKS
from stages.evidence.kinds.detector import log_odds

ONE, TWO = TrackId("grid", 0), TrackId("grid", 1)
SAME_AS_ONE = TrackId("gdino", 0)  # the first square of both sources is the same
SURE = math.log(999)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Tracks and prompts; there is no score yet."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(runner, "lease_device", lambda *_: pytest.fail("leased a device"))
    write_split(tmp_path)
    write_detections(tmp_path)
    shutil.rmtree(layout_of(tmp_path).folder(SCORE_TRACKS))
    return tmp_path


def over(**change: Any) -> dict[str, Any]:
    rerank = {"evidence": ["detector"], "weights": {"detector": 1.0}}
    return {"evidence": {"detector": {**DETECTOR, **change}}, "rerank": rerank}


def gather(root: Path, **change: Any) -> dict[str, ExpressionEvidence]:
    gather_evidence.run(job_of(make_config(root, over(**change))), "detector")
    return read_evidence(file_of(root))


def file_of(root: Path) -> Path:
    return layout_of(root).file(GATHER_EVIDENCE, "v", "detector")


def known(evidence: dict[str, ExpressionEvidence]) -> dict[str, dict[TrackId, float]]:
    return {expression: about.log_odds for expression, about in evidence.items()}


def test_the_best_score_of_each_track_for_each_sentence_that_may_mean_it(project):
    evidence = gather(project)
    assert known(evidence) == {
        "0": {ONE: pytest.approx(math.log(3)), TWO: 0.0, SAME_AS_ONE: pytest.approx(math.log(3))},
        "1": {},
        "2": {ONE: pytest.approx(SURE), SAME_AS_ONE: pytest.approx(SURE)},
    }
    assert evidence["0"].tracks[0].provenance == {"score": 0.75} and evidence["0"].existence is None
    assert read_evidence(layout_of(project).file(GATHER_EVIDENCE, "empty", "detector")) == {"0": ExpressionEvidence(())}


def test_the_mean_of_its_scores(project):
    assert known(gather(project, pool="mean"))["0"] == {ONE: 0.0, TWO: 0.0, SAME_AS_ONE: 0.0}


def test_a_sentence_without_a_word_gets_none(project):
    write_index(project, {"0": "the red square", "1": "the square", "2": "???"})
    assert list(gather(project)) == ["0", "1"]


@pytest.mark.parametrize(("score", "expected"), [(0.5, 0.0), (0.2, -math.log(4)), (0.0, -SURE), (1.0, SURE)])
def test_log_odds_are_clipped_logits(score, expected):
    assert log_odds(score) == pytest.approx(expected)


def test_other_prompts_or_tracks_make_it_anew_and_scores_do_not(project):
    before = known(gather(project))
    write_scores(layout_of(project), "v", N_TRACKS["v"])
    inode = file_of(project).stat().st_ino
    assert known(gather(project)) == before and file_of(project).stat().st_ino == inode
    write_detections(project, first=0.5)
    assert known(gather(project))["0"][ONE] == 0.0
    write_source(layout_of(project), "v", "grid", 1)
    assert TWO in known(gather(project))["0"], "the toy tracks have one stamp whatever they hold"


def test_decisions_refuse_evidence_about_other_tracks(project):
    gather(project)
    for video, n_tracks in N_TRACKS.items():
        write_scores(layout_of(project), video, n_tracks)
    scores = {c.id: c.score for c in decide(project, over())["v"]["0"]}
    decided = {c.id: c for c in decide(project, over())["v"]["0"]}
    assert decided[ONE].final == pytest.approx(scores[ONE] + math.log(3)) and decided[TWO].evidence == {"detector": 0}
    assert decided[TrackId("grid", 2)].evidence == {}
    stamp = read_stamp(file_of(project), GATHER_EVIDENCE.name)
    assert "scores" not in stamp.ingredients and set(stamp.ingredients["tracks"]) == {"grid", "gdino"}
    with pytest.raises(SystemExit):
        decide(project, {**over(), "selector": {"sources": {"evaluate": ["grid"]}}})
    record = layout_of(project).errors(runner.STAGES["rerank_tracks"]) / "v.json"
    error = json.loads(record.read_text(encoding="utf-8"))["error"]
    assert "was gathered for other tracks than there are now" in error and "gather_evidence --name detector" in error


def test_an_unknown_source_is_refused_at_load(project):
    with pytest.raises(ConfigError, match="no prompt source 'gdno'; did you mean 'gdino'"):
        make_config(project, over(source="gdno"))
