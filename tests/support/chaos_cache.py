"""Broken files of the cache: damaged ones, and ones whose checksums are right."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
from support.chaos_inputs import Input, replacer
from support.chaos_plan import CACHE, FILES
from support.chaos_runs import Command
from support.damage import damage_json, damages

from stages.core.digests import canonical_json, digest
from stages.core.state.cache import CONTENT

READERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "frames": ("generate_prompts", ("--source", "grid")),
    "prompts/grid": ("build_tracks", ("--source", "grid")),
    "tracks/grid": ("score_tracks", ()),
    "text": ("score_tracks", ()),
    "scores": ("rerank_tracks", ()),
    "decisions": ("evaluate", ()),
    "evaluation": ("assemble", ()),
    "render": ("assemble", ()),
}


def cached(random: Random) -> Iterator[Input]:
    """Endless damages of finished files of the cache, met by the stage that reads them."""
    while True:
        path = random.choice(_finished(random.choice(list(READERS)), "*.json") or _finished("text", "*.h5"))
        path = random.choice([path, random.choice(_finished(random.choice(HDF5), "*.h5"))])
        what, content = next(damages(random, path, may_go=False))
        yield _read(path, f"{path.name}: {what}", content)


def forged(random: Random) -> Iterator[Input]:
    """Endless files of the cache whose checksums are right and whose content is not: somebody took pains."""
    while True:
        folder = random.choice(list(READERS))
        path = random.choice(_finished(folder, "*.h5" if folder in HDF5 else "*.json"))
        what, content = (_other_h5 if folder in HDF5 else _other_json)(random, path)
        yield replace(_read(path, f"{path.name}: {what}", content), door="forged")


HDF5 = ("prompts/grid", "tracks/grid", "text")


def _finished(folder: str, pattern: str) -> list[Path]:
    return sorted(Path(CACHE, "tiny/valid_u", folder).glob(pattern))


def _read(path: Path, what: str, content: bytes | None) -> Input:
    folder = str(path.parent.relative_to(Path(CACHE, "tiny/valid_u")))
    stage, flags = READERS[folder]
    change, restore = replacer(path, content)
    words = (*FILES, "--dataset", "tiny", "--split", "valid_u", *flags)
    words += ("--overwrite",) if stage != "assemble" else ()
    names = (path.name, path.stem, "video")
    return Input("cache", f"{folder}/{what}", Command(f"stages.{stage}", words), change, names, restore)


def _other_json(random: Random, path: Path) -> tuple[str, bytes]:
    document = json.loads(path.read_text(encoding="utf-8"))
    inner = {key: value for key, value in document.items() if key not in (CONTENT, "stamp")}
    while True:
        what, content = damage_json(random, json.dumps(inner).encode())
        try:
            changed = json.loads(content or b"")
            whole = {"stamp": document["stamp"], **changed}
            return what, json.dumps({CONTENT: digest(json.loads(canonical_json(whole))), **whole}).encode()
        except (ValueError, TypeError):
            continue


def _other_h5(random: Random, path: Path) -> tuple[str, bytes]:
    other = path.parent / ".other"
    other.write_bytes(path.read_bytes())
    with h5py.File(other, "r+") as file:
        datasets: list[str] = []
        file.visititems(lambda name, item: datasets.append(name) if isinstance(item, h5py.Dataset) else None)
        name = random.choice(datasets)
        values: Any = file[name][()]
        del file[name]
        kind = random.choice(["gone", "shape", "kind", "values", "scalar", "group", "huge"])
        if kind == "group":
            file.create_group(name)
        elif kind != "gone":
            file[name] = _other_values(random, kind, np.asarray(values))
    content = other.read_bytes()
    other.unlink()
    return f"{name}: {kind}", content


def _other_values(random: Random, kind: str, values: np.ndarray) -> Any:
    if kind == "shape":
        return values[:-1] if random.random() < 0.5 else np.concatenate([values, values])
    if kind == "kind":
        return values.astype(random.choice(["f8", "u1", "S3", "c16"]))
    if kind == "scalar":
        return 7
    if kind == "huge":
        return np.full(
            values.shape, 2**31 - 1 if values.dtype.kind in "iu" and values.dtype.itemsize > 3 else 255
        ).astype(values.dtype)
    changed = values.copy()
    if changed.size:
        changed.reshape(-1)[random.randrange(changed.size)] = random.choice([0, 1, 100])
    return changed
