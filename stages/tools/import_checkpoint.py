"""Turns a checkpoint of the published selector code (epoch_N.pth) into a selector of this project.

Reads:  a file of torch.save with the published names, plain or under "model" or "state_dict", with or without
        the "module." of DataParallel. Nothing in it is executed.
Writes: --out, a safetensors file that `selector.weights` of a data set takes.
Why:    published checkpoints score as they are, and say in our own format what they are.

Widths, layers and negatives are read off the tensors. Heads and groups leave no trace in them: the published
setting is 8 and 8. Which SAM2 and text weights it was trained with is not known either: scoring says so once and
does not check; use those it was published with.
"""

import argparse
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.config.sections import Tda
from stages.core.run.cli import at_least, build_parser, execute
from stages.selectors.sola.settings import SolaModel

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

WRAPPERS = ("model", "state_dict", "model_state_dict")
PREFIX = re.compile(r"^((module|_orig_mod)\.)+")
LAYER = re.compile(r"^object_lang_align_layers\.(\d+)\.")
FIRST, NEGATIVES = "short_motion_encoder.0.weight", "negative_token.weight"
# SOLA, arXiv 2412.01136, and its published configuration; both dropouts matter in training alone.
HEADS = GROUPS = 8
DROPOUT, ATTENTION_DROPOUT = 0.2, 0.1
PUBLISHED_THRESHOLD = 0.5
PLAIN = Tda(alpha=0.0, temperature=1.0)


def import_checkpoint(file: Path, out: Path, n_heads: int = HEADS, n_groups: int = GROUPS) -> None:
    """Writes the checkpoint `file` as the selector `out`.

    Raises:
        ValueError: not readable, carries code, is no checkpoint of the published selector, or holds values
            that are not finite; names the file and what is wrong.
    """
    from stages.selectors.architectures import Architecture
    from stages.selectors.checkpoint import IMPORTED, Header, save_selector

    state = read_state(file)
    token_dim, text_dim, config = infer_model(state, file, n_heads, n_groups)
    architecture = Architecture("sola", config, PLAIN)
    try:
        model = architecture.build(token_dim, text_dim)
    except ValueError as error:
        raise ValueError(f"{file}: {error}; give --heads and --groups as it was trained with") from error
    _check(state, model.state_dict(), file)
    model.load_state_dict(state)
    weights = {"sam2": IMPORTED, "text": IMPORTED}
    header = Header.of(architecture, token_dim, text_dim, weights, PUBLISHED_THRESHOLD, IMPORTED)
    save_selector(out, model.eval(), header)
    log.info("%s: %s, object tokens of width %d, words of width %d", out, config, token_dim, text_dim)
    log.info("set selector.weights of a data set to %s; its sam2 and text weights must be those it was made with", out)


def read_state(file: Path) -> dict[str, "Tensor"]:
    """The tensors of a checkpoint under their bare names.

    Raises:
        ValueError: not readable, carries code, or holds something else than tensors by name.
    """
    from torch import Tensor

    from stages.core.state.torch_file import read_torch_file

    document = read_torch_file(file)
    state = _unwrapped(document)
    if not isinstance(state, dict) or not state:
        raise ValueError(f"{file}: holds {type(document).__name__}, not tensors by name; give a state dict")
    if odd := [str(name) for name, value in state.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"{file}: {', '.join(odd[:3])}: not tensors; give the plain state dict of the selector")
    return {PREFIX.sub("", name): tensor for name, tensor in state.items()}


def infer_model(state: Mapping[str, "Tensor"], file: Path, n_heads: int, n_groups: int) -> tuple[int, int, SolaModel]:
    """Widths of an object token and of the words, and the model's settings, from the tensors' shapes.

    Raises:
        ValueError: a tensor that they are read off is missing or of another rank.
    """
    for name, rank in ((FIRST, 3), (NEGATIVES, 2)):
        if name not in state or state[name].ndim != rank:
            raise ValueError(
                f"{file}: no checkpoint of the published selector: {name} is missing or not of {rank} dimensions; "
                f"it holds {', '.join(sorted(state)[:3])}, …"
            )
    hidden_dim, token_dim, _ = state[FIRST].shape
    n_negatives, text_dim = state[NEGATIVES].shape
    layers = {int(match[1]) for name in state if (match := LAYER.match(name))}
    if layers != set(range(len(layers))) or not layers:
        raise ValueError(f"{file}: object_lang_align_layers are {sorted(layers) or 'missing'}; they count from 0")
    config = SolaModel(
        hidden_dim=hidden_dim,
        n_layers=len(layers),
        n_heads=n_heads,
        n_groups=n_groups,
        n_negatives=n_negatives,
        dropout=DROPOUT,
        attention_dropout=ATTENTION_DROPOUT,
    )
    return token_dim, text_dim, config


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 where the checkpoint cannot be imported."""
    parser = build_parser(__doc__)
    add = parser.add_argument
    add("checkpoint", type=Path, help="epoch_N.pth of the published code")
    add("--out", type=Path, required=True, metavar="FILE", help="the selector to write, a .safetensors file")
    add(
        "--heads",
        type=at_least(1),
        metavar="N",
        default=HEADS,
        help=f"attention heads it was trained with (default: {HEADS})",
    )
    add("--groups", type=at_least(1), metavar="N", default=GROUPS, help=f"groups of its norms (default: {GROUPS})")
    add("--overwrite", action="store_true", help="replace --out")
    return execute(parser, argv, _import)


def _import(arguments: argparse.Namespace) -> None:
    if arguments.out.exists() and not arguments.overwrite:
        raise ValueError(f"{arguments.out}: exists; give another --out, or --overwrite")
    import_checkpoint(arguments.checkpoint, arguments.out, arguments.heads, arguments.groups)


def _unwrapped(document: Any) -> Any:
    for name in WRAPPERS:
        if isinstance(document, dict) and isinstance(document.get(name), dict):
            return document[name]
    return document


def _check(state: Mapping[str, "Tensor"], wanted: Mapping[str, "Tensor"], file: Path) -> None:
    """Names, shapes and values, so that an error says which tensor is wrong."""
    problems = {
        "missing": [name for name in wanted if name not in state],
        "unexpected": [name for name in state if name not in wanted],
        "of another shape": [
            f"{name} {tuple(state[name].shape)} for {tuple(tensor.shape)}"
            for name, tensor in wanted.items()
            if name in state and state[name].shape != tensor.shape
        ],
        "not finite": [name for name, tensor in state.items() if not tensor.isfinite().all()],
    }
    lines = [f"{what}: {', '.join(names[:3])} ({len(names)} in all)" for what, names in problems.items() if names]
    if lines:
        raise ValueError(f"{file}: no checkpoint of the published selector; {'; '.join(lines)}")


if __name__ == "__main__":
    raise SystemExit(main())
