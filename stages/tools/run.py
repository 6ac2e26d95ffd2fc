"""Runs the workflow: makes results/<dataset>/<split>, and all that it needs, with snakemake.

    referee run results/mevis/valid_u --cores 8 --resources gpu=4
    referee run shapes/valid_u -n                            what would run, and why
    referee run mevis/valid_u --workflow-profile slurm       the same on a cluster: workflow/profiles/slurm
    referee run                                              what can be made

Every flag of snakemake can be given (`snakemake --help`), before or after the targets. Without --profile and
--workflow-profile, workflow/profiles/default applies. On a machine without a GPU, jobs that would take one do not wait
for each other, unless --resources says otherwise.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

import stages
from stages.core.config.loading import merge, parse_config, read_yaml
from stages.core.run.cli import build_parser, execute
from stages.core.run.snakemake_words import Option, arrange, snakemake_options
from stages.core.run.starting import environment, values_of, with_profile
from stages.core.run.targets import Targets

# With one of these, snakemake has something to do without a target.
WITHOUT_TARGET = ("--unlock", "--lint", "--list-rules", "-l", "--list-target-rules", "--cleanup-metadata", "--version")


def run(words: Sequence[str]) -> None:
    """Replaces this process with snakemake, so that signals reach it; returns only where there is nothing to run.

    Raises:
        ValueError: this folder has no workflow; an option, a profile or a target does not exist.
    """
    command = compose(words)
    if command is not None:
        sys.stdout.flush()
        os.execve(command[0], command, environment())


def compose(words: Sequence[str]) -> list[str] | None:
    """The snakemake command for these words; None if they name no target, after printing what the targets are."""
    known = snakemake_options()
    options, _ = arrange(words, known, lambda word: "/" in word and "=" not in word and not word.endswith(".yaml"))
    require_snakefile(options)
    targets = Targets(parse_config(config_of(options)))
    options, asked = arrange(words, known, targets.looks_like_one)
    if not asked and not any(option.name in WITHOUT_TARGET for option in options):
        print(targets.describe())
        return None
    resolved = [targets.resolve(word) for word in asked]
    flags = [word for option in with_profile(options) for word in option.words]
    return [sys.executable, "-m", "snakemake", *flags, *(["--", *resolved] if resolved else [])]


def require_snakefile(options: Iterable[Option]) -> None:
    if values_of(options, "--snakefile", "-s") or Path("Snakefile").is_file():
        return
    root = Path(stages.__file__).parents[1]
    where = f"cd {root}" if (root / "Snakefile").is_file() else "cd to the folder of the project"
    raise ValueError(f"{Path.cwd()}: no Snakefile here; {where}")


def config_of(options: Sequence[Option]) -> dict[str, Any]:
    """The config as the workflow will see it: config.yaml, --configfile, --config."""
    folder = Path(*values_of(options, "--directory", "-d")[-1:])
    raw: dict[str, Any] = read_yaml(folder / "config.yaml")
    for file in values_of(options, "--configfile", "--configfiles"):
        raw = merge(raw, read_yaml(Path(file)))
    return merge(raw, dict(map(_entry, values_of(options, "--config", "-C"))))


def _entry(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        return key, yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"--config {text}: not readable as YAML: {' '.join(str(error).split())}") from error


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser(__doc__)
    parser.add_argument("words", nargs="*", metavar="TARGET|FLAG", help="targets, and flags of snakemake")
    before = words[: words.index("--")] if "--" in words else words
    asks_for_help = any(word in ("-h", "--help") for word in before)
    return execute(parser, ["--help"] if asks_for_help else ["--", *words], lambda arguments: run(arguments.words))


if __name__ == "__main__":
    raise SystemExit(main())
