"""Progress of a job: lines where there is no terminal, a bar where there is one, and what moves them inside a video."""

import io
import logging
import os
import pty
import select
import termios
import threading
from itertools import pairwise
from typing import Any

import pytest

from stages.core.run.progress import Progress, advance, part, steps


class Clock:
    """Seconds that pass when the test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(total: float, **given: Any) -> tuple[Progress, io.StringIO, Clock]:
    stream, clock = io.StringIO(), Clock()
    return Progress("build_tracks grid tiny/valid_u", total, stream=stream, clock=clock, **given), stream, clock


def lines(stream: io.StringIO) -> list[str]:
    """What was written, without the time of day."""
    return [line.partition(" ")[2] for line in stream.getvalue().splitlines()]


def test_a_line_says_how_far_and_how_long_inside_a_video() -> None:
    bar, stream, clock = progress(40)
    with bar:
        with bar.item(10, "video 1 of 2: a"):
            for _ in steps(range(5)):
                clock.now += 4
        with bar.item(30, "video 2 of 2: b"):
            clock.now += 20
            advance(0.5)
    assert lines(stream) == [
        # after 12 seconds two of five steps of a quarter of the work
        "build_tracks grid tiny/valid_u: 15%, video 1 of 2: a, 01:08 left",
        "build_tracks grid tiny/valid_u: 62%, video 2 of 2: b, 00:24 left",
        "build_tracks grid tiny/valid_u: 100%, after 00:40",
    ]


def test_a_short_job_says_nothing() -> None:
    bar, stream, clock = progress(3)
    with bar:
        for _ in range(3):
            with bar.item(1):
                clock.now += 3
    assert stream.getvalue() == ""


def test_lines_of_a_long_job_are_further_apart_and_never_more_than_a_minute() -> None:
    bar, stream, clock = progress(36000)
    times: list[float] = []
    with bar:
        for second in range(36000):
            clock.now += 1
            before = stream.tell()
            bar.at(second)
            times += [clock.now] if stream.tell() > before else []
    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) == gaps[0] == 10 and max(gaps) == gaps[-1] == 60
    assert gaps == sorted(gaps) and len(gaps) < 700


def test_what_an_earlier_run_did_does_not_count_for_the_time_left() -> None:
    bar, stream, clock = progress(100, start=50)
    with bar:
        clock.now += 10
        bar.at(60, "epoch 2 of 3")
    assert lines(stream)[0] == "build_tracks grid tiny/valid_u: 60%, epoch 2 of 3, 00:40 left"


def test_the_time_left_is_told_once_a_little_is_done() -> None:
    bar, stream, clock = progress(1000)
    with bar:
        for done in (9, 10):
            clock.now += 10
            bar.at(done)
    assert lines(stream)[:2] == ["build_tracks grid tiny/valid_u: 0%", "build_tracks grid tiny/valid_u: 1%, 33:00 left"]


def test_parts_and_steps_nest_and_end_where_they_should() -> None:
    bar, _, _ = progress(100)
    seen = []
    with bar, bar.item(100):
        for _ in steps(range(2)):
            with part(0, 0.5):
                for _ in steps(iter("ab"), total=2):
                    advance(0.5)
                    seen.append(bar.done)
            seen.append(bar.done)
    assert seen == pytest.approx([6.25, 18.75, 25, 56.25, 68.75, 75])
    assert bar.done == 100


def test_a_loop_that_fails_leaves_the_next_video_alone() -> None:
    bar, _, _ = progress(20)
    with bar:
        with pytest.raises(ValueError, match="broken") as kept, bar.item(10):
            for _ in steps(range(4)):
                raise ValueError("broken")
        assert kept.traceback  # holds the frame of the loop, and so the open generator
        with bar.item(10):
            del kept
            advance(0.5)
            assert bar.done == 5  # the failed item never ended
        assert bar.done == 10


def test_another_thread_does_not_move_the_bar() -> None:
    bar, _, _ = progress(10)
    with bar, bar.item(10):
        advance(0.2)
        thread = threading.Thread(target=advance, args=(0.9,))
        thread.start()
        thread.join()
        assert bar.done == 2


def test_a_silent_one_says_nothing() -> None:
    bar, stream, clock = progress(2, silent=True)
    with bar:
        clock.now += 100
        bar.more(1)
    assert stream.getvalue() == "" and bar.done == 1


def test_outside_a_job_nothing_happens() -> None:
    assert list(steps("abc")) == ["a", "b", "c"]
    advance(0.5)


def shown_on(master: int) -> str:
    """All that was written to a terminal: a read may give a part of it."""
    shown = b""
    while select.select([master], [], [], 0.2)[0]:
        shown += os.read(master, 65536)
    return shown.decode()


def test_on_a_terminal_it_is_one_bar_and_log_lines_stand_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 100))
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        handler = logging.StreamHandler()
        monkeypatch.setattr(logging.root, "handlers", [handler])
        bar = Progress("score_tracks tiny/valid_u", 2)
        with bar, bar.item(2, "video 1 of 1: a"):
            logging.getLogger("stages").warning("look out")
            advance(0.5)
        assert logging.root.handlers == [handler]
        terminal.flush()
        text = shown_on(master)
    os.close(master)
    assert "score_tracks tiny/valid_u: 100%|" in text and "video 1 of 1: a" in text
    assert "look out" in text
