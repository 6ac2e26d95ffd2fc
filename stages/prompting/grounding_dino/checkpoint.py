"""Reads GroundingDINO weights of either layout, refuses other files, and converts between the two layouts.

Nothing in a file is executed: see stages/core/state/state_dict.py.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.state.state_dict import nearest_name, read_model
from stages.core.state.torch_file import some_names
from stages.prompting.grounding_dino.names import MARKS, Layout, State, copies_of, is_ignored, names_of

if TYPE_CHECKING:
    import torch

SAFE, TORCH = "model.safetensors", (".pth", ".pt", ".ckpt")


def find_checkpoint(path: Path) -> Path:
    """The file of weights at `path`: itself, or the one model.safetensors or .pth of a folder.

    Raises:
        ValueError: there is none, or more than one.
    """
    if path.is_file():
        return path
    files = [*path.glob(SAFE), *(file for file in sorted(path.glob("*")) if file.suffix in TORCH)]
    if len(files) != 1:
        names = ", ".join(file.name for file in files) or "neither"
        raise ValueError(f"{path}: a GroundingDINO is one {SAFE} or one .pth file; found {names}: leave exactly one")
    return files[0]


def read_config(folder: Path) -> Any:
    """The GroundingDinoConfig of a folder; raises ValueError where it has none."""
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder}: has no config.json: put config.json, preprocessor_config.json and the tokenizer of the hub's "
            "model of the same architecture (IDEA-Research/grounding-dino-tiny for Swin-T) next to the weights"
        )
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type != "grounding-dino":
        raise ValueError(
            f"{folder}: config.json says model_type {config.model_type!r}, not 'grounding-dino'; "
            "fix the preset's grounding_dino"
        )
    return config


def read_state(path: Path) -> tuple[dict[str, "torch.Tensor"], Layout]:
    """The tensors of a file, and the layout of their names.

    Args:
        path: .safetensors, or a torch file (.pth); see `read_model` for what a training loop may have made of it.

    Raises:
        ValueError: it is damaged, carries code, or belongs to another model; the message says which.
    """
    state = read_model(path, tuple(MARKS.values()))
    for layout, mark in MARKS.items():
        if mark in state:
            return state, layout
    names = sorted(state)
    raise ValueError(
        f"{path}: not a GroundingDINO: it has neither {' nor '.join(MARKS.values())}; it has {some_names(names)}"
        f"{nearest_name(names, tuple(MARKS.values()))}"
    )


def convert(state: State, source: Layout, target: Layout, config: Any, path: Path) -> dict[str, "torch.Tensor"]:
    """The same weights by the names of `target`, float32, contiguous, sorted by name.

    Args:
        state: names and tensors in the layout `source`; tensors that the detector does not read are dropped.
        config: the GroundingDinoConfig that says how many layers there are.
        path: the file, for messages.

    Raises:
        ValueError: tensors are missing or unknown, or box heads differ that the config calls shared.
    """
    names, copies = names_of(config), copies_of(config)
    # a file may keep any copy of a shared head
    state = {source: state[name] for name, source in copies.items() if name in state} | dict(state)
    _check_copies(state, copies, path)
    state = {name: tensor.float() for name, tensor in state.items() if not is_ignored(name) and name not in copies}
    wanted = set(names) if source == "package" else {part for parts in names.values() for part in parts}
    _check_names(set(state), wanted, path)
    if source == target:
        renamed = dict(state)
    elif target == "transformers":
        renamed = _split(state, names, path)
    else:
        renamed = _join(state, names)
    if target == "package":
        renamed |= {copy: renamed[name] for copy, name in copies.items() if not copy.startswith("model.")}
    return {name: tensor.contiguous().clone() for name, tensor in sorted(renamed.items())}


def _split(
    state: Mapping[str, "torch.Tensor"], names: Mapping[str, tuple[str, ...]], path: Path
) -> dict[str, "torch.Tensor"]:
    renamed: dict[str, torch.Tensor] = {}
    for package, parts in names.items():
        tensor = state[package]
        if tensor.ndim == 0 or len(tensor) % len(parts):
            raise ValueError(
                f"{path}: {package} has the shape {tuple(tensor.shape)}, not {len(parts)} equal parts by rows"
            )
        renamed.update(zip(parts, tensor.chunk(len(parts))))
    return renamed


def _join(state: Mapping[str, "torch.Tensor"], names: Mapping[str, tuple[str, ...]]) -> dict[str, "torch.Tensor"]:
    import torch

    return {package: torch.cat([state[part] for part in parts]) for package, parts in names.items()}


def _check_copies(state: State, copies: Mapping[str, str], path: Path) -> None:
    different = [name for name, source in copies.items() if name in state and not _equal(state, name, source)]
    if different:
        raise ValueError(
            f"{path}: the box heads {some_names(sorted(different))} are not copies of another, which config.json "
            "(decoder_bbox_embed_share) says: take the config.json that belongs to these weights"
        )


def _equal(state: State, name: str, other: str) -> bool:
    a, b = state[name], state[other]
    return a.shape == b.shape and bool((a == b).all())


def _check_names(present: set[str], wanted: set[str], path: Path) -> None:
    missing, more = sorted(wanted - present), sorted(present - wanted)
    if missing or more:
        lines = [f"it lacks {some_names(missing)} ({len(missing)} of {len(wanted)})"] if missing else []
        lines += [f"it also has {some_names(more)} ({len(more)}{nearest_name(more, missing)})"] if more else []
        raise ValueError(
            f"{path}: not the architecture of its config.json: {'; '.join(lines)}; "
            "take the config.json that belongs to these weights"
        )
