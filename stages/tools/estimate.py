"""Says what a run will take before it starts: models, what an MLLM is asked, and GPU hours. Loads and asks nothing.

    referee estimate mevis/valid_u
    referee estimate mevis/valid_u --configfile workflow/strongest.yaml

Prints every model with its licence and size and whether it is here; for each name of `rerank.evidence` that asks an MLLM its
questions, pictures, tokens and, where a server's prices are given, the cost; and the hours of one GPU by card. Questions
are counted by composing them about a drawn video with --candidates per expression. Hours are computed, not measured: expect a
factor of two either way. Once there are tracks, `referee gather-evidence --dry-run` counts the questions themselves.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from stages.core.config.loading import check_split, load_config
from stages.core.run.cli import at_least, build_parser, execute


def run(files: Sequence[Path], target: str, n_candidates: int) -> str:
    """The estimate of <dataset>/<split>, in words.

    Raises:
        ValueError: there is no such split, or its data is not here.
    """
    from stages.estimate.split import estimate
    from stages.estimate.words import lines

    config = load_config(*files)
    *_, dataset, split = ["", *target.rstrip("/").split("/")]
    check_split(config, dataset, split)
    return "\n".join(lines(estimate(config, dataset, split, n_candidates)))


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__)
    add = parser.add_argument
    add("target", metavar="DATASET/SPLIT", help="what would be made, as `referee run` takes it")
    add("--configfile", type=Path, nargs="+", default=[], metavar="FILE", help="files that are laid over config.yaml")
    add("--candidates", type=at_least(1), default=8, metavar="N", help="per expression (default: 8)")

    def act(arguments: Namespace) -> None:
        print(run([Path("config.yaml"), *arguments.configfile], arguments.target, arguments.candidates))

    return execute(parser, argv, act)


if __name__ == "__main__":
    raise SystemExit(main())
