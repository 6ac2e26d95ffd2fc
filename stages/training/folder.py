"""The folder of a stage's training: whether it is finished, continues, or starts anew.

It holds what the kernel writes (checkpoint.pt, curve.jsonl, trackers.json, tensorboard/), what the training makes, and a finished marker with
its stamp, which is written last.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.core.state.cache import CacheError, Stamp, State, inspect
from stages.core.state.temporary import remove_leftovers
from stages.training import checkpoint, curve, experiment
from stages.training.trackers import tensorboard

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingFolder:
    """
    Attributes:
        stamp: of the training that is wanted.
        marker: file name of the finished marker.
        made: what the training leaves beside it: names of files and folders.
        of_epochs: those of `made` that are there from the end of the first epoch on.
        on_stale: what becomes of another training in its place.
    """

    path: Path
    stamp: Stamp
    marker: str
    made: Sequence[str]
    of_epochs: Sequence[str]
    on_stale: Literal["recompute", "stop"]
    overwrite: bool

    def is_complete(self) -> bool:
        """Whether the same training is finished and must not be repeated."""
        state, _ = inspect(self.path / self.marker, self.stamp)
        return state is State.COMPLETE and self._has(self.made) and not self.overwrite

    def holds_checkpoint(self) -> bool:
        return (self.path / checkpoint.FILE).exists()

    def clear(self) -> None:
        """Removes the training of another config, what cannot be resumed, and what killed runs left unfinished.

        Raises:
            CacheError: there is one of another config, and `run.on_stale` is "stop".
        """
        for name in self._files():
            remove_leftovers(self.path / name)
        state, reason = inspect(self.path / self.marker, self.stamp)
        if self.overwrite:
            self._remove()
        elif state in (State.STALE, State.DAMAGED):
            self._start_anew(reason)
        self._drop_unusable_checkpoint()

    def _drop_unusable_checkpoint(self) -> None:
        """Keeps the checkpoint only if it belongs to this training."""
        file = self.path / checkpoint.FILE
        try:
            saved = checkpoint.read(self.path)
        except ValueError as error:
            log.warning("%s: not readable (%r); training starts anew", file, error.__cause__)
            file.unlink()
            return
        if saved is None:
            return
        stamp_of_saved = Stamp(**saved.identity)
        if stamp_of_saved.fingerprint != self.stamp.fingerprint:
            self._start_anew(self.stamp.difference(stamp_of_saved))
        elif saved.clock.epoch and not self._has(self.of_epochs):
            self._start_anew(f"{', '.join(self.of_epochs)} of its finished epochs is gone")

    def _has(self, names: Sequence[str]) -> bool:
        return all((self.path / name).exists() for name in names)

    def _start_anew(self, reason: str) -> None:
        if self.on_stale == "stop":
            raise CacheError(
                f"{self.path}: holds another training ({reason}); run.on_stale is 'stop': delete it, or set recompute"
            )
        log.warning("%s: training starts anew: %s", self.path, reason)
        self._remove()

    def _files(self) -> Sequence[str]:
        """All that it holds; the marker first, so that what a kill leaves is never taken for finished."""
        return (self.marker, checkpoint.FILE, *self.made, curve.FILE, experiment.FILE, tensorboard.FOLDER)

    def _remove(self) -> None:
        for name in self._files():
            place = self.path / name
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
