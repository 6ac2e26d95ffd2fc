"""Which folders a config writes to, and that none of them is, holds or is inside a folder of the user's.

Stages and Snakemake remove and replace what they made before: a results folder that is a data set's, or a cache in
the place of results, would be removed with it. So such a config is refused before anything runs.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from stages.core.config.file import Config
from stages.core.tables import EVIDENCE

CACHE_FOLDERS = ("config", "logs")  # of paths.cache, beside those of data sets


@dataclass(frozen=True)
class Place:
    """A folder, or a file, that the config names.

    Attributes:
        owner: the key of the config that it comes from; places of one owner may hold each other.
        path: with links resolved.
        written: something is made and removed there.
    """

    owner: str
    path: Path
    written: bool


def check_whole(config: Config) -> None:
    """Checks what no section sees alone, once the settings of all data sets are resolved.

    Raises:
        ValueError: as `check_places`; or a data set has neither a selector nor evidence that decides.
    """
    for name, settings in config._settings.items():
        if config.datasets[name].selector.is_none and not settings.rerank.evidence:
            raise ValueError(f"datasets.{name}: no selector, and rerank.evidence is empty: nothing decides; give one")
    check_places(config)


def check_places(config: Config) -> None:
    """
    Raises:
        ValueError: a place that is written to equals, holds or is inside another, or two of the folders that hold such
            places are the same; names both keys and both paths.
    """
    roots = {name: _resolved(getattr(config.paths, name)) for name in ("results", "cache", "weights")}
    for one, two in combinations(roots, 2):
        if roots[one] == roots[two]:
            raise ValueError(f"paths.{one} and paths.{two} are the same folder, {roots[one]}; give one of them another")
    places = list(_places(config))
    around = {place.path: frozenset((place.path, *place.path.parents)) for place in places}
    for place in (place for place in places if place.written):
        for other in places:
            touch = place.path in around[other.path] or other.path in around[place.path]
            if touch and other.owner != place.owner:
                raise ValueError(
                    f"{place.owner} and {other.owner}: {place.path} is written to and removed, and "
                    f"{_relation(other.path, place.path)} {other.path}; give one of them another folder"
                )


def check_output(config: Config, out: Path) -> None:
    """Returns when a tool may write at `out`.

    Raises:
        ValueError: it is, or is inside, a folder that the config names: the user's own, or one that runs replace.
    """
    place = _resolved(str(out))
    for other in _places(config):
        if other.path in (place, *place.parents):
            kind = "where stages write and remove" if other.written else "which is the user's"
            raise ValueError(f"{out}: is inside {other.path} ({other.owner}), {kind}; give another place")


def _places(config: Config) -> Iterator[Place]:
    paths = config.paths
    splits = [(name, split) for name, entry in config.datasets.items() for split in entry.splits]
    about = [(what, *parts) for what in ("compare", "report") for parts in splits]
    for parts in (*splits, *about, ("imports",)):
        yield Place("paths.results", _resolved(paths.results, *parts), written=True)
    for parts in (*splits, *((name,) for name in CACHE_FOLDERS)):
        yield Place("paths.cache", _resolved(paths.cache, *parts), written=True)
    for name, preset in config.presets.items():
        yield Place("paths.weights", _resolved(paths.weights, name), written=True)
        for role in type(preset.models).model_fields:
            model = preset.models[role]
            if model is not None and model.path is not None:
                yield Place(f"presets.{name}.models.{role}.path", _resolved(model.path), written=False)
    for name, entry in config.datasets.items():
        yield Place(f"datasets.{name}.root", _resolved(entry.root), written=entry.generate)
        if entry.selector.weights is not None:
            yield Place(f"datasets.{name}.selector.weights", _resolved(entry.selector.weights), written=False)
    for settings in (config, *config._settings.values()):
        for name, evidence in settings.evidence.items():
            for key, file in EVIDENCE[evidence.kind].files(evidence).items():
                yield Place(f"evidence.{name}.{key}", _resolved(file), written=False)


def _resolved(*parts: str) -> Path:
    return Path(os.path.realpath(Path(*parts)))


def _relation(one: Path, other: Path) -> str:
    """Of `other` to `one`, in words."""
    if one == other:
        return "is the same as"
    return "is inside" if one in other.parents else "holds"
