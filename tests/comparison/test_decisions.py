"""compare.decisions: lines decided in memory get the figures of the stages; what they are fitted to; what they cost."""

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.decisions import FITTED, LINES, SETTINGS, decidable, say_who_was_asked, with_settings, write_seconds
from support.trainings import toy_job

from stages import evaluate, fit_fusion, gather_evidence, rerank_tracks, score_tracks
from stages.comparison.decisions import open_decisions
from stages.comparison.existence import FACTORS
from stages.comparison.known import Known, made_from
from stages.comparison.selectors import trained
from stages.comparison.video import VideoScorer, open_view
from stages.core.config.file import Config
from stages.core.config.loading import ConfigError, decider, settings_of
from stages.core.run.cli import Job
from stages.core.state.cache import CacheError, read_json, read_stamp
from stages.core.state.evidence_file import read_evidence, write_evidence
from stages.core.state.graph import FIT_FUSION, GATHER_EVIDENCE, Layout
from stages.datasets import open_split
from stages.metrics.report import collect, summarise
from stages.selectors.checkpoint import read_header
from stages.tools import compare

MIX = "grid+gdino"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    yield decidable(tmp_path_factory.mktemp("decisions"))


def run(config: Config, out: Path, *flags: str) -> dict[str, dict[str, str]]:
    """The rows of table.csv by name."""
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    argv = ["--config", str(file), "--dataset", "toy", "--split", "valid_u", "--out", str(out), *flags]
    assert compare.main(argv) == 0
    with (out / "table.csv").open() as handle:
        return {row["method"]: row for row in csv.DictReader(handle)}


def decided_by_the_stages(config: Config, rerank: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The summary of evaluate, and the fitted fusion, with these keys of `rerank`."""
    config = with_settings(config, {"rerank": rerank})
    for split in ("train", "valid_u"):
        score_tracks.run(toy_job(config, split))
    fusion = None
    if rerank["fusion"] == "fitted":
        fit_fusion.run(toy_job(config, "train"))
        path = Layout.of(config, "toy", "train").fusion
        fusion = read_json(path, FIT_FUSION.name, FIT_FUSION.version)
    rerank_tracks.run(toy_job(config, "valid_u"))
    evaluate.run(toy_job(config, "valid_u"))
    job = toy_job(config, "valid_u")
    return summarise(collect(job.layout, open_split(config, "toy", "valid_u").videos()), "toy", "valid_u"), fusion


@pytest.mark.parametrize("name", ["both", "fixed"])
def test_a_line_gets_the_figures_of_the_stages(world: Config, tmp_path: Path, name: str) -> None:
    """fit_fusion, rerank_tracks and evaluate decide from files what a line decides in memory."""
    line = world.datasets["toy"].settings["compare"]["decisions"][name]
    summary, fusion = decided_by_the_stages(world, line)
    row = run(world, tmp_path / "out", "--decisions", name, "--baselines")[name]
    for figure, value in summary["figures"].items():
        assert float(row[figure]) == pytest.approx(value, abs=1e-12)
    for group, figures in summary["groups"].items():
        for figure, value in figures.items():
            found = row[f"{group}: {figure}"]
            assert (found == "") if value is None else float(found) == pytest.approx(value, abs=1e-12)
    assert 0 < float(row["J&F"]) < 1, "neither perfect nor nothing"
    (report,) = json.loads((tmp_path / "out/compare.json").read_text())["decisions"][name]
    assert report["fitted_on"] == (None if fusion is None else "toy/train")
    if fusion is not None:
        assert report["weights"] == pytest.approx(fusion["weights"]) and report["rule"] == fusion["rule"]
        assert report["moves"] == pytest.approx(fusion["report"]["moves"])


def test_every_line_is_in_the_table_of_decisions(world: Config, tmp_path: Path) -> None:
    rows = run(world, tmp_path / "out", "--baselines", "oracle")
    lines = SETTINGS["compare"]["decisions"]
    assert set(lines) <= set(rows)
    assert rows["scores"]["runs"] == "2" and rows["both"]["runs"] == "1" and rows["detector"]["runs"] == "1"
    assert float(rows["scores"]["J&F ±"]) > 0 and rows["both"]["J&F ±"] == ""
    assert rows["oracle"]["questions per video"] == "" and float(rows["both"]["questions per video"]) == 0
    text = (tmp_path / "out/table.md").read_text()
    plain, decisions = text.split("Decisions from scores and evidence:\n\n")
    assert "| oracle |" in plain and "| sola |" in plain and "| both |" not in plain
    head = "| decision | tracks | runs | J&F | of oracle | J&F target | N-acc | T-acc | Final | questions | seconds |"
    assert decisions.startswith(head) and "J&F of decisions by group:" in decisions
    jf, top = (100 * float(rows[name]["J&F"]) for name in ("both", "oracle"))
    assert f"| both | {MIX} | 1 | {jf:.1f} | {100 * jf / top:.0f} % |" in decisions
    reports = json.loads((tmp_path / "out/compare.json").read_text())["decisions"]
    assert [report["seeds"] for report in reports["scores"]] == [[0], [1]]
    assert "score" in reports["both"][0]["weights"] and "score" not in reports["detector"][0]["weights"]
    assert reports["detector"][0]["seeds"] == [] and reports["detector"][0]["weights"]["evidence.detector"] > 0
    assert reports["fixed"][0]["weights"] == {"score": 1.0, "evidence.detector": 0.5}


def test_two_seeds_are_the_mean_of_their_runs(world: Config) -> None:
    contenders = open_decisions(toy_job(world, "valid_u"), ["scores"], [0, 1], "cpu")
    assert [contender.run for contender in contenders] == ["seed 0", "seed 1"]
    one, two = (contender.report for contender in contenders)
    assert one is not None and two is not None and one["weights"] != two["weights"]
    (alone,) = open_decisions(toy_job(world, "valid_u"), ["scores"], [1], "cpu")
    assert alone.report == two


def test_a_mean_of_seeds_is_one_run_by_the_mean_of_their_logits(world: Config) -> None:
    fixed = {"seeds": 2, "fusion": "fixed", "evidence": [], "rule": {"kind": "threshold"}}
    lines = {"each": fixed, "pooled": {**fixed, "mean_of_seeds": True}}
    config = with_settings(world, {"compare": {"decisions": lines}})
    job = toy_job(config, "valid_u")
    one, two, mean = open_decisions(job, ["each", "pooled"], [0, 1], "cpu")
    assert mean.run == "mean of seeds 0, 1" and mean.report is not None and mean.report["seeds"] == [0, 1]
    thresholds = [contender.report["rule"]["low"] for contender in (one, two, mean) if contender.report]
    assert thresholds[2] == pytest.approx((thresholds[0] + thresholds[1]) / 2)
    split, settings = open_split(config, "toy", "valid_u"), settings_of(config, "toy")
    sources, different = settings.selector.sources.evaluate, 0
    for video in split.videos():
        view = open_view(VideoScorer(job.layout, split, video, sources, settings.evaluate.boundary_ratio), sources)
        for a, b, both in zip(one.method(view), two.method(view), mean.method(view), strict=True):
            assert both.logits_N == pytest.approx((a.logits_N + b.logits_N) / 2)
            different += int((a.logits_N != b.logits_N).any())
    assert different > 0


def test_no_decision_is_made_for_who_asked_for_a_selector(world: Config, tmp_path: Path) -> None:
    asked = ("--selector", "sola=trained", "--seeds", "0", "--baselines", "--thresholds", "calibrated")
    assert set(run(world, tmp_path / "out", *asked)) == {"sola"}
    assert set(run(world, tmp_path / "more", *asked, "--decisions", "both")) == {"sola", "both"}
    assert set(run(world, tmp_path / "only", "--decisions", "both", "--baselines")) == {"both"}


def test_two_runs_leave_the_same_bytes(world: Config, tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = []
    for _ in range(2):
        run(world, out, "--baselines", "oracle", "--decisions", "scores", "both", "mean")
        files.append({name: (out / name).read_bytes() for name in ("table.md", "table.csv", "compare.json")})
    assert files[0] == files[1]


# ------------------------------------------------------------- trainings of other settings


def test_a_variant_is_trained_with_its_own_settings_in_its_own_folder(world: Config) -> None:
    job = toy_job(world, "valid_u")
    own, varied = trained(job, "sola", 0), trained(job, "sola", 0, "course")
    assert varied.parent == own.parent / "sola-course-0"
    assert tuple(read_header(own).inputs) == () and tuple(read_header(varied).inputs) == ("course",)
    with pytest.raises(ValueError, match=r"sola-course-1: holds no finished training.* --seed 1 --variant course`"):
        trained(job, "sola", 1, "course")


# ------------------------------------------------------------- the weight of existence


def test_figures_by_the_weight_of_existence(world: Config, tmp_path: Path) -> None:
    """Of evidence that knows whether there is such an object."""
    lines = {"line": {"selector": None, "evidence": ["detector", "exists_too"], **FITTED}, "both": LINES["both"]}
    over = {"evidence": {"exists_too": {"like": "detector"}}, "compare": {"decisions": lines}}
    config = with_settings(world, over)
    for split in ("train", "valid_u"):
        gather_evidence.run(toy_job(config, split), "exists_too")
        say_what_exists(toy_job(config, split), "exists_too")
    rows = run(config, out := tmp_path / "out", "--baselines", "--decisions", "line", "both")
    with (out / "existence.csv").open() as handle:
        curve = {float(row["rule"]): row for row in csv.DictReader(handle) if row["method"] == "line"}
    assert list(curve) == list(FACTORS), "and none of the line that does not look at existence"
    for figure in ("J&F", "N-acc", "T-acc", "Final"):
        assert float(curve[1.0][figure]) == float(rows["line"][figure])
    assert float(curve[0.0]["Final"]) < float(curve[1.0]["Final"])
    assert (out / "existence.png").stat().st_size > 0 and (out / "existence.svg").stat().st_size > 0
    run(config, out, "--baselines", "--decisions", "both")
    assert not list(out.glob("existence.*")), "a curve of what was compared before does not stay"


def say_what_exists(job: Job, name: str) -> None:
    """Evidence again, with what the truth says of existence."""
    for video in open_split(job.config, job.dataset, job.split).videos():
        path = job.layout.file(GATHER_EVIDENCE, video.id, name)
        truth = {expression.id: 2.0 if expression.annotations else -2.0 for expression in video.expressions}
        known = {e: replace(of, existence=truth[e]) for e, of in read_evidence(path).items()}
        write_evidence(path, read_stamp(path, GATHER_EVIDENCE.name), known, {})


# ------------------------------------------------------------- what is refused


def test_the_split_that_fusions_are_fitted_to_is_not_compared(world: Config) -> None:
    for over, split in (({}, "train"), ({"rerank": {"fit_on": None}}, "valid_u")):  # null: validate_on, toy/valid_u
        with pytest.raises(ValueError, match=rf"toy/{split}: fusions are fitted to this split.*rerank\.fit_on"):
            open_decisions(toy_job(with_settings(world, over), split), ["both"], [0], "cpu")
    fixed = open_decisions(toy_job(world, "train"), ["fixed"], [0], "cpu")
    assert len(fixed) == 1, "weights of the config are fitted to nothing"


def test_evidence_about_the_candidates_of_one_selector_is_refused(world: Config) -> None:
    lines = {"judged": {"evidence": ["judge"], **FITTED}, "averaged": {"evidence": ["mixed"], **FITTED}}
    over = {
        "evidence": {
            "judge": {"max_candidates": 4},
            "mixed": {**SETTINGS["evidence"]["twice"], "of": ["detector", "judge"]},
        },
        "compare": {"decisions": lines},
    }
    job = toy_job(with_settings(world, over), "valid_u")
    for name in lines:
        with pytest.raises(ValueError, match=rf"{name}: evidence 'judge' .*evidence\.judge\.max_candidates to null"):
            open_decisions(job, [name], [0], "cpu")


def test_unknown_lines_and_missing_evidence_are_named(world: Config) -> None:
    job = toy_job(world, "valid_u")
    with pytest.raises(ValueError, match=r"no line 'bot' in compare\.decisions; did you mean 'both'"):
        open_decisions(job, ["bot"], [0], "cpu")
    other = {"evidence": {"more": {"like": "detector"}}, "compare": {"decisions": {"more": {"evidence": ["more"]}}}}
    job = toy_job(with_settings(world, merge_fitted(other)), "valid_u")
    with pytest.raises(CacheError, match=r"evidence/more/v0\.json: does not exist"):
        open_decisions(job, ["more"], [0], "cpu")


def merge_fitted(over: dict[str, Any]) -> dict[str, Any]:
    for line in over["compare"]["decisions"].values():
        line.update(FITTED)
    return over


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"evidence": ["nobody"]}, r"compare\.decisions\.x: no 'nobody' in `evidence`"),
        ({"rule": {"kind": "magic"}}, r"compare\.decisions\.x:\n.*rule\.kind"),
        ({"selector": "solar"}, r"compare\.decisions\.x: no selector 'solar'; did you mean 'sola'"),
        ({"variant": "unheard"}, r"decisions: x: no 'unheard' in compare\.variants"),
        ({"selector": None, "variant": "course"}, r"variant course: selector: null has no trainings"),
        ({"evidense": []}, r"compare\.decisions\.x\.evidense: unknown key; did you mean 'evidence'"),
        ({"evidence": ["detector"], "fusion": "fixed"}, r"compare\.decisions\.x\.weights: detector has no weight"),
    ],
)
def test_a_line_that_means_nothing_is_refused_with_the_config(world: Config, line: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        with_settings(world, {"compare": {"decisions": {"x": line}}})


def test_what_a_line_leaves_out_is_as_in_rerank(world: Config) -> None:
    over = {
        "rerank": {"fusion": "fitted", "same_iou": 0.7, "rule": {"relative": {"ratio": 0.8}}},
        "compare": {"decisions": {"x": {"rule": {"kind": "relative"}}, "y": {"same_iou": None}}},
    }
    settings = settings_of(with_settings(world, over), "toy")
    x, y = decider(settings, "x"), decider(settings, "y")
    assert (x.fusion, x.same_iou, x.rule.kind, x.rule.own.ratio, x.rule.own.low) == (
        "fitted",
        0.7,
        "relative",
        0.8,
        "auto",
    )
    assert y.same_iou is None and y.rule.kind == "threshold" and y.evidence == []


def test_evidence_like_another(world: Config) -> None:
    evidence = settings_of(world, "toy").evidence
    assert evidence["again"].pool == "mean" and evidence["again"].match_iou == evidence["detector"].match_iou
    chain = {"a": {"like": "again", "match_iou": 0.9}, "detector": {"match_iou": 0.25}}
    evidence = settings_of(with_settings(world, {"evidence": chain}), "toy").evidence
    assert (evidence["a"].match_iou, evidence["a"].pool) == (0.9, "mean")
    for wrong, words in (
        ({"a": {"like": "agian"}}, "did you mean 'again'"),
        ({"a": {"like": "a"}}, "it is like itself"),
    ):
        with pytest.raises(ConfigError, match=rf"evidence\.a\.like: .*{words}"):
            with_settings(world, {"evidence": wrong})


# ------------------------------------------------------------- what a line costs


def test_questions_and_seconds_of_a_line(world: Config, tmp_path: Path) -> None:
    """Distinct replies of the compared split's files, of the runs behind an average too."""
    job = toy_job(world, "valid_u")
    assert made_from(job.settings, ["twice"]) == ["twice", "detector", "again"]
    say_who_was_asked(job, "again", {"v0": ["a", "b", "b"], "v1": ["c"], "v2": []})
    for name, seconds in (("detector", 0.5), ("again", 2.0), ("twice", 0.25)):
        write_seconds(job, name, seconds)
    try:
        rows = run(world, tmp_path / "out", "--baselines", "--decisions", "mean", "detector", "scores")
    finally:
        say_who_was_asked(job, "again", {"v0": [], "v1": [], "v2": []})
    assert float(rows["mean"]["questions per video"]) == 1.0, "a, b and c in three videos"
    assert float(rows["mean"]["seconds per video"]) == pytest.approx(2.75)
    assert float(rows["detector"]["questions per video"]) == 0 and float(rows["detector"]["seconds per video"]) == 0.5
    assert float(rows["scores"]["questions per video"]) == 0 == float(rows["scores"]["seconds per video"])
    assert f"| mean | {MIX} | 1 |" in (text := (tmp_path / "out/table.md").read_text()) and "| 1 | 2.8 |\n" in text


def test_seconds_that_are_not_known_for_every_video_are_not_told(world: Config) -> None:
    job = toy_job(world, "valid_u")
    write_seconds(job, "detector", 0.5)
    job.layout.runtime(GATHER_EVIDENCE, "v1", "detector").unlink()
    split, known = open_split(world, "toy", "valid_u"), Known(job, ["detector"], overlaps=False)
    for video in split.videos():
        known.sentences(open_view(VideoScorer(job.layout, split, video, ("grid", "gdino"), 0.008), ("grid", "gdino")))
    assert known.cost(["detector"]).seconds is None and known.cost([]).seconds == 0
    write_seconds(job, "detector", 0.5)
    assert math.isclose(known.cost(["detector"]).questions, 0)
