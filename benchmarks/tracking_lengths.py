"""Tracking: peak memory and cost by the length of the video and by the number of tracks.

    python -m benchmarks.tracking_lengths --clip clip.mp4

The micro model at 64 px (random weights), a process of its own for every row, so that its peak memory is its
own; the clip is repeated to reach its length. Features may take 20 MB: longer videos spill to a file. Prints
a table, writes benchmarks/results/tracking_lengths.json.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.clips import open_clip
from benchmarks.machine import describe
from benchmarks.tracking import RESULTS, make_model
from stages.core.media import masks
from stages.tracking.lockstep import LockstepTracker
from stages.tracking.tracker import PromptBatch

ROWS = ((100, 1), (100, 4), (100, 16), (1000, 1), (5000, 1))  # frames, tracks
CONFIG, SIDE, CACHE_BYTES = "stages/micro/sam2_micro.yaml", 64, 20 * 10**6


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, required=True, help="a video file, or a folder of JPEGs or PNGs")
    parser.add_argument("--row", type=int, nargs=2, metavar=("FRAMES", "TRACKS"), help="measure this row alone")
    arguments = parser.parse_args(argv)
    if not arguments.clip.exists():
        print(f"skipped: {arguments.clip} is missing (--clip names a video file or a folder of frames)")
        return 0
    if arguments.row:
        print(json.dumps(measure(arguments.clip, *arguments.row)))
        return 0
    print(
        "| frames | tracks | peak MiB above the model | ms per frame | ms per object-frame | in memory | in the file |"
    )
    print("|---|---|---|---|---|---|---|")
    document: dict[str, Any] = {
        "command": "python -m benchmarks.tracking_lengths",
        "machine": describe("torch", "sam2"),
        "rows": [],
    }
    for frames, tracks in ROWS:
        command = [sys.executable, "-m", "benchmarks.tracking_lengths", "--clip", str(arguments.clip)]
        done = subprocess.run([*command, "--row", str(frames), str(tracks)], check=True, capture_output=True, text=True)
        row = json.loads(done.stdout.splitlines()[-1])
        print("| " + " | ".join(map(str, row.values())) + " |", flush=True)
        document["rows"].append(row)
    (RESULTS / "tracking_lengths.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(clip: Path, n_frames: int, n_tracks: int) -> dict[str, float]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(CONFIG, None, SIDE, Path(folder))
        frames = open_clip(clip, Path(folder) / "frames", 24)
        tracker = LockstepTracker(model, "float32", 16, (0, CACHE_BYTES))
        tracker.track(frames, [PromptBatch(0, prompts(frames.size, n_tracks))])  # libraries and scratch memory
        tracker.close()
        frames = open_clip(clip, Path(folder) / "long", n_frames)
        before, start = peak_mib(), time.process_time()
        tracker.track(frames, [PromptBatch(n_frames // 2, prompts(frames.size, n_tracks))])
        seconds = time.process_time() - start
        assert tracker._video is not None
        store = tracker._video._store
        tracker.close()
    return {
        "frames": n_frames,
        "tracks": n_tracks,
        "peak_mib": round(peak_mib() - before, 1),
        "ms_a_frame": round(seconds / n_frames * 1e3, 2),
        "ms_an_object_frame": round(seconds / n_frames / n_tracks * 1e3, 2),
        "frames_in_memory": len(store._packed),
        "frames_in_the_file": len(store._in_file),
    }


def prompts(size: tuple[int, int], n: int) -> list[masks.Rle]:
    boxes = np.zeros((n, *size), bool)
    for i in range(n):
        boxes[i, 10 + 3 * i : 60 + 3 * i, 20 + 5 * i : 90 + 5 * i] = True
    return masks.encode_all(boxes)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    raise SystemExit(main())
