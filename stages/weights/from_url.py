"""A file by its https address: downloaded, or put there by hand, or taken from a folder; then verified.

An address announces no digest, so what arrives first is recorded in the lock file and required from then on.
REFEREE_MIRROR names a mirror, which serves https://host/path as <mirror>/host/path.
"""

import hashlib
import logging
import os
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stages.core.run.progress import Progress
from stages.weights.files import FetchError, FileFacts, facts_of, set_aside
from stages.weights.from_hub import copy_file
from stages.weights.hub import PARTIAL
from stages.weights.lock import Entry, Lock
from stages.weights.transfer import http_error, place, remote_file, transfer

log = logging.getLogger(__name__)
MIRROR = "REFEREE_MIRROR"


def fetch_from_url(url: str, folder: Path, lock: Lock, *, force: bool) -> dict[str, FileFacts]:
    """Brings the file of an address into `folder` and verifies it; without the network, one put there by hand will do.

    Returns:
        Its name → its facts.

    Raises:
        FetchError: it did not arrive, or its bytes are not the locked ones.
    """
    name, entry = name_of(url), lock.entry(url, url)
    target, locked = folder / name, entry.files.get(name)
    if target.is_file() and locked is not None and not force:
        if facts_of(target) == locked:
            return {name: locked}
        log.warning("set aside %s: its bytes are not the locked ones", set_aside(target))
    try:
        _download(url, target, force=force)
    except (http_error(), OSError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        if force or not target.is_file():
            raise FetchError(f"{url} from {address(url)}: {reason}; missing:\n  {name} → {target}") from error
        log.warning("%s: %s; the file in %s is used", url, reason, folder)
    return _verified(url, target, lock, entry)


def take_url_from(source: Path, url: str, folder: Path, lock: Lock) -> dict[str, FileFacts]:
    """Copies the file of an address from `source` instead of the network, and verifies it; raises FetchError."""
    name = name_of(url)
    if not (source / name).is_file():
        raise FetchError(f"--from was given: the network was not asked; missing:\n  {name} of {url} → {source / name}")
    copy_file(source / name, folder / name)
    return _verified(url, folder / name, lock, lock.entry(url, url))


def name_of(url: str) -> str:
    """The file name at the end of an address."""
    return unquote(urlsplit(url).path.rsplit("/", 1)[-1])


def address(url: str) -> str:
    """Where the file is requested: the address itself, or the mirror's."""
    mirror = os.environ.get(MIRROR)
    return f"{mirror.rstrip('/')}/{url.removeprefix('https://')}" if mirror else url


def _download(url: str, target: Path, *, force: bool) -> None:
    """Raises what `transfer` raises. A file that is there is kept where the server's has the same size."""
    size, version = remote_file(address(url))
    if not force and target.is_file() and target.stat().st_size == size:
        return
    folder = target.parent / PARTIAL
    # what tells one version from another is in its name: another file's beginning is never continued
    partial = folder / hashlib.sha256(f"{url} {version} {size}".encode()).hexdigest()[:12] / target.name
    if force:
        partial.unlink(missing_ok=True)
    start = partial.stat().st_size if partial.is_file() else 0
    with Progress(f"fetching {target.name}, {size / 1e9:.1f} GB", size, start=start) as progress:
        transfer(address(url), partial, size, {}, progress.more)
    place(partial, target)
    shutil.rmtree(folder, ignore_errors=True)


def _verified(url: str, target: Path, lock: Lock, entry: Entry) -> dict[str, FileFacts]:
    """Compares the file with the lock; records it where it is not locked yet."""
    facts, locked = facts_of(target), entry.files.get(target.name)
    if locked is not None and facts != locked:
        set_aside(target)
        raise FetchError(
            f"{url}: not the expected bytes, renamed to *.refused:\n  {target}: sha256 is {facts['sha256']}, must be "
            f"{locked['sha256']} by {lock.path}\n  run this again, from another mirror if it repeats; if the new bytes "
            f"are right, delete the entry {url!r} from {lock.path}"
        )
    if locked is None:
        lock.record(url, Entry(entry.requested, entry.revision, {target.name: facts}))
        log.info("%s: first fetch: recorded in %s, verified from now on", url, lock.path)
    return {target.name: facts}
