"""Real clips for the benchmarks: a video file or a folder of images as the frame folder of a stage."""

from pathlib import Path

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
