"""The front door: `referee <verb> …`, or `python -m stages <verb> …`.

One table of everything that can be run. A module is imported when its verb is called; its one-line help is the first
line of its docstring, read from the file.
"""

import importlib
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import stages

VERBS: Mapping[str, Mapping[str, str]] = {
    "Run": {
        "run": "stages.tools.run",
        "demo": "stages.tools.demo",
        "segment": "stages.tools.segment",
    },
    "Stages, in the order of the data": {
        "fetch-weights": "stages.fetch_weights",
        "make-shapes": "stages.make_shapes",
        "extract-frames": "stages.extract_frames",
        "generate-prompts": "stages.generate_prompts",
        "build-tracks": "stages.build_tracks",
        "encode-text": "stages.encode_text",
        "train-selector": "stages.train_selector",
        "train-seg": "stages.train_seg",
        "score-tracks": "stages.score_tracks",
        "gather-evidence": "stages.gather_evidence",
        "fit-fusion": "stages.fit_fusion",
        "rerank-tracks": "stages.rerank_tracks",
        "evaluate": "stages.evaluate",
        "render-predictions": "stages.render_predictions",
        "assemble": "stages.assemble",
        "collect": "stages.collect",
    },
    "Tools": {
        "estimate": "stages.tools.estimate",
        "compare": "stages.tools.compare",
        "report": "stages.tools.report",
        "check-dataset": "stages.tools.check_dataset",
        "check-submission": "stages.tools.check_submission",
        "check-profile": "stages.tools.check_profile",
        "export-predictions": "stages.tools.export_predictions",
        "import-predictions": "stages.tools.import_predictions",
        "ensemble-predictions": "stages.tools.ensemble_predictions",
        "import-checkpoint": "stages.tools.import_checkpoint",
        "convert-grounding-dino": "stages.tools.convert_grounding_dino",
        "convert-davis": "stages.tools.convert_davis",
        "seg-plan": "stages.tools.seg_plan",
        "choose-frames": "stages.tools.choose_frames",
        "draw-strip": "stages.tools.draw_strip",
        "draw-sheet": "stages.worlds.shapes.sheet",
        "clean": "stages.tools.clean",
    },
    "Make what the repository bundles": {
        "train-micro-sam2": "stages.micro.training.sam2.__main__",
        "train-micro-grounding-dino": "stages.micro.training.grounding_dino.__main__",
        "train-micro-text": "stages.micro.training.text.__main__",
        "train-micro-mllm": "stages.micro.training.mllm.__main__",
        "train-micro-seg": "stages.micro.training.seg.__main__",
        "write-schema": "stages.core.config.schema",
    },
}
MODULES = {verb: module for group in VERBS.values() for verb, module in group.items()}
USAGE = "usage: referee <verb> [flags]; referee <verb> --help explains a verb"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a verb and returns its exit status; 2 where there is no such verb."""
    first, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if first in ("-h", "--help", "help"):
        return show(overview(shutil.get_terminal_size().columns))
    if first in ("-V", "--version"):
        print(f"referee {stages.__version__}")
        return 0
    verb = first.replace("_", "-")
    if verb not in MODULES:
        from stages.core.config.loading import nearest

        print(f"error: no verb {first!r}{nearest(verb, MODULES)}", file=sys.stderr)
        return 2
    return call(verb, rest)


def show(text: str) -> int:
    """Prints a page, of which `| head` may want the beginning alone."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter complains at its end
    return 0


def call(verb: str, words: Sequence[str]) -> int:
    """The verb's `main`, under the name that was typed."""
    sys.argv = [f"referee {verb}", *words]
    try:
        status: int = importlib.import_module(MODULES[verb]).main(words)
    except KeyboardInterrupt:  # while it was imported; later it is answered in stages.core.run.cli
        print("interrupted", file=sys.stderr)
        return 130
    return status


def overview(width: int) -> str:
    """The verbs by group, each with its line."""
    first, column = docstring_line("stages.__init__"), max(map(len, MODULES)) + 4
    lines = [USAGE, "", first]
    for title, group in VERBS.items():
        lines += ["", title]
        for verb, module in group.items():
            text = f"  {verb:{column - 2}}{docstring_line(module)}"
            lines += textwrap.wrap(text, max(width, 60), subsequent_indent=" " * column, drop_whitespace=True)
    return "\n".join(lines)


def docstring_line(module: str) -> str:
    """The first line of a module's docstring; the module is not imported."""
    with source_of(module).open(encoding="utf-8") as file:
        return file.readline().strip().strip('"')


def source_of(module: str) -> Path:
    return Path(__file__).parents[1].joinpath(*module.split(".")).with_suffix(".py")


if __name__ == "__main__":
    raise SystemExit(main())
