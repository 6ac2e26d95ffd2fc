"""The stage fit_fusion, and decisions by what it fitted: from detections and scores in the cache to answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.evidence import job_of, layout_of, make_config
from support.fusion import DETECTOR
from support.jobs import make_job
from support.labelled import SENTENCES, SHOWS, write_labelled
from support.project import ROOT

from stages import fit_fusion, gather_evidence, rerank_tracks
from stages.core.run import runner
from stages.core.state.cache import CacheError, read_json
from stages.core.state.choices import read_choices
from stages.core.state.graph import FIT_FUSION, RERANK_TRACKS, Layout
from stages.evidence.fusion.file import read_fusion

RERANK = {"evidence": ["detector"], "fusion": "fitted", "same_iou": 0.8, "rule": {"kind": "number"}}
OVER = {
    "selector": {"sources": {"evaluate": ["grid"]}},
    "evidence": {"detector": DETECTOR},
    "rerank": RERANK,
}


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(runner, "lease_device", lambda *_: pytest.fail("leased a device"))
    write_labelled(tmp_path, "dev", 8)
    write_labelled(tmp_path, "valid_u", 4)
    for split in ("dev", "valid_u"):
        gather_evidence.run(job(tmp_path, split), "detector")
    return tmp_path


def over(**rerank: Any) -> dict[str, Any]:
    return {**OVER, "rerank": {**RERANK, **rerank}}


def job(root: Path, split: str, **rerank: Any) -> Any:
    return make_job(make_config(root, over(**rerank)), "shapes", split)


def fusion_of(root: Path) -> Path:
    return Layout.of(make_config(root), "shapes", "dev").fusion


def decisions(root: Path) -> dict[str, list[list[bool]]]:
    """Video → for every sentence which of its tracks are chosen."""
    layout = layout_of(root)
    files = [layout.file(RERANK_TRACKS, f"valid_u{v}") for v in range(4)]
    choices = [read_choices(file, RERANK_TRACKS) for file in files]
    return {file.stem: [[c.chosen for c in by[e]] for e in SENTENCES] for file, by in zip(files, choices, strict=True)}


def test_a_fitted_fusion_decides_another_split(project):
    fit_fusion.run(job(project, "dev"))
    rerank_tracks.run(job(project, "valid_u"))
    wanted = [[k in meant for k in SHOWS] for _, meant in SENTENCES.values()]
    right = np.mean(
        [answer == wanted[e] for answers in decisions(project).values() for e, answer in enumerate(answers)]
    )
    assert right > 0.7
    why = read_json(layout_of(project).file(RERANK_TRACKS, "valid_u0"), RERANK_TRACKS.name, RERANK_TRACKS.version)[
        "why"
    ]
    assert why["fitted_on"] == "shapes/dev" and why["rule"]["kind"] == "number"
    assert {e: about["number"] for e, about in why["expressions"].items()} == {"0": 1, "1": 1, "2": 2, "3": 1, "4": 1}


def test_the_file_says_what_each_source_is_worth(project):
    fit_fusion.run(job(project, "dev"))
    document = json.loads(fusion_of(project).read_text(encoding="utf-8"))
    report = document["report"]
    assert (report["videos"], report["sentences"], report["tracks"]) == (8, 40, 160)
    assert set(report["without"]) == {"score", "evidence.detector"}
    assert report["without"]["evidence.detector"]["log_loss"] > report["with_all"]["log_loss"]
    assert document["weights"]["evidence.detector"] > document["weights"]["score"] > 0
    assert document["selector"] == "s" and document["evidence"] == ["detector"]
    fusion = read_fusion(fusion_of(project)).fusion
    assert fusion.weights == document["weights"] and fusion.parameters["distinct_iou"] == 0.5


def test_a_finished_fusion_is_left_alone_and_made_anew_where_anything_changes(project, caplog):
    fit_fusion.run(job(project, "dev"))
    inode, content = fusion_of(project).stat().st_ino, fusion_of(project).read_bytes()
    fit_fusion.run(job(project, "dev"))
    assert fusion_of(project).stat().st_ino == inode
    fit_fusion.run(make_job(make_config(project, OVER), "shapes", "dev", overwrite=True))
    assert fusion_of(project).stat().st_ino != inode and fusion_of(project).read_bytes() == content
    fit_fusion.run(job(project, "dev", rule={"kind": "threshold"}))
    assert "fitted again" in caplog.text and read_fusion(fusion_of(project)).fusion.rule == "threshold"
    stop = {**over(), "run": {"on_stale": "stop"}}
    with pytest.raises(CacheError, match=r"fusion\.json: another fusion .*run\.on_stale is 'stop'"):
        fit_fusion.run(make_job(make_config(project, stop), "shapes", "dev"))


def test_the_split_it_was_fitted_to_is_not_decided(project):
    fit_fusion.run(job(project, "dev"))
    with pytest.raises(ValueError, match=r"shapes/dev: the fusion is fitted to this split.*rerank\.fit_on"):
        rerank_tracks.run(job(project, "dev"))
    with pytest.raises(ValueError, match=r"shapes/valid_u: the fusion is fitted to this split"):
        rerank_tracks.run(job(project, "valid_u", fit_on="shapes/valid_u"))
    moved = Layout.of(make_config(project), "shapes", "train").fusion
    moved.parent.mkdir(parents=True, exist_ok=True)
    moved.write_bytes(fusion_of(project).read_bytes())
    with pytest.raises(ValueError, match=r"shapes/dev: the fusion is fitted to this split"):
        rerank_tracks.run(job(project, "dev", fit_on="shapes/train"))


@pytest.mark.parametrize(
    "change",
    [{"evidence": []}, {"rule": {"kind": "relative"}}, {"same_iou": None}],
    ids=lambda change: next(iter(change)),
)
def test_a_fusion_of_another_config_is_refused_with_the_command(project, change):
    fit_fusion.run(job(project, "dev"))
    with pytest.raises(CacheError, match=r"was fitted to .*stages\.fit_fusion --dataset shapes --split dev"):
        rerank_tracks.run(job(project, "valid_u", **change))


def test_without_a_fusion_the_command_is_named(project):
    with pytest.raises(CacheError, match=r"fusion\.json: does not exist; run `python -m stages\.fit_fusion`"):
        rerank_tracks.run(job(project, "valid_u"))


def test_scores_of_another_selector_are_refused(project):
    fit_fusion.run(job(project, "dev"))
    write_labelled(project, "valid_u", 4, selector="another")
    with pytest.raises(SystemExit):
        rerank_tracks.run(job(project, "valid_u"))
    record = layout_of(project).errors(RERANK_TRACKS) / "valid_u0.json"
    assert "was fitted to the scores of another selector" in json.loads(record.read_text(encoding="utf-8"))["error"]
    write_labelled(project, "dev", 8)
    with pytest.raises(CacheError, match=r"evidence/detector/dev0\.json"):
        layout_of(project)
        (Layout.of(make_config(project), "shapes", "dev").root / "evidence/detector/dev0.json").unlink()
        fit_fusion.run(job(project, "dev"))


def test_fixed_weights_need_numbers_where_the_rule_has_no_calibrated_ones(project):
    weights = {"fusion": "fixed", "weights": {"detector": 1.0}}
    with pytest.raises(SystemExit):
        rerank_tracks.run(job(project, "valid_u", **weights, rule={"kind": "relative"}))
    record = layout_of(project).errors(RERANK_TRACKS) / "valid_u0.json"
    error = json.loads(record.read_text(encoding="utf-8"))["error"]
    assert "rerank.rule.relative: high, ratio = auto is found by a fitted fusion" in error
    given = {"kind": "relative", "relative": {"high": 0.6, "ratio": 0.5}}
    rerank_tracks.run(job(project, "valid_u", **weights, rule=given))
    assert any(any(answer) for answers in decisions(project).values() for answer in answers)


def test_fitting_is_one_job_on_a_split_with_truth(project):
    with pytest.raises(ValueError, match="fitting is one job"):
        fit_fusion.run(make_job(make_config(project, OVER), "shapes", "dev", n_pids=2))
    (project / "data/dev/mask_dict.json").unlink()
    index = project / "data/dev/meta_expressions.json"
    index.write_text(index.read_text().replace("anno_id", "unknown"), encoding="utf-8")
    with pytest.raises(ValueError, match="has no ground truth"):
        fit_fusion.run(job(project, "dev"))
    assert FIT_FUSION.gpus(job_of(make_config(project)).settings, None) == 0
