"""One training from start to end: whether it is done, continues, or starts anew.

The folder holds best.safetensors (the selector), training.json (the finished marker with history and threshold) and
what the training kernel writes: checkpoint.pt, curve.jsonl and tensorboard/.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.core.config.selector_sections import Detector, Selector, SelectorTraining
from stages.core.records import Source, Split, Video
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp, write_json
from stages.core.state.graph import Layout
from stages.core.state.text_file import read_text
from stages.selectors import BEST, MARKER, trained_detector
from stages.selectors.architectures import Architecture
from stages.selectors.checkpoint import Header
from stages.selectors.inputs import Inputs, join_all, read_inputs
from stages.selectors.network import Network
from stages.selectors.order import known_expressions, trainable
from stages.selectors.quality import Measure, TrackQuality
from stages.selectors.samples import VideoTracks, open_video
from stages.selectors.store import Store
from stages.selectors.training import Data, Epochs, SelectorTask
from stages.selectors.validation import PLAIN_THRESHOLD
from stages.training.clock import Length
from stages.training.folder import TrainingFolder
from stages.training.loop import train as run_training
from stages.training.processes import World, processes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """The training or the validation split.

    Attributes:
        name: <dataset>/<split>.
        sources: of its tracks.
        detector: whose scores are read with them; None = of none.
    """

    name: str
    split: Split
    layout: Layout
    sources: Sequence[Source]
    limit: int | None
    detector: Detector | None

    def videos(self) -> list[Video]:
        """The videos without a defect; a defect is logged as an error.

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
        return read_inputs(self.layout, self.videos(), self.sources, self.detector)

    def open(self) -> list[VideoTracks]:
        return [open_video(self.layout, video, self.sources, self.detector) for video in self.videos()]

    def store(self, videos: Sequence[VideoTracks], config: SelectorTraining, *, needs_seen: bool) -> Store:
        return Store(videos, config, self.split.annotations if needs_seen else None)


class Session:
    """A training whose inputs are complete."""

    def __init__(self, job: Job, folder: Path, stamp: Stamp, inputs: Inputs) -> None:
        self.job, self.folder, self.stamp, self.inputs = job, folder, stamp, inputs
        self.config = job.settings.selector
        own, on_stale = (BEST,), job.settings.run.on_stale
        self.state = TrainingFolder(folder, stamp, MARKER, own, own, on_stale, job.overwrite)

    def train(self, train: Part, validation: Part, measure: Measure) -> None:
        """Trains to the end and writes the marker; under torchrun, together with its other processes.

        Raises:
            ValueError: there is no track to train on, nothing to validate on, or a loss that is not finite.
        """
        quality = TrackQuality(validation.layout, validation.split, measure)
        if self.state.is_complete():
            log.info("%s: complete", self.folder)
            return
        with processes(self.job.settings.run) as (device, world):
            world.first_decides(self.state.clear)
            self._train(train, validation, quality, device, world)

    def _train(self, train: Part, validation: Part, quality: TrackQuality, device: str, world: World) -> None:
        videos, others = train.open(), validation.open()
        check(videos, others, train, validation, self.config.training.positive_iou)
        model, header = new_model(self.config, videos, self.inputs, self.stamp, device)
        data = Data(
            train.store(videos, self.config.training, needs_seen=model.needs_seen),
            validation.store(others, self.config.training, needs_seen=model.needs_seen),
            quality,
        )
        tokens = self.job.settings.run.batches.tokens
        task = SelectorTask(self.folder, self.stamp, header, data, self.config, tokens, model, device, world)
        length, resume = Length(epochs=self.config.training.epochs), self.state.holds_checkpoint()
        trackers = self.job.settings.run.experiment_trackers
        run_training(task, length, self.folder, resume=resume, world=world, trackers=trackers)
        if world.first:
            self._finish(task.epochs)

    def _finish(self, epochs: Epochs) -> None:
        best = epochs.best
        assert best is not None
        payload = {"best": best, "threshold": best["validation"]["threshold"], "history": epochs.history}
        write_json(self.folder / MARKER, payload, self.stamp)


def new_model(
    config: Selector, videos: Sequence[VideoTracks], inputs: Inputs, stamp: Stamp, device: str
) -> tuple[Network, Header]:
    """A network for the widths of the videos' tokens and texts, and the header of the selector to be trained."""
    architecture = Architecture.of(config)
    token_dim, text_dim = videos[0].sources[0][2].shape[2], _text_dim(videos)
    model = architecture.build(token_dim, text_dim, config.training.seed).to(device)
    sizes, detector = (token_dim, text_dim), trained_detector(config)
    header = Header.of(architecture, *sizes, inputs.weights, PLAIN_THRESHOLD, stamp.fingerprint, detector)
    return model, header


def join_inputs(train: Part, validation: Part) -> Inputs:
    """Of both splits; raises CacheError where a file is missing or weights differ."""
    return join_all([(part.inputs(), part.name) for part in (train, validation)])


def check(
    videos: Sequence[VideoTracks], others: Sequence[VideoTracks], train: Part, validation: Part, positive_iou: float
) -> None:
    """Raises ValueError where nothing can be learnt or measured; warns where nothing is positive."""
    expressions = trainable(videos)
    if not any(expressions):
        raise ValueError(
            f"no tracks to train on: none of the {len(videos)} videos of {train.name} has an expression of "
            f"known truth with a track from {', '.join(train.sources)}; look at its prompts and tracks first"
        )
    if not any(known_expressions(tracks) for tracks in others):
        raise ValueError(f"nothing to validate on: {validation.name} has no expression of known truth")
    pairs = zip(videos, expressions, strict=True)
    if not any(tracks.labels_of(e, positive_iou).any() for tracks, known in pairs for e in known):
        log.warning(
            "%s: no track exceeds an IoU of %s with what is referred to: a selector trained on negatives alone "
            "rejects everything; look at its tracks",
            train.name,
            positive_iou,
        )


def _text_dim(videos: Sequence[VideoTracks]) -> int:
    first = next(tracks for tracks in videos if tracks.sentences)
    return int(read_text(first.text, first.video)[0].words_WD.shape[1])
