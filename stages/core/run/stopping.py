"""How a job ends when it is told to: by Ctrl-C, or by SIGTERM, which schedulers send some seconds before SIGKILL.

Either raises at once where the main thread is. What is open closes, so that locks and leased devices are free and no
temporary file stays; finished files are complete, so the next run goes on with the rest.
"""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)
INTERRUPTED, TERMINATED = 130, 143  # exit statuses as shells give them for an end by SIGINT and SIGTERM


class Terminated(KeyboardInterrupt):
    """SIGTERM has come. What knows how to end on Ctrl-C knows how to end on it."""


@contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated` in the main thread; further ones change nothing, so that cleaning up ends.

    A SIGTERM that was to be ignored stays ignored; outside the main thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def telling(how_to_go_on: str) -> Iterator[None]:
    """Logs a line about the work inside where it is stopped."""
    try:
        yield
    except KeyboardInterrupt:
        log.warning("%s", how_to_go_on)
        raise


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated
