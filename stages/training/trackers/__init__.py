"""The list behind the table TRACKERS: every experiment tracker. One line adds one.

Where they write and whom they tell is their own environment variables' business (docs/trackers.md); keys are read by
the packages and never by us.
"""

from stages.core.trackers import Tracker
from stages.training.trackers import mlflow, tensorboard, trackio, wandb

LISTED: tuple[Tracker, ...] = (tensorboard.TRACKER, wandb.TRACKER, mlflow.TRACKER, trackio.TRACKER)
