"""A download over HTTP that goes on where it stopped: after a cut in the same run, after a kill in the next.

huggingface_hub starts a file again in the next run, because it cannot trust file locks on every disk. Here
one job fetches at a time (stages.weights.files.exclusive), and all bytes are verified afterwards.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CHUNK = 1 << 18
TRIES = 5  # in a row without a single new byte
TIMEOUT = 30.0  # seconds without an answer
LONGEST_PAUSE = 8.0


class ShortAnswerError(OSError):
    """The connection ended before the file did."""


class OtherSizeError(OSError):
    """The server has a file of another size."""


def transfer(url: str, partial: Path, size: int, headers: Mapping[str, str], arrived: Callable[[int], None]) -> None:
    """Downloads the file at `url` to `partial`, which may hold its beginning already.

    Args:
        size: bytes of the whole file.
        arrived: called with the number of bytes that are new; negative where a partial file was discarded.

    Raises:
        httpx's HTTPError or OSError: the server refused, or the file did not get longer in TRIES tries.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.touch()
    failures, errors = 0, _transport_errors()
    while True:
        before = partial.stat().st_size
        try:
            return _go_on(url, partial, size, headers, arrived)
        except errors as error:
            failures = failures + 1 if partial.stat().st_size <= before else 1
            if failures >= TRIES or _is_final(error):
                raise
            time.sleep(min(LONGEST_PAUSE, 2.0 ** (failures - 1)))


def _go_on(url: str, partial: Path, size: int, headers: Mapping[str, str], arrived: Callable[[int], None]) -> None:
    from huggingface_hub.utils import get_session, hf_raise_for_status

    start = partial.stat().st_size
    if start == size:
        return
    if start > size:  # of another file
        start = _give_up(partial, start, arrived)
    # unpacking would make positions in the file meaningless
    request_headers = {**headers, "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with get_session().stream("GET", url, headers=request_headers, follow_redirects=True, timeout=TIMEOUT) as response:
        if response.status_code >= 400:
            if response.status_code == 416:
                _give_up(partial, start, arrived)
            response.read()
            hf_raise_for_status(response)
        if start and not _answers_range(response, start):
            start = _give_up(partial, start, arrived)
        if (promised := response.headers.get("Content-Length")) and start + int(promised) != size:
            raise OtherSizeError(f"{url}: the server has {start + int(promised)} bytes, the repository lists {size}")
        with partial.open("ab") as file:
            for chunk in response.iter_bytes(CHUNK):
                file.write(chunk)
                file.flush()
                arrived(len(chunk))
    if (arrived_size := partial.stat().st_size) != size:
        raise ShortAnswerError(f"{url}: {arrived_size} of {size} bytes arrived")


def remote_file(url: str) -> tuple[int, str]:
    """Size in bytes of the file at `url`, and what tells its version from another ("" where the server says nothing).

    Raises:
        httpx's HTTPError or OSError: the server was not reached, refused, or does not tell a size.
    """
    from huggingface_hub.utils import get_session, hf_raise_for_status

    options: dict[str, Any] = {"headers": {"Accept-Encoding": "identity"}, "follow_redirects": True, "timeout": TIMEOUT}
    response = get_session().head(url, **options)
    if response.status_code >= 400:  # not every server of files answers HEAD: the head of a GET says the same
        with get_session().stream("GET", url, **options) as response:
            if response.status_code >= 400:
                response.read()
                hf_raise_for_status(response)
    size = response.headers.get("Content-Length")
    version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    if size is None:
        raise OtherSizeError(f"{url}: the server does not say how large the file is")
    return int(size), str(version)


def place(partial: Path, target: Path) -> None:
    """Gives a finished file its name."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(target)


def _answers_range(response: Any, start: int) -> bool:
    """Whether the answer is the requested part; a server that ignores ranges sends the whole file with 200."""
    return response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _give_up(partial: Path, start: int, arrived: Callable[[int], None]) -> int:
    os.truncate(partial, 0)
    arrived(-start)
    return 0


def _transport_errors() -> tuple[type[BaseException], ...]:
    return (http_error(), OSError)


def http_error() -> type[BaseException]:
    """The base of the errors of what huggingface_hub speaks through: httpx in its 1.x, httpx2 in its 2.x."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")


def _is_final(error: BaseException) -> bool:
    """Whether trying again makes no sense: the server understood and said no."""
    if isinstance(error, OtherSizeError):
        return True
    status = getattr(getattr(error, "response", None), "status_code", 500)
    return status < 500 and status not in (408, 416, 429)
