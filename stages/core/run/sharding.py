"""Cutting a split into shards: deterministic, disjoint, complete, balanced by cost."""

from collections.abc import Sequence

from stages.core.records import Video


def shard(videos: Sequence[Video], pid: int, n_pids: int) -> list[Video]:
    """The videos of shard `pid` of `n_pids`: longest first, dealt like cards.

    Raises:
        ValueError: pid is outside 0 … n_pids − 1.
    """
    if n_pids < 1 or not 0 <= pid < n_pids:
        raise ValueError(f"--pid {pid} with --n-pids {n_pids}: pid runs from 0 to n_pids − 1")
    return sorted(videos, key=lambda video: (-video.cost, video.id))[pid::n_pids]
