"""Turns a checkpoint of the published selector code (epoch_N.pth) into a selector of this project.

Reads:  a file of torch.save or safetensors with the published names, however a training loop packed and prefixed
        them (stages/core/state/state_dict.py). Nothing in it is executed.
Writes: --out, a safetensors file that `selector.weights` of a data set takes.
Why:    published checkpoints score as they are, and say in our own format what they are.

Widths, layers and negatives are read from the tensors. Heads and groups leave no trace in them: the published
setting is 8 and 8. Which SAM2 and text weights it was trained with is not known either: scoring says so once and
does not check; use those it was published with.
"""

import argparse
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.core.config.selector_sections import Tda
from stages.core.run.cli import at_least, build_parser, execute
from stages.core.state.marks import refuse_output
from stages.selectors.sola.settings import SolaModel

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

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
        ValueError: not readable, carries code, is not a checkpoint of the published selector, or holds values
            that are not finite; names the file and what is wrong.
    """
    from stages.core.state.state_dict import read_model
    from stages.selectors.architectures import Architecture
    from stages.selectors.checkpoint import IMPORTED, Header, save_selector

    state = read_model(file, [FIRST])
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


def infer_model(state: Mapping[str, "Tensor"], file: Path, n_heads: int, n_groups: int) -> tuple[int, int, SolaModel]:
    """Widths of an object token and of the words, and the model's settings, from the tensors' shapes.

    Raises:
        ValueError: a tensor that they are read from is missing or has another rank.
    """
    from stages.core.state.state_dict import nearest_name
    from stages.core.state.torch_file import some_names

    for name, rank in ((FIRST, 3), (NEGATIVES, 2)):
        if name not in state or state[name].ndim != rank:
            raise ValueError(
                f"{file}: no checkpoint of the published selector: {name} is missing or not of {rank} dimensions; "
                f"it holds {some_names(sorted(state), 3)}{nearest_name(sorted(state), [name])}"
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
    """Returns 0, or 2 if the checkpoint cannot be imported."""
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
    refuse_output(arguments.out, arguments.checkpoint)
    if arguments.out.exists() and not arguments.overwrite:
        raise ValueError(f"{arguments.out}: exists; give another --out, or --overwrite")
    import_checkpoint(arguments.checkpoint, arguments.out, arguments.heads, arguments.groups)


def _check(state: Mapping[str, "Tensor"], expected: Mapping[str, "Tensor"], file: Path) -> None:
    """Checks names, shapes and values, so that an error says which tensor is wrong."""
    from stages.core.state.state_dict import differences
    from stages.core.state.torch_file import some_names

    lines = [difference] if (difference := differences(state, expected)) else []
    if not_finite := [name for name, tensor in state.items() if not tensor.isfinite().all()]:
        lines.append(f"not finite: {some_names(not_finite)}")
    if lines:
        raise ValueError(f"{file}: no checkpoint of the published selector; {'; '.join(lines)}")


if __name__ == "__main__":
    raise SystemExit(main())
