"""What the tracking engine asks of a GPU, counted without one: kernels, casts and copies per encoded frame and per step.

    python -m benchmarks.launches

SAM2 hiera-large at 1024 px in bfloat16 on tensors of torch's FakeTensorMode, which have shapes, types and a device, and no
values: autocast follows CUDA's rules. A step is a frame of 4 tracks that read 7 memories and 16 pointers. An operator counts
as one launch unless it is a view or an empty tensor; attention as one. "cast per call" is the same engine on weights
that autocast has to cast. Prints a table and writes benchmarks/results/launches.json.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.machine import describe
from stages.core.config.section import Precision
from stages.core.media import masks
from stages.core.run.batches import Batches
from stages.prompting.seg.checkpoint.filling import parameters_on_meta
from stages.tracking.compiler import Compiler
from stages.tracking.encoder import Encoder, Features
from stages.tracking.heads import Heads
from stages.tracking.sam2_model import autocast, build_sam2, cast_weights
from stages.tracking.sweeps import Round
from stages.tracking.tracker import Runtime

RESULTS = Path(__file__).parent / "results"
CUDA = torch.device("cuda", 0)
N_FRAMES, STEADY, TRACKS = 80, 40, 4
TARGETS = {"encoded frame": 850, "step": 400}
FREE = (
    "aten::empty",
    "aten::new_empty",
    "aten::detach",
    "aten::alias",
    "aten::_unsafe_view",
    "aten::lift_fresh",
    "prim::",
)


class Launches(TorchDispatchMode):
    """Counts while it is open."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out, name = func(*args, **(kwargs or {})), func._schema.name
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        devices = {tensor.device.type for tensor in given if tensor.dim()} | {
            out.device.type for out in tree_leaves(out) if isinstance(out, torch.Tensor)
        }
        if len(devices) > 1:
            blocking = not (kwargs or {}).get("non_blocking", False)
            self.counts["blocking copies" if blocking else "copies"] += 1
        elif devices == {"cuda"} and not func.is_view and not name.startswith(FREE):
            self.counts["launches"] += 1
            self.counts["casts"] += name == "aten::_to_copy" and out.dtype != args[0].dtype
        return out


class OneFrame:
    """In the place of VideoFeatures: a frame that is encoded already."""

    ahead = 0

    def __init__(self, encoder: Encoder, features: Features) -> None:
        self.position_1LC, self._features = encoder.position_1LC, features

    def get(self, frame: int, following: Sequence[int]) -> Features:
        return self._features


class NoRecorder:
    def record(self, *_: Any) -> None: ...


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/sam2/sam2_hiera_l.yaml", help="SAM2 config of the model")
    arguments = parser.parse_args(argv)
    rows = {"cast per call": count(arguments.config, "float32"), "cast once": count(arguments.config, "bfloat16")}
    print("| | weights | launches | of which casts | blocking copies | target |\n|---|---|---|---|---|---|")
    for what, target in TARGETS.items():
        for weights, counted in rows.items():
            cells = (counted[what].get(name, 0) for name in ("launches", "casts", "blocking copies"))
            print(f"| {what} | {weights} | {' | '.join(map(str, cells))} | {target} |")
    command = " ".join(["python -m benchmarks.launches", *(sys.argv[1:] if argv is None else argv)])
    document = {"command": command, "machine": describe("torch", "sam2"), "targets": TARGETS, "counts": rows}
    (RESULTS / "launches.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def count(config: str, weights: Precision) -> dict[str, dict[str, int]]:
    """Of an encoded frame and of a step, under autocast, with weights of a precision."""
    built = build(config, weights)
    with pretended_device() as mode, torch.no_grad():
        model = on_device(built, mode)
        with autocast("cuda", "bfloat16"):
            heads, encoder = Heads(model, Compiler(None)), Encoder(model, graph=False)
            pixels_SS3 = torch.empty(model.image_size, model.image_size, 3, dtype=torch.uint8)
            features = encoder(pixels_SS3)  # its position encodings are cached from now on
            encoding = counted(lambda: encoder(pixels_SS3))
            dot = masks.encode(np.ones((48, 64), bool))
            video: Any = OneFrame(encoder, features)
            recorder: Any = NoRecorder()
            steps = Round(heads, video, [(0, dot)] * TRACKS, N_FRAMES, Batches(32, "tracks"), recorder, Runtime())
            steps.advance(0, reverse=False)
            steps.advance(STEADY - 1, reverse=False)  # sends the tables of the next frames along
            return {"encoded frame": encoding, "step": counted(lambda: steps.advance(STEADY, reverse=False))}


def counted(action: Callable[[], Any]) -> dict[str, int]:
    with Launches() as launches:
        action()
    return dict(launches.counts)


def build(config: str, weights: Precision) -> SAM2VideoPredictor:
    with parameters_on_meta():
        model = build_sam2(config, SAM2VideoPredictor)
    model.eval().requires_grad_(False)
    model.memory_encoder.to(memory_format=torch.channels_last)  # here, because fake parameters cannot be moved
    cast_weights(model, weights)
    return model


def on_device(model: SAM2VideoPredictor, mode: FakeTensorMode) -> SAM2VideoPredictor:
    """With fake parameters and buffers."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            fake = FakeTensor(mode, parameter.detach(), CUDA)
            module.register_parameter(name, nn.Parameter(fake, requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, FakeTensor(mode, buffer.to("meta"), CUDA))
    setattr(model.memory_encoder, "to", lambda **_: None)  # noqa: B010
    return model


@contextmanager
def pretended_device() -> Iterator[FakeTensorMode]:
    """Lets torch make tensors of a GPU that is not there."""
    with ExitStack() as stack:
        for name, value in (("is_bf16_supported", True), ("_lazy_init", None)):
            stack.enter_context(patch.object(torch.cuda, name, lambda *_, value=value, **__: value))
        stack.enter_context(patch.object(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False))
        stack.enter_context(patch.object(torch.Tensor, "pin_memory", lambda tensor: tensor))
        stack.enter_context(patch.object(F, "scaled_dot_product_attention", one_kernel))
        yield stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))


def one_kernel(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **_: Any) -> torch.Tensor:
    """Attention as CUDA's kernels give it, tokens before heads in memory; one launch."""
    query, key, value = (tensor.to(torch.bfloat16) for tensor in (query, key, value))
    b, heads, n, _width = query.shape
    return query.new_zeros(b, n, heads, value.shape[-1]).transpose(1, 2)


if __name__ == "__main__":
    raise SystemExit(main())
