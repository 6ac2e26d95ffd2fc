"""Clips for the benchmarks as the frame folder of a stage: a video file, a folder of images, or drawn ones."""

from pathlib import Path

import numpy as np
from PIL import Image

from stages.core.media.video import decode
from stages.core.state.frames import FrameFolder

FPS, MAX_SIDE = 6, 640
SUFFIXES = (".jpg", ".jpeg", ".png")


def open_clip(path: Path, folder: Path, n_frames: int) -> FrameFolder:
    """The first frames of a clip, at FPS where it is a video, as JPEGs in `folder`; a short one starts again."""
    folder.mkdir(parents=True)
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in SUFFIXES][:n_frames]
        images = [Image.open(file).convert("RGB") for file in files]
    else:
        decoded = decode(path, fps=FPS, max_side=MAX_SIDE, max_frames=n_frames)
        images = [Image.fromarray(frame.image_HW3) for frame in decoded]
    if not images:
        raise ValueError(f"{path}: no frames; name a video file or a folder of JPEGs or PNGs")
    for t, image in enumerate(images):
        image.save(folder / f"{t:05d}.jpg", quality=95)
    for t in range(len(images), n_frames):
        (folder / f"{t:05d}.jpg").symlink_to(f"{t % len(images):05d}.jpg")
    names = tuple(f"{t:05d}" for t in range(n_frames))
    return FrameFolder(folder, names, ".jpg", (images[0].height, images[0].width), None, f"{path.name}-{n_frames}")


def draw_clip(folder: Path, n_frames: int, size: tuple[int, int]) -> FrameFolder:
    """Six discs that cross a background which moves as well, as JPEGs in `folder`; always the same.

    Args:
        size: (height, width).
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    height, width = size
    y_HW, x_HW = np.mgrid[:height, :width]
    centre, speed = rng.uniform(0.2, 0.8, (6, 2)) * size, rng.uniform(-0.006, 0.006, (6, 2)) * size
    radius, colour = rng.uniform(0.05, 0.15, 6) * height, rng.integers(60, 256, (6, 3))
    for t in range(n_frames):
        wave_HW = 60 + 40 * np.sin((x_HW + 3 * t) / 23) * np.cos((y_HW - 2 * t) / 17)
        image_HW3 = np.repeat(wave_HW[..., None], 3, 2).astype(np.uint8)
        for k in range(6):
            cy, cx = centre[k] + t * speed[k]
            image_HW3[(y_HW - cy) ** 2 + (x_HW - cx) ** 2 < radius[k] ** 2] = colour[k]
        Image.fromarray(image_HW3).save(folder / f"{t:05d}.jpg", quality=90)
    names = tuple(f"{t:05d}" for t in range(n_frames))
    return FrameFolder(folder, names, ".jpg", size, None, f"drawn-{n_frames}")
