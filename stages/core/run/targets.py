"""What the workflow can make, and what a person means by the name of a target."""

import os
from pathlib import Path, PurePath

from stages.core.config.file import Config
from stages.core.config.loading import check_split, nearest

ABOUT = ("report", "compare")  # folders below results that hold something about a split
CONFIG_SUFFIXES = (".yaml", ".yml")


class Targets:
    """The targets of one config.

    A target is results/<dataset>/<split>, its report results/report/<dataset>/<split>, or the comparison
    results/compare/<dataset>/<split>; the results folder may be left out. Files of the cache, weights and data sets are targets too, by their paths.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._results = PurePath(config.paths.results)
        splits = [PurePath(name, split) for name, entry in config.datasets.items() for split in entry.splits]
        about = [what / path for what in ABOUT for path in splits]
        self.names = [str(path) for path in (*splits, *about)]
        self.rules = ["help", *(f"make_{name}" for name, entry in config.datasets.items() if entry.generate)]
        roots = [entry.root for entry in config.datasets.values()]
        self._inside = [PurePath(folder) for folder in (config.paths.cache, config.paths.weights, *roots)]

    def looks_like_one(self, word: str) -> bool:
        """Whether a word that could also be an option's value is meant as a target, perhaps a misspelt one."""
        path = PurePath(word)
        if "=" in word or path.suffix in CONFIG_SUFFIXES:
            return False
        return self._is_inside(path) or ("/" in word and not path.suffix)

    def resolve(self, word: str) -> str:
        """The target as snakemake knows it.

        Raises:
            ValueError: there is no such target; names the nearest.
        """
        path = PurePath(word)
        if path.is_absolute() and not self._results.is_absolute():
            path = PurePath(os.path.relpath(path))
        if path.is_relative_to(self._results) and not self._is_inside(path):
            path = path.relative_to(self._results)
        elif word in self.rules or self._is_inside(path):
            return str(path)
        if str(path) in self.names:
            return str(self._results / path)
        raise ValueError(self._explain(word, path))

    def _is_inside(self, path: PurePath) -> bool:
        return any(path.is_relative_to(folder) for folder in self._inside)

    def _explain(self, word: str, path: PurePath) -> str:
        """Why `path`, below the results folder, is not a target."""
        parts = path.parts[1:] if path.parts[:1] in [(what,) for what in ABOUT] else path.parts
        entry = self._config.datasets.get(parts[0]) if parts else None
        if entry is not None and len(parts) == 1:
            return f"{word}: name a split of {parts[0]}, one of {', '.join(entry.splits)}"
        if entry is not None and len(parts) == 2:
            try:
                check_split(self._config, *parts)
            except ValueError as error:
                return str(error)
        if entry is not None and parts[1] in entry.splits:
            whole = self._results / PurePath(*path.parts[: len(path.parts) - len(parts) + 2])
            return f"{word}: a split is made as a whole; ask for {whole}"
        names = [*self.names, *self.rules, *(str(self._results / name) for name in self.names)]
        return f"no target {word!r}{nearest(word, names)}"

    def describe(self) -> str:
        """What can be made, one line per data set."""
        width = max(map(len, self._config.datasets))
        lines = ["Name what to make:"]
        for name, entry in self._config.datasets.items():
            note = "made by itself" if entry.generate else "here" if Path(entry.root).is_dir() else "not here"
            splits = "  ".join(f"{name}/{split}" for split in entry.splits)
            lines.append(f"  {name:{width}}  {splits}   ({entry.root}: {note})")
        lines.append("report/<data set>/<split> is a site to look at the results of one of them.")
        lines.append("compare/<data set>/<split> compares selectors, baselines and the oracle there.")
        return "\n".join(lines)
