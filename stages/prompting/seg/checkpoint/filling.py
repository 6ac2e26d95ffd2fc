"""Fills native modules with the tensors of a checkpoint: every tensor of either exactly once, or refused by name.

Modules are made with parameters on the meta device, so that nothing is in memory twice.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stages.core.state.state_dict import nearest_name
from stages.core.state.torch_file import some_names
from stages.prompting.seg.checkpoint.origins import Origin
from stages.prompting.seg.checkpoint.shards import Shape, Shards


@dataclass(frozen=True)
class Component:
    """A module to fill.

    Attributes:
        module: parameters may be on the meta device; buffers that are not stored are real.
        origin: name of one of its tensors → where it comes from.
        dtype: of its floating-point tensors.
        tied: names of tensors that are not stored: copies of others, or of another file's.
    """

    module: nn.Module
    origin: Callable[[str], Origin]
    dtype: torch.dtype
    tied: Sequence[str] = ()


@dataclass(frozen=True)
class Target:
    """A native tensor that a published one becomes, or some of whose rows it becomes."""

    component: Component
    name: str
    origin: Origin
    shape: Shape


Expected = Mapping[str, Sequence[Target]]  # published name → what it becomes


def expected_of(components: Sequence[Component]) -> dict[str, list[Target]]:
    """Every published name that a checkpoint must have, and what becomes of it."""
    expected: dict[str, list[Target]] = {}
    for component in components:
        for name, tensor in component.module.state_dict().items():
            if name not in component.tied:
                origin = component.origin(name)
                expected.setdefault(origin.name, []).append(Target(component, name, origin, tuple(tensor.shape)))
    return expected


def published_shape(targets: Sequence[Target]) -> Shape:
    """The shape of a published tensor: that of the native one, or of several on top of each other."""
    if len(targets) == 1:
        return targets[0].shape
    return (sum(target.shape[0] for target in targets), *targets[0].shape[1:])


def fill(components: Sequence[Component], shards: Shards, ignored: Sequence[str], source: str) -> None:
    """Gives every tensor of the components its values.

    Args:
        ignored: patterns of published names that no component stores.
        source: what says which tensors there must be, for messages.

    Raises:
        ValueError: tensors are missing, surplus or of another shape; nothing was read then. Or one cannot be read.
    """
    expected = expected_of(components)
    check_names(expected, shards, ignored, source)
    for name, tensor in shards.tensors():
        for target in expected.get(name, ()):
            _give(target, tensor)


def check_names(expected: Expected, shards: Shards, ignored: Sequence[str], source: str) -> None:
    """Raises ValueError where the tensors of the files are not exactly the expected ones, by name and shape."""
    missing = [name for name in expected if name not in shards.shapes]
    surplus = [name for name in shards.shapes if name not in expected and not _matches(name, ignored)]
    wrong = [
        f"{shards.homes[name].name}: {name} is {shards.shapes[name]}, must be {published_shape(targets)}"
        for name, targets in expected.items()
        if name in shards.shapes and shards.shapes[name] != published_shape(targets)
    ]
    lines = []
    if missing:
        lines.append(f"it lacks {some_names(missing)} ({len(missing)} of {len(expected)})")
    if surplus:
        lines.append(f"it also has {some_names(surplus)} ({len(surplus)}{nearest_name(surplus, missing)})")
    if wrong:
        lines.append(f"of another shape: {some_names(wrong)}")
    if lines:
        raise ValueError(f"{shards.folder}: its tensors are not those of {source}: {'; '.join(lines)}")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _give(target: Target, tensor: Tensor) -> None:
    if target.origin.take is not None:
        tensor = target.origin.take(tensor).clone()  # its own memory: no native tensor shares another's
    if tensor.is_floating_point():
        tensor = tensor.to(target.component.dtype)
    *path, name = target.name.split(".")
    owner = target.component.module.get_submodule(".".join(path))
    if name in owner._parameters:
        owner._parameters[name] = nn.Parameter(tensor.contiguous(), requires_grad=False)
    else:
        owner._buffers[name] = tensor.contiguous()


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Modules that are made inside have parameters of a shape alone; their buffers are real."""
    register = nn.Module.register_parameter

    def register_meta(module: nn.Module, name: str, parameter: Any) -> None:
        register(module, name, parameter)
        if parameter is not None:
            made = module._parameters[name]
            assert made is not None
            module._parameters[name] = nn.Parameter(made.to("meta"), requires_grad=made.requires_grad)

    nn.Module.register_parameter = register_meta  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
