"""How the workflow is started: with a workflow profile, and in which environment."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from stages.core.config.loading import nearest
from stages.core.run.profiles import PROFILES
from stages.core.run.snakemake_words import Option

DEFAULT_PROFILE = PROFILES / "default"


def environment() -> dict[str, str]:
    """The environment of this process, in which `python` is the Python that runs this: rules start it by name."""
    folder = str(Path(sys.executable).parent)
    return os.environ | {"PATH": os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])}


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
