"""A round: the tracks of many prompts, swept forward through the video, then back, all in step.

Legend: N tracks, n tracks of a frame, B tracks of a batch, W columns of a table, L = h·w tokens of a frame.
"""

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from stages.core.media import masks as masks_of
from stages.core.records import Rle
from stages.core.run import progress
from stages.core.run.batches import Batches
from stages.tracking.bank import Bank, Recalled
from stages.tracking.conditioning import Conditioner
from stages.tracking.encoder import Features
from stages.tracking.features import VideoFeatures
from stages.tracking.heads import Heads, Prediction
from stages.tracking.recall import Reach
from stages.tracking.recorder import Recorder
from stages.tracking.schedule import Schedule, Step
from stages.tracking.tracker import Runtime


class Round:
    """Tracks `prompts`, pairs of a frame and a mask at the video's size, through a video of `n_frames`."""

    def __init__(
        self,
        heads: Heads,
        video: VideoFeatures,
        prompts: Sequence[tuple[int, Rle]],
        n_frames: int,
        batches: Batches,
        recorder: Recorder,
        runtime: Runtime,
    ) -> None:
        self.heads, self.video, self.batches, self.recorder, self.runtime = heads, video, batches, recorder, runtime
        self.starts = [frame for frame, _ in prompts]
        self.masks = [rle for _, rle in prompts]
        self.n_frames = n_frames
        model = heads.model
        side = model.image_size // model.backbone_stride
        reach = self.reach()
        self._full = reach.memory, reach.pointer
        self.schedule = Schedule(self.starts, n_frames, reach, model.device)
        self.bank = Bank(len(prompts), reach, (side * side, model.mem_dim), model.hidden_dim, model.device)
        self._conditioner: Conditioner | None = None
        self._done = 0  # object-frames

    def reach(self) -> Reach:
        model = self.heads.model
        return Reach(model.num_maskmem - 1, max(1, min(self.n_frames, model.max_obj_ptrs_in_encoder) - 1))

    def run(self) -> None:
        """The whole forward sweep first: going back, tracks read forward memories next to their prompt."""
        for frame in range(min(self.starts), self.n_frames):
            self.advance(frame, reverse=False)
        for frame in range(max(self.starts) - 1, -1, -1):
            self.advance(frame, reverse=True)

    def advance(self, frame: int, *, reverse: bool) -> None:
        """Brings every track that a sweep follows here, or that starts here, one frame further."""
        step = self.schedule.step(frame, reverse=reverse)
        if not step.tracks:
            return
        with self.runtime.phase("encode"):
            ahead = -1 if reverse else 1
            features = self.video.get(frame, [frame + ahead * i for i in range(1, self.video.ahead + 1)])
        with self.runtime.phase("follow"):
            self._follow(step, frame, features)
            self._begin(step, frame, features)
        self._done += len(step.tracks)
        progress.advance(self._done / (len(self.starts) * self.n_frames))

    def _begin(self, step: Step, frame: int, features: Features) -> None:
        def compute(part: Sequence[int]) -> Prediction:
            tracks = [step.tracks[i] for i in self._padded(part)]
            prediction = self.heads.prompt(features, [masks_of.decode(self.masks[n]) for n in tracks])
            return prediction.first(len(part))

        for part, prediction in self.batches.run(range(len(step.buckets), len(step.tracks)), compute):
            self._keep(step, part, frame, prediction)
            if self._conditioner is None:
                position = self.heads.memory_position(prediction.memory_BLD, features)
                self._conditioner = Conditioner(self.heads.model, self.n_frames, position, self.heads.compiler)

    def _follow(self, step: Step, frame: int, features: Features) -> None:
        """In buckets of tracks that read the same number of memories; a batch may hold several."""

        def compute(part: Sequence[int]) -> Prediction:
            rows = self._padded(part)
            table_BW = padded(step.table_nW[part[0] : part[-1] + 1], len(rows))
            buckets = [(bucket, len(list(own))) for bucket, own in groupby(step.buckets[i] for i in rows)]
            tables = table_BW.split([size for _, size in buckets])
            recalled = [self.bank.read(table, bucket) for table, (bucket, _) in zip(tables, buckets)]
            steady = [bucket for bucket, _ in buckets] == [self._full]
            return (self._replayed if steady else self._launched)(features, recalled).first(len(part))

        for part, prediction in self.batches.run(range(len(step.buckets)), compute):
            self._keep(step, part, frame, prediction)

    def _padded(self, part: Sequence[int]) -> list[int]:
        """With the last track repeated up to a size that compiled code is made for."""
        size = self.heads.compiler.padded(len(part), self.batches.limit)
        return [*part, *[part[-1]] * (size - len(part))]

    def _launched(self, features: Features, recalled: Sequence[Recalled]) -> Prediction:
        conditioner = self.conditioner
        keys = [conditioner.keys(bucket) for bucket in recalled]
        return self.heads.follow(features, conditioner(tokens(features), self.video.position_1LC, keys))

    def _replayed(self, features: Features, recalled: Sequence[Recalled]) -> Prediction:
        """The steady state: all tracks read as many memories and pointers as ever, so that one graph serves them all."""
        # A graph keeps what it is of: not this round, with its memories.
        heads, conditioner, position_1LC = self.heads, self.conditioner, self.video.position_1LC
        placed_BKD, memory_BKD, n_pointers = conditioner.keys(recalled[0])

        def follow(
            placed_BKD: Tensor, memory_BKD: Tensor, top_1Chw: Tensor, finest: Tensor, finer: Tensor
        ) -> Prediction:
            given = Features(top_1Chw, (finest, finer))
            keys = [(placed_BKD, memory_BKD, n_pointers)]
            return heads.follow(given, conditioner(tokens(given), position_1LC, keys))

        replayed = heads.replays(follow, placed_BKD, memory_BKD, features.top_1Chw, *features.fine)
        return Prediction(*replayed)

    @property
    def conditioner(self) -> Conditioner:
        assert self._conditioner is not None
        return self._conditioner

    def _keep(self, step: Step, part: Sequence[int], frame: int, prediction: Prediction) -> None:
        self.bank.write(step.table_nW[part[0] : part[-1] + 1], prediction.memory_BLD, prediction.pointer_BC)
        self.recorder.record([step.tracks[i] for i in part], frame, prediction)


def tokens(features: Features) -> Tensor:
    """(1, L, C) of the features at stride 16."""
    return features.top_1Chw.flatten(2).transpose(1, 2)


def padded(table_BW: Tensor, size: int) -> Tensor:
    """With the last row repeated up to `size` rows."""
    if size == len(table_BW):
        return table_BW
    return torch.cat([table_BW, table_BW[-1:].expand(size - len(table_BW), -1)])
