"""Where a model's weights are stored, and their id. `stages.fetch_weights` puts them there.

Every model of a preset has a record, <weights>/<preset>/<role>/record.json: the folder or file that
holds it, and size and sha256 of each file. Stages look weights up here; they never download.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from stages.core.config.file import Config, Model
from stages.core.config.loading import model_of, settings_of
from stages.core.digests import digest, file_sha256
from stages.core.state.cache import read_json
from stages.core.state.graph import Stage

RECORD_STAGE, RECORD_VERSION = "fetch_weights", 2


@dataclass(frozen=True)
class Weights:
    """A model on disk.

    Attributes:
        path: the folder (transformers layout) or the single file (SAM2 .pt or .safetensors).
        id: 16 hex digits over the files' names and sha256.
        model: its entry in the config.
    """

    path: Path
    id: str
    model: Model


def record_path(config: Config, preset: str, role: str) -> Path:
    return Path(config.paths.weights) / preset / role / "record.json"


def find_weights(config: Config, dataset: str, role: str) -> Weights:
    """The weights of a data set's model by role (`stages.core.config.model.roles`).

    Raises:
        ValueError: they were not fetched, or a file is missing or has another size; the message names
            the command that fixes it. A file that is newer than the record is read: other bytes are other weights.
    """
    preset = config.datasets[dataset].models
    model = model_of(config, preset, role)
    record = record_path(config, preset, role)
    command = f"python -m stages.fetch_weights --preset {preset} --role {role}"
    if not record.exists():
        raise ValueError(f"no weights for {role} of preset {preset!r} ({record} does not exist): run `{command}`")
    raw = read_json(record, RECORD_STAGE, RECORD_VERSION)
    path = Path(raw["path"])
    for name, facts in raw["files"].items():
        file = path if path.name == name and not path.is_dir() else path / name
        if not file.is_file() or not _is_as_recorded(file, facts, record.stat().st_mtime_ns):
            raise ValueError(f"{file}: missing, or not the {facts['size']} bytes that were recorded: run `{command}`")
    return Weights(path, weights_id(raw["files"]), model)


def _is_as_recorded(file: Path, facts: Mapping[str, Any], recorded_ns: int) -> bool:
    status = file.stat()
    if status.st_size != facts["size"]:
        return False
    return status.st_mtime_ns <= recorded_ns or _sha256(file, status.st_mtime_ns) == facts["sha256"]


@lru_cache
def _sha256(file: Path, _: int) -> str:
    return file_sha256(file)


def weights_id(files: Mapping[str, Mapping[str, Any]]) -> str:
    """Of the files' names and digests: the same bytes give the same id wherever they are stored."""
    return digest({name: facts["sha256"] for name, facts in files.items()})


def weights_ids(config: Config, dataset: str, stage: Stage, branch: str | None = None) -> dict[str, str]:
    """role → id of each model that a stage loads: the weights' part of its fingerprint."""
    return {role: find_weights(config, dataset, role).id for role in stage.roles(settings_of(config, dataset), branch)}


def transformer_folder(folder: Path) -> Path:
    """`folder`, or the one in it that holds the transformer: older sentence-transformers keep it in 0_Transformer.

    Raises:
        ValueError: no config.json in either.
    """
    if (folder / "config.json").is_file():
        return folder
    # 1_Pooling and the like have a config.json too, but no model_type in it
    folders = [file.parent for file in sorted(folder.glob("*/config.json")) if "model_type" in file.read_text("utf-8")]
    if len(folders) != 1:
        raise ValueError(f"{folder / 'config.json'}: missing; give the folder of a transformers model")
    return folders[0]
