"""One bar for a whole run of the workflow, which moves inside long jobs: it reads what the workflow and its jobs note.

The workflow notes what it will run and what it starts and ends (workflow/console.py), each job how far it is
(stages/core/run/progress.py). A job weighs the minutes that its rule may take, and START more: reading models takes time
however little there is to do.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.core.run.progress import Progress

START = 240.0  # minutes, in the scale of the rules' own
PLANNING, DELIVERY = 0.05, 0.05  # shares of the bar before the first job starts, and after the last
WORDS = {
    "extract_frames": "reading frames",
    "generate_prompts": "looking for objects",
    "build_tracks": "following objects",
    "encode_text": "reading the sentences",
    "score_tracks": "scoring",
    "gather_evidence": "judging",
    "rerank_tracks": "deciding",
}


@dataclass
class Run:
    """How far the workflow is.

    Attributes:
        weights: rule → weight of one of its jobs.
        total: weight of all jobs; 0 = nothing is planned yet.
        finished: weight of those that ended.
        running: id → (rule, title).
    """

    weights: dict[str, float] = field(default_factory=dict)
    total: float = 0.0
    finished: float = 0.0
    running: dict[int, tuple[str, str]] = field(default_factory=dict)

    def take(self, event: dict[str, Any]) -> None:
        """Takes in an event of the workflow's journal."""
        if "plan" in event:
            self.weights = {rule: minutes + START if minutes else 0.0 for rule, (_, minutes) in event["plan"].items()}
            self.total = sum(n * self.weights[rule] for rule, (n, _) in event["plan"].items())
        elif "started" in event:
            self.running[event["started"]] = event["rule"], event["title"]
        elif event.get("finished") in self.running:
            rule, _ = self.running.pop(event["finished"])
            self.finished += self.weights.get(rule, 0.0)

    def share(self, shares: dict[str, float]) -> float:
        """The part of all work that is done.

        Args:
            shares: title of a job, or its beginning → the part of it that is done.
        """
        inside = sum(
            self.weights.get(rule, 0.0)
            * max((s for begin, s in shares.items() if title.startswith(begin)), default=0.0)
            for rule, title in self.running.values()
        )
        return (self.finished + inside) / self.total if self.total else 0.0

    def words(self) -> str:
        """What is at hand, in words."""
        return ", ".join(dict.fromkeys(WORDS[rule] for rule, _ in self.running.values() if rule in WORDS))


def follow(process: "subprocess.Popen[bytes]", notes: Path, progress: Progress, every: float = 0.2) -> int:
    """Moves the bar until the workflow ends; returns its exit status.

    Raises:
        KeyboardInterrupt: Ctrl-C, once the workflow, which it reaches too, has ended by itself.
    """
    run, events, furthest, words = Run(), _events(notes / "jobs.jsonl"), 0.0, ""
    interrupted = False
    while process.poll() is None:
        try:
            for event in iter(lambda: next(events), None):
                run.take(event)
            done = PLANNING + (1 - PLANNING - DELIVERY) * run.share(_shares(notes)) if run.total else 0.0
            furthest, words = max(furthest, done), run.words() or words
            progress.at(furthest, words)
            time.sleep(every)
        except KeyboardInterrupt:
            interrupted = True
    status = process.wait()
    if interrupted:
        raise KeyboardInterrupt
    if status == 0:
        progress.at(1 - DELIVERY)
    return status


def _events(file: Path) -> Iterator[dict[str, Any] | None]:
    """The events of a journal that grows; None where there are no more yet."""
    position, rest = 0, ""
    while True:
        if file.is_file():
            with file.open(encoding="utf-8") as handle:
                handle.seek(position)
                rest += handle.read()
                position = handle.tell()
        *lines, rest = rest.split("\n")
        yield from (json.loads(line) for line in lines)
        yield None


def _shares(notes: Path) -> dict[str, float]:
    shares: dict[str, float] = {}
    for file in notes.glob("*.json"):
        try:
            note = json.loads(file.read_text(encoding="utf-8"))
            shares[note["title"]] = max(float(note["share"]), shares.get(note["title"], 0.0))
        except (OSError, ValueError, KeyError):  # it is being replaced
            continue
    return shares
