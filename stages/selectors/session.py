"""One training from start to end: is it done, can it go on, or does it start anew.

The folder holds last.pt (state), best.safetensors (the selector), training.json (the finished marker with
history and threshold) and tensorboard/.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from stages.core.cache import CacheError, Stamp, State, inspect, write_json
from stages.core.cli import Job
from stages.core.devices import lease_device
from stages.core.graph import Layout
from stages.core.records import Source, Split, Video
from stages.core.text_file import read_text
from stages.selectors import BEST, MARKER, training_folder
from stages.selectors.arithmetic import full_float32
from stages.selectors.checkpoint import Header, build
from stages.selectors.inputs import Inputs, join, read_inputs
from stages.selectors.order import trainable
from stages.selectors.quality import Measure, TrackQuality
from stages.selectors.samples import VideoTracks, open_video
from stages.selectors.state import FILE, Progress, read_state
from stages.selectors.training import Data, Trainer, make_learner
from stages.selectors.validation import known_expressions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """The training or the validation split: `name` is <dataset>/<split>, `sources` its track sources."""

    name: str
    split: Split
    layout: Layout
    sources: Sequence[Source]
    limit: int | None

    def videos(self) -> list[Video]:
        """The sound ones; a defect is logged as an error, and the others are trained on.

        Raises:
            ValueError: the split has no ground truth.
        """
        if not self.split.has_truth:
            raise ValueError(f"{self.name} has no ground truth: train and validate on splits that have it")
        videos = self.split.videos()[: self.limit]
        for video in videos:
            if video.defect:
                log.error("%s: video %s is left out: %s", self.name, video.id, video.defect)
        return [video for video in videos if not video.defect]

    def inputs(self) -> Inputs:
        return read_inputs(self.layout, self.videos(), self.sources)

    def open(self) -> list[VideoTracks]:
        return [open_video(self.layout, video, self.sources) for video in self.videos()]


class Session:
    """A training whose inputs are complete."""

    def __init__(self, job: Job, stage_stamp: Stamp, inputs: Inputs) -> None:
        self.job, self.stamp, self.inputs = job, stage_stamp, inputs
        self.folder = training_folder(job.config, job.dataset, job.split)
        self.config = job.settings.selector

    def must_run(self) -> bool:
        """False where the same training is finished; what another config left is cleared away.

        Raises:
            CacheError: another config left it, and `run.on_stale` is "stop".
        """
        state, reason = inspect(self.folder / MARKER, self.stamp)
        if state is State.COMPLETE and (self.folder / BEST).exists() and not self.job.overwrite:
            log.info("%s: complete", self.folder)
            return False
        if self.job.overwrite:
            self._clear()
        elif state in (State.STALE, State.DAMAGED):
            self._start_anew(reason)
        return True

    def train(self, train: Part, validation: Part, jaccard: Measure, boundary_f: Measure) -> None:
        """Trains to the end and writes the marker.

        Raises:
            ValueError: there is no track to train on, nothing to validate on, or a loss that is no number.
        """
        full_float32()
        quality = TrackQuality(validation.layout, validation.split, jaccard, boundary_f)
        data = Data(train.open(), validation.open(), quality)
        check(data, train, validation, self.config.training.positive_iou)
        with lease_device(self.job.settings.run) as device:
            progress = self._run(data, device)
        best = progress.best
        assert best is not None
        payload = {"best": best, "threshold": best["validation"]["threshold"], "history": progress.history}
        write_json(self.folder / MARKER, payload, self.stamp)

    def _run(self, data: Data, device: str) -> Progress:
        token_dim, text_dim = data.train[0].sources[0][2].shape[2], _text_dim(data.train)
        header = Header(
            name=self.config.name,
            model=self.config.model.model_dump(mode="json"),
            token_dim=token_dim,
            text_dim=text_dim,
            weights=dict(self.inputs.weights),
            training=self.stamp.fingerprint,
        )
        model = build(token_dim, text_dim, self.config.model, self.config.training.seed).to(device)
        learner = make_learner(model, self.config.training)
        trainer = Trainer(self.folder, self.stamp, header, data, self.config.training, learner, device)
        self._resume(trainer)
        return trainer.run()

    def _resume(self, trainer: Trainer) -> None:
        """Goes on from last.pt, if it is of this training."""
        state = read_state(self.folder)
        if state is None:
            return
        found = Stamp.loads(state["stamp"])
        if found.fingerprint != self.stamp.fingerprint:
            self._start_anew(self.stamp.difference(found))
        elif state["progress"]["epoch"] and not (self.folder / BEST).exists():
            self._start_anew(f"{BEST} of its finished epochs is gone")
        else:
            trainer.resume(state)

    def _start_anew(self, reason: str) -> None:
        if self.job.settings.run.on_stale == "stop":
            raise CacheError(
                f"{self.folder}: holds another training ({reason}); run.on_stale is 'stop': delete it, or set recompute"
            )
        log.warning("%s: training starts anew: %s", self.folder, reason)
        self._clear()

    def _clear(self) -> None:
        for name in (MARKER, FILE, BEST):  # the marker first: what a kill leaves is never taken for finished
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "tensorboard", ignore_errors=True)


def join_inputs(train: Part, validation: Part) -> Inputs:
    """Of both splits; raises CacheError where a file is missing or weights differ."""
    return join([(part.inputs(), part.name) for part in (train, validation)])


def check(data: Data, train: Part, validation: Part, positive_iou: float) -> None:
    """Raises ValueError where nothing can be learnt or measured; warns where nothing is positive."""
    expressions = trainable(data.train)
    if not any(expressions):
        raise ValueError(
            f"no tracks to train on: none of the {len(data.train)} videos of {train.name} has an expression of "
            f"known truth with a track from {', '.join(train.sources)}; look at its prompts and tracks first"
        )
    if not any(known_expressions(tracks) for tracks in data.validation):
        raise ValueError(f"nothing to validate on: {validation.name} has no expression of known truth")
    pairs = zip(data.train, expressions, strict=True)
    if not any(tracks.labels_of(e, positive_iou).any() for tracks, known in pairs for e in known):
        log.warning(
            "%s: no track exceeds an IoU of %s with what is referred to: a selector trained on negatives alone "
            "rejects everything; look at its tracks",
            train.name,
            positive_iou,
        )


def _text_dim(videos: Sequence[VideoTracks]) -> int:
    first = next(tracks for tracks in videos if tracks.video.expressions)
    return int(read_text(first.text, first.video)[0].words_WD.shape[1])
