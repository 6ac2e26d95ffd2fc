"""Checks a profile of the workflow before days of jobs depend on it: referee check-profile slurm.

Reads:  workflow/profiles/<name>/profile.yaml; asks the cluster, where it is one of Slurm's.
Writes: on standard output, for each thing that is wrong, file, line, key and fix. Exit status 0 = sound, 1 = not,
        2 = could not be checked.

Run it where runs are started: on a login node of the cluster.
"""

import argparse
import re
import shlex
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from stages.core.config.loading import nearest
from stages.core.run.cli import build_parser, execute
from stages.core.run.kubernetes import defects, read_largest, read_place
from stages.core.run.needs import NEEDS
from stages.core.run.profiles import Profile, find_profile, read_profile
from stages.core.run.slurm import Facts, Partition, gpus_of, how_ends_are_seen, read_facts, too_much
from stages.core.run.snakemake_words import Nargs, snakemake_options

PACKAGES = {
    "slurm": "snakemake-executor-plugin-slurm",
    "cluster-generic": "snakemake-executor-plugin-cluster-generic",
    "kubernetes": "snakemake-executor-plugin-kubernetes",
}
COMMANDS = ("cluster-generic-submit-cmd", "cluster-generic-status-cmd", "cluster-generic-cancel-cmd")
ON_GPUS = ("generate_prompts", "build_tracks", "encode_text", "train_selector", "score_tracks", "gather_evidence")
AMOUNT = re.compile(r"(?:min\()?(?P<first>\d+)(?P<grows> *\* *attempt)?(?: *, *(?P<most>\d+)\))?")
NO_ARRAYS = (
    "the plugin (2.8) ends every job of an array as if it were the first, so shards fail that are done, and forgets jobs "
    "that `jobs` holds back; take it out"
)

Problem = tuple[str, str]  # key, as in Profile.lines, and what is wrong with it


def run(name: str) -> int:
    """Prints what is wrong with a profile, and returns 1 if anything is.

    Raises:
        ValueError: there is no such profile, or it cannot be read.
    """
    profile = read_profile(find_profile(name))
    problems = list(check(profile, snakemake_options()))
    notes: list[str] = []
    if profile.values.get("executor") == "slurm" and not problems:
        problems, notes = check_cluster(profile, read_facts())
    if (manifest := manifest_of(profile)) is not None and not problems:
        problems, notes = check_kubernetes(profile, manifest)
    for key, words in sorted(problems, key=lambda problem: profile.line(problem[0])):
        print(f"{profile.file}:{profile.line(key)}: {key}: {words}")
    for note in notes:
        print(f"{profile.file}: {note}")
    if not problems:
        print(f"{profile.file}: sound")
    return int(bool(problems))


def check(profile: Profile, options: Mapping[str, Nargs]) -> Iterator[Problem]:
    """What is wrong with a profile wherever it is used.

    Args:
        options: of the installed snakemake and its plugins, as "--jobs".
    """
    executor = str(profile.values.get("executor", "local"))
    package = PACKAGES.get(executor)
    if package and find_spec(package.replace("-", "_")) is None:
        yield "executor", f"{executor} needs the package {package}: pip install '{package}'"
        return
    yield from _check_keys(profile, {option[2:] for option in options if option.startswith("--")})
    yield from _check_rules(profile)
    if profile.values.get("slurm-array-jobs"):
        yield "slurm-array-jobs", NO_ARRAYS
    if executor == "cluster-generic":
        yield from _check_commands(profile)


def _check_keys(profile: Profile, known: Collection[str]) -> Iterator[Problem]:
    for key in profile.values:
        if key not in known:
            yield key, f"snakemake has no option --{key}{nearest(key, known)}"
    for key in ("default-resources", "groups", "resources", "group-components"):
        for entry in profile.entries(key):
            if "=" not in entry:
                yield key, f"{entry!r}: an entry is name=value"
    if profile.values.get("executor") not in (None, "local") and not profile.values.get("retries"):
        yield "executor", "without `retries: 2` a preempted or lost job ends the run; add it"


def _check_rules(profile: Profile) -> Iterator[Problem]:
    """Names of rules are those of the workflow."""
    rules = {*NEEDS, "train_variant"}
    named = [(f"set-resources/{rule}", rule) for rule in profile.values.get("set-resources") or {}]
    named += [(f"groups/{rule}", rule) for rule in profile.groups]
    for key, rule in named:
        if rule not in rules and not rule.startswith("make_"):
            yield key, f"there is no rule {rule!r}{nearest(rule, rules)}"


def _check_commands(profile: Profile) -> Iterator[Problem]:
    for key in COMMANDS:
        command = profile.values.get(key)
        if command is None:
            what = (
                "a job that the cluster kills is waited for forever" if "status" in key else "jobs stay behind Ctrl-C"
            )
            yield "executor", f"no {key}: {'nothing can be submitted' if 'submit' in key else what}; add it"
            continue
        program = shlex.split(str(command))[0]
        if shutil.which(program) is None:
            yield key, f"{program}: no such command here, or no right to run it; start this where jobs are submitted"
    if (manifest := manifest_of(profile)) is not None:
        yield from _check_manifest(manifest)


def manifest_of(profile: Profile) -> Path | None:
    """The Job that a profile for Kubernetes creates; None where it is for something else."""
    manifest = profile.file.with_name("job.yaml")
    return manifest if profile.values.get("executor") == "cluster-generic" and manifest.is_file() else None


def _check_manifest(manifest: Path) -> Iterator[Problem]:
    """The Job that a profile for Kubernetes creates, as far as its file shows."""
    if shutil.which("kubectl") is None:
        yield COMMANDS[0], "kubectl: no such command here; start this where Jobs are created"
    for number, line in enumerate(manifest.read_text(encoding="utf-8").splitlines(), 1):
        if "registry.example/" in line:
            yield COMMANDS[0], f"{manifest}:{number}: image: names no image of yours; name one with this project in it"


# ---------------------------------------------------------------- a cluster of Slurm


def check_cluster(profile: Profile, facts: Facts) -> tuple[list[Problem], list[str]]:
    """What a cluster would refuse, and what is good to know."""
    problems: list[Problem] = []
    notes: list[str] = []
    try:
        command, why = how_ends_are_seen(facts, profile.values.get("slurm-status-command"))
        notes.append(f"ends of jobs are seen by {command}" + (f" ({why})" if why else ""))
    except ValueError as error:
        problems.append(("slurm-status-command", str(error)))
    name = profile.resources.get("slurm_partition", facts.default)
    partitions = [each for each in str(name).split(",") if each in facts.partitions]
    if not partitions:
        known = ", ".join(sorted(facts.partitions))
        problems.append(("default-resources/slurm_partition", f"{name}: no such partition; name one of {known}"))
    for partition in partitions:
        limits = facts.partitions[partition]
        time = "any time" if limits.minutes is None else f"{limits.minutes} minutes"
        notes.append(f"{partition}: up to {limits.memory} MB, {limits.cpus} cores, {limits.gpus} GPUs, {time}")
    places = {f"partition {name}": facts.partitions[name] for name in partitions}
    for rule, words in _too_much(profile, places) if places else ():
        key = f"set-resources/{rule}" if _own(profile, rule) else "set-resources"
        problems.append((key, f"{words}; {_fix(rule, words, facts.partitions[partitions[0]])}"))
    return problems, notes


# ---------------------------------------------------------------- a cluster of Kubernetes


def check_kubernetes(profile: Profile, manifest: Path) -> tuple[list[Problem], list[str]]:
    """What keeps Jobs from running, and what is good to know. Nodes may come when they are needed: what none that is there can
    give is no more than a note.
    """
    try:
        problems = [(COMMANDS[0], f"{manifest}: {words}") for words in defects(read_place(manifest))]
        largest = read_largest()
    except ValueError as error:
        return [(COMMANDS[0], str(error))], []
    if largest is None:
        return problems, [
            "its nodes may not be looked at from here: that they can hold what rules ask for is not checked"
        ]
    notes = [f"nodes that are there: up to {largest.memory} MB, {largest.cpus} cores, {largest.gpus} GPUs"]
    notes += [
        f"{words}; until a node comes that does, its pods stay Pending"
        for _, words in _too_much(profile, {"this cluster": largest})
    ]
    return problems, notes


# ---------------------------------------------------------------- what rules ask for


def _too_much(profile: Profile, places: Mapping[str, Partition]) -> Iterator[tuple[str, str]]:
    """Rules that ask for more than any of the places gives, and what; at the first attempt, or at the last."""
    named: set[str] = set()
    for rule, attempt, wish in _wishes(profile):
        found = [too_much(rule, place, limits, wish) for place, limits in places.items()]
        if [] not in found and rule not in named:
            named.add(rule)
            yield rule, f"{found[0][0]}, at attempt {attempt}"


def _wishes(profile: Profile) -> Iterator[tuple[str, int, dict[str, int]]]:
    """What each rule asks for at its first attempt, and at its last."""
    last = 1 + int(profile.values.get("retries") or 0)
    for rule, (memory, minutes) in NEEDS.items():
        own = _own(profile, rule)
        for attempt in (1, last):
            yield (
                rule,
                attempt,
                {
                    "mem_mb": _value(own.get("mem_mb"), attempt, memory * attempt),
                    "runtime": _value(own.get("runtime"), attempt, minutes * attempt),
                    "gpu": gpus_of(str(own.get("gres", ""))) or int(rule in ON_GPUS),
                },
            )


def _own(profile: Profile, rule: str) -> Mapping[str, object]:
    return (profile.values.get("set-resources") or {}).get(rule) or {}


def _value(given: object, attempt: int, usual: int) -> int:
    """A resource as the profile sets it: 64000, 64000 * attempt, min(64000 * attempt, 190000); anything else counts as 0."""
    if given is None:
        return usual
    if match := AMOUNT.fullmatch(str(given).strip()):
        value = int(match["first"]) * (attempt if match["grows"] else 1)
        return min(value, int(match["most"])) if match["most"] else value
    return 0


def _fix(rule: str, words: str, limits: Partition) -> str:
    memory, minutes = NEEDS[rule]
    if "gpu=" in words:
        return "name a partition with GPUs under default-resources, or for this rule alone: slurm_partition"
    if "mem_mb=" in words:
        return f'set-resources: {rule}: {{mem_mb: "min({min(memory, limits.memory)} * attempt, {limits.memory})"}}'
    return f'set-resources: {rule}: {{runtime: "min({minutes} * attempt, {limits.minutes})"}}'


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__)
    parser.add_argument("name", metavar="PROFILE", help="a name in workflow/profiles, or a folder")
    return execute(parser, argv, _run)


def _run(arguments: argparse.Namespace) -> int:
    return run(arguments.name)


if __name__ == "__main__":
    raise SystemExit(main())
