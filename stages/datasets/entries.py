"""What is said of files by their entries in folders: names, sizes and times of change, as one digest per place.

A look at millions of entries is bound by Python as much as by the kernel, and threads of one process share one Python. So it is spread
over processes, each of which is this module run as a program: places in, digests out. Each has threads on top, as of a network's
file system most of the time is waiting.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from stages.core.digests import digest
from stages.datasets.folder_listing import FRAME_SUFFIXES

ROOT = Path(__file__).parents[2]
THREADS = 4
MOST_PROCESSES = 8
BATCH = 64  # places that a thread looks at in one go: handing over each alone costs a sixth of looking at it
FEW = 2000  # places that are looked at here, in less time than a process takes to start
FRAMES, ALL = b"f", b"a"  # before a place: whether of a folder's files only pictures count
Facts = list[tuple[str, int, int]]


def entry_digests(frames: Sequence[Path], others: Sequence[Path]) -> tuple[list[str], list[str]]:
    """A digest per place, in order.

    Args:
        frames: video files, and folders of which pictures count.
        others: files, and folders of which everything counts that is not hidden.
    """
    places = [*(FRAMES + os.fsencode(path) for path in frames), *(ALL + os.fsencode(path) for path in others)]
    digests = _in_threads(places) if len(places) <= FEW else _in_processes(places)
    return digests[: len(frames)], digests[len(frames) :]


def _in_processes(places: Sequence[bytes]) -> list[str]:
    n_processes = min(MOST_PROCESSES, os.cpu_count() or 1)
    share = -(-len(places) // n_processes)
    with ThreadPoolExecutor(n_processes) as pool:  # each waits for a process
        parts = pool.map(_in_a_process, [places[i : i + share] for i in range(0, len(places), share)])
        return list(chain.from_iterable(parts))


def _in_a_process(places: Sequence[bytes]) -> list[str]:
    command = [sys.executable, "-m", "stages.datasets.entries"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    looked = subprocess.run(command, input=b"\0".join(places), capture_output=True, check=False, env=environment)
    digests = looked.stdout.decode().split()
    # A process that was ended, or could not start: the look is taken here.
    return digests if looked.returncode == 0 and len(digests) == len(places) else _in_threads(places)


def _in_threads(places: Sequence[bytes]) -> list[str]:
    with ThreadPoolExecutor(THREADS) as pool:
        batches = [places[i : i + BATCH] for i in range(0, len(places), BATCH)]
        return list(chain.from_iterable(pool.map(_digests, batches)))


def _digests(places: Sequence[bytes]) -> list[str]:
    return [_digest(Path(os.fsdecode(place[1:])), place[:1] == FRAMES) for place in places]


def _digest(path: Path, pictures_alone: bool) -> str:
    facts = _facts(path)
    if pictures_alone:
        facts = [fact for fact in facts if fact[0].lower().endswith(FRAME_SUFFIXES) or fact[0] == path.name]
    return digest(facts)


def _facts(path: Path) -> Facts:
    """Name, size and time of change of a file, or of the files in a folder; nothing where neither is there."""
    try:
        with _opened(path) as folder:
            if folder is None:
                status = path.stat()
                return [(path.name, status.st_size, status.st_mtime_ns)]
            # By its descriptor: the path of each file would be looked up from the root, which takes most of the time.
            with os.scandir(folder) as entries:
                return sorted(_facts_of(entry) for entry in entries if not entry.name.startswith("."))
    except OSError:
        return []


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """The descriptor of a folder; None where the path is not one."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except NotADirectoryError:
        folder = None
    try:
        yield folder
    finally:
        if folder is not None:
            os.close(folder)


def _facts_of(entry: "os.DirEntry[str]") -> tuple[str, int, int]:
    try:
        status = entry.stat()
    except OSError:  # a link to nothing
        return entry.name, -1, 0
    return entry.name, 0 if entry.is_dir() else status.st_size, status.st_mtime_ns


def _answer() -> None:
    """Places on stdin, with a NUL between them; a digest per line on stdout."""
    print("\n".join(_in_threads(sys.stdin.buffer.read().split(b"\0"))))


if __name__ == "__main__":
    _answer()
