"""Presence in long videos: what tIoU of tracks is at which threshold of the object score, and what is found again.

    referee make-shapes --dataset shapes_long
    python -m stages.build_tracks --dataset shapes_long --split valid --source gt    # after extract_frames, generate_prompts
    python -m benchmarks.presence

Reads the track files of source gt: one track per object, from its first mask. A frame counts as present where the track's object
score is above the threshold and its mask has a pixel; the engine's own masks have none at or below 0. Prints a table.

Legend: T frames.
"""

import argparse
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.core.config.loading import load_config
from stages.core.run.cli import Job
from stages.core.state.graph import BUILD_TRACKS, GENERATE_PROMPTS
from stages.core.state.prompt_file import read_prompts
from stages.core.state.track_file import read_columns
from stages.datasets import open_split

THRESHOLDS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0)
Bool = NDArray[np.bool_]


class Followed(NamedTuple):
    """A track and the object that it was prompted with."""

    name: str
    score_T: NDArray[np.float32]
    drawn_T: Bool
    truth_T: Bool

    def present(self, threshold: float) -> Bool:
        return self.drawn_T & (self.score_T > threshold)

    def tiou(self, threshold: float) -> float:
        present_T = self.present(threshold)
        return float((present_T & self.truth_T).sum() / (present_T | self.truth_T).sum())

    def stretches(self) -> list[Bool]:
        """The frames of each stretch of time in which the object is there."""
        times = [
            list(span) for there, span in groupby(range(len(self.truth_T)), lambda t: bool(self.truth_T[t])) if there
        ]
        return [np.isin(np.arange(len(self.truth_T)), span) for span in times]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, action="append", help="config files (default: config.yaml)")
    parser.add_argument("--dataset", default="shapes_long")
    parser.add_argument("--split", default="valid")
    arguments = parser.parse_args(argv)
    tracks = followed(arguments.config or [Path("config.yaml")], arguments.dataset, arguments.split)
    print("| object | frames | there | " + " | ".join(f"tIoU at {threshold:g}" for threshold in THRESHOLDS) + " |")
    print("|---" * (3 + len(THRESHOLDS)) + "|")
    for one in tracks:
        row(one.name, str(len(one.truth_T)), f"{one.truth_T.mean():.0%}", [one.tiou(x) for x in THRESHOLDS])
    row("mean", "", "", [float(np.mean([one.tiou(x) for one in tracks])) for x in THRESHOLDS])
    say_shares(tracks)
    return 0


def row(name: str, frames: str, there: str, values: Sequence[float]) -> None:
    print(f"| {name} | {frames} | {there} | " + " | ".join(f"{value:.3f}" for value in values) + " |")


def say_shares(tracks: Sequence[Followed]) -> None:
    """What the engine says of presence by itself, frame by frame."""
    away = np.concatenate([one.present(0.0)[~one.truth_T] for one in tracks])
    first = np.concatenate([one.present(0.0)[one.stretches()[0]] for one in tracks])
    later = [one.present(0.0)[span] for one in tracks for span in one.stretches()[1:]]
    print(f"marked while it is there for the first time: {first.mean():.1%} of {len(first)} frames")
    print(f"marked while it is away: {away.mean():.1%} of {len(away)} frames")
    if later:
        print(f"marked after it came back: {np.concatenate(later).mean():.1%} of {sum(map(len, later))} frames")


def followed(configs: Sequence[Path], dataset: str, name: str) -> list[Followed]:
    config = load_config(*configs)
    split = open_split(config, dataset, name)
    layout = Job(
        config=config, dataset=dataset, split=name, source="gt", pid=0, n_pids=1, overwrite=False, limit=None
    ).layout
    found: list[Followed] = []
    for video in split.videos():
        columns = read_columns(layout.file(BUILD_TRACKS, video.id, "gt"), ["score", "area", "prompt_id"])
        prompts, truth = read_prompts(layout.file(GENERATE_PROMPTS, video.id, "gt")), split.annotations(video)
        for score_T, area_T, prompt in zip(columns["score"], columns["area"], columns["prompt_id"]):
            key = prompts[prompt].annotation
            truth_T = np.array([rle is not None for rle in truth[key]])
            found.append(Followed(f"{video.id} {key}", score_T.astype(np.float32), area_T > 0, truth_T))
    return found


if __name__ == "__main__":
    raise SystemExit(main())
