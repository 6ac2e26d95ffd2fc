"""How near the tracking engine's step is to what this CPU can do, and how far it could therefore be ahead of the stock predictor.

    python -m benchmarks.tracking_roofline

Hiera-tiny of SAM 2.1 at 256 px in float32, one core, a drawn clip. Every matrix product, convolution and attention of an
object-frame in the steady state, and of an encoded frame, is replayed alone, warm, at its own shapes: the least time it takes
here. What else there is moves bytes, and is counted at the bandwidth of a copy within the caches. Their sum is the bound. With
it follows the least that L could take in each case of benchmarks.tracking, and so the bound on R2 / L. In the first frames of
a video tracks read fewer memories, so where a clip is short L can be below it.
Writes benchmarks/results/tracking_roofline.json.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from benchmarks.clips import draw_clip
from benchmarks.gpu.object_frame import ellipses
from benchmarks.gpu.run import markdown
from benchmarks.machine import describe
from benchmarks.tracking import engine, make_model
from stages.core.config.loading import load_config
from stages.core.state.frames import FrameFolder
from stages.tracking.tracker import PromptBatch

RESULTS = Path(__file__).parent / "results"
CONFIG, SIDE, SIZE = "configs/sam2.1/sam2.1_hiera_t.yaml", 256, (270, 480)
TRACKS, SHORT, LONG = 2, 17, 18  # all memories and pointers are read from the 16th frame on
KINDS = {"convolution": "convolutions", "scaled_dot_product": "attention"}  # all else that is counted: matrix products
Signature = tuple[Any, ...]


@dataclass(eq=False)
class Recorded(TorchDispatchMode):
    """Operations by name and shapes.

    Attributes:
        counts: of each signature.
        calls: how to run one again.
        gflop: of one; bytes of what is read and written where it is not counted.
    """

    counts: Counter[Signature] = field(default_factory=Counter)
    calls: dict[Signature, Callable[[], object]] = field(default_factory=dict)
    gflop: dict[Signature, float] = field(default_factory=dict)
    gb: dict[Signature, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        counted = (
            cpu_attention if "scaled_dot_product" in func._schema.name else flop_registry.get(func._overloadpacket)
        )
        if counted is None and func is not torch.ops.prim.device.default:
            with self:
                whole = func.decompose(*args, **kwargs)
            if whole is not NotImplemented:
                return whole
        out = func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        key: Signature = (func._schema.name, *((tuple(t.shape), t.stride(), t.dtype) for t in tensors))
        self.counts[key] += 1
        if counted is not None and key not in self.gflop:
            self.gflop[key] = counted(*args, **kwargs, out_val=out) / 1e9
            self.calls[key] = lambda: func(*args, **kwargs)
        elif key not in self.gflop and not func.is_view:
            written = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
            self.gb[key] = sum(t.nbytes for t in (*tensors, *written)) / 1e9
        return out


def cpu_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """FLOPs of the CPU's kernel, which torch's registry lacks."""
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=int, default=5, help="times everything runs; the least time counts (default: 5)"
    )
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        frames = draw_clip(Path(folder) / "frames", LONG, SIZE)
        units = measure(frames, Path(folder), arguments.rounds)
    bounds = [
        bound_of(json.loads(file.read_text()), units) for file in sorted(RESULTS.glob("tracking-*-256-float32-*.json"))
    ]
    print(unit_table(units) + "\n\n" + bound_table(bounds))
    document = {
        "command": "python -m benchmarks.tracking_roofline",
        "machine": describe("torch", "sam2"),
        "peak_gflops": peak(arguments.rounds),
        "units": units,
        "bounds": bounds,
    }
    (RESULTS / "tracking_roofline.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(frames: FrameFolder, folder: Path, rounds: int) -> dict[str, Any]:
    """An object-frame and an encoded frame: GFLOP and least milliseconds of each kind of operation, and their sum."""
    model = make_model(CONFIG, None, SIDE, folder)
    settings = load_config("config.yaml").tracks.model_copy(update={"precision": "float32"})
    ours, prompts = engine(model, settings, TRACKS), [PromptBatch(0, ellipses(SIZE, TRACKS))]
    shorter = replace(frames, names=frames.names[:SHORT], digest="short")
    before, after = (recording(ours, part, prompts) for part in (shorter, frames))
    own = (LONG - SHORT) * TRACKS
    step = {key: n / own for key in after.counts if (n := after.counts[key] - before.counts[key]) > 0}
    with Recorded() as encoder:
        model.forward_image(torch.rand(1, 3, SIDE, SIDE))
    return {"object-frame": unit(after, step, rounds), "encoded frame": unit(encoder, encoder.counts, rounds)}


def recording(tracker: Any, frames: FrameFolder, prompts: Any) -> Recorded:
    tracker.track(frames, prompts)
    with Recorded() as recorded:
        tracker.track(frames, prompts)
    return recorded


def unit(recorded: Recorded, counts: Mapping[Signature, float], rounds: int) -> dict[str, Any]:
    """By kind of operation GFLOP and least milliseconds; "others" are bytes at the bandwidth of a copy in the caches."""
    kinds: dict[str, dict[str, float]] = {}
    for key, n in counts.items():
        if key in recorded.gflop:
            kind = next((kind for part, kind in KINDS.items() if part in key[0]), "matrix products")
            row = kinds.setdefault(kind, {"GFLOP": 0.0, "ms": 0.0})
            row["GFLOP"] += n * recorded.gflop[key]
            row["ms"] += n * ms(least(recorded.calls[key], rounds))
    moved = sum(n * recorded.gb.get(key, 0.0) for key, n in counts.items())
    kinds["others"] = {"GB": moved, "ms": 1e3 * moved / bandwidth(rounds)}
    return {"kinds": kinds, "bound": sum(row["ms"] for row in kinds.values())}


def bound_of(document: Mapping[str, Any], units: Mapping[str, Any]) -> dict[str, Any]:
    """A case of benchmarks.tracking: what L took, and the least it could take, against R2."""
    ours, stock = document["arms"]["L"], document["arms"]["R2"]["seconds"]["min"]
    counts, seconds = ours["counts"], ours["seconds"]["min"]
    least_seconds = (
        counts["encodes"] * units["encoded frame"]["bound"] + counts["object_frames"] * units["object-frame"]["bound"]
    )
    return {
        "case": f"{counts['encodes']} frames, {ours['against_R0']['rows']} tracks",
        "R2, s": stock,
        "L, s": seconds,
        "bound, s": round(least_seconds / 1e3, 1),
        "R2 / L": round(stock / seconds, 2),
        "at most": round(stock / least_seconds * 1e3, 2),
    }


def peak(rounds: int) -> float:
    """GFLOP/s of a product of two matrices of 1024 × 1024."""
    a = torch.rand(1024, 1024)
    return round(2 * 1.024**3 / least(lambda: a @ a, rounds), 1)


def bandwidth(rounds: int) -> float:
    """GB/s read and written by a copy within the caches: half a megabyte."""
    source, target = torch.zeros(1 << 17), torch.zeros(1 << 17)
    return 2 * source.nbytes / 1e9 / least(lambda: target.copy_(source), rounds)


def least(action: Callable[[], object], rounds: int) -> float:
    """Least processor time in seconds; short actions are repeated."""
    start = time.process_time()
    action()
    first = time.process_time() - start
    n, times = max(1, round(0.02 / max(first, 1e-6))), []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(n):
            action()
        times.append((time.process_time() - start) / n)
    return min(times)


def ms(seconds: float) -> float:
    return 1e3 * seconds


def unit_table(units: Mapping[str, Any]) -> str:
    lines = []
    for name, of in units.items():
        for kind, row in of["kinds"].items():
            rate = f"{row['GFLOP'] / row['ms'] * 1e3:.0f} GFLOP/s" if "GFLOP" in row else ""
            work = f"{row['GFLOP']:.2f} GFLOP" if "GFLOP" in row else f"{row['GB']:.3f} GB"
            lines.append((name, kind, work, f"{row['ms']:.2f}", rate))
        lines.append((name, "together", "", f"{of['bound']:.1f}", ""))
    return markdown(("unit", "operations", "work", "ms", ""), lines)


def bound_table(bounds: Sequence[Mapping[str, Any]]) -> str:
    return markdown(tuple(bounds[0]), [tuple(row.values()) for row in bounds])


if __name__ == "__main__":
    raise SystemExit(main())
