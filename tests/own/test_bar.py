"""The bar of a whole run: what the workflow notes, and how far jobs are."""

import json
import subprocess
import sys
from pathlib import Path

from stages.core.run.progress import NOTES, Progress
from stages.own.bar import START, Run, follow

PLAN = {"plan": {"build_tracks": [2, 720], "collect": [3, 0], "rerank_tracks": [1, 60]}}


def test_jobs_weigh_what_they_may_take_and_move_the_bar_from_inside() -> None:
    run = Run()
    assert run.share({}) == 0
    run.take(PLAN)
    assert run.total == 2 * (720 + START) + 60 + START
    run.take({"started": 1, "rule": "build_tracks", "title": "build_tracks grid own/all 0-of-1"})
    run.take({"started": 2, "rule": "collect", "title": "collect own/all"})
    half = run.share({"build_tracks grid own/all": 0.5, "build_tracks gdino own/all": 0.9})
    assert half == 0.5 * (720 + START) / run.total and run.words() == "following objects"
    for job in (1, 2):
        run.take({"finished": job})
    assert run.share({}) == (720 + START) / run.total


WORKFLOW = """
import json, os, sys, time
from pathlib import Path
from stages.core.run.progress import NOTES, Progress
notes = Path(os.environ[NOTES])
with (notes / "jobs.jsonl").open("a") as file:
    for event in [{"plan": {"build_tracks": [1, 720]}},
                  {"started": 1, "rule": "build_tracks", "title": "build_tracks grid own/all 0-of-1"}]:
        file.write(json.dumps(event) + "\\n")
with Progress("build_tracks grid own/all", 4, stream=open(os.devnull, "w")) as progress:
    for done in range(4):
        progress.at(done)
        time.sleep(0.4)
"""


def test_the_bar_follows_a_job_and_never_moves_back(tmp_path: Path) -> None:
    moved: list[float] = []

    class Recorded(Progress):
        def at(self, done: float, note: str = "") -> None:
            moved.append(done)
            super().at(done, note)

    process = subprocess.Popen(
        [sys.executable, "-c", WORKFLOW], env={"PYTHONPATH": str(Path.cwd()), NOTES: str(tmp_path)}
    )
    with (tmp_path / "shown").open("w") as shown, Recorded("segment", 1.0, stream=shown) as progress:
        assert follow(process, tmp_path, progress, every=0.05) == 0
    assert moved == sorted(moved) and len(set(moved)) >= 4
    assert json.loads((next(tmp_path.glob("*.json"))).read_text())["title"] == "build_tracks grid own/all"
