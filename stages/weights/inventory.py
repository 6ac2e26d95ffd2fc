"""What every preset needs and what of it is here: the table behind `fetch_weights --list` and `--verify`.

Reads the config, the lock file, the records and the files; never the network, and writes nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stages.core.config.file import Config, Model
from stages.core.config.loading import ConfigError, nearest
from stages.core.state.cache import read_json
from stages.core.state.weights import RECORD_STAGE, RECORD_VERSION, record_path
from stages.weights.files import WEIGHT_SUFFIXES, FileFacts, facts_of, matching
from stages.weights.from_url import name_of
from stages.weights.hub import has_wildcard
from stages.weights.lock import Lock

VERIFIED, IN_PLACE, MISSING = "verified", "in place", "missing"
HEADINGS = ("preset", "role", "from", "revision", "licence", "file", "bytes", "state")


@dataclass(frozen=True)
class Row:
    """One file of a model.

    Attributes:
        origin: the hub id, the host of an address, "seed N", or the local path.
        revision: what the config asks for, and after "@" the commit that it is locked at.
        licence: as the config says; "" where it says none.
        size: bytes, None where it is not known yet; of a pattern of weights, about what all of its files have together.
        state: VERIFIED (hashed just now), IN_PLACE (of the recorded size), MISSING, or what is wrong.
    """

    preset: str
    role: str
    origin: str
    revision: str
    licence: str
    file: str
    size: int | None
    state: str


def inventory(config: Config, preset: str | None, *, hashed: bool) -> list[Row]:
    """The rows of one preset, or of all of them.

    Args:
        hashed: read every file and compare its sha256; otherwise only sizes are looked at.

    Raises:
        ConfigError: no such preset.
        FetchError: the lock file is damaged or of another revision than the config.
    """
    if preset is not None and preset not in config.presets:
        raise ConfigError(f"no preset {preset!r} in config.presets{nearest(preset, config.presets)}")
    rows: list[Row] = []
    for name in config.presets if preset is None else [preset]:
        for role, model in config.presets[name].models:
            if model is None:
                continue
            rows += _rows(config, name, role, model, hashed)
    return rows


def render(rows: list[Row]) -> str:
    """The table as text, columns padded."""
    lines = [HEADINGS, *(tuple("?" if cell is None else str(cell) or "-" for cell in astuple(row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)


def _rows(config: Config, preset: str, role: str, model: Model, hashed: bool) -> Iterator[Row]:
    record = record_path(config, preset, role)
    path, recorded = record.parent, dict[str, FileFacts]()
    if record.is_file():
        raw = read_json(record, RECORD_STAGE, RECORD_VERSION)
        path, recorded = Path(raw["path"]), raw["files"]
    origin, revision, locked = _origin(model, Lock(Path(config.paths.weights_lock)))
    if model.one_file:  # its record names the one file, wherever in the repository it was
        locked = {Path(name).name: facts for name, facts in locked.items()}
    for name in _names(model, recorded, locked):
        wanted = locked.get(name) or recorded.get(name)
        file = path if path.name == name and path.is_file() else path / name
        state = _state(file, name, wanted, hashed)
        size = wanted["size"] if wanted else _said_size(model, name)
        yield Row(preset, role, origin, revision, model.license or "", name, size, state)


def _said_size(model: Model, name: str) -> int | None:
    """What the config says about the weights that a pattern stands for."""
    said: float | None = getattr(model, "size_gb", None)
    return round(said * 1e9) if said is not None and name.endswith(WEIGHT_SUFFIXES) else None


def _origin(model: Model, lock: Lock) -> tuple[str, str, Mapping[str, FileFacts]]:
    """Where a model comes from, at which revision, and what the lock records about its files."""
    if model.path is not None:
        return model.path, "", {}
    if model.seed is not None:
        return f"seed {model.seed}", "", {}
    locked = lock.files_of(model)
    if model.hub is None:
        return urlsplit(model.addresses[0]).netloc, "", locked
    assert model.revision is not None
    entry = lock.entry(model.hub, model.revision)
    at = "" if entry.revision == model.revision else f"@{entry.revision[:12]}"
    return model.hub, model.revision + at, locked


def _names(model: Model, recorded: Mapping[str, FileFacts], locked: Mapping[str, FileFacts]) -> list[str]:
    """All files known; where a pattern has matched none yet, the pattern stands for them."""
    known = {*recorded, *locked}
    wanted = [*model.patterns, *map(name_of, model.addresses)]
    open_patterns = [pattern for pattern in wanted if not matching(known, [pattern])]
    if model.seed is not None or model.path is not None:
        open_patterns = []
    return sorted(known) + open_patterns or ["*"]


def _state(file: Path, name: str, wanted: FileFacts | None, hashed: bool) -> str:
    if wanted is None:
        return f"not recorded: {MISSING}" if has_wildcard(name) or not file.is_file() else "not recorded"
    if not file.is_file():
        return MISSING
    if (size := file.stat().st_size) != wanted["size"]:
        return f"wrong size: {size}"
    if not hashed:
        return IN_PLACE
    sha256 = facts_of(file)["sha256"]
    return VERIFIED if sha256 == wanted["sha256"] else f"wrong bytes: sha256 {sha256[:16]}…"
