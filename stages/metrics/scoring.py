"""From an answer to its row: how `stages.evaluate` and `stages.tools.compare` both score answers."""

from typing import Any

from stages.core.records import Split, Video
from stages.metrics.protocol import Protocol
from stages.metrics.scene import Answer, Comparison, Scene, base_row, compare_answer


def open_scene(split: Split, video: Video, size: tuple[int, int], n_frames: int) -> Scene:
    """What a video's answers are scored against; empty without ground truth.

    Args:
        size: (height, width) of the frames.

    Raises:
        ValueError: annotations that do not fit the frames.
    """
    if not split.has_truth:
        return Scene({}, size, n_frames)
    return Scene(
        split.annotations(video),
        size,
        n_frames,
        void=split.void(video),
        foreground=split.foreground(video),
        scored=split.scored_frames(video),
    )


def score_answer(
    protocol: Protocol, scene: Scene, answer: Answer, ratio: float, n_tracks: int
) -> tuple[dict[str, Any], Comparison | None]:
    """An answer's row (see stages/metrics/report.py) and how it compares; None where the truth is unknown.

    Args:
        ratio: boundary tolerance as a share of the image diagonal.
        n_tracks: chosen tracks.
    """
    comparison = compare_answer(scene, answer, ratio, holding_only=protocol.holding_only)
    row = base_row(answer, comparison, ratio)
    if comparison is not None and protocol.columns is not None:
        row |= protocol.columns(scene, answer, comparison)
    return row | {"tracks": n_tracks, "frames": scene.n_frames}, comparison
