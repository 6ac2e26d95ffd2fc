"""Prompts that are given as vectors: the file of `prompts.sam3.embeddings`, <video>/<expression> → (tokens, C)."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.records import Video

if TYPE_CHECKING:
    import torch


def read_vectors(file: str | None, video: Video, width: int | None = None) -> dict[str, "torch.Tensor"]:
    """Expression id → its vectors, float32 (L, C), of those that have some.

    Args:
        width: C of the model; None = any.

    Raises:
        ValueError: the file cannot be read, or holds other shapes or numbers that are not finite; names the tensor.
    """
    if file is None:
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(Path(file), framework="pt") as tensors:
            known = set(tensors.keys())
            names = {e.id: name for e in video.expressions if (name := f"{video.id}/{e.id}") in known}
            vectors = {expression: tensors.get_tensor(name).float() for expression, name in names.items()}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file}: cannot be read as safetensors ({error}); correct prompts.sam3.embeddings") from error
    for expression, vectors_LC in vectors.items():
        _check(f"{file}: {names[expression]}", vectors_LC, width)
    return vectors


def vectors_digest(vectors: dict[str, "torch.Tensor"]) -> dict[str, str]:
    """What stamps say of them."""
    return {name: hashlib.sha256(_bytes(tensor)).hexdigest()[:16] for name, tensor in vectors.items()}


def _bytes(tensor: "torch.Tensor") -> bytes:
    shape: Sequence[int] = tuple(tensor.shape)
    return str(shape).encode() + bytes(tensor.contiguous().numpy().tobytes())


def _check(where: str, vectors_LC: "torch.Tensor", width: int | None) -> None:
    shape = tuple(vectors_LC.shape)
    if len(shape) != 2 or not shape[0] or (width is not None and shape[1] != width):
        wanted = f"(tokens, {width})" if width else "(tokens, width)"
        raise ValueError(f"{where}: has the shape {shape}; a prompt is {wanted}, one token or more")
    if not vectors_LC.isfinite().all():
        raise ValueError(f"{where}: holds a number that is not finite; write it again")
