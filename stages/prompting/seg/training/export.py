"""A trained [SEG] model as a checkpoint in the published naming of its family: what `load_seg_model` reads, so that source
`seg` takes it as a model of one's own.

The way back of `checkpoint.filling`: every published tensor is put together from the native ones that were made of it.
"""

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from stages.core.config.file import SegModelEntry
from stages.prompting.seg.checkpoint.config import read_config
from stages.prompting.seg.checkpoint.families import FAMILIES, Opened
from stages.prompting.seg.checkpoint.filling import Component, Target, expected_of, published_shape
from stages.prompting.seg.checkpoint.loading import assemble
from stages.prompting.seg.checkpoint.model import SegModel
from stages.prompting.seg.checkpoint.sam2_inside import ATTENTION, DECODER
from stages.prompting.seg.checkpoint.shards import INDICES, SAFE, open_shards
from stages.prompting.seg.checkpoint.tokens import load_tokenizer

KEPT = ("*.json", "*.jinja", "*.txt", "*.model")  # of the source: config, tokenizer, image processor; no code
OVERLAY = "use.yaml"
SHARD_BYTES = 4 << 30


def export(model: SegModel, source: Path, entry: SegModelEntry, preset: str, folder: Path, place: Path) -> None:
    """Writes the files of a checkpoint, and use.yaml: a second --config with which source `seg` takes it.

    Args:
        model: with its adapters merged.
        source: the checkpoint that it was made from, of `entry`.
        preset: whose model of role seg it becomes.
        folder: made, and written to; where it will be is `place`.
    """
    folder.mkdir(parents=True)
    for file in _kept(source):
        shutil.copyfile(file, folder / file.name)
    own = exported_entry(entry)
    _save(_published(model, source, own), folder)
    files = sorted(file.name for file in folder.iterdir())
    raw = own.model_dump(mode="json")
    nowhere: dict[str, Any] = {"hub": None, "revision": None, "seed": None, "size_gb": None}
    raw |= {**nowhere, "files": files, "path": str(place)}
    document = {"presets": {preset: {"models": {"seg": raw}}}}
    (folder / OVERLAY).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def exported_entry(entry: SegModelEntry) -> SegModelEntry:
    """Of a family without a SAM2 inside, its whole mask decoder is stored: all of it may have been trained."""
    if not FAMILIES[entry.family].sam2 and entry.decoder in (None, ATTENTION):
        return entry.model_copy(update={"decoder": DECODER})
    return entry


def _kept(source: Path) -> Iterator[Path]:
    for pattern in KEPT:
        yield from (file for file in sorted(source.glob(pattern)) if file.is_file() and file.name not in INDICES)


def _published(model: SegModel, source: Path, entry: SegModelEntry) -> dict[str, Callable[[], Tensor]]:
    """Published name → what makes its tensor."""
    names, components = _components(model, source, entry)
    return {
        name: lambda targets=targets: _joined(model, names, targets)  # type: ignore[misc]
        for name, targets in sorted(expected_of(components).items())
    }


def _components(model: SegModel, source: Path, entry: SegModelEntry) -> tuple[Mapping[int, str], list[Component]]:
    """The components of such a model, without values; and where each module is in it, by its identity."""
    family = FAMILIES[entry.family]
    shapes = open_shards(source).shapes
    native = family.build(Opened(source, read_config(source), shapes, load_tokenizer(source)), entry.template)
    beside = None if family.sam2 else copy.deepcopy(model.sam2)
    empty, components = assemble(family, entry, native, torch.float32, beside)
    return {id(module): name for name, module in empty.named_modules()}, components


def _joined(model: SegModel, names: Mapping[int, str], targets: Sequence[Target]) -> Tensor:
    """The published tensor that some native ones are parts of, on the CPU."""
    parts = [_tensor(model, names[id(target.component.module)], target.name) for target in targets]
    if targets[0].origin.take is None:
        return parts[0].detach().cpu().clone().contiguous()
    joint = torch.empty(published_shape(targets), dtype=parts[0].dtype)
    rows = torch.arange(len(joint))
    for target, part in zip(targets, parts, strict=True):
        assert target.origin.take is not None
        joint[target.origin.take(rows)] = part.detach().cpu()
    return joint


def _tensor(model: SegModel, module: str, name: str) -> Tensor:
    *path, last = name.split(".")
    owner = model.get_submodule(".".join([module, *path]))
    tensor: Tensor = getattr(owner, last)
    return tensor


def _save(published: Mapping[str, Callable[[], Tensor]], folder: Path) -> None:
    """In files of about SHARD_BYTES, with an index where there are several."""
    size = 0
    made: dict[str, Tensor] = {}
    homes: list[tuple[Path, list[str]]] = []
    for name, make in published.items():
        tensor = make()
        if made and size + tensor.nbytes > SHARD_BYTES:
            homes.append(_write(folder / f"{len(homes)}.safetensors", made))
            made, size = {}, 0
        made[name] = tensor
        size += tensor.nbytes
    homes.append(_write(folder / f"{len(homes)}.safetensors", made))
    if len(homes) == 1:
        homes[0][0].rename(folder / SAFE)
        return
    weight_map: dict[str, str] = {}
    for i, (file, names) in enumerate(homes, 1):
        home = file.rename(folder / f"model-{i:05}-of-{len(homes):05}.safetensors").name
        weight_map |= dict.fromkeys(names, home)
    (folder / INDICES[0]).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")


def _write(file: Path, tensors: Mapping[str, Tensor]) -> tuple[Path, list[str]]:
    save_file(dict(tensors), file, {"format": "pt"})
    return file, list(tensors)
