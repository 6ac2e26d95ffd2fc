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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import stages
from stages.core.config.loading import merge, nearest, parse_config, read_yaml
from stages.core.run.cli import build_parser, execute
from stages.core.run.snakemake_words import Option, arrange, snakemake_options
from stages.core.run.targets import Targets

PROFILES = Path("workflow/profiles")
DEFAULT_PROFILE = PROFILES / "default"
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


def environment() -> dict[str, str]:
    """The environment of this process, in which `python` is the Python that runs this: rules start it by name."""
    folder = str(Path(sys.executable).parent)
    return os.environ | {"PATH": os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])}


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
    return key, yaml.safe_load(value)


def values_of(options: Iterable[Option], *names: str) -> list[str]:
    return [value for option in options if option.name in names for value in option.values]


def with_profile(options: Sequence[Option], variables: Mapping[str, str] = os.environ) -> list[Option]:
    """The options with a workflow profile: the default one, or the one of this name in workflow/profiles."""
    if any(option.name in ("--profile", "--workflow-profile") for option in options):
        return [_full_profile(option) for option in options]
    if "SNAKEMAKE_PROFILE" in variables or not DEFAULT_PROFILE.is_dir():
        return list(options)
    added = [Option("--workflow-profile", ("--workflow-profile", str(DEFAULT_PROFILE)), (str(DEFAULT_PROFILE),))]
    if not has_gpu(variables) and not values_of(options, "--resources", "--res"):
        limit = f"gpu={os.cpu_count() or 1}"
        added.append(Option("--resources", ("--resources", limit), (limit,)))
    return [*options, *added]


def _full_profile(option: Option) -> Option:
    (name,) = option.values or ("",)
    if option.name != "--workflow-profile" or name == "none" or Path(name).is_dir():
        return option
    folder = PROFILES / name
    if not name or not folder.is_dir():
        known = [path.name for path in PROFILES.iterdir() if path.is_dir()]
        raise ValueError(f"no profile {name!r} in {PROFILES}{nearest(name, known)}")
    return Option(option.name, (option.name, str(folder)), (str(folder),))


def has_gpu(variables: Mapping[str, str] = os.environ) -> bool:
    """Whether jobs on this machine may find a GPU; asks the system, because importing torch takes seconds."""
    if "CUDA_VISIBLE_DEVICES" in variables:
        return bool(variables["CUDA_VISIBLE_DEVICES"].strip())
    return any(Path(place).exists() for place in ("/proc/driver/nvidia/gpus", "/dev/nvidiactl", "/dev/kfd"))


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser(__doc__)
    parser.add_argument("words", nargs="*", metavar="TARGET|FLAG", help="targets, and flags of snakemake")
    before = words[: words.index("--")] if "--" in words else words
    asks_for_help = any(word in ("-h", "--help") for word in before)
    return execute(parser, ["--help"] if asks_for_help else ["--", *words], lambda arguments: run(arguments.words))


if __name__ == "__main__":
    raise SystemExit(main())
