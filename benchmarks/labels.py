"""Labels of tracks from run lengths against labels from resized pictures, on one core.

    python -m benchmarks.labels [--frames 80] [--plain-frames 4]

64 tracks against 8 annotations at 540 × 960, label frames of that size: IoU, precision and recall of every pair. Processor time per
video; the plain way (decode, resize, multiply) runs on some of the frames, and its time is scaled to all. Both must give the
same bytes. Prints the figures, writes benchmarks/results/labels.json.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import describe
from benchmarks.masks import blob
from stages.core.media import masks
from stages.core.records import Rle
from stages.tracking.labels import compare

SIZE = (540, 960)
TRACKS, ANNOTATIONS = 64, 8
TARGET = 1.0  # seconds per video
RESULTS = Path(__file__).parent / "results" / "labels.json"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=80, help="of the video (default: 80)")
    parser.add_argument("--plain-frames", type=int, default=4, help="of these, for the plain way (default: 4)")
    arguments = parser.parse_args(argv)
    tracks, annotations = drawn(arguments.frames)
    few = arguments.plain_frames
    compare([row[:1] for row in tracks[:1]], {"0": annotations["0"][:1]}, SIZE, SIZE)  # numba compiles
    seconds = _timed(lambda: compare(tracks, annotations, SIZE, SIZE))
    part = [row[:few] for row in tracks], {name: row[:few] for name, row in annotations.items()}
    plain_seconds = _timed(lambda: plain_ious(*part)) * arguments.frames / few
    if not np.array_equal(plain_ious(*part), compare(*part, SIZE, SIZE).iou_NA):
        raise SystemExit("the labels differ")
    print(
        f"from runs {seconds:.3f} s (target {TARGET} s), plain {plain_seconds:.1f} s, {plain_seconds / seconds:.0f} times"
    )
    document = {
        "command": " ".join(["python -m benchmarks.labels", *(sys.argv[1:] if argv is None else argv)]),
        "machine": describe("numpy", "numba", "pycocotools"),
        "results": {"seconds": seconds, "plain_seconds": plain_seconds},
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def drawn(n_frames: int) -> tuple[list[list[Rle]], dict[str, list[Rle]]]:
    rng = np.random.default_rng(0)
    pool = [masks.encode(blob(rng, *SIZE)) for _ in range(60)] + [masks.empty(SIZE)] * 6
    rows = [[pool[i] for i in rng.integers(0, len(pool), n_frames)] for _ in range(TRACKS + ANNOTATIONS)]
    return rows[:TRACKS], {str(a): row for a, row in enumerate(rows[TRACKS:])}


def plain_ious(tracks: list[list[Rle]], annotations: dict[str, list[Rle]]) -> NDArray[np.float32]:
    """(N, A) mean IoU over the frames where the union is not empty."""
    shape = (len(tracks), len(annotations))
    total_NA, count_NA = np.zeros(shape), np.zeros(shape)
    for t in range(len(tracks[0])):
        track_NP, truth_AP = (_pixels([row[t] for row in rows]) for rows in (tracks, list(annotations.values())))
        shared_NA = (track_NP @ truth_AP.T).astype(np.float64)
        joined_NA = track_NP.sum(1)[:, None] + truth_AP.sum(1) - shared_NA
        total_NA += np.divide(shared_NA, joined_NA, out=np.zeros(shape), where=joined_NA > 0)
        count_NA += joined_NA > 0
    return (total_NA / np.maximum(count_NA, 1)).astype(np.float32)


def _pixels(rles: Sequence[Rle]) -> NDArray[np.float32]:
    return np.stack([masks.decode(rle).reshape(-1) for rle in rles]).astype(np.float32)


def _timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    raise SystemExit(main())
