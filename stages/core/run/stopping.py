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


_told: list[KeyboardInterrupt] = []  # what the signals that have come raised


@contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated` in the main thread; further ones change nothing, so that cleaning up ends.

    Where a library makes an error of its own of that, or of Ctrl-C, the block ends as if it had not. A signal that was to be
    ignored stays ignored; outside the main thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = {signal.SIGTERM: _terminate, signal.SIGINT: _interrupt}
    heeded = [number for number in ours if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, ours[number]) for number in heeded}
    try:
        yield
    except Exception as error:
        if _told:
            raise _told[0] from error
        raise
    finally:
        _told.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def is_told_to_end() -> bool:
    """Whether a signal has come: what looks like an error since then may be its doing."""
    return bool(_told)


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
    _told.append(Terminated())
    raise _told[-1]


def _interrupt(number: int, frame: FrameType | None) -> None:
    _told.append(KeyboardInterrupt())
    raise _told[-1]
