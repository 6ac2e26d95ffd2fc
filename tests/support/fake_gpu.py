"""Runs the losses of the embedded MLLM's training on a GPU of tensors without data, which refuses to mix devices.

    python -m support.fake_gpu FOLDER

Prints a JSON of the device of each stage's loss and of the weights. A program of its own, since torch's clean-up of such
tensors takes a process down that has no GPU.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from stages.micro.training.mllm import vision
from stages.micro.training.mllm.recipe import Recipe
from stages.micro.training.mllm.training import MllmTraining
from stages.training.clock import Clock

SMALL = Recipe(window=3, fresh=0.5, cards=6, clips=1, candidates=2, questions=3)
STAGES = {"vision": 0.0, "nouns": 0.1, "moves": 0.16, "all": 0.9}


def devices(folder: Path) -> dict[str, str]:
    host = MllmTraining(SMALL, 0, folder)
    made = {progress: host.batches(0, progress) for progress in STAGES.values()}
    host.loss(Clock(0), 0.0)  # what depends on data is computed before tensors without data take over
    places = vision._places
    vision._places = lambda n, *rest: {**places(n, *rest), "cu_seqlens": np.array([0, n * vision.GRID**2])}
    nn.Module.to = moved  # type: ignore[assignment, method-assign]
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):  # backward needs a real GPU
        training = MllmTraining(SMALL, 0, folder, device="cuda")
        training.ahead = lambda step, progress: made[progress]  # type: ignore[assignment]
        seen = {}
        for stage, progress in STAGES.items():
            loss, values = training.loss(Clock(0), progress)
            assert all(name.startswith(f"{stage}.") for name in values)
            seen[stage] = loss.device.type
        assert training.averaged is not None
        training.averaged.update(training.model, 0)
    modules = (*training.modules.values(), training.averaged.module)
    (seen["weights"],) = {parameter.device.type for module in modules for parameter in module.parameters()}
    return seen


def moved(module: nn.Module, device: str) -> nn.Module:
    """As `Module.to`, which refuses tensors without data."""
    seen: dict[int, nn.Parameter] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = seen.setdefault(id(parameter), nn.Parameter(parameter.detach().to(device)))
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else buffer.to(device)
    return module


if __name__ == "__main__":
    print(json.dumps(devices(Path(sys.argv[1]))), flush=True)
    os._exit(0)
