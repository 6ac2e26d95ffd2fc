"""Prints what an hour of video costs on a card, computed from the work of each part; nothing runs on a GPU.

    python -m benchmarks.cost                     # 6 frames per second
    python -m benchmarks.cost --fps 25 --sentences 4 --tracks 12

How: stages/core/work.py. Where results/gpu.json holds measured figures of a card, they are printed below.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.run import markdown
from stages.core.config.file import Config, Sam2Model
from stages.core.config.loading import load_config, model_of
from stages.core.work import (
    CARDS,
    OBJECT_FRAME,
    POINTS,
    SEEING,
    Card,
    Load,
    encoding,
    milliseconds,
    reading,
    seconds,
)
from stages.prompting.grounding_dino import FRAME, PAIR

RESULTS = Path(__file__).parent / "results" / "gpu.json"
PRESETS = ("small", "large")


class Video(NamedTuple):
    """What is done with a stretch of video: frames, sentences, tracks of all sentences together, tokens of the MLLM."""

    frames: int
    sentences: int
    tracks: int
    grid_frames: int
    grid_tracks: int
    tokens: int


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fps", type=float, default=6.0, help="frames that are processed per second (default: 6)")
    parser.add_argument("--sentences", type=int, default=1, help="per video, of `referee segment` (default: 1)")
    parser.add_argument("--tracks", type=int, default=8, help="per sentence (default: 8)")
    arguments = parser.parse_args(argv)
    n_frames = round(3600 * arguments.fps)
    one = Video(n_frames, arguments.sentences, arguments.sentences * arguments.tracks, 0, 0, 60 * 2000)
    # MeViS: videos of 63 frames, 16 sentences each; of both sources some 30 and 4 per sentence are tracked.
    n_videos = n_frames / 63
    mevis = Video(n_frames, 16, 64, round(2 * n_videos), 30, round(n_videos * 16 * 3000))
    print(f"Computed minutes per hour of video at {arguments.fps:g} frames per second\n")
    print(segment_table(one) + "\n\n" + mevis_table(mevis) + "\n\n" + measured(RESULTS))
    return 0


def segment_table(video: Video) -> str:
    """By preset and the detector's precision."""
    ways = [(preset, precision) for preset in PRESETS for precision in ("float32", "bfloat16")]
    rows = [
        (name, *(f"{sum(seconds_of(video, *way, card).values()) / 60:.0f}" for way in ways))
        for name, card in CARDS.items()
    ]
    return markdown(("`referee segment`", *(f"{preset}, detector in {precision}" for preset, precision in ways)), rows)


def mevis_table(video: Video) -> str:
    """By stage, with the preset `large`."""
    rows = []
    for name, card in CARDS.items():
        full, half = (seconds_of(video, "large", precision, card) for precision in ("float32", "bfloat16"))
        seconds = (
            full["prompts"],
            half["prompts"],
            full["tracks"],
            full["evidence"],
            sum(full.values()),
            sum(half.values()),
        )
        rows.append((name, *(f"{one / 60:.0f}" for one in seconds)))
    parts = ("prompts, float32", "prompts, bfloat16", "tracks", "evidence", "together, float32", "together, bfloat16")
    return markdown(("as MeViS, large", *parts), rows)


def seconds_of(video: Video, preset: str, detector: str, card: Card) -> dict[str, float]:
    """By stage."""
    sam2, mllm = (model_of(config(), preset, role) for role in ("sam2", "mllm"))
    assert isinstance(sam2, Sam2Model)
    encode, detected = encoding(sam2.config), -(-video.frames // 4)
    frame, pair = (work._replace(precision=detector) for work in (FRAME, PAIR))
    prompts = [Load(frame, detected), Load(encode, detected), Load(pair, detected * video.sentences)]
    prompts += [Load(encode, video.grid_frames), Load(POINTS, video.grid_frames)]
    sources = 2 if video.grid_tracks else 1
    follow = Load(OBJECT_FRAME, video.frames * (video.tracks + video.grid_tracks))
    read = reading(mllm)
    read = read._replace(gflop=read.gflop + SEEING.gflop)  # nearly all tokens are of pictures
    return {
        "prompts": seconds(prompts, card),
        "tracks": seconds([Load(encode, video.frames * sources), follow], card),
        "evidence": seconds([Load(read, video.tokens)], card),
    }


@cache
def config() -> Config:
    return load_config(Path(__file__).parents[1] / "config.yaml")


def measured(path: Path) -> str:
    """Computed beside measured milliseconds, where a card was measured."""
    parts: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))["parts"] if path.is_file() else {}
    entry = parts.get("object_frame")
    card = next((card for name, card in CARDS.items() if entry and card_name(name) in entry["key"]["device"]), None)
    if entry is None or card is None:
        return "Not measured on a GPU."
    rows = entry["rows"]
    figures = [
        (
            "encoding a frame, hiera large",
            milliseconds(encoding("sam2_hiera_l"), card),
            lowest(rows, "ms per encoded frame"),
        ),
        ("an object-frame", milliseconds(OBJECT_FRAME, card), lowest(rows, "ms per object-frame")),
    ]
    lines = [(what, f"{computed:.2f}", one) for what, computed, one in figures]
    return markdown((f"{entry['key']['device']}, ms", "computed", "measured"), lines)


def card_name(name: str) -> str:
    """`80 GB (H100)` → `H100`."""
    return name.partition("(")[2].rstrip(")")


def lowest(rows: Mapping[str, Any], figure: str) -> float:
    return min(row[figure] for name, row in rows.items() if name.startswith("batch") and figure in row)


if __name__ == "__main__":
    raise SystemExit(main())
