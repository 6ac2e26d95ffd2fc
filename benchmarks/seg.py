"""Source seg: seconds and peak memory per video, variant by variant, with the [SEG] model of a data set's preset.

    python -m benchmarks.seg --dataset shapes --clip clip.mp4                       # the micro preset, on the CPU
    python -m benchmarks.seg --dataset mevis --clip clip.mp4 --device cuda --frames 80 --sentences 16

A process of its own for every row, so that its peak memory is its own; the model is loaded before the clock starts, and on a
GPU the first video is not counted. Prints a table, writes benchmarks/results/seg-<preset>-<device>.json.
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

import torch

from benchmarks.clips import open_clip
from benchmarks.machine import describe
from benchmarks.tracking import RESULTS
from stages.core.config.file import SegModelEntry
from stages.core.config.loading import load_config, merge, settings_of
from stages.core.records import Expression, Video
from stages.core.state.weights import find_weights
from stages.prompting.seg.checkpoint.loading import load_seg_model
from stages.prompting.seg.prompter import SegPrompter
from stages.prompting.seg.settings import SegPrompts

# What is changed of prompts.seg, row by row.
ROWS: dict[str, dict[str, Any]] = {
    "sa2va, tuned propagation": {"variant": "sa2va", "follow": "tuned"},
    "sa2va_i": {"variant": "sa2va_i"},
    "sa2va_i, generated": {"variant": "sa2va_i", "answer": "generated", "max_new_tokens": 16},
    "svac": {"variant": "svac"},
    "sasasa2va, uniform": {"variant": "sasasa2va", "sasasa2va": {"mode": "uniform"}},
    "sasasa2va, uniform_plus": {"variant": "sasasa2va", "sasasa2va": {"mode": "uniform_plus"}},
    "sasasa2va, wrap_around": {"variant": "sasasa2va", "sasasa2va": {"mode": "wrap_around"}},
    "vrs_hq": {"variant": "vrs_hq"},
}
SENTENCE = "the one that moves to the left behind the other {}"


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    if not arguments.clip.exists():
        print(f"skipped: {arguments.clip} is missing (--clip names a video file or a folder of frames)")
        return 0
    if arguments.row is not None:
        print(json.dumps(measure(arguments)))
        return 0
    rows = [run_row(arguments, name) for name in ROWS]
    preset = load_config(*arguments.config).datasets[arguments.dataset].models
    document = {
        "command": "python -m benchmarks.seg",
        "machine": describe("torch", "transformers", "sam2"),
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "frames": arguments.frames,
        "sentences": arguments.sentences,
        "rows": [row for row in rows if row],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"seg-{preset}-{arguments.device}.json").write_text(json.dumps(document, indent=1) + "\n")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--dataset", required=True, help="whose preset and settings of prompts.seg are measured")
    add("--config", action="append", help="config files, later ones merged over earlier ones (default: config.yaml)")
    add("--clip", type=Path, required=True, help="a video file, or a folder of JPEGs or PNGs")
    add("--frames", type=int, default=80, help="length of the video; a short clip is repeated (default: 80)")
    add("--sentences", type=int, default=16, help="sentences per video (default: 16)")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--row", choices=ROWS, help="measure this row alone")
    arguments = parser.parse_args(argv)
    arguments.config = arguments.config or ["config.yaml"]
    return arguments


def run_row(arguments: argparse.Namespace, name: str) -> dict[str, Any] | None:
    """A row in a process of its own; None where the model has not what the variant needs."""
    command = [sys.executable, "-m", "benchmarks.seg", "--row", name, "--dataset", arguments.dataset]
    command += ["--clip", str(arguments.clip), "--frames", str(arguments.frames), "--device", arguments.device]
    command += ["--sentences", str(arguments.sentences), *(w for file in arguments.config for w in ("--config", file))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if name == next(iter(ROWS)):
        print("| " + " | ".join(row) + " |\n|" + "---|" * len(row))
    print("| " + " | ".join(map(str, row.values())) + " |", flush=True)
    return row


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    config = load_config(*arguments.config)
    settings = settings_of(config, arguments.dataset)
    own = settings.prompts["seg"]
    changed = SegPrompts.model_validate(merge(own.model_dump(mode="json"), ROWS[arguments.row]))
    weights, sam2 = (find_weights(config, arguments.dataset, role) for role in ("seg", "sam2"))
    assert isinstance(weights.model, SegModelEntry)
    model = load_seg_model(weights.path, weights.model, arguments.device, own.precision, sam2)
    batches = settings.run.batches
    prompter = SegPrompter(model, changed, batches.questions, batches.points, batches.tracks)
    texts = [SENTENCE.format(i) for i in range(arguments.sentences)]
    with tempfile.TemporaryDirectory() as folder:
        frames = open_clip(arguments.clip, Path(folder) / "frames", arguments.frames)
        expressions = tuple(Expression(str(i), text, None, text) for i, text in enumerate(texts))
        video = Video("clip", frames.names, frames.directory, expressions, arguments.frames)
        seconds = [
            timed(prompter, video, frames, arguments.device) for _ in range(2 if arguments.device == "cuda" else 1)
        ]
    plan = changed.chosen.plan(arguments.frames, changed.own, ())
    return {
        "variant": arguments.row,
        "images": len(plan.images),
        "frames decoded": len(plan.frames),
        "seconds per video": round(seconds[-1], 2),
        "peak GiB": round(peak_bytes(arguments.device) / 2**30, 2),
    }


def timed(prompter: SegPrompter, video: Video, frames: Any, device: str) -> float:
    begun = time.perf_counter()
    prompter.prompts(video, frames)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def peak_bytes(device: str) -> int:
    """Of the device's memory, or of the process on the CPU."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    raise SystemExit(main())
