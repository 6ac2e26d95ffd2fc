"""The loop of every sharded stage: decide video by video what is done, make the rest, report failures.

A video's file is complete or absent, so a killed job goes on where it stopped. A video that fails is
recorded and skipped; the shard ends with a list of what failed and why, and with exit status 1 unless
`run.on_failure` is "leave_out".

A worker may leave the end of a video, which needs no device, to a thread, and so keep the device busy with
the next one. At most one video waits there: a slow disk slows the loop down instead of filling the memory.
"""

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from stages.core.config.loading import section
from stages.core.records import Video
from stages.core.run.cli import Job
from stages.core.run.devices import lease_device
from stages.core.run.progress import Progress
from stages.core.run.stopping import is_told_to_end, telling
from stages.core.state.cache import CacheError, Stamp, State, inspect, write_json
from stages.core.state.failures import first_failure
from stages.core.state.graph import STAGES, Stage
from stages.core.state.temporary import DiskFull, remove_leftovers

log = logging.getLogger(__name__)

# The end of a video's work, as far as it needs no device: called in a thread while the next video is worked on.
Finish = Callable[[], None]
# Makes one video's file, (video, path, stamp) → written atomically under path with the stamp inside; or returns the
# `Finish` that writes it.
Worker = Callable[[Video, Path, Stamp], Finish | None]


def run_shard(
    job: Job,
    stage: Stage,
    videos: Sequence[Video],
    ingredients: Callable[[Video], Mapping[str, Any]],
    make_worker: Callable[[str], Worker],
) -> None:
    """Brings every video of the job's shard to its finished state.

    With `run.on_failure: leave_out`, videos that failed are logged and recorded, and later stages skip them.

    Args:
        videos: all of the split (the shard is cut here).
        ingredients: what a video's file depends on beside the stage's config sections: weights ids,
            upstream fingerprints, input digests. Raises where an input is missing.
        make_worker: called once with the device ("cpu" or "cuda"), and only if there is work: loads models.

    Raises:
        SystemExit: status 1, after all other videos, when some failed and `run.on_failure` is "stop".
        CacheError: a file is stale and `run.on_stale` is "stop".
    """
    mine = _possible(job, stage, shard(distinct(job, stage, videos[: job.limit]), job.pid, job.n_pids))
    failures: dict[str, str] = {}
    todo = []
    for video in mine:
        with _recording(job, stage, video, failures):
            stamp = stamp_of(job, stage, ingredients(_sound(video)))
            if not _is_done(job, stage, video, stamp):
                todo.append((video, stamp))
    log.info(
        "%s: %d of %d videos to do (shard %d of %d)", _title(job, stage), len(todo), len(mine), job.pid, job.n_pids
    )
    if todo:
        with telling(
            f"{_title(job, stage)}: stopped; finished videos stay, and the same command goes on with the rest"
        ):
            _work_through(job, stage, todo, make_worker, failures)
    if failures:
        lines = "\n".join(f"  {video}: {reason}" for video, reason in sorted(failures.items()))
        log.error("%s: %d of %d videos failed:\n%s", _title(job, stage), len(failures), len(mine), lines)
        if job.settings.run.on_failure == "stop":
            raise SystemExit(1)


def _possible(job: Job, stage: Stage, videos: Sequence[Video]) -> list[Video]:
    """The videos but for those that an earlier stage failed on, where these are left out."""
    if job.settings.run.on_failure == "stop":
        return list(videos)
    before = list(STAGES)[: list(STAGES).index(stage.name)]
    failures = {video.id: first_failure(job.layout, video.id) for video in videos}
    lost = {name: f.task for name, f in failures.items() if f is not None and f.task.partition("-")[0] in before}
    if lost:
        words = ", ".join(f"{video} (failed in {task})" for video, task in lost.items())
        log.warning("%s: left out: %s", _title(job, stage), words)
    return [video for video in videos if video.id not in lost]


def distinct(job: Job, stage: Stage, videos: Sequence[Video]) -> list[Video]:
    """The videos that have a file of their own: of the sentences that share a video's, the first."""
    first: dict[str, Video] = {}
    for video in videos:
        first.setdefault(job.layout.key(stage, video.id, job.branch), video)
    return list(first.values())


def shard(videos: Sequence[Video], pid: int, n_pids: int) -> list[Video]:
    """The videos of shard `pid` of `n_pids`, longest first, dealt like cards: deterministic, disjoint, complete.

    Raises:
        ValueError: pid is outside 0 … n_pids − 1.
    """
    if n_pids < 1 or not 0 <= pid < n_pids:
        raise ValueError(f"--pid {pid} with --n-pids {n_pids}: pid runs from 0 to n_pids − 1")
    return sorted(videos, key=lambda video: (-video.cost, video.id))[pid::n_pids]


def stamp_of(job: Job, stage: Stage, ingredients: Mapping[str, Any]) -> Stamp:
    """The stamp of a stage's file: its config sections and the given ingredients."""
    config = {name: section(job.settings, name) for name in stage.reads(job.settings, job.branch)}
    return Stamp(stage.name, stage.version, {"config": config, **ingredients})


def _work_through(
    job: Job,
    stage: Stage,
    todo: Sequence[tuple[Video, Stamp]],
    make_worker: Callable[[str], Worker],
    failures: dict[str, str],
) -> None:
    leased = lease_device(job.settings.run) if stage.gpus(job.settings, job.branch) else nullcontext("cpu")
    total = sum(max(video.cost, 1) for video, _ in todo)
    with leased as device:
        work = make_worker(device)
        with Progress(_title(job, stage), total) as progress, _Behind() as behind:
            for number, (video, stamp) in enumerate(todo, 1):
                recording = _recording(job, stage, video, failures)
                finish: Finish | None = None
                with progress.item(max(video.cost, 1), f"video {number} of {len(todo)}: {video.id}"), recording:
                    path = job.layout.file(stage, video.id, job.branch)
                    remove_leftovers(path)
                    finish = work(video, path, stamp)
                if finish:
                    behind.finish(finish, recording)


class _Behind:
    """Runs the ends of videos in a thread, one at a time, in order; leaving waits for the last."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "finish")
        self._last: Future[None] | None = None

    def finish(self, finish: Finish, recording: "_recording") -> None:
        """Hands over the end of a video once that of the previous video is done."""
        self._wait()
        self._last = self._thread.submit(self._run, finish, recording)

    def _run(self, finish: Finish, recording: "_recording") -> None:
        with recording:
            finish()

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()

    def __enter__(self) -> "_Behind":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._wait()
        finally:
            self._thread.shutdown()


class _recording:
    """Turns a video's failure into a record of it; a success removes the record of an earlier one."""

    def __init__(self, job: Job, stage: Stage, video: Video, failures: dict[str, str]) -> None:
        self.video, self.failures = video.id, failures
        self.title = _title(job, stage)
        self.record = job.layout.errors(stage, job.branch) / f"{job.layout.key(stage, video.id, job.branch)}.json"

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> bool:
        if error is None:
            if self.record.exists():  # a disk that is read-only refuses to remove what is not there, too
                self.record.unlink(missing_ok=True)
            return True
        if not isinstance(error, Exception) or isinstance(error, (StaleError, DiskFull)) or is_told_to_end():
            return False
        expected = isinstance(error, (ValueError, OSError))
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        details = "".join(traceback.format_exception(error))
        log.error("%s: video %s failed: %s%s", self.title, self.video, reason, "" if expected else f"\n{details}")
        self.failures[self.video] = reason
        write_json(self.record, {"video": self.video, "error": reason, "traceback": details})
        return True


class StaleError(CacheError):
    """A file made by other ingredients, with `run.on_stale: stop`."""


def _is_done(job: Job, stage: Stage, video: Video, stamp: Stamp) -> bool:
    path = job.layout.file(stage, video.id, job.branch)
    state, reason = inspect(path, stamp)
    if state is State.COMPLETE:
        return not job.overwrite
    if state is State.STALE and job.settings.run.on_stale == "stop":
        raise StaleError(
            f"{path}: made by another config ({reason}); run.on_stale is 'stop': delete it, or set recompute"
        )
    if state in (State.STALE, State.DAMAGED):
        log.warning("%s: video %s is made again: %s", _title(job, stage), video.id, reason)
    return False


def _sound(video: Video) -> Video:
    if video.defect:
        raise ValueError(video.defect)
    return video


def _title(job: Job, stage: Stage) -> str:
    return f"{stage.name}{' ' + job.branch if job.branch else ''} {job.dataset}/{job.split}"
