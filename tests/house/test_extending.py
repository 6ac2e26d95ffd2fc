"""docs/extending.md, done: a toy of each thing that can be added is one file and one line, and forgetting is noticed."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.answers import answer, job_of, squares, tiny_split
from support.jobs import make_job
from support.project import ROOT, make_config
from support.sam2 import draw_frames
from support.toys import format as toy_format
from support.toys import metric as toy_metric
from support.toys import selector as toy_selector
from support.toys import source as toy_source
from support.trainings import make_toy, toy_config, toy_job

from stages import build_tracks, collect, evaluate, extract_frames, generate_prompts, score_tracks, train_selector
from stages.core.config.loading import ConfigError, settings_of
from stages.core.config.section import Section
from stages.core.run.cli import stage_parser
from stages.core.state.cache import read_json, read_stamp
from stages.core.state.choices import read_choices
from stages.core.state.graph import BUILD_TRACKS, GENERATE_PROMPTS, SCORE_TRACKS, STAGES, TRAIN_SELECTOR
from stages.core.state.prompt_file import read_prompts
from stages.core.state.track_file import read_tracks
from stages.core.table import Table
from stages.core.tables import EVIDENCE, FORMATS, SELECTORS, SOURCES, PromptSource, SelectorKind
from stages.datasets import open_split
from stages.metrics.mevis import MEVIS
from stages.metrics.protocols import PROTOCOLS
from stages.metrics.report import collect as collect_rows
from stages.metrics.report import summarise
from stages.weights.fetch import fetch_preset

# ---------------------------------------------------------------- a source


@pytest.fixture
def corners() -> Iterator[None]:
    with SOURCES.extended_by(toy_source.SOURCE):
        yield


def test_a_source_of_its_own_makes_prompts_and_tracks_for_the_expressions_it_names(
    corners: None, tmp_path: Path
) -> None:
    flags = tiny_split(tmp_path)
    job = job_of(flags, "tiny", "valid_u", source="corners")
    fetch_preset(job.config, "random", overwrite=False, source=None)
    extract_frames.run(dataclasses.replace(job, source=None))
    generate_prompts.run(job)
    build_tracks.run(job)
    collect.run(job, "build_tracks-corners")
    video = open_split(job.config, "tiny", "valid_u").videos()[0]
    prompts = read_prompts(job.layout.file(GENERATE_PROMPTS, video.id, "corners"))
    last = len(video.expressions) - 1
    assert [prompt.expression for prompt in prompts] == [0, last] and last > 1
    tracks = read_tracks(job.layout.file(BUILD_TRACKS, video.id, "corners"))
    assert len(tracks) == 2, "not pooled: what serves one expression covers nothing of another's"
    members = [rows.tolist() for rows in tracks.expression_tracks]
    assert members == [[0], *([] for _ in range(last - 1)), [1]]
    stamp = read_stamp(job.layout.file(GENERATE_PROMPTS, video.id, "corners"), GENERATE_PROMPTS.name)
    assert stamp.ingredients["config"] == {"prompts.corners": {"side": 16}} and stamp.ingredients["weights"] == {}


def test_everything_about_a_source_derives_from_its_value(corners: None, tmp_path: Path) -> None:
    over = {"prompts": {"corners": {"side": 4}}, "tracks": {"max_tracks": {"corners": 1}}}
    over |= {"selector": {"sources": {"evaluate": ["corners"]}}}
    settings = settings_of(make_config(tmp_path, over), "shapes")
    assert settings.prompts["corners"].side == 4 and settings.tracks.max_tracks["corners"] == 1
    assert settings.selector.sources.evaluate == ["corners"]
    assert GENERATE_PROMPTS.gpus(settings, "corners") == 0 and BUILD_TRACKS.gpus(settings, "corners") == 1
    assert "corners" in stage_parser("", source=True).format_help()
    with pytest.raises(ConfigError, match=r"prompts\.corners\.sid: unknown key; did you mean 'side'"):
        make_config(tmp_path, {"prompts": {"corners": {"sid": 4}}})


def test_without_its_line_a_source_is_nowhere(tmp_path: Path) -> None:
    for over in ({"prompts": {"corners": {"side": 4}}}, {"selector": {"sources": {"train": ["corners"]}}}):
        with pytest.raises(ConfigError, match="corners"):
            make_config(tmp_path, over)
    with (
        pytest.raises(KeyError, match="no prompt source 'corner'; did you mean"),
        SOURCES.extended_by(toy_source.SOURCE),
    ):
        SOURCES["corner"]


# ---------------------------------------------------------------- a selector


def test_a_selector_of_its_own_learns_and_scores(tmp_path: Path) -> None:
    with SELECTORS.extended_by(toy_selector.KIND):
        config = toy_config(tmp_path, name="sola")
        config = make_config(tmp_path, linear(config))
        make_toy(tmp_path, config)
        train_selector.run(toy_job(config))
        marker = toy_job(config).layout.folder(TRAIN_SELECTOR) / "training.json"
        history = read_json(marker, TRAIN_SELECTOR.name, TRAIN_SELECTOR.version)["history"]
        assert history[-1]["train"]["loss"] < history[0]["train"]["loss"]
        stamped = read_stamp(marker, TRAIN_SELECTOR.name).ingredients["config"]
        assert stamped["selector.linear"] == {"bias": False, "learning_rate": 0.03}
        assert not {"selector.sola", "selector.soc"} & set(stamped), "only the chosen one's section enters the stamp"
        job = toy_job(config, "valid_u")
        score_tracks.run(job)
        video = open_split(config, "toy", "valid_u").videos()[0]
        choices = read_choices(job.layout.file(SCORE_TRACKS, video.id), SCORE_TRACKS)
        assert all(np.isfinite(c.score) for candidates in choices.values() for c in candidates)


def linear(config: object) -> dict[str, object]:
    """The toy data set's entry, with the toy selector."""
    toy = config.datasets["toy"].model_dump(mode="json")  # type: ignore[attr-defined]
    toy["settings"]["selector"] |= {"name": "linear", "linear": {"bias": False, "learning_rate": 0.03}}
    return {"datasets": {"toy": toy}}


# ---------------------------------------------------------------- a format


def test_a_format_of_its_own_is_read(tmp_path: Path) -> None:
    with FORMATS.extended_by(toy_format.FORMAT):
        root = tmp_path / "data" / "mine"
        draw_frames(root / "all" / "cats", 3, suffix=".jpg", name="{:05}")
        (root / "all" / "sentences.txt").write_text("cats:The  red square\ncats:a dog\n")
        entry = {
            "format": "lines",
            "root": str(root),
            "generate": False,
            "models": "micro",
            "selector": {"weights": "x.safetensors", "train": None, "validate_on": None},
            "splits": {"all": {"role": "evaluate", "limit": None}},
            "settings": {},
        }
        config = make_config(tmp_path, {"datasets": {"mine": entry}})
        (video,) = open_split(config, "mine", "all").videos()
        assert [e.text for e in video.expressions] == ["the red square", "a dog"] and len(video.frames) == 3
        extract_frames.run(make_job(config, "mine", "all"))
    with pytest.raises(ConfigError, match="format"):
        make_config(tmp_path, {"datasets": {"mine": entry}})


# ---------------------------------------------------------------- a metric


def test_a_metric_of_its_own_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = tiny_split(tmp_path)
    monkeypatch.setitem(PROTOCOLS, "pixels", toy_metric.PROTOCOL)  # type: ignore[misc]
    monkeypatch.setattr("stages.datasets.mevis.MevisSplit.protocol", "pixels")
    job = job_of(flags, "tiny", "valid_u")
    answer(job, squares)
    evaluate.run(job)
    summary = summarise(collect_rows(job.layout, open_split(job.config, "tiny", "valid_u").videos()), "tiny", "valid_u")
    assert summary["metric"] == "pixels" and summary["figures"]["pixels"] > 0 and MEVIS.metric != "pixels"


# ---------------------------------------------------------------- forgetting


@pytest.mark.parametrize("value", [toy_source.SOURCE, toy_selector.KIND, toy_format.FORMAT], ids=lambda v: v.name)
def test_a_forgotten_part_is_an_error_at_load(value: object) -> None:
    given = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}  # type: ignore[arg-type]
    needed = [f.name for f in dataclasses.fields(value) if f.default is f.default_factory is dataclasses.MISSING]  # type: ignore[arg-type]
    assert len(needed) >= 3
    for name in needed:
        with pytest.raises(TypeError, match=name):
            type(value)(**{key: part for key, part in given.items() if key != name})


class NoRate(toy_selector.LinearModel):
    """Settings that do not say how fast the selector learns."""


@pytest.mark.parametrize(
    ("table", "value", "message"),
    [
        (SOURCES, dataclasses.replace(toy_source.SOURCE, name="grid"), "is there twice"),
        (SOURCES, dataclasses.replace(toy_source.SOURCE, name="My-Source"), "lower-case"),
        (SOURCES, dataclasses.replace(toy_source.SOURCE, name="copy"), "lower-case"),
        (SOURCES, dataclasses.replace(toy_source.SOURCE, settings=dict), "subclass of Section"),
        (SELECTORS, dataclasses.replace(toy_selector.KIND, settings=NoRate), "learning_rate"),
        (SELECTORS, dataclasses.replace(toy_selector.KIND, network=toy_source.Corners), "extend"),
        (FORMATS, dataclasses.replace(toy_format.FORMAT, index_files=()), "index_files"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_contradicts_itself_is_refused_at_load(table: Table, value: object, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message), table.extended_by(value):
        pass


def test_own_settings_have_no_defaults() -> None:
    """Values live in config.yaml alone."""

    def models(section: type[Section]) -> Iterator[type[Section]]:
        yield section
        for field in section.model_fields.values():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                yield from models(field.annotation)

    for value in (*SOURCES.values(), *SELECTORS.values(), *EVIDENCE.values()):
        for model in models(value.settings):
            assert all(field.is_required() for field in model.model_fields.values()), model


# ---------------------------------------------------------------- nobody compares names


def named(value: PromptSource | SelectorKind) -> Path:
    """Where a source or a selector is implemented."""
    module = value.load if isinstance(value, PromptSource) else value.build
    file = Path(module.__code__.co_filename)  # type: ignore[attr-defined]
    return file.parent if file.name == "__init__.py" else file


def test_no_name_of_a_source_or_selector_is_compared_outside_its_own_file() -> None:
    own = {value.name: named(value) for value in (*SOURCES.values(), *SELECTORS.values())}
    for path in (*sorted((ROOT / "stages").rglob("*.py")), *sorted((ROOT / "workflow").rglob("*.smk"))):
        for line, name in compared(path):
            if name in own:
                assert path == own[name] or own[name] in path.parents, f"{path}:{line} compares {name!r}"
    assert not re.search(r"startswith\(.mevis", "".join(p.read_text("utf-8") for p in (ROOT / "stages").rglob("*.py")))


def compared(path: Path) -> Iterator[tuple[int, str]]:
    """Strings that a file compares something with, or looks something up by in a literal dictionary."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".smk":
        yield from ((0, name) for name in re.findall(r"""[=!]= *["'](\w+)["']""", text))
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            parts = [
                part
                for side in sides
                for part in (side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side])
            ]
            yield from (
                (node.lineno, p.value) for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)
            )
        elif isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant):
            yield node.lineno, str(node.value.value)


def test_the_document_names_every_list() -> None:
    text = (ROOT / "docs/extending.md").read_text(encoding="utf-8").replace("\\", "")
    for table in (SOURCES, SELECTORS, EVIDENCE, FORMATS):
        module = table.home.partition(":")[0].replace(".", "/")
        assert f"{module}.py" in text or f"{module}/__init__.py" in text, table.home
    assert "stages/metrics/protocols.py" in text and "gather_evidence" in STAGES
