"""How well tracks match annotations: the labels a selector learns from.

Legend: N tracks, A annotations, T frames, P = pixels of a label frame, H × W = size of the video.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.records import MaskSequence, Rle
from stages.core.state.track_file import Labels

ROWS = 32  # masks held as pixels at a time: 66 MB of float32 at 540 × 960


def compare(
    rles_NT: Sequence[Sequence[Rle]],
    annotations: Mapping[str, MaskSequence],
    size: tuple[int, int],
    label_size: tuple[int, int],
) -> Labels:
    """IoU, precision and recall of every track against every annotation, as means over frames.

    Each ratio is averaged over the frames where its denominator is not zero: IoU where the union is not
    empty, precision where the track is not, recall where the annotation is not; 0 if there is none. So two
    objects that are both absent most of the time do not agree by that alone: counting empty against empty
    as 1 would make a disjoint track positive.

    Args:
        size: (height, width) of the video and of all masks.
        label_size: (short, long) side at which masks are compared, resized to the nearest pixel.

    Raises:
        ValueError: an annotation has another size or another number of frames.
    """
    shape = (len(rles_NT), len(annotations))
    sums = {name: np.zeros(shape) for name in ("iou", "precision", "recall")}
    counts = {name: np.zeros(shape) for name in sums}
    for t in range(len(rles_NT[0]) if rles_NT else 0):
        truth_A = [_at(key, annotation, t, len(rles_NT[0]), size) for key, annotation in annotations.items()]
        inter_NA, track_N, truth_areas_A = _overlap([row[t] for row in rles_NT], truth_A, _grid(size, label_size))
        track_NA, truth_NA = np.broadcast_to(track_N[:, None], shape), np.broadcast_to(truth_areas_A, shape)
        denominators = {"iou": track_NA + truth_NA - inter_NA, "precision": track_NA, "recall": truth_NA}
        for name, whole_NA in denominators.items():
            sums[name] += np.divide(inter_NA, whole_NA, out=np.zeros(shape), where=whole_NA > 0)
            counts[name] += whole_NA > 0
    means = {name: (sums[name] / np.maximum(counts[name], 1)).astype(np.float32) for name in sums}
    return Labels(tuple(annotations), means["iou"], means["precision"], means["recall"])


def oriented(size: tuple[int, int], label_size: tuple[int, int]) -> tuple[int, int]:
    """(short, long) as (height, width) of a video of `size`: landscape, or portrait if it is higher than wide."""
    short, long = label_size
    height, width = size
    return (long, short) if height > width else (short, long)


# Which row and which column of a mask each row and column of the label frame shows.
Grid = tuple[NDArray[np.intp], NDArray[np.intp]]


def _grid(size: tuple[int, int], label_size: tuple[int, int]) -> Grid:
    rows, columns = (np.arange(n) * full // n for full, n in zip(size, oriented(size, label_size)))
    return rows, columns


def _at(key: str, annotation: MaskSequence, t: int, n_frames: int, size: tuple[int, int]) -> Rle | None:
    if len(annotation) != n_frames:
        raise ValueError(
            f"annotation {key!r} has {len(annotation)} frames, the video has {n_frames}: "
            "extract all frames (frames.fps, frames.max_frames), or fix the annotation file"
        )
    rle = annotation[t]
    if rle is not None and tuple(rle["size"]) != size:
        raise ValueError(
            f"annotation {key!r}, frame {t}: mask of size {tuple(rle['size'])}, the frames are {size}: "
            "keep the native size (frames.max_side), or fix the annotation file"
        )
    return rle


def _overlap(
    rles_N: Sequence[Rle], truth_A: Sequence[Rle | None], grid: Grid
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Intersections (N, A) and areas (N,), (A,) in label pixels of one frame."""
    truth_AP = _pixels(truth_A, grid)
    inter_NA, area_N = np.zeros((len(rles_N), len(truth_A))), np.zeros(len(rles_N))
    seen = np.flatnonzero(masks.area(rles_N))
    for rows in (seen[i : i + ROWS] for i in range(0, len(seen), ROWS)):
        tracks_RP = _pixels([rles_N[i] for i in rows], grid)
        inter_NA[rows] = tracks_RP @ truth_AP.T
        area_N[rows] = tracks_RP.sum(1)
    return inter_NA, area_N, truth_AP.sum(1).astype(np.float64)


def _pixels(rles: Sequence[Rle | None], grid: Grid) -> NDArray[np.float32]:
    """(N, P) zeros and ones; None is empty. Sums of them are exact in float32 below 2²⁴ pixels."""
    rows, columns = grid
    pixels_NHW = np.zeros((len(rles), len(rows), len(columns)), np.float32)
    for index, rle in enumerate(rles):
        if rle is not None:
            pixels_NHW[index] = masks.decode(rle)[rows][:, columns]
    return pixels_NHW.reshape(len(rles), len(rows) * len(columns))
