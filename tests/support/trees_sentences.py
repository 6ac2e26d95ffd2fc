"""Small trees in the exact layouts of A2D-Sentences and JHMDB-Sentences."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from scipy.io import savemat
from support.video_files import make_video

SIZE = (48, 64)  # height, width
A2D_FRAMES = 9

VIDEOSET = """\
-cat1,11,0:01,0:03,48,64,9,2,1
dog_2,12,0:01,0:03,48,64,9,1,0
bird3,13,0:01,0:03,48,64,9,3,1
mute4,13,0:01,0:03,48,64,9,3,1
lost5,13,0:01,0:03,48,64,9,3,1
"""
ANNOTATION = """\
video_id,instance_id,query
-cat1,1,A  Cat in grey walking
dog_2,1,"a dog, brown, is rolling"
-cat1,2,man in red
-cat1,1 (copy),the cat again
bird3,3,the bird flies
"""


def box(rows: slice, columns: slice, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A mask (H, W) that is 1 in a rectangle."""
    mask = np.zeros(size, np.uint8)
    mask[rows, columns] = 1
    return mask


CAT, MAN, BIRD = box(slice(2, 10), slice(5, 30)), box(slice(20, 40), slice(8, 12)), box(slice(0, 48), slice(60, 64))


def write_h5(path: Path, instances: Sequence[int], masks_NHW: Sequence[np.ndarray]) -> None:
    """One annotated frame: masks transposed, and without the first axis where there is one instance."""
    path.parent.mkdir(parents=True, exist_ok=True)
    masks_NWH = np.stack([mask.T for mask in masks_NHW])
    with h5py.File(path, "w") as file:
        file["instance"] = np.array(instances, np.int64)
        file["reMask"] = masks_NWH if len(masks_NWH) > 1 else masks_NWH[0]
        file["reBBox"] = np.zeros((4, len(instances)))


def write_a2d(root: Path) -> Path:
    """Three clips with sentences; mute4 has none, lost5 is a missed one."""
    texts = root / "text_annotations"
    (root / "Release/clips320H").mkdir(parents=True)
    texts.mkdir()
    (root / "Release/videoset.csv").write_text(VIDEOSET)
    (texts / "a2d_annotation.txt").write_text(ANNOTATION)
    (texts / "a2d_missed_videos.txt").write_text("lost5\n")
    for video in ("-cat1", "dog_2", "bird3"):
        make_video(root / f"Release/clips320H/{video}.mp4", A2D_FRAMES, (SIZE[1], SIZE[0]))
    frames = texts / "a2d_annotation_with_instances"
    write_h5(frames / "-cat1/00003.h5", [2, 1], [MAN, CAT])
    write_h5(frames / "-cat1/00007.h5", [2], [MAN])
    write_h5(frames / "dog_2/00001.h5", [1], [CAT])
    write_h5(frames / "bird3/00009.h5", [3], [BIRD])
    return root


JHMDB_CLIPS: Mapping[str, tuple[str, int, int]] = {  # clip → action, frames, masks
    "#122_Clean_up_catch_f_np1": ("catch", 6, 6),
    "Alone_golf_u_cm": ("golf", 7, 5),
    "short_run_l": ("run", 3, 1),
}


def jhmdb_masks(n_masks: int) -> np.ndarray:
    """(H, W, T): a square that moves."""
    return np.stack([box(slice(4 + t, 20 + t), slice(10, 30)) for t in range(n_masks)], axis=2)


def write_jhmdb(root: Path, *, compressed: bool = True) -> Path:
    lines = ["video_id,query"]
    for number, (clip, (action, n_frames, n_masks)) in enumerate(JHMDB_CLIPS.items()):
        frames, masks = root / "Rename_Images" / action / clip, root / "puppet_mask" / action / clip
        frames.mkdir(parents=True)
        masks.mkdir(parents=True)
        for t in range(n_frames):
            Image.new("RGB", (SIZE[1], SIZE[0]), (20 * t, 90, 30 * number)).save(frames / f"{t + 1:05d}.png")
        masks_HWT = jhmdb_masks(n_masks)
        array = masks_HWT[..., 0] if n_masks == 1 else masks_HWT  # MATLAB has no last axis of length 1
        savemat(masks / "puppet_mask.mat", {"part_mask": array}, do_compression=compressed)
        lines.append(f'{clip},"person {number}, in  Blue"')
    (root / "Rename_Images/catch/.AppleDouble").mkdir()
    (root / "jhmdb_annotation.txt").write_text("\n".join(lines) + "\n")
    return root
