"""Kind `average`: the mean of several runs; what was off its format is left out and counted."""

from pathlib import Path
from typing import Any

import pytest
from support.evidence import make_config
from support.fusion import DETECTOR
from support.jobs import make_job
from support.labelled import write_labelled
from support.project import ROOT

from stages import gather_evidence
from stages.core.config.loading import ConfigError
from stages.core.records import TrackId
from stages.core.state.evidence_file import ExpressionEvidence, TrackEvidence, read_evidence
from stages.core.state.graph import GATHER_EVIDENCE, Layout
from stages.core.tables import EVIDENCE
from stages.evidence.kinds.average import average

ONE, TWO, TWIN = (TrackId("grid", n) for n in range(3))
EQUAL = {"a": 0.5, "b": 0.5}


def said(log_odds: float, *masses: float, track: TrackId = ONE) -> TrackEvidence:
    return TrackEvidence(track, log_odds, {"judged": [{"for": {"mass": mass}} for mass in masses]})


# ---------------------------------------------------------------- in memory


def test_the_mean_of_what_is_said_beside_each_run():
    gathered = {
        "a": ExpressionEvidence((said(1.0, 0.9), said(4.0, 0.9, track=TWO)), existence=2.0),
        "b": ExpressionEvidence((said(-2.0, 0.8),), existence=None),
    }
    known = average(gathered, EQUAL, 0.5)
    assert known.log_odds == {ONE: -0.5, TWO: 4.0} and known.existence == 2.0
    assert known.tracks[0].provenance == {"runs": {"a": 1.0, "b": -2.0}, "dropped": []}
    assert known.provenance["dropped"] == {"a": 0, "b": 0} and known.provenance["weights"] == EQUAL


def test_answers_off_their_format_are_left_out_and_counted():
    twin = TrackEvidence(TWIN, 9.0, {"same_as": {"source": "grid", "track": 0}})
    gathered = {
        "a": ExpressionEvidence((said(9.0, 0.9, 0.02), twin, said(3.0, 0.6, track=TWO)), existence=1.0),
        "b": ExpressionEvidence((said(-2.0, 0.8),)),
    }
    known = average(gathered, EQUAL, 0.5)
    assert known.log_odds == {ONE: -2.0, TWO: 3.0}, "the twin of what is not valid is not valid either"
    assert known.provenance["dropped"] == {"a": 2, "b": 0} and known.tracks[0].provenance["dropped"] == ["a"]
    assert average(gathered, EQUAL, 0.0).log_odds == {ONE: 3.5, TWIN: 9.0, TWO: 3.0}


def test_an_answer_about_all_candidates_counts_for_each_of_them():
    choices = {"choices": [{"choice": {"mass": 0.1}}]}
    whole = ExpressionEvidence((TrackEvidence(ONE, 3.0, {"judged": [{"number": 1}]}),), 2.0, choices)
    known = average({"a": whole, "b": ExpressionEvidence((said(1.0),), 0.5)}, EQUAL, 0.5)
    assert known.log_odds == {ONE: 1.0} and known.existence == 0.5 and known.provenance["dropped"] == {"a": 2, "b": 0}


def test_weights_are_shares_of_what_is_said():
    gathered = {"a": ExpressionEvidence((said(1.0),)), "b": ExpressionEvidence((said(5.0), said(7.0, track=TWO)))}
    known = average(gathered, {"a": 0.75, "b": 0.25}, 0.5)
    assert known.log_odds == {ONE: 2.0, TWO: 7.0}
    assert average(gathered, {"a": 1.0, "b": 0.0}, 0.5).log_odds == {ONE: 1.0}, "what weighs nothing says nothing"


# ---------------------------------------------------------------- the stage


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(ROOT)
    for split, n in (("dev", 6), ("valid_u", 2)):
        write_labelled(tmp_path, split, n)
    return tmp_path


def over(**change: Any) -> dict[str, Any]:
    mean = {"kind": "average", "of": ["best", "pooled"], "drop_invalid": True, "min_mass": 0.5, "weights": "equal"}
    strict = {**DETECTOR, "match_iou": 1.0, "pool": "mean"}
    return {
        "selector": {"sources": {"evaluate": ["grid"]}},
        "evidence": {"best": DETECTOR, "pooled": strict, "mean": {**mean, **change}},
        "rerank": {"evidence": ["mean"], "weights": {"mean": 1.0}},
    }


def gather(root: Path, split: str, name: str, **change: Any) -> dict[str, ExpressionEvidence]:
    job = make_job(make_config(root, over(**change)), "shapes", split)
    gather_evidence.run(job, name)
    return read_evidence(job.layout.file(GATHER_EVIDENCE, f"{split}0", name))


def test_the_stage_averages_what_was_gathered(project):
    best, pooled = (gather(project, "valid_u", name)["0"].log_odds for name in ("best", "pooled"))
    mean = gather(project, "valid_u", "mean")["0"]
    assert mean.log_odds == {track: pytest.approx((best[track] + pooled[track]) / 2) for track in best}
    assert len(best) == 3 and mean.provenance["weights"] == {"best": 0.5, "pooled": 0.5}


def test_weights_are_fitted_to_another_split(project):
    for split in ("dev", "valid_u"):
        for name in ("best", "pooled"):
            gather(project, split, name)
    weights = gather(project, "valid_u", "mean", weights="fitted")["0"].provenance["weights"]
    assert sum(weights.values()) == pytest.approx(1) and min(weights.values()) >= 0
    file = Layout.of(make_config(project), "shapes", "dev").file(GATHER_EVIDENCE, "dev0", "best")
    file.unlink()
    with pytest.raises(SystemExit):
        gather(project, "valid_u", "mean", weights="fitted")


def test_a_run_that_is_missing_fails_its_video(project):
    gather(project, "valid_u", "best")
    with pytest.raises(SystemExit):
        gather(project, "valid_u", "mean")
    gather(project, "valid_u", "pooled")
    assert gather(project, "valid_u", "mean")["0"].tracks


def test_names_are_checked(project):
    with pytest.raises(ConfigError, match="names a run twice"):
        make_config(project, over(of=["best", "best"]))
    with pytest.raises(SystemExit):
        gather(project, "valid_u", "mean", of=["best", "other"])


def test_the_workflow_is_told_what_to_wait_for(project):
    settings = make_job(make_config(project, over(weights="fitted")), "shapes", "dev").settings.evidence["mean"]
    kind = EVIDENCE["average"]
    assert kind.tasks(settings) == ("gather_evidence-best", "gather_evidence-pooled") == kind.fitted_to(settings)
    assert not kind.uses_scores(settings)
