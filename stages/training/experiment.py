"""A training's runs in experiment trackers: opened, told every line of the curve once, closed.

trackers.json in the training's folder holds per tracker the id of its run and how many lines of the curve it was told, so that
a training that is resumed goes on in the same run. A line that a killed training had written after its checkpoint is made again
by the resumed one, to the same figures: a tracker that cannot forget it is not told it twice. A tracker that was
added meanwhile, or failed, is told what it has missed.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stages.core.digests import flatten
from stages.core.state.cache import atomic_path
from stages.core.trackers import TRACKERS, Run, Tracker, Writer

log = logging.getLogger(__name__)
FILE = "trackers.json"
TITLE = 4  # last parts of the folder's path: mevis/train/selector/sola-0

Line = Mapping[str, Any]


def require_installed(names: Sequence[str]) -> None:
    """Raises ValueError where a tracker's package is not installed, before anything is read or trained."""
    for tracker in map(TRACKERS.__getitem__, names):
        spec = find_spec(tracker.package)
        if spec is None or spec.origin is None:  # a folder of that name, as wandb's own, is not the package
            raise ValueError(
                f"experiment tracker {tracker.name} is not installed: pip install {tracker.package}, or take it out of run.experiment_trackers"
            )


@dataclass
class Told:
    """What a tracker knows: lines of the curve, in its run. One that failed knows no more than these."""

    run: str
    lines: int
    failed: bool = False


@dataclass(frozen=True)
class Past:
    """What a training goes on from.

    Attributes:
        lines: of the curve up to the checkpoint.
        written: how many there were before those behind the checkpoint were removed.
        resumed: whether it goes on at all.
    """

    lines: Sequence[Line] = ()
    written: int = 0
    resumed: bool = False


class Experiment:
    """The runs of one training in trackers.

    Args:
        names: of the trackers.
        parameters: flat, of `Run`.

    Raises:
        ValueError: a tracker is not installed, or cannot begin a run.
    """

    def __init__(self, folder: Path, names: Sequence[str], past: Past, parameters: Mapping[str, Any]) -> None:
        require_installed(names)
        self.file, self.written = folder / FILE, len(past.lines)
        self.told = _read(self.file) if past.resumed else {}
        self.writers: dict[str, Writer] = {}
        title = "/".join(folder.absolute().parts[-TITLE:])
        for name in names:
            told = self.told.get(name)
            last = past.lines[-1]["step"] if told is not None and past.lines else 0
            self._open(TRACKERS[name], Run(folder, title, told.run if told else None, last, parameters), past)
        self._save()

    def log(self, line: Line) -> None:
        """The next line of the curve; nested values become figures "group/name"."""
        self.written += 1
        for name in list(self.writers):
            if self.told[name].lines < self.written:
                self._tell(name, line)

    def close(self, failed: bool) -> None:
        for name, writer in list(self.writers.items()):
            try:
                writer.close(failed)
            except Exception as error:
                self._give_up(name, error)
        self._save()

    def _open(self, tracker: Tracker, run: Run, past: Past) -> None:
        try:
            writer = tracker.open(run)
        except Exception as error:
            if run.id is None:
                raise ValueError(
                    f"experiment tracker {tracker.name}: {_in_one_line(error)}; fix it, or take it out of run.experiment_trackers"
                ) from error
            self._give_up(tracker.name, error)
            return
        told = self.told.get(tracker.name, Told(writer.id, 0, failed=True))
        known = told.lines if told.failed else max(told.lines, past.written)
        if tracker.rewinds:
            known = min(known, len(past.lines))
        self.writers[tracker.name], self.told[tracker.name] = writer, Told(writer.id, known)
        for line in past.lines[known:]:
            self._tell(tracker.name, line)

    def _tell(self, name: str, line: Line) -> None:
        if name not in self.writers:
            return
        values = {key: value for key, value in line.items() if key not in ("step", "seconds")}
        figures = {key.replace(".", "/"): float(value) for key, value in flatten(values).items() if _is_figure(value)}
        try:
            self.writers[name].log(line["step"], figures)
            self.told[name].lines += 1
        except Exception as error:
            self._give_up(name, error)

    def _give_up(self, name: str, error: Exception) -> None:
        log.warning(
            "experiment tracker %s: %s; the training goes on without it, curve.jsonl has everything",
            name,
            _in_one_line(error),
        )
        self.writers.pop(name, None)
        self.told[name].failed = True
        self._save()

    def _save(self) -> None:
        with atomic_path(self.file) as temporary:
            temporary.write_text(json.dumps({name: vars(told) for name, told in self.told.items()}), encoding="utf-8")


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(". ")


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float)


def _read(file: Path) -> dict[str, Told]:
    """What is stored; nothing where the file is damaged, which begins new runs."""
    try:
        return {name: Told(**entry) for name, entry in json.loads(file.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
