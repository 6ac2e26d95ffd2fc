"""Reading checkpoints, of torch.save and safetensors: tensors and plain containers alone; nothing is executed."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# The start of torch's own message is long and ends in the advice to trust the file.
REFUSED_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
UNPICKLER = re.compile(r"WeightsUnpickler error:[ \t]*(\S.*)")


def read_torch_file(file: Path) -> Any:
    """What torch.save wrote, on the CPU.

    Raises:
        ValueError: the file is missing, cut or damaged, or needs code to be run; the message says which.
    """
    import pickle
    import warnings

    import torch

    if not file.is_file():
        raise ValueError(f"{file}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if found := REFUSED_GLOBAL.search(str(error)):
            raise ValueError(
                f"{file}: refused: it is a pickle that would run {found[1]} when read, and a checkpoint needs tensors "
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
