"""The loop around a task's steps: time, checkpoints, learning curve, the ends of epochs."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from stages.core.run.progress import Progress
from stages.core.run.stopping import telling
from stages.training.arithmetic import deterministic
from stages.training.checkpoint import refuse_to_overwrite, resume_from, save
from stages.training.clock import Clock, Length
from stages.training.curve import TRACKERS, Curve, Means
from stages.training.processes import World
from stages.training.task import Task

log = logging.getLogger(__name__)
CHECKPOINT_SECONDS = 60.0  # at most this much is lost to a kill; it does not change the result
ALONE = World()


def train(
    task: Task,
    length: Length,
    folder: Path,
    *,
    resume: bool = False,
    world: World = ALONE,
    trackers: Sequence[str] = TRACKERS,
) -> Clock:
    """Trains to the end of `length`, or until the task is over.

    Args:
        folder: gets checkpoint.pt, curve.jsonl, trackers.json and TensorBoard's tensorboard/; made if missing.
        resume: continue from the checkpoint in `folder`, to the same bytes as without the interruption.
        world: the processes that train together; only the first writes.
        trackers: names of experiment trackers that are told the curve.

    Returns:
        How far it came.

    Raises:
        ValueError: there is a checkpoint and `resume` is not set, or it is set and the checkpoint is missing, damaged,
            or of another identity; a tracker is not installed, or cannot begin a run.
    """
    clock, means = Clock(), Means()
    world.wait()  # nobody reads while another still writes
    if resume:
        clock = resume_from(folder, task, means)
        log.info("%s: training goes on after step %d", folder, clock.step)
    else:
        refuse_to_overwrite(folder)
    world.wait()  # nobody writes while another reads
    place = folder if world.first else None
    stopped = f"{folder}: training stopped; the next run goes on at its last checkpoint, of at most a minute ago"
    with deterministic(), telling(stopped), Curve(place, clock.step, trackers, task.identity()) as curve:
        _run(task, length, folder, clock, means, curve, world)
    if world.first:
        save(folder, task, clock, means)
    world.wait()
    return clock


def _run(task: Task, length: Length, folder: Path, clock: Clock, means: Means, curve: Curve, world: World) -> None:
    saved = time.monotonic()
    done = length.progress(clock, task.epoch_steps(clock.epoch))
    with Progress("training", 1.0, start=done, silent=not world.first) as bar:
        while not task.is_over(clock):
            epoch_steps = task.epoch_steps(clock.epoch)
            progress = length.progress(clock, epoch_steps)
            bar.at(progress, f"{clock.step} steps")
            if progress >= 1:
                return
            started, seconds = time.monotonic(), clock.seconds
            means.add(task.step(clock, progress))
            ended = clock.advance(epoch_steps)
            if clock.step % task.log_every == 0:
                curve.write(clock, means.take())
            if ended:
                curve.write(clock, task.end_epoch(clock))
            clock.seconds = world.agree(seconds + time.monotonic() - started)
            if world.first and (ended or time.monotonic() - saved >= CHECKPOINT_SECONDS):
                save(folder, task, clock, means)
                saved = time.monotonic()
