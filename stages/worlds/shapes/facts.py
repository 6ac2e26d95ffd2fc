"""What the words are judged by: trajectories of the objects, and when they are visible.

Legend: N objects from the farthest to the nearest, T frames, S = T − 1 steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.worlds.shapes.outlines import Bool, footprints, visible_masks, wall_masks, window_in
from stages.worlds.shapes.scene import Float, Scene, Size

Truth = bool | None
CHORDS = 8  # straight pieces by which the bends of a trajectory are measured


@dataclass(frozen=True)
class Facts:
    """Of one object, by frame.

    Attributes:
        world_T2, image_T2: centres in the world, without the camera's drift, and in the image.
        coverage_T: share of the object inside the image, hidden or not.
        sight_T: share of it that is visible.
        walled_T: share of it that a wall hides.
        spin_shows: whether one would see it spin.
    """

    size: Size
    radius_T: Float
    angle_T: Float
    world_T2: Float
    image_T2: Float
    coverage_T: Float
    sight_T: Float
    walled_T: Float
    spin_shows: bool

    @property
    def steps_S2(self) -> Float:
        return np.diff(self.world_T2, axis=0)

    @property
    def speed_S(self) -> Float:
        """Pixels per frame."""
        return np.hypot(*self.steps_S2.T)

    @property
    def travel(self) -> float:
        """Total length of the path in pixels."""
        return float(self.speed_S.sum())

    @property
    def gone_T(self) -> Bool:
        """Where nothing of it is in the image."""
        return self.coverage_T == 0

    @property
    def shown_T(self) -> Bool:
        """Where at least half of its part in the image is visible."""
        return (self.coverage_T > 0) & (self.sight_T >= 0.5 * self.coverage_T)

    @property
    def in_plain_sight(self) -> bool:
        """Whether it can be watched: it is shown for three quarters of its time in the image, which is half the clip."""
        present_T = ~self.gone_T
        return bool(present_T.mean() >= 0.35 and self.shown_T[present_T].mean() >= 0.75)

    def turns(self) -> Float:
        """Signed angles in degrees between pieces of the path, an eighth of the clip each; NaN where it stands."""
        marks = np.round(np.linspace(0, len(self.world_T2) - 1, CHORDS + 1)).astype(int)
        return turns(np.diff(self.world_T2[marks], axis=0))


@dataclass(frozen=True)
class SceneFacts:
    """Of all objects, and of pairs of them.

    Attributes:
        hidden_NN: [i, j] = the largest share of object i that the nearer object j hides in any frame.
    """

    objects: tuple[Facts, ...]
    hidden_NN: Float


def facts_of(scene: Scene) -> SceneFacts:
    """Looks at a scene as drawn."""
    windows = [window_in(scene, thing) for thing in scene.things]
    full_NTHW = footprints(windows, scene.size)
    visible_NTHW = visible_masks(scene, windows)
    whole_NT = np.stack([window.mask_TSS.sum((1, 2)) for window in windows]).astype(float)
    walled_NT = _areas(full_NTHW & wall_masks(scene)) / whole_NT
    shares = zip(_areas(full_NTHW) / whole_NT, _areas(visible_NTHW) / whole_NT, walled_NT)
    objects = tuple(
        Facts(
            scene.size,
            thing.radius_T,
            thing.angle_T,
            thing.path_T2,
            scene.seen_path(thing),
            *share,
            thing.shape != "circle" or thing.texture in ("striped", "checked"),
        )
        for thing, share in zip(scene.things, shares)
    )
    return SceneFacts(objects, _hidden(full_NTHW, whole_NT))


def turns(steps_S2: Float) -> Float:
    """(S − 1,) signed angles in degrees between steps; NaN where one of them has no length."""
    before_S2, after_S2 = steps_S2[:-1], steps_S2[1:]
    cross_S = before_S2[:, 0] * after_S2[:, 1] - before_S2[:, 1] * after_S2[:, 0]
    angle_S = np.degrees(np.arctan2(cross_S, (before_S2 * after_S2).sum(1)))
    stands_S = (np.hypot(*before_S2.T) < 0.3) | (np.hypot(*after_S2.T) < 0.3)
    return np.where(stands_S, np.nan, angle_S)


def _areas(masks_NTHW: Bool) -> NDArray[np.int64]:
    return np.count_nonzero(masks_NTHW, axis=(2, 3))


def _hidden(full_NTHW: Bool, whole_NT: Float) -> Float:
    n, n_frames = full_NTHW.shape[:2]
    flat_TNP = full_NTHW.reshape(n, n_frames, -1).swapaxes(0, 1).astype(np.float32)
    shared_TNN = flat_TNP @ flat_TNP.swapaxes(1, 2)
    share_NN = (shared_TNN / whole_NT.T[:, :, None]).max(0)
    return np.triu(share_NN, 1).astype(float)


def between(low: Float | Sequence[float], high: Float | Sequence[float]) -> Float:
    """(T,) distances between two trajectories in pixels."""
    return np.hypot(*(np.asarray(low) - np.asarray(high)).T)
