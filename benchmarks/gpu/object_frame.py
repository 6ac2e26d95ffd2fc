"""What a frame of a track costs the lock-step engine, and a frame its encoder: time, calls of the device, memory.

SAM2 hiera-large at 1024 px in bfloat16. All tracks begin in the first frame. A video is tracked again with its
features kept, which gives the cost of object-frames; without them, which gives that of encoding by the difference.
Calls per step are those of one more frame behind all of the reach of memory, from profiles of two lengths.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.models import HIERA_L, MICRO, clip, predictor, settings
from benchmarks.gpu.run import Row, Run, markdown
from benchmarks.tracking import engine
from stages.core.media import masks
from stages.core.state.frames import FrameFolder
from stages.tracking.lockstep import LockstepTracker
from stages.tracking.sam2_model import autocast
from stages.tracking.tracker import PromptBatch

CODE = ("benchmarks/tracking.py", "benchmarks/clips.py", "stages/tracking", "stages/core/media")
BATCHES, FRAMES = (4, 16, 32), 40
WAYS: dict[str, dict[str, Any]] = {  # of the engine, beside what it does by itself
    "flash first": {"kernels": "flash"},
    "cuDNN first": {"kernels": "cudnn"},
    "encoder launched": {"graph": False},
    "rotary in one kernel": {"fused": True},
}
SHORT, LONG = 20, 23  # frames; 16 pointers and 7 memories are read from the 16th on


def measure(run: Run) -> Iterator[tuple[str, Row]]:
    n_frames, short, long = (6, 2, 3) if run.tiny else (FRAMES, SHORT, LONG)
    precision = "float32" if run.device == "cpu" else "bfloat16"
    model = predictor(MICRO if run.tiny else HIERA_L, run.device)
    chosen = settings().tracks.model_copy(update={"precision": precision})
    tracker = engine(model, chosen, max(BATCHES))
    makers: dict[str, Callable[[], Row]] = {}
    with clip(n_frames, run.tiny) as frames:
        for n in BATCHES[:1] if run.tiny else BATCHES:
            makers[f"batch {n}"] = partial(object_frames, run, tracker, frames, n)
        makers["stock encoder"] = partial(stock_encoder, run, model, precision)
        makers["calls"] = partial(calls, run, tracker, frames, (short, long), stock_encoding(run, model, precision))
        for name, options in {} if run.tiny else WAYS.items():
            makers[f"batch 4, {name}"] = partial(another_way, run, model, chosen, frames, options)
        yield from run.each(makers)


def another_way(run: Run, model: Any, chosen: Any, frames: FrameFolder, options: dict[str, Any]) -> Row:
    return object_frames(run, engine(model, chosen, max(BATCHES), **options), frames, 4)


def object_frames(run: Run, tracker: LockstepTracker, frames: FrameFolder, n: int) -> Row:
    prompts = [PromptBatch(0, ellipses(frames.size, n))]

    def track() -> None:
        tracker.track(frames, prompts)

    first = run.now()
    peak = run.peak_gib(track)
    first = run.now() - first
    kept = run.seconds(track)
    tracker.close()
    encoding = run.now()
    track()
    encoding = run.now() - encoding - kept["median"]
    return {
        "ms per object-frame": round(1e3 * kept["min"] / (n * len(frames)), 3),
        "ms per step": round(1e3 * kept["min"] / len(frames), 2),
        "ms per encoded frame": round(1e3 * encoding / len(frames), 2),
        "first seconds": round(first, 2),
        "seconds, features kept": round(kept["min"], 3),
        "phases": {name: round(value, 3) for name, value in tracker.runtime.seconds.items()},
        "peak GiB": peak,
        "frames": len(frames),
    }


def stock_encoder(run: Run, model: Any, precision: Any) -> Row:
    """Ten frames, one at a time."""
    encode, n = stock_encoding(run, model, precision), 1 if run.tiny else 10
    encode()
    taken = run.seconds(lambda: [encode() for _ in range(n)])
    return {"ms per encoded frame": round(1e3 * taken["min"] / n, 2)}


def stock_encoding(run: Run, model: Any, precision: Any) -> Callable[[], object]:
    """sam2's own `forward_image` of one frame, from pixels on the device."""
    image = torch.rand(1, 3, model.image_size, model.image_size, device=run.device)

    def encode() -> object:
        with torch.inference_mode(), autocast(run.device, precision):
            return model.forward_image(image)

    return encode


def calls(
    run: Run,
    tracker: LockstepTracker,
    frames: FrameFolder,
    lengths: tuple[int, int],
    stock: Callable[[], object],
) -> Row:
    """Of a step of 4 tracks in the steady state, of an encoded frame, and of one that the stock model encodes."""
    prompts = [PromptBatch(0, ellipses(frames.size, 4))]
    counted: list[Any] = []
    for n in lengths:
        part = replace(frames, names=frames.names[:n], digest=f"{frames.digest}-{n}")
        tracker.track(part, prompts)
        counted.append(run.calls(lambda part=part: tracker.track(part, prompts)))
    tracker.close()
    encoding = run.calls(lambda: tracker.track(part, prompts))
    more = lengths[1] - lengths[0]
    kinds = sorted({*counted[0], *counted[1], *encoding})
    return {
        "per step": {kind: round((counted[1][kind] - counted[0][kind]) / more, 1) for kind in kinds},
        "per encoded frame": {kind: round((encoding[kind] - counted[1][kind]) / lengths[1], 1) for kind in kinds},
        "stock encoder": dict(run.calls(stock)),
    }


def ellipses(size: tuple[int, int], n: int) -> list[Any]:
    """So many masks in rows."""
    y, x = torch.meshgrid(torch.linspace(0, 1, size[0]), torch.linspace(0, 1, size[1]), indexing="ij")
    places = [((k % 8 + 1) / 9, (k // 8 + 1) / 6) for k in range(n)]
    return [masks.encode(((((x - cx) / 0.05) ** 2 + ((y - cy) / 0.09) ** 2) < 1).numpy()) for cx, cy in places]


def table(rows: Mapping[str, Row]) -> str:
    head = ("", "ms per object-frame", "ms per step", "ms per encoded frame", "first time, s", "peak GiB")
    lines = [
        (name, row.get("ms per object-frame", ""), row.get("ms per step", ""), row["ms per encoded frame"],
         row.get("first seconds", ""), row.get("peak GiB", ""))
        for name, row in rows.items() if "ms per encoded frame" in row
    ]  # fmt: skip
    text = markdown(head, lines)
    if "calls" not in rows:
        return text
    kinds = sorted({kind for counts in rows["calls"].values() for kind in counts})
    more = [(of, *(counts.get(kind, 0) for kind in kinds)) for of, counts in rows["calls"].items()]
    return text + "\n\n" + markdown(("calls", *kinds), more)
