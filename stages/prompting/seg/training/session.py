"""One training of a [SEG] model from start to end: whether it is done, continues, or starts anew."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from stages.core.config.file import SegModelEntry
from stages.core.config.section import Precision
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp, write_json
from stages.core.state.weights import find_weights
from stages.prompting.seg.checkpoint.loading import load_seg_model
from stages.prompting.seg.training.data import Clips, Part
from stages.prompting.seg.training.export import export
from stages.prompting.seg.training.learning import Learner
from stages.prompting.seg.training.task import SegTask
from stages.prompting.seg.training.trained import TrainedWeights
from stages.training.clock import Length
from stages.training.folder import TrainingFolder
from stages.training.loop import train as run_training
from stages.training.processes import World, processes

log = logging.getLogger(__name__)
MARKER, MODEL = "training.json", "model"


class Session:
    """A training whose inputs are complete."""

    def __init__(self, job: Job, folder: Path, stamp: Stamp) -> None:
        self.job, self.folder, self.stamp = job, folder, stamp
        self.config = job.settings.seg_training
        self.state = TrainingFolder(folder, stamp, MARKER, (MODEL,), (), job.settings.run.on_stale, job.overwrite)

    def train(self, train: Sequence[Part], validation: Part | None) -> None:
        """Trains to the end, exports the model and writes the marker; under torchrun, together with its other processes.

        Raises:
            ValueError: there is nothing to learn from, or a loss that is not finite.
        """
        for part in [*train, *([validation] if validation else [])]:
            if not part.videos:
                raise ValueError(
                    f"{part.name}: no sentence that refers to something: nothing to learn from or to measure"
                )
        if self.state.is_complete():
            log.info("%s: complete", self.folder)
            return
        with processes(self.job.settings.run) as (device, world):
            world.first_decides(self.state.clear)
            self._train(Clips(train), None if validation is None else Clips([validation]), device, world)

    def _train(self, train: Clips, validation: Clips | None, device: str, world: World) -> None:
        weights = find_weights(self.job.config, self.job.dataset, "seg")
        entry = weights.model
        assert isinstance(entry, SegModelEntry)
        sam2 = find_weights(self.job.config, self.job.dataset, "sam2")
        model = load_seg_model(weights.path, entry, device, self._precision(device), sam2)
        trained = TrainedWeights(model, self.config)
        learner = Learner(model, self.job.settings.prompts["seg"], self.config)
        task = SegTask(self.stamp, trained, learner, train, validation, device, world)
        length = Length(epochs=self.config.epochs)
        trackers, resume = self.job.settings.run.experiment_trackers, self.state.holds_checkpoint()
        run_training(task, length, self.folder, resume=resume, world=world, trackers=trackers)
        if world.first:
            trained.merge()
            self._export(task, weights.path, entry)
        world.wait()

    def _precision(self, device: str) -> Precision:
        """Of the MLLM's weights: in float32 where they are trained themselves."""
        return "float32" if device == "cpu" or self.config.trained.language == "all" else self.config.precision

    def _export(self, task: SegTask, source: Path, entry: SegModelEntry) -> None:
        building, place = self.folder / f".{MODEL}", self.folder / MODEL
        for leftover in (building, place):
            shutil.rmtree(leftover, ignore_errors=True)
        preset = self.job.config.datasets[self.job.dataset].models
        export(task.weights.model, source, entry, preset, building, place)
        building.rename(place)
        write_json(self.folder / MARKER, {"epochs": task.history.entries}, self.stamp)
        log.info("%s: trained; use it by --config config.yaml --config %s", place, place / "use.yaml")
