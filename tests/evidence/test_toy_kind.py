"""Adding a kind of evidence: one value, one line. Two names of the toy kind are gathered and weighed at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field
from support.evidence import decide, gather, job_of, layout_of, make_config, write_project
from support.project import CONFIG, ROOT

from stages import gather_evidence
from stages.core.config.loading import ConfigError, read_yaml
from stages.core.config.section import Section
from stages.core.records import Video
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp, read_stamp
from stages.core.state.choices import read_scores
from stages.core.state.evidence_file import ExpressionEvidence, TrackEvidence, VideoEvidence, read_evidence
from stages.core.state.graph import BUILD_TRACKS, GATHER_EVIDENCE
from stages.core.state.track_file import read_columns
from stages.core.tables import EVIDENCE, EvidenceKind, Gather
from stages.micro.mllm import build_random_mllm


class SizeSettings(Section):
    usual: float = Field(description="Mean area in pixels that says nothing")


def _load(job: Job, settings: SizeSettings, device: str) -> Gather:
    """Larger tracks are likelier."""

    def gather(video: Video, path: Path, stamp: Stamp) -> VideoEvidence:
        choices = read_scores(job.layout, video)
        means = {
            source: read_columns(job.layout.file(BUILD_TRACKS, video.id, source), ["area"])["area"].mean(axis=1)
            for source in {c.source for candidates in choices.values() for c in candidates}
        }
        return {
            e: ExpressionEvidence(
                tuple(TrackEvidence(c.id, float(means[c.source][c.track] - settings.usual)) for c in candidates)
            )
            for e, candidates in choices.items()
        }

    return gather


def _ingredients(job: Job, settings: SizeSettings, video: Video) -> Mapping[str, Any]:
    return {"toy": 1}


TOY = EvidenceKind("size", SizeSettings, roles=(), uses_scores=lambda _: True, ingredients=_ingredients, load=_load)
OVER = {
    "evidence": {"small": {"kind": "size", "usual": 100.0}, "large_2": {"kind": "size", "usual": 200.0}},
    "rerank": {"evidence": ["small", "large_2", "judge"], "weights": {"small": 0.5, "large_2": -0.25, "judge": 1.0}},
}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(ROOT)
    write_project(tmp_path, build_random_mllm(tmp_path / "mllm", 0))
    return tmp_path


def test_two_names_of_a_new_kind_beside_the_judge(project, monkeypatch):
    with EVIDENCE.extended_by(TOY):
        job = job_of(make_config(project, OVER))
        for name in ("small", "large_2"):
            gather_evidence.run(job, name)
        gather(project, monkeypatch, OVER)
        layout = job.layout
        known = {name: read_evidence(layout.file(GATHER_EVIDENCE, "v", name)) for name in ("small", "large_2", "judge")}
        for c in decide(project, OVER)["v"]["0"]:
            small, large = (known[name]["0"].log_odds[c.id] for name in ("small", "large_2"))
            assert small == large + 100
            judged = known["judge"]["0"].log_odds.get(c.id)
            assert c.evidence == {"small": small, "large_2": large, **({} if judged is None else {"judge": judged})}
            assert c.final == pytest.approx(c.score + 0.5 * small - 0.25 * large + (judged or 0.0), abs=1e-9)
        stamp = read_stamp(layout.file(GATHER_EVIDENCE, "v", "small"), "gather_evidence")
        assert stamp.ingredients["config"] == {"evidence.small": {"kind": "size", "usual": 100.0}}
        assert stamp.ingredients["toy"] == 1 and stamp.ingredients["weights"] == {}
        assert GATHER_EVIDENCE.gpus(job.settings, "small") == 0 and GATHER_EVIDENCE.gpus(job.settings, "judge") == 1


def test_a_changed_setting_of_one_name_leaves_the_other_alone(project):
    with EVIDENCE.extended_by(TOY):
        for name in ("small", "large_2"):
            gather_evidence.run(job_of(make_config(project, OVER)), name)
        files = [layout_of(project).file(GATHER_EVIDENCE, "v", name) for name in ("small", "large_2")]
        before = [file.stat().st_ino for file in files]
        changed = {**OVER, "evidence": {**OVER["evidence"], "small": {"kind": "size", "usual": 90.0}}}
        for name in ("small", "large_2"):
            gather_evidence.run(job_of(make_config(project, changed)), name)
        assert [file.stat().st_ino == inode for file, inode in zip(files, before, strict=True)] == [False, True]


def test_a_kind_that_is_not_listed_is_refused_at_load(project):
    with pytest.raises(ConfigError, match="kind"):
        make_config(project, OVER)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"kind": "sise", "usual": 1.0}, "evidence.small: kind: one of .*judge.*, size"),
        ({"usual": 1.0}, "evidence.small: kind: one of .*judge.*, size"),
        ({"kind": "size"}, r"evidence\.small\.usual: missing"),
        ({"kind": "size", "usual": 1.0, "keyframes": 4}, "keyframes: unknown key"),
        ({"kind": "size", "usual": True}, "needs a number"),
    ],
)
def test_an_entry_is_held_against_the_keys_of_its_kind(project, entry, reason):
    with EVIDENCE.extended_by(TOY), pytest.raises(ConfigError, match=reason):
        make_config(project, {**OVER, "evidence": {**OVER["evidence"], "small": entry}})


@pytest.mark.parametrize("name", ["a/b", "..", "", "Judge", "a-b"])
def test_a_name_that_no_folder_can_have_is_refused_at_load(project, name):
    with pytest.raises(ConfigError, match=r"evidence: .*lower-case letters, digits and '_'"):
        make_config(project, {"evidence": {name: read_yaml(CONFIG)["evidence"]["judge"]}})


def test_a_weight_of_no_evidence_is_refused_at_load(project):
    with pytest.raises(ConfigError, match=r"rerank: no 'juge' in `evidence`; there are \[.*'judge'"):
        make_config(project, {"rerank": {"weights": {"juge": 1.0}}})
