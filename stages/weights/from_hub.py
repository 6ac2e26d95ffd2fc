"""A model from the hub: downloaded, or put there by hand, or taken from a folder; then verified."""

import json
import logging
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from stages.core.config.file import Model
from stages.core.state.cache import atomic_path
from stages.core.state.temporary import remove_leftovers
from stages.weights.files import (
    CHUNK,
    WEIGHT_SUFFIXES,
    FetchError,
    FileFacts,
    Files,
    facts_in,
    facts_of,
    files_in,
    matching,
    set_aside,
)
from stages.weights.hub import HubError, download, has_wildcard, list_repository
from stages.weights.lock import Entry, Lock

log = logging.getLogger(__name__)
INDEX_SUFFIXES = (".safetensors.index.json", ".bin.index.json")


def fetch_from_hub(model: Model, folder: Path, lock: Lock, *, force: bool) -> dict[str, FileFacts]:
    """Brings a repository's files into `folder` and verifies them; without the hub, those put there by hand will do.

    Returns:
        File name → facts of all files of the model.

    Raises:
        FetchError: files are missing and the hub was not reached, or bytes are not what they must be.
    """
    assert model.hub is not None and model.revision is not None
    entry = lock.entry(model.hub, model.revision)
    refused = _refuse_known_bad(folder, entry)
    try:
        listing = list_repository(model.hub, entry.revision, model.files)
        download(model.hub, listing, folder, force=force)
    except HubError as error:
        if missing := missing_files(folder, model.files, entry):
            raise FetchError(_by_hand(model, entry, folder, missing, refused, str(error))) from error
        log.warning("%s; the files in %s are complete and are used", error, folder)
        return verify_files(model, folder, files_in(folder, model.files), lock, entry, {})
    arrived = Entry(entry.requested, listing.commit, entry.files)
    return verify_files(model, folder, list(listing.announced), lock, arrived, listing.announced)


def take_from(source: Path, model: Model, folder: Path, lock: Lock) -> dict[str, FileFacts]:
    """Copies a model's files from `source` instead of the network, and verifies them.

    Raises:
        FetchError: files are missing there, or bytes are not what they must be.
    """
    assert model.hub is not None and model.revision is not None
    entry = lock.entry(model.hub, model.revision)
    if missing := missing_files(source, model.files, entry):
        raise FetchError(_by_hand(model, entry, source, missing, [], "--from was given: the network was not asked"))
    names = files_in(source, model.files)
    for name in names:
        copy_file(source / name, folder / name)
    return verify_files(model, folder, names, lock, entry, {})


def copy_file(source: Path, target: Path) -> None:
    """Copies under a temporary name; a target that is the source itself is left alone."""
    if target.exists() and target.samefile(source):
        return
    remove_leftovers(target)
    with atomic_path(target) as temporary, source.open("rb") as reader, temporary.open("wb") as writer:
        while chunk := reader.read(CHUNK):
            writer.write(chunk)


def verify_files(
    model: Model, folder: Path, names: Sequence[str], lock: Lock, entry: Entry, announced: Mapping[str, str | None]
) -> dict[str, FileFacts]:
    """Compares files with the lock, or with the hub's own digest; records those not locked yet.

    Raises:
        FetchError: some differ; they are set aside and each is named with both digests.
    """
    assert model.hub is not None
    facts = facts_in(folder, names)
    wanted = {name: sha for name, sha in announced.items() if sha} | {n: f["sha256"] for n, f in entry.files.items()}
    bad = {name: file["sha256"] for name, file in facts.items() if wanted.get(name, file["sha256"]) != file["sha256"]}
    for name in bad:
        set_aside(folder / name)
    if bad:
        by = {name: str(lock.path) if name in entry.files else "the hub's announcement" for name in bad}
        lines = [f"  {folder / n}: sha256 is {sha}, must be {wanted[n]} by {by[n]}" for n, sha in bad.items()]
        raise FetchError(
            f"{model.hub} at revision {entry.revision}: not the expected bytes, renamed to *.refused:\n"
            + "\n".join(lines)
            + "\n  run this again, from another mirror if it repeats; if the new bytes are right, delete the entry "
            f"{model.hub!r} from {lock.path}"
        )
    _record_new(model.hub, lock, entry, facts)
    return facts


def missing_files(folder: Path, patterns: Sequence[str], entry: Entry) -> list[str]:
    """What a folder lacks to be the whole model, as far as that is known without the hub.

    Returns:
        Names of locked files, of files named without wildcards, of shards that the index of the weights
        lists; and patterns where no weights at all are there.
    """
    present = files_in(folder, patterns)
    needed = matching(entry.files, patterns) + [pattern for pattern in patterns if not has_wildcard(pattern)]
    if any(fnmatchcase("config.json", pattern) for pattern in patterns):
        needed.append("config.json")
    for index in (name for name in present if name.endswith(INDEX_SUFFIXES)):
        shards = json.loads((folder / index).read_text(encoding="utf-8")).get("weight_map", {})
        needed += [(Path(index).parent / shard).as_posix() for shard in set(shards.values())]
    missing = sorted(set(needed) - set(present))
    if not any(name.endswith(WEIGHT_SUFFIXES) for name in [*present, *missing]):
        missing += [pattern for pattern in patterns if pattern.endswith(WEIGHT_SUFFIXES)]
    return missing


def _refuse_known_bad(folder: Path, entry: Entry) -> list[str]:
    """Sets aside files in `folder` that are not the locked ones; returns one line per file."""
    lines = []
    for name, locked in entry.files.items():
        file = folder / name
        if file.is_file() and (actual := facts_of(file)) != locked:
            lines.append(f"{set_aside(file)}: sha256 is {actual['sha256']}, locked is {locked['sha256']}")
            log.warning("set aside %s", lines[-1])
    return lines


def _record_new(hub: str, lock: Lock, entry: Entry, facts: Files) -> None:
    new = sorted(facts.keys() - entry.files.keys())
    merged = Entry(entry.requested, entry.revision, dict(sorted({**entry.files, **facts}.items())))
    if new or merged.revision != lock.entry(hub, entry.requested).revision:
        lock.record(hub, merged)
    if new:
        log.info("%s: first fetch of %s: recorded in %s, verified from now on", hub, ", ".join(new), lock.path)


def _by_hand(
    model: Model, entry: Entry, folder: Path, missing: Sequence[str], refused: Sequence[str], reason: str
) -> str:
    """The error of missing files: each by name, where it comes from and where it goes."""
    lines = [f"{reason}; missing of {model.hub} at revision {entry.revision}:"]
    lines += [f"  {name} → {folder / name}" for name in missing]
    if unknown := [p for p in model.files if has_wildcard(p) and not entry.files]:
        lines.append(f"  and whatever else the repository has of {', '.join(unknown)} → {folder}/")
    lines += [f"  set aside: {line}" for line in refused]
    return "\n".join(lines)
