"""MLflow. MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME are the package's own variables; without, ./mlflow.db."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from stages.core.trackers import PROJECT, Run, Tracker

AT_ONCE = 100  # parameters that a server takes in one request
LONGEST = 500  # characters of a parameter, which every version's database holds


class Mlflow:
    def __init__(self, run: Run) -> None:
        os.environ.setdefault(
            "MLFLOW_DISABLE_TELEMETRY", "true"
        )  # only the server that the user named is told anything
        from mlflow import MlflowClient

        self.client = MlflowClient()
        self.id = run.id or self._begin(run)
        self.client.update_run(self.id, status="RUNNING")

    def _begin(self, run: Run) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        known = self.client.get_experiment_by_name(name)
        experiment = self.client.create_experiment(name) if known is None else known.experiment_id
        begun: str = self.client.create_run(experiment, run_name=run.title).info.run_id
        parameters = [Param(_allowed(key), str(value)[:LONGEST]) for key, value in run.parameters.items()]
        for part in _parts(parameters, AT_ONCE):
            self.client.log_batch(begun, params=part)
        return begun

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.id, [Metric(_allowed(name), value, now, step) for name, value in figures.items()])

    def close(self, failed: bool) -> None:
        self.client.set_terminated(self.id, "FAILED" if failed else "FINISHED")


def _allowed(name: str) -> str:
    return re.sub(r"[^\w\-. :/]", "_", name)


def _parts(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


TRACKER = Tracker("mlflow", "mlflow", Mlflow)
