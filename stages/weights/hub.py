"""The hub: what a repository holds, and its download. The only file that speaks to the network.

HF_ENDPOINT names a mirror; an interrupted download goes on where it stopped.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stages.weights.files import FetchError, matching


class HubError(Exception):
    """The hub was not reached, or refused; says why."""


@dataclass(frozen=True)
class Listing:
    """The wanted files of a repository at one commit.

    Attributes:
        commit: the commit that the revision stands for.
        announced: file name → the sha256 that the hub announces; None where it announces none.
    """

    commit: str
    announced: Mapping[str, str | None]


def list_repository(hub: str, revision: str, patterns: Sequence[str]) -> Listing:
    """Asks the hub which files match the patterns.

    Raises:
        HubError: not reached, or there is no such repository or revision.
        FetchError: a file that is named without wildcards does not exist there, nothing matches, or a name
            would leave the folder.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    with _reporting(hub, revision):
        api = HfApi(endpoint=endpoint())
        commit = api.model_info(hub, revision=revision).sha
        tree = [item for item in api.list_repo_tree(hub, recursive=True, revision=commit) if isinstance(item, RepoFile)]
    announced = {file.path: file.lfs.sha256 if file.lfs else None for file in tree}
    wanted = matching(announced, patterns)
    absent = [pattern for pattern in patterns if not has_wildcard(pattern) and pattern not in announced]
    if absent or not wanted:
        raise FetchError(
            f"{hub} at revision {revision} has no {', '.join(absent or patterns)}: mend `files` of the model in the "
            f"config; it has {', '.join(sorted(announced)) or 'no files'}"
        )
    if unsafe := [name for name in wanted if name.startswith("/") or ".." in name.split("/")]:
        raise FetchError(f"{hub} at revision {revision} names files outside its folder: {', '.join(unsafe)}")
    return Listing(str(commit), {name: announced[name] for name in wanted})


def download(hub: str, listing: Listing, folder: Path, *, force: bool) -> None:
    """Downloads the listed files into `folder`; those already there are kept unless `force`.

    Raises:
        HubError: not all of them arrived.
    """
    from huggingface_hub import snapshot_download

    with _reporting(hub, listing.commit):
        snapshot_download(
            hub,
            revision=listing.commit,
            local_dir=folder,
            allow_patterns=list(listing.announced),
            force_download=force,
            endpoint=endpoint(),
        )
    if missing := [name for name in listing.announced if not (folder / name).is_file()]:
        raise HubError(f"the download of {', '.join(missing)} did not finish")


def endpoint() -> str | None:
    """The mirror in HF_ENDPOINT, read when it is used; None = the hub itself."""
    return os.environ.get("HF_ENDPOINT") or None


def has_wildcard(pattern: str) -> bool:
    return any(character in pattern for character in "*?[")


@contextmanager
def _reporting(hub: str, revision: str) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError

    # huggingface_hub 1.x speaks through httpx, 2.x through httpx2: the base of both their errors
    http_error = next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    try:
        yield
    except (http_error, OSError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise HubError(f"{hub} at revision {revision} from {endpoint() or 'the hub'}: {reason}") from error
