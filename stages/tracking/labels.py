"""How well tracks match annotations: the labels a selector learns from.

Masks are compared as run lengths, at the size of a label frame: where a mask changes is put as the number of label pixels before
that place, so that lengths of runs are numbers of label pixels, and no mask becomes an image.

Legend: N tracks, A annotations, T frames, H × W = size of the video.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stages.core.records import MaskSequence, Rle
from stages.core.state.track_file import Labels
from stages.metrics.clips import Clip, from_rles, intersection


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
    n_frames = len(rles_NT[0]) if rles_NT else 0
    places = _places(size, label_size)
    truths = [
        _at_label_size(_clip(key, annotation, n_frames, size), places, label_size)
        for key, annotation in annotations.items()
        if rles_NT
    ]
    shape = (len(rles_NT), len(annotations))
    shared_TNA, area_TN = np.zeros((n_frames, *shape)), np.zeros((n_frames, len(rles_NT)))
    for n, rles_T in enumerate(rles_NT):  # one at a time: of a long video they are large
        track = _at_label_size(from_rles(rles_T, size), places, label_size)
        area_TN[:, n] = track.area
        for a, truth in enumerate(truths):
            shared_TNA[:, n, a] = intersection(track, truth)
    sums = {name: np.zeros(shape) for name in ("iou", "precision", "recall")}
    counts = {name: np.zeros(shape) for name in sums}
    for t, shared_NA in enumerate(shared_TNA):
        track_NA = np.broadcast_to(area_TN[t][:, None], shape)
        truth_NA = np.broadcast_to(np.array([truth.area[t] for truth in truths]), shape)
        denominators = {"iou": track_NA + truth_NA - shared_NA, "precision": track_NA, "recall": truth_NA}
        for name, whole_NA in denominators.items():
            sums[name] += np.divide(shared_NA, whole_NA, out=np.zeros(shape), where=whole_NA > 0)
            counts[name] += whole_NA > 0
    means = {name: (sums[name] / np.maximum(counts[name], 1)).astype(np.float32) for name in sums}
    return Labels(tuple(annotations), means["iou"], means["precision"], means["recall"])


def oriented(size: tuple[int, int], label_size: tuple[int, int]) -> tuple[int, int]:
    """(short, long) as (height, width) of a video of `size`: landscape, or portrait if it is higher than wide."""
    short, long = label_size
    height, width = size
    return (long, short) if height > width else (short, long)


def _places(size: tuple[int, int], label_size: tuple[int, int]) -> NDArray[np.int32]:
    """(H · W + 1) how many label pixels show something before a place in the video's frame, column by column.

    Each row and column of the label frame shows the nearest of the video's that is not after it.
    """
    before = []
    for full, n in zip(size, oriented(size, label_size), strict=True):
        shown = np.bincount(np.arange(n) * full // n, minlength=full)
        before.append(np.concatenate([[0], np.cumsum(shown)]))
    rows_H1, columns_W1 = before
    inside_WH = columns_W1[:-1, None] * rows_H1[-1] + np.diff(columns_W1)[:, None] * rows_H1[:-1]
    return np.append(inside_WH, columns_W1[-1] * rows_H1[-1]).astype(np.int32)


def _at_label_size(clip: Clip, places: NDArray[np.int32], label_size: tuple[int, int]) -> Clip:
    height, width = oriented((clip.length, clip.lines), label_size)
    return Clip(places[clip.turns], clip.offset, height, width)


def _clip(key: str, annotation: MaskSequence, n_frames: int, size: tuple[int, int]) -> Clip:
    return from_rles([_at(key, annotation, t, n_frames, size) for t in range(n_frames)], size)


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
