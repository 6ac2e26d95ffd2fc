"""Brings the weights of one model into place, verifies them, and writes its record.

A record is written last, and removed as soon as its files turn out wrong: a model with a record is good.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.core.config.file import Config, Model
from stages.core.config.loading import ConfigError, model_of, nearest
from stages.core.state.cache import Stamp, State, inspect, read_json, write_json
from stages.core.state.temporary import remove_leftovers
from stages.core.state.weights import RECORD_STAGE, RECORD_VERSION, record_path, transformer_folder, weights_id
from stages.weights.build import build, recipe
from stages.weights.files import RECORD, WEIGHT_SUFFIXES, FetchError, FileFacts, exclusive, facts_in, files_in
from stages.weights.from_hub import fetch_from_hub, take_from
from stages.weights.from_url import fetch_from_url, take_url_from
from stages.weights.lock import Lock

log = logging.getLogger(__name__)

SEEDED = ".seeded"  # marks a folder of random weights


@dataclass(frozen=True)
class Request:
    """One model of a preset that must be in place.

    Attributes:
        role: one of `stages.core.config.model.roles`.
        model: its entry in the config.
        folder: where it goes; the record is stored there too.
        lock: what downloaded bytes must be.
        overwrite: fetch or build again what is already good.
        source: folder to take hub files from instead of the network.
        twins: folders of other presets whose model of this role comes from the same place.
    """

    role: str
    model: Model
    folder: Path
    lock: Lock
    overwrite: bool
    source: Path | None
    twins: tuple[Path, ...] = ()

    @property
    def record(self) -> Path:
        return self.folder / RECORD

    @property
    def stamp(self) -> Stamp:
        return Stamp(RECORD_STAGE, RECORD_VERSION, {"source": _ingredients(self.model)})


def fetch_preset(config: Config, preset: str, role: str | None = None, *, overwrite: bool, source: Path | None) -> None:
    """Brings models of a preset into place; one job at a time per weights folder.

    Args:
        role: of the only model to fetch; None = all models of the preset.
        source: folder to take hub files from instead of the network.

    Raises:
        ConfigError: there is no such preset or role, or the preset has no model of it.
        FetchError: some are not in place; one message names all of them, after the others were fetched.
    """
    if preset not in config.presets:
        raise ConfigError(f"no preset {preset!r} in config.presets{nearest(preset, config.presets)}")
    requests = [_request(config, preset, name, overwrite, source) for name in _roles(config, preset, role)]
    failures = []
    with exclusive(Path(config.paths.weights) / ".lock"):
        for request in requests:
            try:
                fetch(request)
            except FetchError as error:
                log.error("%s of preset %s is not in place", request.role, preset)
                failures.append(f"{request.role}: {error}")
    if failures:
        again = f"python -m stages.fetch_weights --preset {preset}{f' --role {role}' if role else ''}"
        raise FetchError(
            f"weights of preset {preset!r} are not in place:\n" + "\n".join(failures) + f"\nthen run `{again}` again; "
            "for files fetched elsewhere add `--from DIR`, where DIR/<role>/ holds those of a role"
        )


def _roles(config: Config, preset: str, role: str | None) -> list[str]:
    """The role, or all that the preset has models of."""
    models = config.presets[preset].models
    if role is None:
        return [name for name, model in models if model is not None]
    if role not in type(models).model_fields:
        raise ConfigError(f"no role {role!r}{nearest(role, type(models).model_fields)}")
    return [role]


def _request(config: Config, preset: str, role: str, overwrite: bool, source: Path | None) -> Request:
    folder, lock = record_path(config, preset, role).parent, Lock(Path(config.paths.weights_lock))
    model = model_of(config, preset, role)
    twins = [
        record_path(config, name, role).parent
        for name, other in config.presets.items()
        if name != preset
        and other.models[role] is not None
        and _ingredients(model_of(config, name, role)) == _ingredients(model)
    ]
    return Request(role, model, folder, lock, overwrite, source and source / role, tuple(twins))


def fetch(request: Request) -> None:
    """Brings one model into place; one that is there, whole and from the same source, is left alone."""
    remove_leftovers(request.record)
    if not request.overwrite and _is_intact(request):
        log.info("%s: in place and verified (%s)", request.role, request.folder)
    elif request.model.path is not None:
        _take_in_place(request, Path(request.model.path))
    elif request.model.seed is not None:
        _build(request)
    elif not _is_shared(request):
        _fetch(request)


def _is_shared(request: Request) -> bool:
    """Whether another preset has the same files, in place and verified: then they are recorded where they are."""
    if request.overwrite or (request.folder.exists() and not _is_replaceable(request.folder)):
        return False
    for folder in request.twins:
        twin = replace(request, folder=folder)
        if twin.record.is_file() and _is_intact(twin):
            raw = read_json(twin.record, RECORD_STAGE, RECORD_VERSION)
            write_json(request.record, {"path": raw["path"], "files": raw["files"]}, request.stamp)
            log.info("%s: the files of another preset are used (%s)", request.role, raw["path"])
            return True
    return False


def _ingredients(model: Model) -> dict[str, Any]:
    """Where a model comes from, as its record says it."""
    if model.path is not None:
        return {"path": model.path}
    if model.seed is not None:
        return dict(recipe(model))
    return {"hub": model.hub, "revision": model.revision, "patterns": model.files}


def _is_intact(request: Request) -> bool:
    """Whether the record is of the same source and every file has the recorded (and locked) bytes."""
    state, reason = inspect(request.record, request.stamp)
    if state is not State.COMPLETE:
        if state is not State.MISSING:
            log.warning("%s: fetched again: %s", request.role, reason)
        return False
    raw = read_json(request.record, RECORD_STAGE, RECORD_VERSION)
    path, wanted = Path(raw["path"]), raw["files"]
    folder = path.parent if request.model.one_file else path
    try:
        facts = facts_in(folder, wanted)
    except FileNotFoundError as error:
        log.warning("%s: fetched again: %s is gone", request.role, error.filename)
        return False
    changed = [name for name in wanted if facts[name] != wanted[name]]
    if changed:
        log.warning("%s: fetched again: %s in %s changed", request.role, ", ".join(changed), folder)
    return not changed and _is_locked(request, wanted)


def _is_locked(request: Request, files: Mapping[str, FileFacts]) -> bool:
    """Whether all files of a model that was fetched are in the lock as they are here."""
    if "hub" not in request.stamp.ingredients["source"]:
        return True
    locked = request.lock.files_of(request.model)
    by_name = {Path(name).name: facts for name, facts in locked.items()} if request.model.one_file else locked
    return all(by_name.get(name) == facts for name, facts in files.items())


def _take_in_place(request: Request, path: Path) -> None:
    """Records a file or folder of the user's where it is."""
    if path.is_file():
        folder, names = path.parent, [path.name]
    else:
        folder, names = path, files_in(path, request.model.files or ["*"])
    if not names:
        raise FetchError(f"{path}: does not exist or holds none of the model's files; fix `path` in the config")
    _finish(request, folder, folder, facts_in(folder, names))


def _build(request: Request) -> None:
    """Builds random weights beside the final folder and swaps them in, finished."""
    if request.folder.exists() and not _is_replaceable(request.folder):
        raise FetchError(
            f"{request.folder}: holds files that were not built from a seed: move them away, or set the model's "
            "`path` to them"
        )
    temporary = request.folder.with_name(f".{request.folder.name}.building")
    shutil.rmtree(temporary, ignore_errors=True)
    build(request.role, request.model, temporary)
    (temporary / SEEDED).touch()
    _finish(request, temporary, request.folder, facts_in(temporary, files_in(temporary, ["*"])))
    shutil.rmtree(request.folder, ignore_errors=True)
    temporary.rename(request.folder)


def _fetch(request: Request) -> None:
    """Fetches a model from the hub and from addresses into its folder."""
    if request.folder.exists() and _is_replaceable(request.folder):
        shutil.rmtree(request.folder)  # files of a random model must not mix with the real one's
    request.folder.mkdir(parents=True, exist_ok=True)
    request.record.unlink(missing_ok=True)
    files: dict[str, FileFacts] = {}
    if request.model.hub is not None:
        files |= _from_hub(request)
    for address in request.model.addresses:
        files |= _from_address(request, address)
    _finish(request, request.folder, request.folder, files)


def _from_hub(request: Request) -> dict[str, FileFacts]:
    model = request.model.model_copy(update={"files": request.model.patterns})
    if request.source is not None:
        return take_from(request.source, model, request.folder, request.lock)
    return fetch_from_hub(model, request.folder, request.lock, force=request.overwrite)


def _from_address(request: Request, address: str) -> dict[str, FileFacts]:
    if request.source is not None:
        return take_url_from(request.source, address, request.folder, request.lock)
    return fetch_from_url(address, request.folder, request.lock, force=request.overwrite)


def _is_replaceable(folder: Path) -> bool:
    """Whether a folder holds nothing but what this module can make again from a seed, or a bare record."""
    # the record alone does not tell: Snakemake deletes declared outputs before it runs a job again
    return (folder / SEEDED).exists() or not any(path.name != RECORD for path in folder.iterdir())


def _finish(request: Request, folder: Path, final: Path, files: Mapping[str, FileFacts]) -> None:
    """Checks that the files in `folder` are of the role's kind and writes the record, which names them in `final`."""
    if request.model.one_file:
        name = _only_weights(folder, files)
        path, files = final / name, {Path(name).name: files[name]}
    else:
        path = final
        _check_kind(request, _config_file(folder))
    # a folder that is taken in place keeps no record of ours
    record = (folder if request.model.path is None else request.folder) / RECORD
    write_json(record, {"path": str(path), "files": dict(files)}, request.stamp)
    log.info("%s: %d files in %s, id %s", request.role, len(files), path, weights_id(files))


def _only_weights(folder: Path, names: Mapping[str, FileFacts]) -> str:
    weights = [name for name in names if name.endswith(WEIGHT_SUFFIXES)]
    if len(weights) != 1:
        raise FetchError(
            f"{folder}: the model is one .pt or .safetensors file; found {', '.join(weights) or 'none'}: name it in "
            "`path` or `files` of the config"
        )
    return weights[0]


def _config_file(folder: Path) -> Path:
    try:
        return transformer_folder(folder) / "config.json"
    except ValueError:
        return folder / "config.json"  # which does not exist: its reader raises the error


def _check_kind(request: Request, config: Path) -> None:
    """Compares model_type in a transformers config.json with the kinds that the role supports."""
    try:
        kind = json.loads(config.read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FetchError(f"{config}: not the config.json of a transformers model ({error!r})") from error
    if request.model.kinds and kind not in request.model.kinds:
        wanted = " or ".join(request.model.kinds)
        raise FetchError(f"{config}: model_type is {kind!r}, {request.role} must be {wanted}")
