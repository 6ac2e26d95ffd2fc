"""The tensors of a published checkpoint, one at a time: safetensors or torch files, in one file or in shards.

Names and shapes come first, from the headers; tensors are read in the order of the files, so that at most one is in memory
beside what it became. Nothing in a file is executed.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.state.torch_file import some_names

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]
SAFE, TORCH = "model.safetensors", "pytorch_model.bin"
INDICES = (f"{SAFE}.index.json", f"{TORCH}.index.json")
AGAIN = "fetch it again"


@dataclass(frozen=True)
class Shards:
    """The files of a checkpoint.

    Attributes:
        folder: where they are.
        files: in order.
        shapes: name → shape, of every tensor in them.
        homes: name → the file that holds it.
    """

    folder: Path
    files: tuple[Path, ...]
    shapes: dict[str, Shape]
    homes: dict[str, Path]

    def tensors(self) -> Iterator[tuple[str, "Tensor"]]:
        """Every tensor with its name, file by file, on the CPU.

        Raises:
            ValueError: one cannot be read.
        """
        for file in self.files:
            with _open(file) as opened:
                for name in opened:
                    yield name, opened[name]


def open_shards(folder: Path) -> Shards:
    """Names and shapes of a folder's tensors.

    Raises:
        ValueError: there are none, a shard or a tensor that the index lists is missing, a tensor is in two files, or a file
            cannot be read or would run code; names the file, the tensor and the fix.
    """
    files, promised = _files(folder)
    shapes: dict[str, Shape] = {}
    homes: dict[str, Path] = {}
    for file in files:
        for name, shape in _shapes(file).items():
            if name in homes:
                raise ValueError(f"{file}: holds {name}, which is in {homes[name].name} too; {AGAIN}")
            shapes[name], homes[name] = shape, file
    for name, home in promised.items():
        if homes.get(name) != folder / home:
            place = "no file has it" if name not in homes else f"it is in {homes[name].name}"
            raise ValueError(f"{folder / home}: lacks {name}, which the index says it holds ({place}); {AGAIN}")
    return Shards(folder, files, shapes, homes)


def _files(folder: Path) -> tuple[tuple[Path, ...], dict[str, str]]:
    """The files of weights, and what an index promises: name → file."""
    for index in INDICES:
        if (folder / index).is_file():
            promised = _promised(folder / index)
            files = tuple(folder / name for name in sorted(set(promised.values())))
            if missing := [file.name for file in files if not file.is_file()]:
                raise ValueError(f"{folder}: lacks {some_names(missing)}, which {index} lists; fetch the rest of it")
            return files, promised
    for name in (SAFE, TORCH):
        if (folder / name).is_file():
            return (folder / name,), {}
    raise ValueError(f"{folder}: no weights: needs {SAFE} or {TORCH}, or shards with {INDICES[0]} or {INDICES[1]}")


def _promised(index: Path) -> dict[str, str]:
    try:
        promised = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = {str(file) for file in promised.values()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index}: not an index of shards ({error!r}); {AGAIN}") from error
    if outside := sorted(name for name in names if Path(name).name != name):
        raise ValueError(f"{index}: names {outside[0]!r}, which is not a file beside it; {AGAIN}")
    return dict(promised)


def _shapes(file: Path) -> dict[str, Shape]:
    with _open(file) as opened:
        return {name: opened.shape(name) for name in opened}


class _Safe:
    """A safetensors file, read tensor by tensor."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def __iter__(self) -> Iterator[str]:
        return iter(self.handle.keys())

    def __getitem__(self, name: str) -> "Tensor":
        tensor: Tensor = self.handle.get_tensor(name)
        return tensor

    def shape(self, name: str) -> Shape:
        return tuple(self.handle.get_slice(name).get_shape())


class _Torch:
    """What torch.save wrote, mapped into memory."""

    def __init__(self, state: dict[str, "Tensor"]) -> None:
        self.state = state

    def __iter__(self) -> Iterator[str]:
        return iter(self.state)

    def __getitem__(self, name: str) -> "Tensor":
        return self.state[name]

    def shape(self, name: str) -> Shape:
        return tuple(self.state[name].shape)


@contextmanager
def _open(file: Path) -> "Iterator[_Safe | _Torch]":
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, framework="pt", device="cpu") as handle:
                yield _Safe(handle)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{file}: not readable as safetensors ({error}); {AGAIN}") from error
    else:
        yield _Torch(_torch_state(file))


def _torch_state(file: Path) -> dict[str, "Tensor"]:
    from torch import Tensor

    from stages.core.state.torch_file import read_torch_file

    state = read_torch_file(file, mapped=True)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{file}: not a plain state dict of names and tensors; {AGAIN}")
    return state
