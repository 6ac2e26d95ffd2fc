"""Readers: a data set's layout on disk → records. `open_split` is the one door."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from stages.core.config.file import Config, Dataset
from stages.core.config.loading import check_split, dataset_of
from stages.core.records import Split


@dataclass(frozen=True)
class Format:
    """How a `format:` of the config is read.

    Attributes:
        module: of stages.datasets, with open_split(root, split, limit) -> Split; imported when it is asked for.
        split_folders: whether a split is the folder <root>/<split>.
    """

    module: str
    split_folders: bool = False


FORMATS: Mapping[str, Format] = {
    "mevis": Format("mevis", split_folders=True),
    "folder": Format("folder"),
    "ytvos": Format("ref_youtube_vos", split_folders=True),
    "davis17": Format("ref_davis17"),
    "revos": Format("revos"),
    "long_rvos": Format("long_rvos", split_folders=True),
    "a2d": Format("a2d"),
    "jhmdb": Format("jhmdb"),
}


def open_split(config: Config, dataset: str, split: str) -> Split:
    """The reader of one split of a data set of the config; `limit` of the split is applied.

    Raises:
        ConfigError: the config has no such data set or split.
        ValueError: its folder or index is missing, or the index cannot be used as a whole; the message
            names the place and the mend.
    """
    check_split(config, dataset, split)
    entry = dataset_of(config, dataset)
    _check_root(dataset, entry, split)
    reader = import_module(f"{__name__}.{FORMATS[entry.format].module}")
    # Anyone's data may come in MeViS layout: only MeViS itself has its counts.
    counts = {"counts": reader.PUBLISHED} if entry.format == "mevis" and dataset.startswith("mevis") else {}
    opened: Split = reader.open_split(Path(entry.root), split, entry.splits[split].limit, **counts)
    return opened


def _check_root(dataset: str, entry: Dataset, split: str) -> None:
    """Names what is missing of <root>, or of <root>/<split>."""
    root = Path(entry.root)
    place = root / split if FORMATS[entry.format].split_folders and root.is_dir() else root
    if place.is_dir():
        return
    found = "is not a folder" if place.exists() else "does not exist"
    if entry.generate:
        mend = f"make it: run `python -m stages.make_shapes --dataset {dataset}`"
    elif place == root:
        mend = f"put the data set there, or set datasets.{dataset}.root to where it lies"
    else:
        mend = f"the root holds {_folders(root)}; complete the data set, or mend datasets.{dataset}.splits"
    raise ValueError(f"data set {dataset!r}, split {split!r}: {place} {found}; {mend}")


def _folders(root: Path) -> str:
    return ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())) or "no folder"
