"""The listing of a split, taken once per run: a job on a cluster is a Snakemake of its own, and reads what the head has seen.

Without that, each of a thousand jobs would look at every frame of the data set before it starts.
"""

from contextlib import suppress
from pathlib import Path

from stages.core.config.file import Config
from stages.core.state.cache import atomic_path
from stages.datasets.listing import split_listing

FOLDER = Path(".snakemake/referee_listings")


def listing_once(config: Config, dataset: str, split: str, *, in_head: bool) -> str:
    """The digest of `split_listing`; the head leaves it for its jobs."""
    seen = FOLDER / dataset / f"{split}.txt"
    if not in_head:
        with suppress(OSError):
            return seen.read_text(encoding="utf-8")
    digest = split_listing(config, dataset, split)
    if in_head:
        with suppress(OSError, ValueError), atomic_path(seen) as temporary:  # nowhere to write: jobs look themselves
            temporary.write_text(digest, encoding="utf-8")
    return digest
