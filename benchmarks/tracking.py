"""Tracking: this project's engine against the sam2 package's own video predictor, in turn, on one clip.

    python -m benchmarks.tracking --clip clip.mp4 --config configs/sam2.1/sam2.1_hiera_t.yaml --side 256

Expressions find objects on every fourth frame of the clip, as the pipeline's detector does; several find the
same object. The prompts are selected greedily, one expression at a time. Arms, all in one precision:
  R0   the published loop on the stock predictor: every batch of up to 4 prompts encodes all frames again;
  R2   the strongest stock use: the selection is known beforehand, one state a prompt frame;
  L    ours: frames encoded once, all tracks in step;
  L+A  ours with `share_prompts: iou`: fewer tracks, other outputs.
Processor time, which other work on the machine disturbs less than wall-clock time; wall-clock time on a GPU.
Outputs are compared with R0's in the same run. Weights are random unless --weights names a checkpoint: that
changes what is tracked, not what it costs. Writes benchmarks/results/tracking-<config>-<side>-<precision>-<chains>.json.
"""

import argparse
import copy
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import OmegaConf

from benchmarks.clips import open_clip
from benchmarks.machine import describe
from stages.core.config.loading import load_config
from stages.core.config.sections import Tracks
from stages.core.media import masks
from stages.core.state.frames import FrameFolder
from stages.core.state.prompt_file import Prompt
from stages.tracking.greedy import Choice, select_tracks
from stages.tracking.lockstep import LockstepTracker
from stages.tracking.sam2_layouts import in_package_layout
from stages.tracking.sam2_model import build_sam2, checkpoint_file, config_file, read_checkpoint
from stages.tracking.stock import IouKeepingPredictor, StockTracker
from stages.tracking.tracker import Masklet, PromptBatch

RESULTS = Path(__file__).parent / "results"
OBJECTS, STEP = 8, 4
HOST_BYTES = 4 * 10**9


class Case(NamedTuple):
    """The input of every arm."""

    model: IouKeepingPredictor
    frames: FrameFolder
    prompts: Sequence[Prompt]
    expressions: int
    settings: Tracks
    batch: int  # tracks computed together


class Outcome(NamedTuple):
    """The output of an arm: masklets by prompt row, and counts."""

    masklets: dict[int, Masklet]
    counts: dict[str, int]


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    if not arguments.clip.exists():
        print(f"skipped: {arguments.clip} is missing (--clip names a video file or a folder of frames)")
        return 0
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        case = make_case(arguments, Path(folder))
        table = measure(case, arguments.rounds)
    print_table(table)
    document = {
        "command": " ".join(["python -m benchmarks.tracking", *(sys.argv[1:] if argv is None else argv)]),
        "machine": describe("torch", "sam2"),
        "device": device_name(),
        "load_average": os.getloadavg()[0],
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in vars(arguments).items() if k != "clip"},
        "clip": arguments.clip.name,
        "arms": table,
    }
    chains = f"{arguments.expressions}x{arguments.cap}"
    name = f"tracking-{Path(arguments.config).stem}-{arguments.side}-{arguments.precision}-{chains}.json"
    (RESULTS / name).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, required=True, help="a video file, or a folder of JPEGs or PNGs")
    parser.add_argument("--config", default="configs/sam2.1/sam2.1_hiera_t.yaml", help="SAM2 config of the model")
    parser.add_argument("--weights", type=Path, help="its checkpoint (default: random weights)")
    parser.add_argument("--side", type=int, default=256, help="side of the model's square input (default: 256)")
    parser.add_argument("--frames", type=int, default=12, help="frames of the clip (default: 12)")
    parser.add_argument("--expressions", type=int, default=6, help="expressions, a chain each (default: 6)")
    parser.add_argument("--cap", type=int, default=2, help="tracks per expression (default: 2)")
    parser.add_argument("--batch", type=int, default=32, help="tracks computed together by L (default: 32)")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=2, help="times every arm runs (default: 2)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args(argv)


def make_case(arguments: argparse.Namespace, folder: Path) -> Case:
    settings = load_config("config.yaml").tracks
    caps = settings.max_tracks.model_copy(update={"gdino": arguments.cap})
    over = {"precision": arguments.precision, "max_tracks": caps}
    frames = open_clip(arguments.clip, folder / "frames", arguments.frames)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = make_model(arguments.config, arguments.weights, arguments.side, folder).to(device)
    prompts = place_prompts(frames, arguments.expressions, np.random.default_rng(0))
    return Case(model, frames, prompts, arguments.expressions, settings.model_copy(update=over), arguments.batch)


def make_model(config: str, weights: Path | None, side: int, folder: Path) -> IouKeepingPredictor:
    """A stock predictor on the CPU, for inputs of `side` pixels; weights None = random ones."""
    raw = OmegaConf.load(config_file(config))
    raw.model.image_size = side
    OmegaConf.save(raw, folder / "sam2.yaml")
    torch.manual_seed(0)
    model = build_sam2(str(folder / "sam2.yaml"), IouKeepingPredictor).eval().requires_grad_(False)
    if weights is not None:
        file = checkpoint_file(weights)
        model.load_state_dict(in_package_layout(read_checkpoint(file), str(file)))
    return model


def place_prompts(frames: FrameFolder, n_expressions: int, rng: np.random.Generator) -> list[Prompt]:
    """Ellipses that move over the clip; each expression finds two of the objects, not in every frame."""
    height, width = frames.size
    centre, speed = rng.uniform(0.2, 0.8, (OBJECTS, 2)), rng.uniform(-0.01, 0.01, (OBJECTS, 2))
    radius = rng.uniform(0.06, 0.18, (OBJECTS, 2))
    y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    prompts = []
    for e in range(n_expressions):
        for k in rng.choice(OBJECTS, 2, replace=False):
            for t in range(0, len(frames), STEP):
                if rng.random() < 0.6:
                    (cy, cx), (ry, rx) = centre[k] + t * speed[k], radius[k] * rng.uniform(0.99, 1.01)
                    mask = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
                    prompts.append(Prompt(t, masks.encode(mask), (0, 0, 1, 1), expression=e))
    return prompts


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Runs the arms in turn; their times, counts, and how their outputs differ from R0's."""
    contest = Contest(case)
    for name in [*ARMS] * rounds:
        contest.run(name)
    return contest.table()


class Contest:
    """Times and outputs of the arms that have run; R0 runs first.

    Attributes:
        seconds: arm → of each time it ran.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.seconds: dict[str, list[float]] = {}
        self.outcomes: dict[str, Outcome] = {}

    def run(self, name: str) -> None:
        start = clock()
        self.outcomes[name] = ARMS[name](self.case, self.outcomes.get("R0"))
        self.seconds.setdefault(name, []).append(clock() - start)
        print(f"{name}: {self.seconds[name][-1]:.1f} s", file=sys.stderr, flush=True)

    def table(self) -> dict[str, Any]:
        """Arm → times, counts, and how its outputs differ from R0's, of those that have run."""
        base = self.seconds["R0"]
        return {
            name: {
                "seconds": {"min": round(min(times), 2), "median": round(statistics.median(times), 2)},
                "times_faster_than_R0": {
                    "min": round(min(base) / min(times), 2),
                    "median": round(statistics.median(base) / statistics.median(times), 2),
                },
                "counts": self.outcomes[name].counts,
                "against_R0": difference(self.outcomes["R0"].masklets, self.outcomes[name].masklets),
            }
            for name, times in self.seconds.items()
        }


def published_loop(case: Case, _: Outcome | None) -> Outcome:
    """R0."""
    tracker = StockTracker(case.model, case.settings.precision)
    chains = select(case, case.settings, lambda batches: tracker.track(case.frames, batches))
    return Outcome(by_row(chains), dict(tracker.runtime.counts))


def strongest_stock(case: Case, known: Outcome | None) -> Outcome:
    """R2: the rows that R0 selected, one state per prompt frame."""
    assert known is not None
    tracker = StockTracker(case.model, case.settings.precision)
    rows = sorted(known.masklets, key=lambda row: case.prompts[row].frame)
    groups = [list(group) for _, group in groupby(rows, lambda row: case.prompts[row].frame)]
    batches = [PromptBatch(case.prompts[g[0]].frame, [case.prompts[row].mask for row in g]) for g in groups]
    masklets_of_batches = tracker.track(case.frames, batches)
    pairs = ((row, masklet) for group, own in zip(groups, masklets_of_batches) for row, masklet in zip(group, own))
    return Outcome(dict(pairs), dict(tracker.runtime.counts))


def lockstep(case: Case, _: Outcome | None, **over: Any) -> Outcome:
    """L."""
    settings = case.settings.model_copy(update=over)
    tracker = engine(case.model, settings, case.batch)
    chains = select(case, settings, lambda batches: tracker.track(case.frames, batches))
    tracker.close()
    return Outcome(by_row(chains), dict(tracker.runtime.counts))


def engine(model: IouKeepingPredictor, settings: Tracks, batch: int, **options: Any) -> LockstepTracker:
    """The lock-step engine over a copy of a model, since it takes its model over; `options` are the engine's own."""
    device_bytes = torch.cuda.mem_get_info()[0] // 4 if model.device.type == "cuda" else 0
    return LockstepTracker(copy.deepcopy(model), settings.precision, batch, (device_bytes, HOST_BYTES), **options)


def lockstep_shared(case: Case, known: Outcome | None) -> Outcome:
    """L+A."""
    return lockstep(case, known, share_prompts="iou")


ARMS: dict[str, Callable[[Case, Outcome | None], Outcome]] = {
    "R0": published_loop,
    "R2": strongest_stock,
    "L": lockstep,
    "L+A": lockstep_shared,
}


def select(case: Case, settings: Tracks, track: Callable[..., list[list[Masklet]]]) -> list[list[Choice]]:
    return select_tracks(case.prompts, "gdino", case.expressions, settings, track)


def by_row(chains: Sequence[Sequence[Choice]]) -> dict[int, Masklet]:
    return {choice.row: choice.masklet for chain in chains for choice in chain}


def difference(expected: dict[int, Masklet], actual: dict[int, Masklet]) -> dict[str, Any]:
    """Over the rows that both selected: largest pointer difference, least and mean mask IoU."""
    rows = sorted(expected.keys() & actual.keys())
    pointer = max(float(np.abs(expected[r].tokens_TC - actual[r].tokens_TC).max()) for r in rows)
    ious = [mask_iou(a, b) for r in rows for a, b in zip(expected[r].rles_T, actual[r].rles_T)]
    return {
        "rows": len(rows),
        "other_rows": len(expected.keys() ^ actual.keys()),
        "pointer_max": float(f"{pointer:.2g}"),
        "mask_iou_min": round(min(ious), 5),
        "mask_iou_mean": round(statistics.mean(ious), 5),
    }


def mask_iou(a: Any, b: Any) -> float:
    return float(masks.iou_matrix([a], [b])[0, 0]) if masks.area([a, b]).any() else 1.0


def clock() -> float:
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def print_table(table: dict[str, Any]) -> None:
    print(
        "| arm | min s | median s | × R0 (min) | × R0 (median) | encodes | object-frames | pointer Δ | mask IoU min |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, row in table.items():
        cells = (*row["seconds"].values(), *row["times_faster_than_R0"].values())
        counts, against = row["counts"], row["against_R0"]
        cells = (*cells, counts["encodes"], counts["object_frames"], against["pointer_max"], against["mask_iou_min"])
        print("| " + " | ".join([name, *map(str, cells)]) + " |")


if __name__ == "__main__":
    raise SystemExit(main())
