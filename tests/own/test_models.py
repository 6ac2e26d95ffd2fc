"""Models of a preset: what is said before they are fetched, asked once, and refused without a network."""

from pathlib import Path

import pytest
from support.project import config_document, make_config

from stages.core.config.loading import merge, parse_config, settings_of
from stages.own import models
from stages.own.request import Part, overlay


def test_only_models_that_decide_are_needed(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    assert models.needed(config, "own") == ["sam2", "grounding_dino", "mllm"]
    assert models.needed(config, "shapes") == ["sam2", "grounding_dino", "text", "mllm"]


def test_every_model_has_a_line_with_licence_size_memory_and_time(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    entries = {role: config.presets["small"].models[role] for role in ("sam2", "grounding_dino", "mllm")}
    title, *lines, last = models.described("small", {role: model for role, model in entries.items() if model})
    assert "small" in title and "GB of memory" in last
    for line, (role, model) in zip(lines, entries.items(), strict=True):
        assert model is not None and role in line and str(model.hub) in line
        assert "Apache-2.0" in line and "GB of memory" in line and "min at" in line


def test_offline_the_command_that_fetches_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_config(tmp_path)
    with pytest.raises(
        ValueError, match=r"HF_HUB_OFFLINE is set.*referee fetch-weights --preset small.*--preset micro"
    ):
        models.ensure(config, "small", ["sam2"], yes=True)
    assert "facebook/sam2.1-hiera-tiny" in capsys.readouterr().out


def test_a_yes_is_asked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(tmp_path)
    answers = iter([False, True])
    asked: list[bool] = []

    def says_yes() -> bool:
        asked.append(next(answers))
        return asked[-1]

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(models, "_says_yes", says_yes)
    with pytest.raises(ValueError, match="were not agreed to; give --yes"):
        models.ensure(config, "small", ["sam2"], yes=False)
    for _ in range(2):
        with pytest.raises(ValueError, match="referee fetch-weights --preset small --role sam2"):
            models.ensure(config, "small", ["sam2"], yes=False)
    assert asked == [False, True]


def test_models_that_are_here_are_taken_without_a_question(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    models.ensure(config, "micro", ["text"], yes=False)
    assert (tmp_path / "weights/micro/text/record.json").is_file()


def test_the_strongest_preset_decides_about_own_videos_as_it_says_itself(tmp_path: Path) -> None:
    document = config_document(tmp_path)
    over = overlay(parse_config(document), "strongest", Part(None, None, None, None), {})
    config = parse_config(merge(document, over))
    settings, preset = settings_of(config, "own"), config.presets["strongest"].settings
    assert (
        settings.rerank.evidence == preset["rerank"]["evidence"]
        and settings.rerank.weights == preset["rerank"]["weights"]
    )
    assert settings.selector.sources.evaluate == ["sam3", "gdino", "seg"] and settings.run.on_failure == "leave_out"
    assert models.needed(config, "own") == ["sam2", "grounding_dino", "sam3", "mllm", "seg"]
    assert config.datasets["own"].selector.is_none
