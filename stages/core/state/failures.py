"""What failed and why: errors/<task>/<video>.json, written by the loop over videos and removed by a success."""

import json
from dataclasses import dataclass
from pathlib import Path

from stages.core.state.graph import ERRORS, STAGES, Layout


@dataclass(frozen=True)
class Failure:
    """A stage that could not make a video's file: its task ("build_tracks-grid"), and the reason in one line."""

    task: str
    reason: str


def first_failure(layout: Layout, video: str) -> Failure | None:
    """A video's failure in the earliest stage, which later ones follow from; None where nothing failed."""
    root = layout.root / ERRORS
    tasks = sorted(path.name for path in root.iterdir()) if root.is_dir() else []
    order = list(STAGES)
    for task in sorted(tasks, key=lambda task: order.index(name) if (name := task.partition("-")[0]) in order else -1):
        record = root / task / f"{_key(layout, task, video)}.json"
        if record.is_file():
            return Failure(task, _reason(record))
    return None


def failed_videos(layout: Layout) -> dict[str, int]:
    """<task>/<video> → when it failed last, in nanoseconds: what a new run tries again."""
    root = layout.root / ERRORS
    return {
        str(path.relative_to(root).with_suffix("")): path.stat().st_mtime_ns for path in sorted(root.rglob("*.json"))
    }


def _key(layout: Layout, task: str, video: str) -> str:
    name, _, branch = task.partition("-")
    return layout.key(STAGES[name], video, branch or None) if name in STAGES else video


def _reason(record: Path) -> str:
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"see {record}"
