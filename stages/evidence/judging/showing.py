"""What is shown of the candidates of an expression: in which frames, and in which views.

Legend: N candidates, T frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from stages.evidence.frames.choose import Stretch, choose_frames
from stages.evidence.frames.packing import tiles_of
from stages.evidence.frames.sightings import Sightings
from stages.evidence.judging.candidates import Candidate
from stages.evidence.judging.settings import AskingSettings
from stages.evidence.questions import Parts, Picture
from stages.evidence.views.compose import Composition, compose
from stages.evidence.views.packed import Packed
from stages.evidence.views.table import VIEWS
from stages.evidence.views.video import VideoView
from stages.evidence.views.view import View

WHOLE_FRAMES = ("plain", "numbered")  # views that show a candidate only where it is in the frames chosen


@dataclass(frozen=True, eq=False)
class Shown:
    """Candidates that are shown together; the n-th carries the number n + 1.

    Attributes:
        frames: indices of the whole frames shown.
        tiles: of each of them the frames that are tiled beside it; () where frames are not packed.
        composition: what questions show.
    """

    candidates: tuple[Candidate, ...]
    frames: tuple[int, ...]
    tiles: tuple[tuple[int, ...], ...]
    composition: Composition

    def provenance(self, names: Sequence[str]) -> dict[str, Any]:
        """As JSON values; `names` are those of the video's frames."""
        shown: dict[str, Any] = {"frames": [names[t] for t in self.frames]}
        if self.tiles:
            shown["tiles"] = [[names[t] for t in tiles] for tiles in self.tiles]
        return shown | {"tracks": [candidate.shown._asdict() for candidate in self.candidates]}


class Showing:
    """Shows candidates of one video; what was shown before is shown as the same object.

    Args:
        view: the video.
    """

    def __init__(self, view: VideoView, settings: AskingSettings) -> None:
        self.view, self.settings = view, settings
        self.views = views_of(settings)
        self.compositions: dict[Any, Composition] = {}
        self.pictures: dict[str, Picture] = {}

    def show(self, candidates: Sequence[Candidate]) -> list[Shown]:
        """The candidates in each stretch of time that is judged by itself; those that cannot be seen in it are left out."""
        if not candidates:
            return []
        sightings = self.view.sightings([candidate.shown for candidate in candidates])
        scores = [candidate.score for candidate in candidates]
        known = [score for score in scores if score is not None]
        stretches = choose_frames(self.settings.frames, sightings, known if len(known) == len(scores) else None)
        shown = (self._in_stretch(candidates, sightings, stretch) for stretch in stretches)
        return [each for each in shown if each.candidates]

    def _in_stretch(self, candidates: Sequence[Candidate], sightings: Sightings, stretch: Stretch) -> Shown:
        tiles = self._tiles(stretch)
        seen_N = self._can_be_seen(sightings.visible_NT, stretch, tiles)
        seen = tuple(candidate for candidate, is_seen in zip(candidates, seen_N, strict=True) if is_seen)
        tracks = tuple(candidate.shown for candidate in seen)
        key = (tracks, stretch)
        if key not in self.compositions:
            frames = [t - stretch.window.start for t in stretch.shown]
            scene = self.view.scene(tracks, stretch.window) if tracks else None
            composed = compose(self.views, scene, frames) if scene else Composition((), ())
            blocks = tuple(self._kept(block) for block in composed.blocks)
            self.compositions[key] = Composition(self._kept(composed.context), blocks)
        return Shown(seen, stretch.shown, tiles, self.compositions[key])

    def _kept(self, parts: Parts) -> Parts:
        """The same parts with equal pictures as one object: expressions share most of them, and each takes a megabyte."""
        return tuple(
            self.pictures.setdefault(part.digest, part) if isinstance(part, Picture) else part for part in parts
        )

    def _tiles(self, stretch: Stretch) -> tuple[tuple[int, ...], ...]:
        frames = self.settings.frames
        if not is_packed(self.settings):
            return ()
        return tuple(tuple(tiles_of(t, len(stretch.window), frames.count, frames.grid)) for t in stretch.shown)

    def _can_be_seen(
        self, visible_NT: NDArray[np.bool_], stretch: Stretch, tiles: Sequence[Sequence[int]]
    ) -> NDArray[np.bool_]:
        """(N,) whether some view shows a candidate."""
        times = sorted({*stretch.shown, *(t for each in tiles for t in each)})
        if any(name not in WHOLE_FRAMES for name in self.settings.views):
            times = list(stretch.window)
        return np.asarray(visible_NT[:, times].any(axis=1))


def is_packed(settings: AskingSettings) -> bool:
    """Whether frames are packed; where no view shows whole frames with numbers there is nothing to pack."""
    return settings.frames.mode == "packed" and "numbered" in settings.views


def views_of(settings: AskingSettings) -> list[View]:
    """The views in the order of the config; packed frames are numbered ones in another arrangement.

    For questions about all candidates at once the blocks of all of them are shown before it.
    """
    views = {name: VIEWS[name](settings.frame_side, settings.card_side) for name in settings.views}
    if is_packed(settings):
        views["numbered"] = Packed(settings.frame_side, settings.frames.count, settings.frames.grid)
    if not settings.all_at_once:
        return list(views.values())
    return [replace(cast(Any, view), in_context=True) for view in views.values()]
