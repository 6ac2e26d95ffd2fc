"""Weights & Biases. WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline and WANDB_DIR are the package's own variables."""

import os
from collections.abc import Mapping

from stages.core.trackers import PROJECT, Run, Tracker


class Wandb:
    def __init__(self, run: Run) -> None:
        import wandb

        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.id,
            name=run.title,
            config=dict(run.parameters),
            resume="allow",
            settings=wandb.Settings(
                console="off"
            ),  # what we print is in the job's log, and a progress bar is not for it
        )
        self.id = str(self.run.id)

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.run.log(dict(figures), step=step)

    def close(self, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))


TRACKER = Tracker("wandb", "wandb", Wandb)
