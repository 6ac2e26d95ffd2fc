"""Converts GroundingDINO weights between the authors' layout (.pth) and that of the hub (a folder).

    referee convert-grounding-dino groundingdino_swint_ogc.pth weights/dino --like grounding-dino-tiny
    referee convert-grounding-dino grounding-dino-tiny groundingdino.pth

An OUT that ends in .pth is written for the authors' package, {"model": tensors}; any other OUT is a new folder
with model.safetensors and the configuration and tokenizer of --like. Both detector backends load either;
a conversion is for other programs, and for reading safetensors instead of .pth. What comes out is float32.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.run.cli import build_parser, execute
from stages.core.state.cache import atomic_path
from stages.prompting.grounding_dino.checkpoint import SAFE, convert, find_checkpoint, read_config, read_state

if TYPE_CHECKING:
    import torch

DESCRIPTIONS = ("*.json", "*.txt")  # configuration and tokenizer


def run(source: Path, target: Path, like: Path | None) -> None:
    """Converts; the result appears under its name once it is complete.

    Args:
        source: a .pth or .safetensors file of either layout, or a folder with one.
        target: a .pth file, or a folder that does not exist yet.
        like: the folder whose config.json describes the weights; None = the source's own.

    Raises:
        ValueError: the source is damaged or of another architecture, or the target exists.
    """
    if target.exists() or target.is_symlink():
        raise ValueError(f"{target}: exists already: remove it, or name another")
    if not source.exists():
        raise ValueError(f"{source}: does not exist: give a .pth or .safetensors file, or a folder with one")
    file = find_checkpoint(source)
    folder = like or file.parent
    config = read_config(folder)
    from stages.prompting.grounding_dino.transformers_backend import load_model

    load_model(file, config)  # names every tensor that does not fit the config
    state, layout = read_state(file)
    if target.suffix == ".pth":
        _write_torch(convert(state, layout, "package", config, file), target)
    else:
        _write_folder(convert(state, layout, "transformers", config, file), folder, target)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 if nothing was converted."""
    parser = build_parser(__doc__)
    parser.add_argument("source", type=Path, metavar="IN", help=".pth or .safetensors file, or a folder with one")
    parser.add_argument("target", type=Path, metavar="OUT", help=".pth file, or a new folder")
    parser.add_argument("--like", type=Path, metavar="FOLDER", help="folder of the hub's model (default: that of IN)")
    return execute(parser, argv, lambda arguments: run(arguments.source, arguments.target, arguments.like))


def _write_torch(state: dict[str, "torch.Tensor"], target: Path) -> None:
    import torch

    with atomic_path(target) as temporary:
        torch.save({"model": state}, temporary)


def _write_folder(state: dict[str, "torch.Tensor"], like: Path, target: Path) -> None:
    from safetensors.torch import save_file

    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
        folder = Path(temporary) / target.name
        folder.mkdir()
        for description in sorted({path for pattern in DESCRIPTIONS for path in like.glob(pattern)}):
            if not description.name.endswith(".index.json"):
                shutil.copyfile(description, folder / description.name)
        save_file(state, folder / SAFE, {"format": "pt"})
        folder.rename(target)


if __name__ == "__main__":
    raise SystemExit(main())
