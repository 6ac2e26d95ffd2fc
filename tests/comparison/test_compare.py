"""stages.tools.compare on a small data set: the same figures as stages.evaluate, runs and seeds, files, documents, errors."""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from support.answers import answer, config_files, job_of
from support.comparisons import comparable
from support.project import ROOT
from support.trainings import toy_job, write_toy_tracks
from support.trees_davis import plant_davis
from support.workspace import LINKS, jobs_of

from stages import evaluate, rerank_tracks, score_tracks, train_selector
from stages.comparison.contenders import Contender, Verdict
from stages.comparison.document import markers, rewrite
from stages.comparison.known import made_from
from stages.comparison.lines import Spread
from stages.comparison.measure import Measurer
from stages.comparison.selectors import thresholds_of, trained
from stages.comparison.video import View
from stages.core.config.file import Config
from stages.core.config.loading import load_config, merge, parse_config, settings_of
from stages.core.records import Expression, Video
from stages.core.run.cli import Job
from stages.core.state.cache import CacheError, read_json
from stages.core.state.choices import read_choices
from stages.core.state.graph import RERANK_TRACKS, SCORE_TRACKS, TRAIN_SELECTOR, Layout
from stages.core.state.marks import MARK
from stages.datasets import open_split
from stages.metrics.report import collect, summarise
from stages.tools import compare

TRAINING = {"epochs": 2, "batch_size": 4, "learning_rate": 2e-3}
THRESHOLD = 0.37  # so that some tracks are chosen and some are not


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """Trained with seeds 0 (the config's) and 1; scored, decided and evaluated by the stages themselves."""
    folder = tmp_path_factory.mktemp("compare")
    config = comparable(folder, **TRAINING)
    raw = config.model_dump(mode="json")
    raw["paths"]["results"] = str(folder / "results")
    over = {"rerank": {"evidence": []}, "selector": {"threshold": THRESHOLD}}
    raw["datasets"]["toy"]["settings"] = merge(raw["datasets"]["toy"]["settings"], over)
    config = parse_config(raw)
    train_selector.run(toy_job(config))
    train_selector.run(toy_job(config), seed=1)
    for stage in (score_tracks, rerank_tracks, evaluate):
        stage.run(toy_job(config, "valid_u"))
    (folder / "config.yaml").write_text(yaml.safe_dump(raw))
    yield config


@pytest.fixture
def folder(finished: Config) -> Path:
    return Path(finished.paths.results).parent


def run(config: Config, out: Path, *flags: str) -> dict[tuple[str, str, str], dict[str, str]]:
    """The rows of table.csv by method, sources and rule."""
    file = Path(config.paths.results).parent / "config.yaml"
    argv = ["--config", str(file), "--dataset", "toy", "--split", "valid_u", "--out", str(out), *flags]
    assert compare.main(argv) == 0
    with (out / "table.csv").open() as handle:
        return {(row["method"], row["sources"], row["rule"]): row for row in csv.DictReader(handle)}


def evaluated(job: Job) -> dict[str, Any]:
    videos = open_split(job.config, job.dataset, job.split).videos()
    return summarise(collect(job.layout, videos), job.dataset, job.split)


# ------------------------------------------------------------- the same figures as evaluate


def test_decisions_and_scores_get_the_figures_of_evaluate(finished: Config, tmp_path: Path) -> None:
    asked = ("--selector", "mine=decisions", "--selector", "its=scores", "--thresholds", "config", "calibrated")
    rows = run(finished, tmp_path, *asked, "--baselines")
    summary = evaluated(toy_job(finished, "valid_u"))
    assert 0 < summary["figures"]["J&F"] < 1 and 0 < summary["counts"]["predicted_empty"] < 15
    assert set(summary["groups"]) == {"none", "one", "several"}
    for row in (rows["mine", "grid+gdino", ""], rows["its", "grid+gdino", "config"]):
        for name, value in summary["figures"].items():
            assert float(row[name]) == value
        for group, figures in summary["groups"].items():
            for name, value in figures.items():
                assert row[f"{group}: {name}"] == ("" if value is None else str(value))
    assert float(rows["its", "grid+gdino", "config"]["threshold"]) == THRESHOLD


def test_weights_scored_in_place_equal_score_files(finished: Config, tmp_path: Path) -> None:
    folder = Layout.of(finished, "toy", "train").folder(TRAIN_SELECTOR)
    places = {"files": "scores", "own": "pipeline", "folder": str(folder), "file": str(folder / "best.safetensors")}
    flags = [part for name, place in places.items() for part in ("--selector", f"{name}={place}")]
    rows = run(finished, tmp_path, *flags, "--baselines", "--thresholds", "config", "0.1", "best")
    for rule in ("config", "0.1", "best"):
        figures = [{**rows[name, "grid+gdino", rule], "method": ""} for name in places]
        assert all(found == figures[0] for found in figures)


def test_track_figures_are_those_of_training(finished: Config, tmp_path: Path) -> None:
    """Training validated its best epoch on the same tracks, at the threshold it calibrated."""
    folder = Layout.of(finished, "toy", "train").folder(TRAIN_SELECTOR)
    best = read_json(folder / "training.json", TRAIN_SELECTOR.name, TRAIN_SELECTOR.version)["best"]["validation"]
    row = run(finished, tmp_path, "--selector", "mine=pipeline", "--baselines", "--thresholds", "calibrated")
    found = row["mine", "grid+gdino", "calibrated"]
    assert float(found["threshold"]) == best["threshold"]
    for ours, theirs in (("track precision", "precision"), ("track recall", "recall"), ("track F1", "f1")):
        assert float(found[ours]) == pytest.approx(best[theirs], abs=1e-12)
    assert float(found["J&F"]) == pytest.approx(best["jf"], abs=1e-12)


def boxes(video: Video, expression: Expression, index: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Boxes that overlap each other and the objects; some begin late."""
    mask_HW = np.zeros(size, bool)
    number = int(expression.id)
    if index >= number % 2:
        mask_HW[1 + number % 3 : 8 + number % 3, number % 4 : 6 + number] = True
    return mask_HW


def test_a_protocol_that_looks_at_whole_videos(tmp_path: Path) -> None:
    """Ref-DAVIS17, protocol A: answers compete for pixels by their confidence, so both have to agree on it."""
    flags = config_files(tmp_path, {"datasets": {"ref_davis17": {"root": str(plant_davis(tmp_path / "data"))}}})
    job = job_of(flags, "ref_davis17", "val")
    finals = {"0": 2.0, "1": -1.0, "2": 0.5, "5": 3.0}
    answer(job, boxes, finals)
    evaluate.run(job)
    split = open_split(job.config, job.dataset, job.split)

    def method(view: View) -> list[Verdict]:
        """Track e answers expression e."""
        logits = [finals.get(expression.id, 0.0) for expression in view.video.expressions]
        own = np.eye(len(logits), dtype=bool)
        return [Verdict(np.full(len(logits), logit), own[e]) for e, logit in enumerate(logits)]

    measurer = Measurer(job.layout, split, [Contender("hand", method)], [("grid",)], 0.008, 0.7)
    for video in split.videos():
        measurer.add(video)
    (found,) = measurer.measurements()
    summary = evaluated(job)
    assert found.figures == summary["figures"] and found.groups == summary["groups"]
    assert 0 < summary["figures"]["A J&F"] < 1
    assert found.tracks is None, "these track files hold no labels"


# ------------------------------------------------------------- thresholds, runs, seeds


def test_the_best_threshold_is_the_best_of_the_sweep(finished: Config, tmp_path: Path) -> None:
    rows = run(finished, tmp_path, "--selector", "mine=scores", "--baselines", "--thresholds", "best")
    with (tmp_path / "sweep.csv").open() as handle:
        sweep = [float(row["J&F"]) for row in csv.DictReader(handle)]
    assert len(sweep) == 49 and len(set(sweep)) > 3
    assert float(rows["mine", "grid+gdino", "best"]["J&F"]) == max(sweep)
    asked = [f"{0.0001 * step:.4f}" for step in range(1, 200, 40)]  # below the sweep's first
    rows = run(finished, tmp_path, "--selector", "mine=scores", "--baselines", "--thresholds", "best", *asked)
    best = float(rows["mine", "grid+gdino", "best"]["J&F"])
    assert best == max(float(row["J&F"]) for row in rows.values()), "what was asked for counts too"


def test_no_threshold_is_chosen_for_who_did_not_ask(finished: Config, tmp_path: Path) -> None:
    rows = run(finished, tmp_path, "--selector", "mine=scores", "--baselines", "gdino", "--thresholds", "config")
    assert set(rows) == {("mine", "grid+gdino", "config")}


def test_labels_of_thresholds(finished: Config) -> None:
    job = toy_job(finished, "valid_u")
    assert thresholds_of(job, ["config", "calibrated", "0.3"], 0.45) == {
        "config": THRESHOLD,
        "calibrated": 0.45,
        "0.3": 0.3,
    }
    raw = finished.model_dump(mode="json")
    raw["datasets"]["toy"]["settings"]["selector"]["threshold"] = "auto"
    auto = toy_job(parse_config(raw), "valid_u")
    assert thresholds_of(auto, ["config"], 0.45) == {"config": 0.45}
    assert thresholds_of(auto, ["config", "calibrated"], 0.45) == {"calibrated": 0.45}, "not the same line twice"


def test_seeds_make_one_line_with_their_spread(finished: Config, tmp_path: Path) -> None:
    both = run(finished, tmp_path, "--selector", "sola=trained", "--baselines", "random", "--seeds", "0", "1")
    line, drawn = both["sola", "grid+gdino", "calibrated"], both["random", "grid+gdino", ""]
    folder = Layout.of(finished, "toy", "train").folder(TRAIN_SELECTOR)
    alone = run(finished, tmp_path, "--selector", f"a={folder}", "--selector", f"b={folder / 'sola-1'}", "--baselines")
    a, b = (float(alone[name, "grid+gdino", "calibrated"]["J&F"]) for name in "ab")
    assert a != b and line["runs"] == drawn["runs"] == "2"
    assert float(line["J&F"]) == pytest.approx((a + b) / 2)
    assert float(line["J&F ±"]) == pytest.approx(abs(a - b) / math.sqrt(2))
    assert alone["a", "grid+gdino", "calibrated"]["J&F ±"] == "", "one run has no spread"


def test_spread_by_hand() -> None:
    assert Spread.of([0.5]) == Spread(0.5, None)
    spread = Spread.of([0.2, 0.4, 0.9])
    assert spread.mean == pytest.approx(0.5) and spread.deviation == pytest.approx(math.sqrt(0.13))


def test_a_variant_is_trained_beside_the_configured_selector(finished: Config) -> None:
    job = toy_job(finished, "valid_u")
    own, other = trained(job, "sola", 0), trained(job, "sola", 1)
    assert other.parent == own.parent / "sola-1" and own.read_bytes() != other.read_bytes()
    with pytest.raises(ValueError, match=r"sola-7: holds no finished training.*--split train --name sola --seed 7"):
        trained(job, "sola", 7)


# ------------------------------------------------------------- files


def test_two_runs_leave_the_same_bytes(finished: Config, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ["--selector", "mine=scores", "--selector", "sola=trained", "--seeds", "0", "1", "--sources", "grid+gdino"]
    run(finished, out, *flags)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(before) == {
        "table.md", "table.csv", "sweep.csv", "recall.csv", "compare.json", "compare.png", "compare.svg", MARK
    }  # fmt: skip
    shutil.rmtree(out)
    run(finished, out, *flags)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_the_markdown_table_and_its_notes(finished: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--selector", "mine=scores", "--baselines", "oracle", "none", "--sources", "grid", "grid+gdino")
    rows = run(finished, tmp_path, *flags, "--thresholds", "0.37", "best")
    text = (tmp_path / "table.md").read_text()
    assert text.strip() in capsys.readouterr().out
    assert "| oracle | grid | – | 100.0 | 100 % |" in text and "| oracle | grid+gdino | – | 100.0 | 100 % |" in text
    jf = 100 * float(rows["mine", "grid+gdino", "0.37"]["J&F"])
    assert f"| mine | grid+gdino | 0.37 | {jf:.1f} | {jf:.0f} % |" in text
    assert "J&F by group:\n\n| method | tracks | threshold | none | one | several |" in text
    assert "3 videos, 15 expressions" in text and "official DAVIS J and F" in text
    assert "best here" in text and "chosen on this very split" in text
    assert ("mine", "grid", "0.37") not in rows, "score files speak of the sources they were made from"


def test_recall_of_tracks_reaches_all_objects(finished: Config, tmp_path: Path) -> None:
    run(finished, tmp_path, "--baselines", "gdino", "--selector", "mine=scores", "--sources", "gdino", "grid+gdino")
    with (tmp_path / "recall.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert {(row["sources"], row["order"]) for row in rows} == {
        ("gdino", "as tracked"), ("gdino", "gdino"), ("grid+gdino", "as tracked"), ("grid+gdino", "gdino"),
        ("grid+gdino", "mine"),
    }  # fmt: skip
    for key in {(row["sources"], row["order"], row["IoU"]) for row in rows}:
        recall = [float(row["recall"]) for row in rows if (row["sources"], row["order"], row["IoU"]) == key]
        assert recall == sorted(recall) and recall[-1] == 1


def test_what_was_compared_is_written_down(finished: Config, tmp_path: Path) -> None:
    run(finished, tmp_path, "--baselines", "none", "--selector", "mine=scores", "--limit", "2")
    facts = json.loads((tmp_path / "compare.json").read_text())
    assert facts["videos"] == ["v0", "v1"] and facts["baselines"] == ["none"] and facts["selectors"] == ["mine=scores"]
    assert facts["command"].startswith("referee compare --config ")
    assert "the first 2 videos, 10 expressions" in (tmp_path / "table.md").read_text()


def test_write_puts_the_table_between_its_markers(finished: Config, tmp_path: Path) -> None:
    document = tmp_path / "results.md"
    begin, end = markers("toy/valid_u")
    document.write_text(f"# Before\n{begin}\nold figures\n{end}\nafter\n")
    flags = ("--baselines", "none", "--selector", "mine=scores", "--write", str(document))
    run(finished, tmp_path / "out", *flags)
    text = document.read_text()
    assert text.startswith(f"# Before\n{begin}\n\n`referee compare") and text.endswith(f"\n{end}\nafter\n")
    assert "old figures" not in text and "| none | grid+gdino |" in text
    run(finished, tmp_path / "out", *flags)
    assert document.read_text() == text, "written twice, it stays as it is"


@pytest.mark.parametrize("text", ["", "{begin}", "{end}\n{begin}", "{begin}\n{end}\n{begin}\n{end}"])
def test_a_document_without_its_markers_is_left_alone(text: str, tmp_path: Path) -> None:
    begin, end = markers("toy/valid_u")
    document = tmp_path / "results.md"
    document.write_text(text.format(begin=begin, end=end))
    before = document.read_text()
    with pytest.raises(ValueError, match=r"results\.md: put the lines <!-- compare toy/valid_u: begin -->"):
        rewrite(document, "toy/valid_u", "x")
    assert document.read_text() == before
    with pytest.raises(ValueError, match="does not exist"):
        rewrite(tmp_path / "other.md", "toy/valid_u", "x")


# ------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--selector", "mine"), "give NAME=PLACE"),
        (("--selector", "mine=nowhere"), "nowhere: holds neither best.safetensors nor score files"),
        (("--selector", "soc=trained", "--seeds", "5"), "no finished training of soc with seed 5"),
        (("--baselines", "biggest"), "no baseline 'biggest'"),
        (("--sources", "grid+dino"), "join some of gt, grid, gdino, seg, sam3 by '+'"),
        (("--sources", "grid+grid"), "join some of"),
        (("--sources", "grid", "--baselines", "gdino"), "gdino needs tracks of gdino; --sources has grid"),
        (("--selector", "mine=scores", "--sources", "gdino"), "mine needs tracks of grid+gdino; --sources has gdino"),
        (("--selector", "mine=scores", "--thresholds", "1.5"), "threshold '1.5': give a number in 0 … 1"),
        (("--split", "train", "--selector", "mine=scores"), "run `python -m stages.score_tracks --dataset toy"),
    ],
)
def test_wrong_requests_say_what_to_do(
    flags: tuple[str, ...], message: str, folder: Path, finished: Config, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    config = str(folder / "config.yaml")
    asked = {"--baselines": ["none"], "--selector": []}
    argv = ["--config", config, "--dataset", "toy", "--split", "valid_u", "--out", str(tmp_path / "out")]
    for name, values in asked.items():
        argv += [] if name in flags else ([name, *values] if values else [])
    if "--selector" not in flags:
        argv += ["--selector", "own=pipeline"]
    assert compare.main([*argv, *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_split_without_truth_cannot_be_compared_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from support.trainings import toy_config, write_split

    config = toy_config(tmp_path)
    write_split(tmp_path / "data/toy/valid", 1, 0, truth=False)
    with pytest.raises(ValueError, match="toy/valid has no ground truth"):
        compare.sound_videos(toy_job(config, "valid"), open_split(config, "toy", "valid"))


def test_scores_of_other_tracks_are_refused(finished: Config, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(Path(finished.paths.cache).parent, tmp_path / "copy"))
    raw = yaml.safe_load((copy / "config.yaml").read_text())
    raw["paths"] |= {"cache": str(copy / "cache"), "results": str(copy / "results")}
    config = parse_config(raw)
    job = toy_job(config, "valid_u")
    video = open_split(config, "toy", "valid_u").videos()[1]
    write_toy_tracks(job.layout, video, "grid", seed=5)
    request = compare.Request(["mine=scores"], [], [], [("grid", "gdino")], ["config"], [0], "", tmp_path / "out", None)
    with pytest.raises(CacheError, match=r"scores/v1\.json: was made from other files than there are now"):
        compare.run(job, request)
    score_tracks.run(job)
    stale = compare.Request(
        ["mine=decisions"], [], [], [("grid", "gdino")], ["config"], [0], "", tmp_path / "out", None
    )
    with pytest.raises(CacheError, match=r"decisions/v1\.json: was made from other files"):
        compare.run(job, stale)


def test_the_pipeline_decides_by_the_same_rule(finished: Config) -> None:
    """σ(score) > threshold on both sides: no track falls between two ways of rounding."""
    job = toy_job(finished, "valid_u")
    for video in open_split(finished, "toy", "valid_u").videos():
        scores = read_choices(job.layout.file(SCORE_TRACKS, video.id), SCORE_TRACKS)
        decisions = read_choices(job.layout.file(RERANK_TRACKS, video.id), RERANK_TRACKS)
        for name, candidates in scores.items():
            verdict = Verdict(np.array([c.score for c in candidates]))
            assert verdict.choose(THRESHOLD).tolist() == [c.chosen for c in decisions[name]]


# ------------------------------------------------------------- the workflow


def test_the_workflow_trains_every_seed_once(tmp_path: Path) -> None:
    """The configured training serves for its own seed; the others are variants of it. Evidence is gathered on two splits."""
    for name in LINKS:
        (tmp_path / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "snakemake", "results/compare/shapes/valid_u", "--cores", "1", "-n"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    jobs = jobs_of(done)
    settings = settings_of(load_config(ROOT / "config.yaml"), "shapes")
    section, lines = settings.compare, settings.compare.decisions.values()
    chosen = {(asked.partition("=")[0], seed, None) for asked in section.selectors for seed in section.seeds}
    decided = {
        (line.selector, seed, line.variant)
        for line in lines
        for seed in section.seeds[: line.seeds]
        if line.selector not in (None, "scores")
    }
    trainings = len(chosen | decided)
    assert all(asked.endswith("=trained") for asked in section.selectors) and 0 in section.seeds
    assert all(line.seeds == 1 for line in lines if line.variant is not None)
    assert (jobs["compare"], jobs["train_selector"], jobs["train_variant"]) == (1, 1, trainings - 1)
    names = made_from(settings, [name for line in lines for name in line.evidence])
    assert len(names) > 5 and jobs["gather_evidence"] == 2 * settings.run.n_pids * len(names)
    assert "score_tracks" not in jobs and "rerank_tracks" not in jobs
