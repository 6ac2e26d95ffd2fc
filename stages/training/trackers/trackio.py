"""Trackio, local unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL says otherwise; TRACKIO_PROJECT names the project, TRACKIO_DIR
the place."""

import os
import uuid
from collections.abc import Mapping

from stages.core.trackers import PROJECT, Run, Tracker


class Trackio:
    def __init__(self, run: Run) -> None:
        import trackio

        self.id = run.id or f"{run.title} {uuid.uuid4().hex[:8]}"  # a run is opened again by its name
        self.run = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=self.id,
            config=dict(run.parameters),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self.run.log(dict(figures), step=step)

    def close(self, failed: bool) -> None:
        self.run.finish()


TRACKER = Tracker("trackio", "trackio", Trackio)
