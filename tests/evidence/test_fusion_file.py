"""A fusion as a file of its own: written from a finished one, it decides without the split it was fitted to."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.evidence import layout_of, make_config
from support.fusion import DETECTOR
from support.jobs import make_job
from support.labelled import SENTENCES, write_labelled
from support.project import ROOT

from stages import fit_fusion, gather_evidence, rerank_tracks
from stages.core.run import runner
from stages.core.state.cache import read_json, read_stamp
from stages.core.state.choices import read_choices
from stages.core.state.graph import RERANK_TRACKS, Layout
from stages.evidence.fusion.file import read_exported, read_fusion

RERANK = {"evidence": ["detector"], "fusion": "fitted", "same_iou": 0.8, "rule": {"kind": "number"}}


def job(root: Path, split: str, **rerank: Any) -> Any:
    over = {
        "selector": {"sources": {"evaluate": ["grid"]}},
        "evidence": {"detector": DETECTOR},
        "rerank": {**RERANK, **rerank},
    }
    return make_job(make_config(root, over), "shapes", split)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(runner, "lease_device", lambda *_: pytest.fail("leased a device"))
    write_labelled(tmp_path, "dev", 6)
    write_labelled(tmp_path, "valid_u", 2)
    for split in ("dev", "valid_u"):
        gather_evidence.run(job(tmp_path, split), "detector")
    return tmp_path


@pytest.fixture
def exported(project) -> Path:
    own = project / "fusion.json"
    fit_fusion.run(job(project, "dev"))
    fit_fusion.write_exported(job(project, "dev"), own, project / "card.md")
    return own


def decided(root: Path) -> list[list[list[bool]]]:
    files = [layout_of(root).file(RERANK_TRACKS, f"valid_u{v}") for v in range(2)]
    return [[[c.chosen for c in read_choices(file, RERANK_TRACKS)[e]] for e in SENTENCES] for file in files]


def test_it_decides_as_the_fusion_that_it_was_written_from(project, exported):
    rerank_tracks.run(job(project, "valid_u"))
    path = layout_of(project).file(RERANK_TRACKS, "valid_u0")
    fitted, stamp = decided(project), read_stamp(path, RERANK_TRACKS.name)
    shutil.rmtree(Layout.of(make_config(project), "shapes", "dev").root)
    shutil.rmtree(project / "data/dev")
    rerank_tracks.run(job(project, "valid_u", fusion_file=str(exported)))
    assert decided(project) == fitted and any(any(answer) for answers in fitted for answer in answers)
    document = read_json(path, RERANK_TRACKS.name, RERANK_TRACKS.version)
    assert document["why"]["fitted_on"] == "shapes/dev"
    fingerprint = document["stamp"]["ingredients"]["fusion"]
    assert fingerprint == read_exported(exported).fingerprint != stamp.ingredients["fusion"]


def test_another_fusion_in_the_file_decides_anew(project, exported):
    rerank_tracks.run(job(project, "valid_u", fusion_file=str(exported)))
    before = decided(project)
    document = json.loads(exported.read_text(encoding="utf-8"))
    exported.write_text(json.dumps({**document, "bias": -100.0}), encoding="utf-8")
    rerank_tracks.run(job(project, "valid_u", fusion_file=str(exported)))
    assert decided(project) != before and not any(any(a) for answers in decided(project) for a in answers)


def test_the_file_holds_what_the_cache_holds_and_the_card_its_numbers(project, exported):
    cached = Layout.of(make_config(project), "shapes", "dev").fusion
    own, written = read_fusion(cached), read_exported(exported)
    assert (written.fusion, written.fitted_on, written.selector, written.evidence) == (
        own.fusion,
        own.fitted_on,
        own.selector,
        own.evidence,
    )
    document = json.loads(exported.read_text(encoding="utf-8"))
    assert set(json.loads(cached.read_text())) - set(document) == {"stamp", "content_digest"}
    card = (project / "card.md").read_text(encoding="utf-8")
    assert card.startswith("# Fusion\n") and "`shapes/dev`" in card and "6 videos, 30 sentences, 120 tracks" in card
    assert f"| evidence.detector | {own.fusion.weights['evidence.detector']:.3f} |" in card
    assert "| without evidence.detector |" in card
    fit_fusion.write_exported(job(project, "dev"), exported, project / "card.md")  # over its own files: the same again
    assert json.loads(exported.read_text(encoding="utf-8")) == document


def test_the_flags_write_it_and_refuse_files_of_others(project, exported, capsys):
    config = project / "mine.yaml"
    config.write_text(json.dumps(job(project, "dev").config.model_dump(mode="json")), encoding="utf-8")
    argv = ["--config", str(config), "--dataset", "shapes", "--split", "dev"]
    out, notes = project / "again.json", project / "notes.md"
    assert fit_fusion.main([*argv, "--out", str(out)]) == 0 and out.read_bytes() == exported.read_bytes()
    notes.write_text("mine")
    assert fit_fusion.main([*argv, "--out", str(out), "--card", str(notes)]) == 2
    assert notes.read_text() == "mine" and "notes.md: is not a card of a fusion" in capsys.readouterr().err
    assert fit_fusion.main([*argv, "--out", str(notes)]) == 2 and notes.read_text() == "mine"
    assert fit_fusion.main([*argv, "--card", str(project / "c.md")]) == 2
    assert "give --out too" in capsys.readouterr().err
    assert fit_fusion.main([*argv, "--out", str(project / "data/dev/fusion.json")]) == 2
    assert not (project / "data/dev/fusion.json").exists()


def test_the_split_it_was_fitted_to_is_not_decided_by_it(project, exported):
    with pytest.raises(ValueError, match=r"shapes/dev: the fusion is fitted to this split"):
        rerank_tracks.run(job(project, "dev", fusion_file=str(exported), fit_on="shapes/valid_u"))


@pytest.mark.parametrize("change", [{"evidence": []}, {"rule": {"kind": "relative"}}, {"same_iou": None}])
def test_another_config_is_refused(project, exported, change):
    with pytest.raises(ValueError, match=r"fusion\.json: was fitted to .*rerank\.fusion_file: null to fit another"):
        rerank_tracks.run(job(project, "valid_u", fusion_file=str(exported), **change))


def test_scores_of_another_selector_are_refused(project, exported):
    write_labelled(project, "valid_u", 2, selector="another")
    with pytest.raises(SystemExit):
        rerank_tracks.run(job(project, "valid_u", fusion_file=str(exported)))
    record = layout_of(project).errors(RERANK_TRACKS) / "valid_u0.json"
    error = json.loads(record.read_text(encoding="utf-8"))["error"]
    assert "fusion.json: was fitted to the scores of another selector; set rerank" in error


@pytest.mark.parametrize(
    "damage",
    [
        {"weights": {"evidence.judge": 1.0}},
        {"rule": {"kind": "nonsense"}},
        {"rule": {"kind": "number", "low": 0.5}},
        {"bias": None},
        {"bias": float("nan")},
        {"fitted_on": 3},
    ],
    ids=str,
)
def test_what_is_no_fusion_is_refused_with_the_command(project, exported, damage):
    document = json.loads(exported.read_text(encoding="utf-8"))
    exported.write_text(json.dumps({**document, **damage}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"fusion\.json: is not a fusion .*referee fit-fusion --out FILE"):
        read_exported(exported)


def test_a_missing_file_and_text_are_refused(project):
    path = project / "fusion.json"
    with pytest.raises(ValueError, match=r"fusion\.json: does not exist \(rerank\.fusion_file\)"):
        rerank_tracks.run(job(project, "valid_u", fusion_file=str(path)))
    for text in ("words", "[1]", "null", ""):
        path.write_text(text)
        with pytest.raises(ValueError, match="is not a fusion"):
            read_exported(path)
