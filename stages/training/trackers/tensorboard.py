"""TensorBoard: event files in tensorboard/ in the training's folder."""

from collections.abc import Mapping

from stages.core.trackers import Run, Tracker

FOLDER = "tensorboard"


class TensorBoard:
    id = FOLDER

    def __init__(self, run: Run) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.scalars = SummaryWriter(str(run.folder / FOLDER), purge_step=run.last + 1)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self.scalars.add_scalar(name, value, step)
        self.scalars.flush()

    def close(self, failed: bool) -> None:
        self.scalars.close()


TRACKER = Tracker("tensorboard", "tensorboard", TensorBoard, rewinds=True)
