"""The track file: every track of one video from one source (written by build_tracks).

Legend: N tracks, T frames, C = 256 channels of an object token, E expressions, A annotations.

| dataset | dtype, shape | meaning |
|---|---|---|
| /tracks/obj_ptr | f2 or f4 (N,T,C) | SAM2 object tokens; f4 when SAM2 ran in float32; C = 0 for imported masks |
| /tracks/score | f2 (N,T) | object-score logits; ≤ 0 = absent |
| /tracks/iou | f2 (N,T) | predicted IoU |
| /tracks/area | u4 (N,T) | mask area in pixels |
| /tracks/bbox | u2 (N,T,4) | x0 y0 x1 y1, x1 and y1 exclusive |
| /tracks/prompt_frame, prompt_id | i2, i4 (N) | where the track began; row in the prompt file; −1 where it was imported |
| /rle/{bytes,offset} | | N·T masks, track by track |
| /expr/{ptr,track} | i4 (E+1), i4 | CSR: which tracks belong to which expression |
| /labels/{iou,precision,recall} | f4 (N,A) | means over frames against each annotation, where there is ground truth |
| /labels/annotation | str (A) | the annotations' keys |
| /history (attributes) | int | what tracking took: rounds, encodes, object_frames; not in imported files |
| /history/merged | i4 (M,2) | prompts that were not tracked: row, and the row whose track serves them |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from stages.core.records import Rle
from stages.core.state.cache import CacheError, Stamp, create_h5, open_h5, remedy
from stages.core.state.graph import BUILD_TRACKS
from stages.core.state.h5_arrays import (
    parts_of,
    read_rles,
    read_rles_at,
    read_size,
    read_strings,
    write_array,
    write_rles,
    write_strings,
)

LABELS = ("iou", "precision", "recall")
MOST_FRAMES = 2**15  # prompt_frame is an i2
Column = Literal["obj_ptr", "score", "iou", "area", "bbox", "prompt_frame", "prompt_id"]  # of /tracks


@dataclass(frozen=True)
class Labels:
    """Tracks against annotations, (N, A) float32 means over frames, and the annotations' keys."""

    annotations: tuple[str, ...]
    iou_NA: NDArray[np.float32]
    precision_NA: NDArray[np.float32]
    recall_NA: NDArray[np.float32]


@dataclass(frozen=True)
class Tracks:
    """All tracks of one video from one source; shapes and dtypes as in the module's table.

    `expression_tracks[e]` are the indices of the tracks that belong to the e-th expression.
    """

    size: tuple[int, int]
    tokens_NTC: NDArray[np.floating]
    score_NT: NDArray[np.float16]
    iou_NT: NDArray[np.float16]
    area_NT: NDArray[np.uint32]
    bbox_NT4: NDArray[np.uint16]
    prompt_frame_N: NDArray[np.int16]
    prompt_id_N: NDArray[np.int32]
    expression_tracks: tuple[NDArray[np.int32], ...]
    labels: Labels | None

    def __len__(self) -> int:
        return len(self.tokens_NTC)


@dataclass(frozen=True)
class History:
    """How the tracks came about, as far as it is the same each time.

    Attributes:
        counts: rounds, encodes (frames through the image encoder), object_frames (tracks times frames).
        merged: (row of a prompt, row of the prompt whose track serves it).
    """

    counts: Mapping[str, int]
    merged: Sequence[tuple[int, int]]


def write_tracks(
    path: Path, stamp: Stamp, tracks: Tracks, rles_NT: Sequence[Sequence[Rle]], history: History | None = None
) -> None:
    """Writes a track file; no track at all is a valid, finished file."""
    n, t = tracks.tokens_NTC.shape[:2]
    assert len(rles_NT) == n and all(len(row) == t for row in rles_NT)
    with create_h5(path, stamp) as file:
        file.attrs["size"] = tracks.size
        group = file.create_group("tracks")
        write_array(group, "obj_ptr", tracks.tokens_NTC, 16)
        write_array(group, "score", tracks.score_NT.astype(np.float16), 64)
        write_array(group, "iou", tracks.iou_NT.astype(np.float16), 64)
        write_array(group, "area", tracks.area_NT.astype(np.uint32), 64)
        write_array(group, "bbox", tracks.bbox_NT4.astype(np.uint16), 64)
        write_array(group, "prompt_frame", tracks.prompt_frame_N.astype(np.int16))
        write_array(group, "prompt_id", tracks.prompt_id_N.astype(np.int32))
        write_rles(file.create_group("rle"), [rle for row in rles_NT for rle in row])
        _write_expressions(file.create_group("expr"), tracks.expression_tracks)
        if tracks.labels is not None:
            _write_labels(file.create_group("labels"), tracks.labels)
        if history is not None:
            group = file.create_group("history")
            group.attrs.update(history.counts)
            write_array(group, "merged", np.array(history.merged, np.int32).reshape(-1, 2))


def read_history(path: Path) -> History | None:
    """None where the tracks were imported; raises CacheError where the file cannot be used."""
    with open_h5(path, BUILD_TRACKS.name, BUILD_TRACKS.version) as file:
        if "history" not in file:
            return None
        group = file["history"]
        merged = [(int(row), int(tracked)) for row, tracked in group["merged"][:]]
        return History({name: int(count) for name, count in group.attrs.items()}, merged)


def read_tracks(path: Path) -> Tracks:
    """Everything but the masks; raises CacheError where the file cannot be used."""
    with open_h5(path, BUILD_TRACKS.name, BUILD_TRACKS.version) as file:
        group = file["tracks"]
        return Tracks(
            size=read_size(file),
            tokens_NTC=group["obj_ptr"][:],
            score_NT=group["score"][:],
            iou_NT=group["iou"][:],
            area_NT=group["area"][:],
            bbox_NT4=group["bbox"][:],
            prompt_frame_N=group["prompt_frame"][:],
            prompt_id_N=group["prompt_id"][:],
            expression_tracks=_read_expressions(file["expr"], len(group["score"])),
            labels=_read_labels(file["labels"]) if "labels" in file else None,
        )


@dataclass(frozen=True)
class Membership:
    """What is known of a video's tracks without reading a token.

    Attributes:
        size: (height, width) of the masks.
        shape: N, T, C of the tokens.
        expression_tracks, labels: as in `Tracks`.
    """

    size: tuple[int, int]
    shape: tuple[int, int, int]
    expression_tracks: tuple[NDArray[np.int32], ...]
    labels: Labels | None


def read_membership(path: Path) -> Membership:
    """Raises CacheError where the file cannot be used."""
    with open_h5(path, BUILD_TRACKS.name, BUILD_TRACKS.version) as file:
        n, t, c = file["tracks/obj_ptr"].shape
        labels = _read_labels(file["labels"]) if "labels" in file else None
        return Membership(read_size(file), (n, t, c), _read_expressions(file["expr"], n), labels)


def read_columns(path: Path, names: Sequence[Column]) -> dict[Column, NDArray[Any]]:
    """Some columns of /tracks by name, and nothing else of the file.

    Returns:
        Name → values of all N tracks, of the dtype and shape in the module's table.

    Raises:
        CacheError: the file cannot be used.
    """
    with open_h5(path, BUILD_TRACKS.name, BUILD_TRACKS.version) as file:
        columns = {name: file["tracks"][name][:] for name in names}
        if uneven := [name for name, column in columns.items() if len(column) != len(file["tracks/score"])]:
            raise ValueError(f"its columns {uneven} are not as long as others")
        return columns


def read_masks(path: Path, tracks: Sequence[int]) -> list[list[Rle]]:
    """The masks of some tracks: T RLEs each."""
    with open_h5(path, BUILD_TRACKS.name, BUILD_TRACKS.version) as file:
        t, size = file["tracks/score"].shape[1], read_size(file)
        return [read_rles(file["rle"], size, int(n) * t, (int(n) + 1) * t) for n in tracks]


def read_masks_at(path: Path, tracks: Sequence[int], frames: Sequence[int]) -> list[dict[int, Rle]]:
    """The masks of some tracks in some frames, in one read of the file.

    Returns:
        For each frame: index into `tracks` → mask, of the tracks that are not empty there.

    Raises:
        CacheError: the file cannot be used, or has no such frame.
    """
    with open_h5(path, BUILD_TRACKS.name, BUILD_TRACKS.version) as file:
        size, area_NT = read_size(file), file["tracks/area"][:]
        if len(frames) and max(frames) >= area_NT.shape[1]:
            raise CacheError(f"{path}: has no frame {max(frames)}; {remedy(BUILD_TRACKS.name)}")
        wanted = [[(i, n, t) for i, n in enumerate(tracks) if area_NT[n, t]] for t in frames]
        rows = [n * area_NT.shape[1] + t for frame in wanted for _, n, t in frame]
        rles = iter(read_rles_at(file["rle"], size, rows))
        return [{i: next(rles) for i, _, _ in frame} for frame in wanted]


def _write_expressions(group: h5py.Group, expression_tracks: Sequence[NDArray[np.int32]]) -> None:
    write_array(group, "ptr", np.cumsum([0, *map(len, expression_tracks)], dtype=np.int32))
    write_array(group, "track", np.concatenate([np.zeros(0, np.int32), *expression_tracks]).astype(np.int32))


def _read_expressions(group: h5py.Group, n_tracks: int) -> tuple[NDArray[np.int32], ...]:
    ptr, members = group["ptr"][:], group["track"][:]
    if members.size and not (members.min() >= 0 and members.max() < n_tracks):
        raise ValueError(f"its expressions name tracks beyond its {n_tracks}")
    return tuple(parts_of(members, ptr, len(ptr) - 1))


def _write_labels(group: h5py.Group, labels: Labels) -> None:
    write_strings(group, "annotation", labels.annotations)
    for name in LABELS:
        write_array(group, name, getattr(labels, f"{name}_NA").astype(np.float32))


def _read_labels(group: h5py.Group) -> Labels:
    values = {f"{name}_NA": group[name][:] for name in LABELS}
    return Labels(annotations=tuple(read_strings(group, "annotation")), **values)
