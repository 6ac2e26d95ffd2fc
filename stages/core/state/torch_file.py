"""Reads checkpoints of torch.save and safetensors: only tensors and plain containers; nothing is executed.

Training loops also save bookkeeping, such as the best score as a numpy scalar. Those are read too, by code of ours in
place of numpy's: a plain dtype and as many bytes as it has, and no state that numpy would take over unchecked.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# The start of torch's own message is long and ends in the advice to trust the file.
REFUSED_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
UNPICKLER = re.compile(r"WeightsUnpickler error:[ \t]*(\S.*)")
PLAIN_DTYPE = re.compile(r"[biufcUSMm]\d+")
BYTE_ORDERS = ("<", ">", "=", "|")


class NumpyDtype:
    """Takes the place of numpy.dtype in a checkpoint: what it is rebuilt from, kept as text."""

    def __init__(self, code: object, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or not PLAIN_DTYPE.fullmatch(code):
            raise RefusedScalar(f"a numpy value of dtype {code!r}, where only plain numbers and text are read")
        self.code, self.order = code, "="

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in BYTE_ORDERS:
            raise RefusedScalar(f"a numpy dtype in the state {state!r}")
        self.order = str(order)


class RefusedScalar(ValueError):
    """A numpy scalar that is not plain."""


def numpy_scalar(dtype: object, content: object = b"") -> Any:
    """Takes the place of numpy's own function, which rebuilds a pickled scalar.

    Raises:
        RefusedScalar: not a plain dtype and its bytes.
    """
    import numpy as np

    if not isinstance(dtype, NumpyDtype) or not isinstance(content, bytes):
        raise RefusedScalar(f"a numpy scalar made of {type(dtype).__name__} and {type(content).__name__}")
    plain = np.dtype(dtype.order + dtype.code)
    if len(content) != plain.itemsize:
        raise RefusedScalar(f"a numpy scalar {dtype.code} of {len(content)} bytes")
    return np.ndarray((), plain, content)[()] if content else plain.type()


# Name in a pickle → what is called in its place; numpy 2 renamed its modules.
HARMLESS: Sequence[tuple[Callable[..., Any], str]] = (
    (numpy_scalar, "numpy.core.multiarray.scalar"),
    (numpy_scalar, "numpy._core.multiarray.scalar"),
    (NumpyDtype, "numpy.dtype"),
)


def read_torch_file(file: Path, mapped: bool = False) -> Any:
    """What torch.save wrote, on the CPU.

    Args:
        mapped: tensors are mapped from the file, where its format allows it, rather than read into memory at once.

    Raises:
        ValueError: the file is missing, cut or damaged, or needs code to be run; the message says which.
    """
    import pickle
    import warnings
    import zipfile

    import torch

    if not file.is_file():
        raise ValueError(f"{file}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
            with torch.serialization.safe_globals(list(HARMLESS)):
                mmap = mapped and zipfile.is_zipfile(file)
                return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except RefusedScalar as error:
        raise ValueError(f"{file}: refused: it holds {error}; have its author save the plain state dict") from error
    except pickle.UnpicklingError as error:
        if call := REFUSED_GLOBAL.search(str(error)):
            raise ValueError(
                f"{file}: refused: it is a pickle that would run {call[1]} when read, and a checkpoint needs tensors "
                "only; take a safetensors file, or have its author save the plain state dict"
            ) from error
        reason = UNPICKLER.search(str(error))
        raise ValueError(
            f"{file}: not a file of torch.save ({reason[1] if reason else 'another format'}); fetch it again"
        ) from error
    except Exception as error:  # the unpickler meets damaged bytes with whatever error comes first
        raise ValueError(
            f"{file}: not readable as a torch checkpoint ({type(error).__name__}: {_first_line(error)}); fetch it again"
        ) from error


def read_safetensors(file: Path) -> "dict[str, torch.Tensor]":
    """Tensors by name, on the CPU; raises ValueError where the file is damaged or cut short."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(file))
    except SafetensorError as error:
        raise ValueError(f"{file}: not readable as safetensors ({error}); fetch it again") from error


def some_names(names: Sequence[str], count: int = 5) -> str:
    """The first of some names, and how many more there are, for messages."""
    return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["empty"])[0]
