"""Readers: a data set's layout on disk → records. `open_split` is the one way in."""

from pathlib import Path

from stages.core.config.file import Config, Dataset
from stages.core.config.loading import check_split, dataset_of
from stages.core.records import Split
from stages.core.tables import FORMATS


def open_split(config: Config, dataset: str, split: str) -> Split:
    """The reader of one split of a data set of the config; `limit` of the split is applied.

    Raises:
        ConfigError: the config has no such data set or split.
        ValueError: its folder or index is missing, or the index cannot be used as a whole; the message
            names the place and the fix.
    """
    check_split(config, dataset, split)
    entry = dataset_of(config, dataset)
    _check_root(dataset, entry, split)
    return FORMATS[entry.format].open_split(Path(entry.root), split, entry.splits[split].limit, entry.published)


def _check_root(dataset: str, entry: Dataset, split: str) -> None:
    """Names what is missing of <root>, or of <root>/<split>."""
    root = Path(entry.root)
    place = root / split if FORMATS[entry.format].split_folders and root.is_dir() else root
    if place.is_dir():
        return
    problem = "is not a folder" if place.exists() else "does not exist"
    if entry.generate:
        fix = f"make it:  run `python -m stages.make_shapes --dataset {dataset}`"
    elif place == root:
        fix = f"put the data set there, or set datasets.{dataset}.root to where it is"
    else:
        fix = f"the root holds {_folders(root)}; complete the data set, or fix datasets.{dataset}.splits"
    raise ValueError(f"data set {dataset!r}, split {split!r}: {place} {problem}; {fix}")


def _folders(root: Path) -> str:
    return ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "no folder"
