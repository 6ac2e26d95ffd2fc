"""The tensors of one model in a checkpoint, however the training loop that wrote it packed and named them.

A state dict alone, or under a key beside optimizer and epoch; names with "module." of DataParallel, "_orig_mod." of
torch.compile, "model." of Lightning, or whatever attribute held the model. A mark tells where the model is: the name
of a tensor that every checkpoint of it has.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.state.torch_file import read_safetensors, read_torch_file, some_names

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

# Where a checkpoint usually keeps what is meant to be loaded, the first of them first; "" = at its top.
KEYS = ("model", "state_dict", "model_state_dict", "module", "")
PREFIXES = ("", "model.")
WRAPPERS = re.compile(r"(^|\.)((module|_orig_mod)\.)+")
DEPTH = 2  # of keys within keys


@dataclass(frozen=True)
class Place:
    """A model in a checkpoint: the keys that lead to its tensors, and what their names begin with."""

    keys: tuple[str, ...]
    prefix: str

    @property
    def usual(self) -> bool:
        return all(key in KEYS for key in self.keys) and self.prefix in PREFIXES

    @property
    def rank(self) -> tuple[bool, int, int]:
        """The usual places first."""
        last = self.keys[-1] if self.keys else ""
        return (not self.usual, _index(KEYS, last), _index(PREFIXES, self.prefix))

    def __str__(self) -> str:
        keys = " → ".join(map(repr, self.keys)) or "its top"
        return f"{keys}, names with {self.prefix!r}" if self.prefix else keys


def read_model(file: Path, marks: Sequence[str]) -> dict[str, "Tensor"]:
    """The tensors of a model in a checkpoint, under their bare names, on the CPU; nothing in the file is executed.

    Args:
        file: .safetensors, or a file of torch.save.
        marks: names, any of which every checkpoint of the model has.

    Returns:
        The tensors in the place where the mark is. Without a mark, those of the place with the most tensors, under
        the names they have: loading them strictly tells what is missing.

    Raises:
        ValueError: not readable, carries code, holds no tensors by name, or the model in several unusual places.
    """
    document = read_safetensors(file) if file.suffix == ".safetensors" else read_torch_file(file)
    return unwrap(document, marks, file)


def unwrap(document: Any, marks: Sequence[str], file: Path) -> dict[str, "Tensor"]:
    """`read_model` of what a file holds; `file` names it in messages."""
    states = {keys: state for keys, mapping in _mappings(document) if (state := _tensors(mapping, file))}
    if not states:
        raise ValueError(f"{file}: holds no tensors by name: {_described(document)}; give a file with the state dict")
    places = [Place(keys, prefix) for keys, state in states.items() for prefix in _prefixes(state, marks)]
    if not places:
        return max(states.values(), key=len)
    chosen = _choose(places, file)
    others = tuple(place.prefix for place in places if place.keys == chosen.keys and place != chosen and place.prefix)
    return _under(states[chosen.keys], chosen.prefix, others, file)


def differences(state: Mapping[str, "Tensor"], expected: Mapping[str, "Tensor"]) -> str:
    """Why tensors do not load strictly into a model with the tensors `expected`; "" where they do."""
    missing = [name for name in expected if name not in state]
    unexpected = [name for name in state if name not in expected]
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    lines = []
    if missing:
        lines.append(f"missing: {some_names(missing)} ({len(missing)} of {len(expected)})")
    if unexpected:
        lines.append(f"unexpected: {some_names(unexpected)} ({len(unexpected)}{nearest_name(unexpected, missing)})")
    if shapes:
        lines.append(f"of another shape: {some_names(shapes)}")
    return "; ".join(lines)


def nearest_name(names: Sequence[str], expected: Sequence[str]) -> str:
    """ "; … is nearest to …" for the first of `names` that resembles an expected one; "" where none does."""
    for name in names[:20]:
        if close := get_close_matches(name, expected, n=1, cutoff=0.7):
            return f"; {name} is nearest to {close[0]}"
    return ""


def _index(words: Sequence[str], word: str) -> int:
    return words.index(word) if word in words else len(words)


def _mappings(document: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    if not isinstance(document, Mapping):
        return
    yield keys, document
    if len(keys) < DEPTH:
        for key, value in document.items():
            yield from _mappings(value, (*keys, str(key)))


def _tensors(mapping: Mapping[Any, Any], file: Path) -> dict[str, "Tensor"]:
    """Bare names → tensors. What is not a tensor is bookkeeping: strict loading reports a weight that is not one as missing."""
    from torch import Tensor

    bare: dict[str, Tensor] = {}
    for name, value in mapping.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            if (short := WRAPPERS.sub(r"\1", name)) in bare:
                raise ValueError(
                    f"{file}: holds {short} twice, with and without a wrapper's prefix; save one of the two"
                )
            bare[short] = value
    return bare


def _prefixes(state: Mapping[str, Any], marks: Sequence[str]) -> list[str]:
    prefixes = [name.removesuffix(mark) for mark in marks for name in state if name.endswith(mark)]
    return [prefix for prefix in dict.fromkeys(prefixes) if not prefix or prefix.endswith(".")]


def _choose(places: Sequence[Place], file: Path) -> Place:
    places = sorted(places, key=lambda place: place.rank)
    if len(places) > 1 and not places[0].usual:
        raise ValueError(f"{file}: holds the model in several places ({_listed(places)}); save only the right one")
    if len(places) > 1:
        log.warning("%s: takes the model at %s; left out: that at %s", file, places[0], _listed(places[1:]))
    return places[0]


def _listed(places: Sequence[Place]) -> str:
    return "; ".join(map(str, places))


def _under(state: Mapping[str, "Tensor"], prefix: str, others: tuple[str, ...], file: Path) -> dict[str, "Tensor"]:
    """The tensors below a prefix; others are of something else, such as a loss."""
    taken = {name for name in state if name.startswith(prefix) and not (others and name.startswith(others))}
    if left := [name for name in state if name not in taken and not (others and name.startswith(others))]:
        log.warning("%s: takes tensors below %r; left out: %s", file, prefix, some_names(left))
    return {name.removeprefix(prefix): state[name] for name in state if name in taken}


def _described(document: Any) -> str:
    if not isinstance(document, Mapping):
        return f"it is a {type(document).__name__}"
    return f"its keys are {some_names([str(key) for key in document])}" if document else "it is empty"
