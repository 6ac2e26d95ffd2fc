"""A backend of its own is one value: config, stamp, roles and the stage follow."""

from pathlib import Path

import pytest
from support.evidence import job_of, layout_of, make_config, write_project
from support.toys import backend

from stages import gather_evidence
from stages.core.backends import BACKENDS
from stages.core.config.loading import ConfigError, settings_of
from stages.core.state.cache import read_stamp
from stages.core.state.evidence_file import read_evidence
from stages.core.state.graph import GATHER_EVIDENCE


def test_a_backend_of_its_own_answers(tmp_path: Path) -> None:
    (tmp_path / "mllm").mkdir()
    (tmp_path / "mllm/model.safetensors").write_bytes(b"")
    write_project(tmp_path, tmp_path / "mllm")
    with BACKENDS.extended_by(backend.BACKEND):
        config = make_config(tmp_path, backend="coin")
        settings = settings_of(config, "shapes")
        assert GATHER_EVIDENCE.roles(settings, "judge") == () and GATHER_EVIDENCE.gpus(settings, "judge") == 0
        gather_evidence.run(job_of(config), "judge")
    file = layout_of(tmp_path).file(GATHER_EVIDENCE, "v", "judge")
    stamped = read_stamp(file, GATHER_EVIDENCE.name).ingredients["config"]["evidence.judge"]
    assert stamped["backend"] == "coin" and stamped["coin"] == 1 and not {"server", "precision"} & set(stamped)
    assert any(found.tracks for found in read_evidence(file).values())
    with pytest.raises(
        ConfigError, match=r"judge\.backend: Input should be 'transformers' or 'openai' \(found 'coin'\)"
    ):
        make_config(tmp_path, backend="coin")


def test_settings_of_backends_have_no_defaults() -> None:
    """Values live in config.yaml alone."""
    for value in BACKENDS.values():
        assert all(field.is_required() for field in value.settings.model_fields.values()), value.name
