"""What every rule says of itself: memory, time, devices, a log, a benchmark; and that no profile forgets a rule."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.api import SnakemakeApi
from snakemake.iocontainers import Wildcards
from snakemake.settings.types import OutputSettings, ResourceSettings
from support.project import ROOT
from support.samples import MODELS, C, D

from stages.core.config.loading import load_config, merge, settings_of
from stages.core.config.model import roles
from stages.core.config.sections import Settings
from stages.core.config.selector_sections import Detector, Tda
from stages.core.state.graph import STAGES
from stages.core.tables import SELECTORS, SOURCES
from stages.selectors.architectures import Architecture
from stages.selectors.checkpoint import IMPORTED, Header, save_selector

PROFILES = ROOT / "workflow/profiles"
MAKES_NOTHING = {"help"}
# Where a rule runs a stage under another name.
STAGE_OF = {"train_variant": "train_selector"}


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The rules of the Snakefile by name, as Snakemake reads them with the project's config."""
    with read_rules(tmp_path_factory.mktemp("rules"), {}) as found:
        yield found


@contextmanager
def read_rules(place: Path, over: dict[str, Any], replaced: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The rules with the project's config and what is merged over it, or put in place of its sections."""
    config = merge(yaml.safe_load((ROOT / "config.yaml").read_text()), over)
    config |= {name: over[name] for name in replaced}
    (place / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    with SnakemakeApi(OutputSettings()) as api:
        workflow = api.workflow(ResourceSettings(cores=8), snakefile=ROOT / "Snakefile", workdir=place)
        yield {rule.name: rule for rule in workflow._workflow.rules}


def makers(rules: dict[str, Any]) -> dict[str, Any]:
    return {name: rule for name, rule in rules.items() if name not in MAKES_NOTHING}


def resources(rule: Any, attempt: int = 1, **wildcards: str) -> dict[str, Any]:
    """What a job of the rule asks for."""
    values = {"dataset": "mevis", "split": "valid_u", "pid": "0", "n": "4", **wildcards}
    return dict(rule.expand_resources(Wildcards(fromdict=values), [], attempt).items())


def inputs(rule: Any, **wildcards: str) -> set[str]:
    """The files a job of the rule waits for, below the cache's folder."""
    values = {"dataset": "mevis", "split": "valid_u", "pid": "0", "n": "4", **wildcards}
    files = rule.expand_input(Wildcards(fromdict=values))[0]
    return {str(file).removeprefix("results/cache/") for file in files}


def wildcards_of(name: str) -> list[dict[str, str]]:
    """A job of every branch of a rule's stage."""
    stage = STAGES.get(STAGE_OF.get(name, name))
    if name == "train_variant":
        return [{"name": selector, "variant": "", "seed": "1"} for selector in SELECTORS]
    if stage is None or stage.per is None:
        return [{}]
    branches = {"source": SOURCES, "evidence": own_settings().evidence}[stage.per]
    return [{stage.per: branch} for branch in branches]


def own_settings() -> Settings:
    return settings_of(load_config(ROOT / "config.yaml"), "mevis")


def test_every_rule_says_what_it_takes_and_writes_what_it_did(rules: dict[str, Any]) -> None:
    lacking = {
        name: sorted({"mem_mb", "runtime"} - set(rule.resources))
        + [what for what in ("benchmark", "log", "conda_env") if not getattr(rule, what)]
        for name, rule in makers(rules).items()
    }
    assert {name: what for name, what in lacking.items() if what} == {}
    for name, rule in makers(rules).items():
        assert str(rule.benchmark).endswith(".jsonl"), name
        assert Path(str(rule.benchmark)).with_suffix(".log") == Path(str(rule.log[0])), name


def test_memory_and_time_grow_with_each_attempt(rules: dict[str, Any]) -> None:
    for name, rule in makers(rules).items():
        first, third = resources(rule), resources(rule, attempt=3)
        assert 0 < first["mem_mb"] < third["mem_mb"] and 0 < first["runtime"] < third["runtime"], name


def test_devices_are_those_of_the_graph(rules: dict[str, Any]) -> None:
    own = own_settings()
    for name, rule in rules.items():
        stage = STAGES.get(STAGE_OF.get(name, name))
        for wildcards in wildcards_of(name) if stage else []:
            asked = resources(rule, **wildcards).get("gpu", 0)
            branch = wildcards.get("source") or wildcards.get("evidence")
            assert asked == stage.gpus(own, branch), (name, wildcards)
    assert set(STAGES) <= set(rules)


def test_a_detector_is_waited_for_where_a_selector_sees_its_scores(rules: dict[str, Any], tmp_path: Path) -> None:
    prompts = {split: f"mevis/{split}/done/generate_prompts-gdino.json" for split in ("train", "valid_u")}
    variant = {"name": "soc", "seed": "1", "variant": ""}
    plain = [inputs(rules["score_tracks"]), inputs(rules["train_selector"], split="train")]
    assert not set(prompts.values()) & set.union(*plain)
    only_grid = {"sources": {"train": ["gt"], "evaluate": ["grid"]}}
    with read_rules(tmp_path, {"selector": {"inputs": ["detector"], **only_grid}}) as seeing:
        assert prompts["valid_u"] in inputs(seeing["score_tracks"])
        for name, wildcards in (("train_selector", {}), ("train_variant", variant)):
            assert set(prompts.values()) <= inputs(seeing[name], split="train", **wildcards), name
        assert prompts["valid_u"] in inputs(seeing["compare"])


def test_evidence_waits_for_scores_only_where_it_uses_them(tmp_path: Path) -> None:
    judge, mean = {"max_candidates": 4}, {"kind": "average", "of": ["detector", "judge"], "weights": "fitted"}
    named = {"judge": judge, "mean": {**mean, "drop_invalid": True, "min_mass": 0.5}}
    with read_rules(tmp_path, {"evidence": named}) as found:
        gather = found["gather_evidence"]
        waits = {name: inputs(gather, split="valid", evidence=name) for name in ("detector", "judge", "mean")}
    scored = {name for name, files in waits.items() if "mevis/valid/done/score_tracks.json" in files}
    assert scored == {"judge"}
    assert "mevis/valid/done/build_tracks-grid.json" in waits["detector"] & waits["mean"]
    for split in ("valid", "valid_u"):  # weights are fitted to valid_u
        assert f"mevis/{split}/done/gather_evidence-judge.json" in waits["mean"]


def test_a_fusion_is_fitted_to_another_split_before_it_decides(rules: dict[str, Any], tmp_path: Path) -> None:
    fitted = "mevis/valid_u/done/fit_fusion.json"
    assert fitted not in inputs(rules["rerank_tracks"], split="valid")
    with read_rules(tmp_path, {"rerank": {"evidence": ["detector"], "fusion": "fitted"}}) as found:
        needed = {f"mevis/{{}}/done/{task}.json" for task in ("score_tracks", "gather_evidence-detector")}
        assert {fitted, *(file.format("valid") for file in needed)} == inputs(found["rerank_tracks"], split="valid")
        assert {file.format("valid_u") for file in needed} == inputs(found["fit_fusion"])


def test_a_fusion_of_a_file_waits_for_no_other_split(tmp_path: Path) -> None:
    rerank = {"evidence": ["detector"], "fusion": "fitted", "fusion_file": "mine/fusion.json"}
    selector = {"weights": "mine/course.safetensors", "train": None}
    for chosen in (selector, {}):
        with read_rules(tmp_path, {"rerank": rerank, "datasets": {"mevis": {"selector": chosen}}}) as found:
            needed = {f"mevis/valid/done/{task}.json" for task in ("score_tracks", "gather_evidence-detector")}
            if not chosen:
                with pytest.raises(Exception, match=r"selector\.weights is null.* rerank\.fusion_file: null"):
                    inputs(found["rerank_tracks"], split="valid")
            else:
                assert inputs(found["rerank_tracks"], split="valid") == {*needed, "mine/fusion.json"}


def test_a_comparison_waits_for_all_that_its_decisions_are_made_from(tmp_path: Path) -> None:
    """Evidence, tracks and text of both splits, and a training per seed and variant, each of what it sees itself."""
    lines = {
        "one": {"selector": "course", "seeds": 2, "evidence": ["judge_mean"]},
        "two": {"selector": "sola", "variant": "with_courses"},
        "three": {"selector": None, "evidence": ["detector"], "fusion": "fixed", "weights": {"detector": 1.0}},
    }
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["datasets"]["shapes"]["settings"]["compare"] |= {"selectors": [], "seeds": [4, 5], "decisions": lines}
    with read_rules(tmp_path, {"datasets": raw["datasets"]}, replaced=("datasets",)) as found:
        needed = inputs(found["compare"], dataset="shapes", split="valid_u")
        of_one = inputs(found["gather_evidence"], dataset="shapes", split="valid_u", evidence="judge_mean")
        blind, seeing = (
            inputs(found["train_variant"], dataset="shapes", split="train", name="course", variant=label, seed="4")
            for label in ("-no_detector", "")
        )
        with pytest.raises(Exception, match=r"shapes/dev: compare\.decisions are fitted to this split"):
            inputs(found["compare"], dataset="shapes", split="dev")
    for split in ("dev", "valid_u"):
        tasks = ("gather_evidence-judge_mean", "encode_text", "build_tracks-grid", "generate_prompts-gdino")
        assert {f"shapes/{split}/done/{task}.json" for task in tasks} <= needed
    assert "shapes/valid_u/done/gather_evidence-detector.json" in needed
    assert "shapes/dev/done/gather_evidence-detector.json" not in needed, "given weights are fitted to nothing"
    trainings = {file.rsplit("/", 1)[1] for file in needed if "/train_selector" in file}
    assert trainings == {f"train_selector-{name}.json" for name in ("course-4", "course-5", "sola-with_courses-4")}
    assert "shapes/dev/done/gather_evidence-judge.json" in of_one, "its weights are fitted there"
    waits = "shapes/train/done/generate_prompts-gdino.json"
    assert waits in seeing and waits not in blind


@pytest.mark.parametrize("seen", [(), ("detector",)])
def test_a_given_selector_says_itself_what_it_sees(tmp_path: Path, seen: tuple[str, ...]) -> None:
    architecture = Architecture("soc", MODELS["soc"], Tda(alpha=0, temperature=1), seen)
    detector = Detector(source="gdino", match_iou=0.5) if seen else None
    header = Header.of(architecture, C, D, {"sam2": IMPORTED, "text": IMPORTED}, 0.5, IMPORTED, detector)
    save_selector(tmp_path / "given.safetensors", architecture.build(C, D), header)
    given = {"weights": str(tmp_path / "given.safetensors"), "train": None}
    over = {"selector": {"sources": {"evaluate": ["grid"]}}, "datasets": {"mevis": {"selector": given}}}
    over |= {"evidence": {"second": {"kind": "selector", "weights": given["weights"]}}}
    with read_rules(tmp_path, over) as found:
        scored = inputs(found["score_tracks"])
        gathered = inputs(found["gather_evidence"], evidence="second")
        asked = resources(found["gather_evidence"], evidence="second")
    assert ("mevis/valid_u/done/generate_prompts-gdino.json" in scored) == bool(seen)
    assert scored <= gathered and given["weights"] in gathered and asked["gpu"] == 1


def test_a_profile_that_names_rules_names_every_rule_that_may_ask_for_a_device(rules: dict[str, Any]) -> None:
    asking = {name for name, rule in rules.items() if "gpu" in rule.resources}
    assert asking >= {"build_tracks", "train_variant", "compare"}
    naming = [yaml.safe_load(file.read_text()) for file in PROFILES.glob("*/profile.yaml")]
    named = [set(profile["set-resources"]) for profile in naming if "set-resources" in profile]
    assert named and all(names == asking for names in named)


def test_profiles_leave_memory_and_time_to_the_rules() -> None:
    for file in PROFILES.glob("*/profile.yaml"):
        defaults = yaml.safe_load(file.read_text()).get("default-resources", [])
        assert not [entry for entry in defaults if entry.startswith(("mem_mb", "runtime"))], file


def test_weights_are_fetched_role_by_role(rules: dict[str, Any]) -> None:
    assert set(rules["fetch_weights"].wildcard_names) == {"preset", "role"}
    assert all(rules["fetch_weights"].is_producer(f"weights/large/{role}/record.json") for role in roles())
    assert not rules["fetch_weights"].is_producer("weights/large/other/record.json")


def test_only_splits_of_the_config_can_be_asked_for(rules: dict[str, Any]) -> None:
    assert rules["assemble"].is_producer("results/mevis/valid_u")
    assert not rules["assemble"].is_producer("results/mevis/dev")  # a split of another data set
    assert not rules["assemble"].is_producer("results/mevis/valid_uu")
