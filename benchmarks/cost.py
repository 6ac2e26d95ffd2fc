"""Prints what an hour of video costs on a card, computed from the work of each part; nothing runs on a GPU.

    python -m benchmarks.cost                     # 6 frames per second
    python -m benchmarks.cost --fps 25 --sentences 4 --tracks 12

Time of a part = operations / (0.6 · peak of the arithmetic) + pointwise traffic / memory bandwidth, or 5 µs for each
kernel that is launched where that is more. Operations are counted (torch's FlopCounterMode on the published shapes),
traffic and launches are those of the design review. Peaks and bandwidths are the makers': dense bfloat16 with float32 sums, and
float32 without TF32. Where results/gpu.json holds measured figures of a card, they are printed below.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.run import markdown

RESULTS = Path(__file__).parent / "results" / "gpu.json"
SHARE_OF_PEAK, LAUNCH_US = 0.6, 5.0


class Card(NamedTuple):
    """Peaks in TFLOP/s, bandwidth in TB/s."""

    bfloat16: float
    float32: float
    bandwidth: float


class Work(NamedTuple):
    """GFLOP, GB of pointwise traffic, kernels launched."""

    gflop: float
    gb: float
    launches: float = 0


CARDS = {
    "12 GB (RTX 4070)": Card(58, 29, 0.50),
    "24 GB (RTX 4090)": Card(165, 83, 1.01),
    "80 GB (A100)": Card(312, 19.5, 2.04),
    "80 GB (H100)": Card(989, 67, 3.35),
    "141 GB (H200)": Card(989, 67, 4.8),
}
# A track in a frame costs the same in every SAM2: memory attention over 7 memories and 64 pointer tokens.
OBJECT_FRAME = Work(630, 3.0, 400 / 8)  # of a step of 8 tracks
SAM2 = {"small": Work(292, 4.6, 500), "large": Work(1823, 19.7, 850)}  # a frame's encoding: hiera tiny, hiera large
FRAME_BACKBONE, PAIR = Work(179, 2.0, 300), Work(583, 6.0, 900 / 8)  # GroundingDINO at 750 × 1333; of 8 pairs
MLLM = {"small": 2.1, "large": 4.4}  # billion parameters
VISION = 0.4  # of them, over four patches per token
POINTS = Work(1100, 12, 300)  # of a frame: 1024 points through the mask decoder


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
    ways = [(preset, precision) for preset in SAM2 for precision in ("float32", "bfloat16")]
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
    encode, detected = milliseconds(SAM2[preset], card), -(-video.frames // 4)
    prompts = detected * (milliseconds(FRAME_BACKBONE, card, detector) + encode)
    prompts += detected * video.sentences * milliseconds(PAIR, card, detector)
    prompts += video.grid_frames * (encode + milliseconds(POINTS, card))
    sources = 2 if video.grid_tracks else 1
    follow = (video.tracks + video.grid_tracks) * milliseconds(OBJECT_FRAME, card)
    tracks = video.frames * (sources * encode + follow)
    read = milliseconds(Work(2 * MLLM[preset] + 8 * VISION, 0.02), card) * video.tokens
    return {"prompts": prompts / 1e3, "tracks": tracks / 1e3, "evidence": read / 1e3}


def milliseconds(work: Work, card: Card, precision: str = "bfloat16") -> float:
    """Of one unit; float32 moves twice the bytes."""
    peak, wide = (card.bfloat16, 1) if precision == "bfloat16" else (card.float32, 2)
    busy = work.gflop / (SHARE_OF_PEAK * peak) + wide * work.gb / card.bandwidth
    return max(busy, work.launches * LAUNCH_US / 1e3)


def measured(path: Path) -> str:
    """Computed beside measured milliseconds, where a card was measured."""
    parts: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))["parts"] if path.is_file() else {}
    entry = parts.get("object_frame")
    card = next((card for name, card in CARDS.items() if entry and card_name(name) in entry["key"]["device"]), None)
    if entry is None or card is None:
        return "Not measured on a GPU."
    rows = entry["rows"]
    figures = [
        ("encoding a frame, hiera large", milliseconds(SAM2["large"], card), lowest(rows, "ms per encoded frame")),
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
