"""What a split is read from, as one digest that changes when one of its files does.

The workflow compares it with the last run's, so that frames, label files and videos replaced in place are noticed.
It costs a look at the entry of every file that the index names, and opens none but the index: names, sizes and times of
change are compared, not contents.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.config.file import Config
from stages.core.config.loading import dataset_of
from stages.core.digests import digest
from stages.core.tables import FORMATS
from stages.datasets import open_split
from stages.datasets.entries import entry_digests


def split_listing(config: Config, dataset: str, split: str) -> str:
    """A digest of the split's index and of all files that its videos and their truth are read from.

    Where the split cannot be opened it covers the index files alone: the stage says why.
    """
    entry = dataset_of(config, dataset)
    root = Path(entry.root)
    patterns = [pattern.format(split=split) for pattern in FORMATS[entry.format].index_files]
    index = sorted({path for pattern in patterns for path in root.glob(pattern)})
    with _silent_readers():
        try:
            opened = open_split(config, dataset, split)
        except (ValueError, OSError):
            return digest([[str(path) for path in index], *entry_digests([], index)])
        videos = opened.videos()
        frames = [video.location for video in videos]
        truth = [path for video in videos for path in opened.sources(video)]
    # A digest per place: the facts of millions of frames would not fit into memory.
    of_frames, of_others = entry_digests(frames, [*index, *truth])
    return digest([[video.id for video in videos], of_frames, of_others])


@contextmanager
def _silent_readers() -> Iterator[None]:
    """Mutes what readers warn of: the stages will say it."""
    readers = logging.getLogger("stages.datasets")
    before = readers.level
    readers.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        readers.setLevel(before)
