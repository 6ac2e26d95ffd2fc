"""What objects are drawn before and behind: backgrounds, walls, light and noise.

Pixels are interpolated and may differ slightly between machines; masks never depend on them.

Legend: T frames, H height, W width.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.worlds.shapes.scene import Float, Generator, Scene, Size

Image = NDArray[np.uint8]
PAD = 8  # pixels of the world beyond the image, for the camera to drift into
PATTERNS = ("clouds", "stripes", "checks", "spots", "slope")


def canvas(rng: Generator, size: Size, before: Image | None = None) -> Image:
    """(H + 2 PAD, W + 2 PAD, 3): soft clouds of a dull colour with a faint pattern, or a wall of bricks.

    Args:
        before: the canvas behind the wall, from which it must stand out.
    """
    import cv2

    height, width = size[0] + 2 * PAD, size[1] + 2 * PAD
    wall = before is not None
    grey = rng.uniform(85, 165) if before is None else before.mean() + (-50 if before.mean() > 118 else 50)
    tint_3 = np.float32(grey + rng.uniform(-14, 14, 3))
    grey_HW = np.zeros((height, width), np.float32)
    for cells, strength in ((4, 20.0), (14, 10.0)):
        grid = rng.normal(0, strength * (0.4 if wall else 1), (cells, cells)).astype(np.float32)
        grey_HW += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    pattern_HW = _bricks(height, width) if wall else _pattern(rng, height, width)
    grey_HW += pattern_HW * np.float32(24 if wall else rng.uniform(6, 20))
    return np.clip(grey_HW[..., None] + tint_3, 0, 255).astype(np.uint8)


def _pattern(rng: Generator, height: int, width: int) -> NDArray[np.float32]:
    """(H, W) −1 … 1."""
    y_H1, x_1W = np.ogrid[:height, :width]
    period = rng.uniform(14, 30)
    turn = rng.uniform(0, np.pi)
    u_HW = (np.cos(turn) * x_1W + np.sin(turn) * y_H1) * (2 * np.pi / period)
    v_HW = (np.cos(turn) * y_H1 - np.sin(turn) * x_1W) * (2 * np.pi / period)
    kind = str(rng.choice(PATTERNS))
    if kind == "stripes":
        return np.sin(u_HW).astype(np.float32)
    if kind == "checks":
        return np.sign(np.sin(u_HW) * np.sin(v_HW)).astype(np.float32)
    if kind == "spots":
        return (np.sin(u_HW) + np.sin(v_HW) > 1.2).astype(np.float32)
    return (u_HW / abs(u_HW).max()).astype(np.float32) * (2 if kind == "slope" else 0)


def _bricks(height: int, width: int) -> NDArray[np.float32]:
    """(H, W) −1 in the joints, 0 elsewhere."""
    y_H1, x_1W = np.ogrid[:height, :width]
    joint_HW = (y_H1 % 6 == 0) | ((x_1W + 5 * (y_H1 // 6 % 2)) % 10 == 0)
    return -joint_HW.astype(np.float32)


def looked_at(canvas_HW3: Image, camera_T2: Float, size: Size) -> Image:
    """(T, H, W, 3) what the camera sees of a canvas."""
    import cv2

    frames_THW3 = np.empty((len(camera_T2), *size, 3), np.uint8)
    for t, (x, y) in enumerate(camera_T2):
        shift = np.array([[1, 0, -x - PAD], [0, 1, -y - PAD]])
        cv2.warpAffine(canvas_HW3, shift, size[::-1], dst=frames_THW3[t], flags=cv2.INTER_LINEAR)
    return frames_THW3


@dataclass(frozen=True)
class Lens:
    """What the lens adds to the picture: blur, changes of light, noise."""

    blur: float
    gain_T: Float
    noise: float

    @classmethod
    def sample(cls, rng: Generator, scene: Scene) -> "Lens":
        u_T = np.linspace(0, 1, scene.n_frames)
        kind, depth = rng.random(), rng.uniform(0.06, 0.2)
        gain_T = np.full(scene.n_frames, rng.uniform(0.9, 1.08))
        if kind < 0.3:  # it gets lighter or darker
            gain_T *= 1 + depth * (2 * u_T - 1) * rng.choice([-1, 1])
        elif kind < 0.55:  # a cloud passes
            gain_T *= 1 - depth * np.exp(-(((u_T - rng.random()) / 0.2) ** 2))
        return cls(rng.uniform(0.4, 0.9), gain_T, rng.uniform(1.5, 6.0))

    def take(self, rng: Generator, frames_THW3: Image) -> None:
        """Changes the frames in place."""
        import cv2

        _, height, width, _ = frames_THW3.shape
        noise_HW3 = rng.standard_normal((height + 16, width + 16, 3), np.float32) * np.float32(self.noise)
        noise_HW3 = np.round(noise_HW3).astype(np.int16)
        starts_T2 = rng.integers(0, 17, (len(frames_THW3), 2))
        for frame_HW3, gain, (y, x) in zip(frames_THW3, self.gain_T, starts_T2):
            soft_HW3 = cv2.GaussianBlur(frame_HW3, (0, 0), self.blur)
            lit_HW3 = cv2.convertScaleAbs(soft_HW3, alpha=float(gain))
            grain_HW3 = noise_HW3[y : y + height, x : x + width]
            cv2.add(lit_HW3, grain_HW3, dst=frame_HW3, dtype=cv2.CV_8U)
