"""Batches made by other processes before their steps come, from scenes made before these: the same as made here."""

import os
import pickle
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cached_property
from multiprocessing import get_context, parent_process

from stages.micro.training.mllm.batches import Batches, Looks, Questions
from stages.training.clock import Clock, Length

BATCHES = 64  # that wait for their steps
SCENES = 32  # steps beyond the last of these batches, whose scenes are made before it


class Ahead:
    """Batches by step and progress.

    Args:
        batches: makes them.
        length: of the training. With a number of steps, batches are made ahead as well; in minutes, how far a step has
            come is known only when it begins, and scenes alone are.
        workers: processes; 0 = everything is made here.
    """

    def __init__(self, batches: Batches, length: Length, workers: int) -> None:
        self.batches, self.length, self.workers = batches, length, workers
        self.pending: dict[tuple[int, float], Future[bytes]] = {}
        self.next_step = 0
        self.next_scene, self.next_track = 0, 0

    def __call__(self, step: int, progress: float) -> Looks | Questions:
        """The batch of a step, on the host."""
        if self.workers:
            self._look_ahead(step, progress)
        made = self.pending.pop((step, progress), None)
        if made is None:
            return self.batches(step, progress)
        batch: Looks | Questions = pickle.loads(made.result())
        return batch

    @cached_property
    def _pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self.workers, get_context("spawn"), _start, (self.batches,))

    def _look_ahead(self, step: int, progress: float) -> None:
        """Hands out work in the order in which it is needed."""
        if self.length.steps is None:
            self._make_scenes(step + BATCHES, progress)
            return
        self.next_step = max(self.next_step, step)
        while self.next_step < min(step + BATCHES, self.length.steps):
            later = min(self.next_step + SCENES, self.length.steps - 1)
            self._make_scenes(later, self._progress(later))
            key = (self.next_step, self._progress(self.next_step))
            self.pending[key] = self._pool.submit(_batch, *key)
            self.next_step += 1

    def _progress(self, step: int) -> float:
        return self.length.progress(Clock(step), None)

    def _make_scenes(self, step: int, progress: float) -> None:
        """All that a step draws from and that is not handed out yet."""
        draws = self.batches.draws
        needed = draws.scenes_of(step)
        for index in range(max(self.next_scene, needed.start), needed.stop):
            self._pool.submit(_scene, index)
        self.next_scene = max(self.next_scene, needed.stop)
        if draws.draws_tracks(progress):
            needed = draws.tracks_of(step)
            for index in range(max(self.next_track, needed.start), needed.stop):
                self._pool.submit(_track, index)
            self.next_track = max(self.next_track, needed.stop)


_BATCHES: list[Batches] = []  # of a worker


def _start(batches: Batches) -> None:
    """Of a worker: training comes first, and it ends with the training, however that ends."""
    import cv2
    import torch

    os.nice(5)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    _BATCHES.append(batches)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _batch(step: int, progress: float) -> bytes:
    return pickle.dumps(_BATCHES[0](step, progress))  # by value: tensors would travel through shared memory one by one


def _scene(index: int) -> None:
    _BATCHES[0].draws.scenes.make_sure(index)


def _track(index: int) -> None:
    tracks = _BATCHES[0].draws.tracks
    assert tracks is not None
    tracks.make_sure(index)
