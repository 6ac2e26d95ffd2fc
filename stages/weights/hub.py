"""The hub: what a repository holds, and its download. Beside stages.weights.transfer, all that fetches over the network.

HF_ENDPOINT names a mirror; an interrupted download goes on where it stopped, also in the next run.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from stages.core.run.progress import Progress
from stages.weights.files import FetchError, facts_of, matching
from stages.weights.transfer import http_error, place, transfer

PAGES = "https://huggingface.co"  # where terms are accepted, whatever mirror sends the files
TOKEN = "HF_TOKEN"
PARTIAL = ".partial"  # folder, beside a model's files, of those that have not arrived in full
PARALLEL = 4


class HubError(Exception):
    """The hub was not reached, or refused; says why."""


@dataclass(frozen=True)
class Listing:
    """The wanted files of a repository at one commit.

    Attributes:
        commit: the commit that the revision stands for.
        announced: file name → the sha256 that the hub announces; None where it announces none.
        sizes: file name → bytes.
        blobs: file name → git's id of its bytes, which large files lack.
    """

    commit: str
    announced: Mapping[str, str | None]
    sizes: Mapping[str, int]
    blobs: Mapping[str, str]


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
            f"{hub} at revision {revision} has no {', '.join(absent or patterns)}: fix `files` of the model in the "
            f"config; it has {', '.join(sorted(announced)) or 'no files'}"
        )
    if unsafe := [name for name in wanted if name.startswith("/") or ".." in name.split("/")]:
        raise FetchError(f"{hub} at revision {revision} names files outside its folder: {', '.join(unsafe)}")
    files = {file.path: file for file in tree if file.path in wanted}
    return Listing(
        str(commit),
        {name: announced[name] for name in wanted},
        {name: files[name].size for name in wanted},
        {name: files[name].blob_id for name in wanted},
    )


def download(hub: str, listing: Listing, folder: Path, *, force: bool) -> None:
    """Downloads the listed files into `folder`, several at a time; those there with the right bytes are kept.

    Args:
        force: download those too.

    Raises:
        HubError: not all of them arrived.
    """
    wanted = [name for name in listing.announced if force or not _is_there(folder / name, name, listing)]
    partial = folder / PARTIAL
    if force:
        shutil.rmtree(partial, ignore_errors=True)
    size = sum(listing.sizes[name] for name in wanted)
    with _progress(hub, size) as arrived, _reporting(hub, listing.commit), ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(lambda name: _fetch(hub, name, listing, folder, arrived), wanted))
    shutil.rmtree(partial, ignore_errors=True)


def _fetch(hub: str, name: str, listing: Listing, folder: Path, arrived: Callable[[int], None]) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    # the commit in its name: another version's beginning is never continued
    partial = folder / PARTIAL / listing.commit[:12] / name
    if partial.is_file():
        arrived(partial.stat().st_size)
    url = hf_hub_url(hub, name, revision=listing.commit, endpoint=endpoint())
    transfer(url, partial, listing.sizes[name], build_hf_headers(), arrived)
    place(partial, folder / name)


def _is_there(file: Path, name: str, listing: Listing) -> bool:
    """Whether a file holds the bytes that the hub announces, by sha256 or by git's id."""
    if not file.is_file() or file.stat().st_size != listing.sizes[name]:
        return False
    if (announced := listing.announced[name]) is not None:
        return facts_of(file)["sha256"] == announced
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == listing.blobs[name]


@contextmanager
def _progress(hub: str, size: int) -> Iterator[Callable[[int], None]]:
    """How much of all files has arrived; what it gives may be called from any thread."""
    lock = Lock()
    with Progress(f"fetching {hub}, {size / 1e9:.1f} GB", size) as progress:

        def arrived(count: int) -> None:
            with lock:
                progress.more(count)

        yield arrived


def endpoint() -> str | None:
    """The mirror in HF_ENDPOINT, read when it is used; None = the hub itself."""
    return os.environ.get("HF_ENDPOINT") or None


def has_wildcard(pattern: str) -> bool:
    return any(character in pattern for character in "*?[")


@contextmanager
def _reporting(hub: str, revision: str) -> Iterator[None]:
    try:
        yield
    except (http_error(), OSError) as error:
        reason = _refusal(hub, error) or str(error).strip().split("\n")[0] or type(error).__name__
        raise HubError(f"{hub} at revision {revision} from {endpoint() or 'the hub'}: {reason}") from error


def _refusal(hub: str, error: BaseException) -> str:
    """What a repository whose terms must be accepted asks of its user; "" where the hub said something else.

    The token itself is in no message, log or file.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import GatedRepoError

    status = getattr(getattr(error, "response", None), "status_code", None)
    if not isinstance(error, GatedRepoError) and status not in (401, 403):
        return ""
    held = f"the token in {TOKEN}" if os.environ.get(TOKEN) else "the token that was stored by a login"
    if get_token() is None:
        said = f"refuses downloads without a token ({status}); set {TOKEN} to one"
    else:
        said = (
            f"refuses {held} ({status}); it may be wrong, lack the right to read gated repositories, or wait for access"
        )
    return f"{said}. Ask for access at {PAGES}/{hub}, and make a token at {PAGES}/settings/tokens"
