"""Trains the micro text encoder against what sentences say, or probes an encoder.

    python -m stages.micro.training.text --out DIR [--steps N | --minutes M] [--seed 0] [--resume]
    python -m stages.micro.training.text --evaluate FOLDER [--scenes N]

Training writes checkpoint.pt (to resume from, exactly), curve.jsonl, the model's folder (config.json, tokenizer,
model.safetensors in float16), scores.json and card.md. With --steps, equal seeds give equal weights on one machine.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from stages.core.run.cli import guarded
from stages.micro.training.command import build_parser, length_of, load_or_refuse, set_threads
from stages.micro.training.schedule import Length

DEFAULT = Length(steps=800)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for wrong input."""
    arguments = _parser().parse_args(argv)
    return guarded(lambda: _evaluate(arguments) if arguments.evaluate else _train(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = build_parser("stages.micro.training.text", __doc__, "FOLDER", DEFAULT)
    parser.add_argument("--scenes", type=int, default=600, help="held-out scenes to probe on (default: 600)")
    return parser


def _evaluate(arguments: argparse.Namespace) -> None:
    from stages.micro.training.text.probes import probe_figures

    set_threads(arguments)
    print(json.dumps(probe_figures(arguments.evaluate, arguments.scenes), indent=2))


def _train(arguments: argparse.Namespace) -> None:
    import tempfile

    from stages.core.state.cache import atomic_path
    from stages.micro.training.text.card import write_card
    from stages.micro.training.text.probes import probe_figures
    from stages.micro.training.text.recipe import Recipe
    from stages.micro.training.text.training import State, save_model, train

    set_threads(arguments)
    folder: Path = arguments.out
    state = State(Recipe(), arguments.seed)
    load_or_refuse(state, arguments)  # before the probes, which take minutes
    with tempfile.TemporaryDirectory() as temporary:
        save_model(State(Recipe(), arguments.seed), Path(temporary))
        untrained = probe_figures(Path(temporary), arguments.scenes)
    train(state, length_of(arguments, DEFAULT), folder)
    save_model(state, folder)
    figures = probe_figures(folder, arguments.scenes)
    write_card(folder / "card.md", state, figures, untrained)
    with atomic_path(folder / "scores.json") as file:
        file.write_text(json.dumps({"trained": figures, "untrained": untrained}, indent=2), encoding="utf-8")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    raise SystemExit(main())
