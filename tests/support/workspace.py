"""A project folder of its own for the workflow, with the small data set of tests/configs/tiny.yaml, and runs in it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from support.project import ROOT
from support.tiny_mevis import write_tree

LINKS = ("Snakefile", "workflow", "stages", "envs", "config.yaml")


def snakemake(
    place: Path, *arguments: str, config: str = "tiny.yaml", cores: int | None = 2
) -> subprocess.CompletedProcess[str]:
    """Runs the workflow; what it says on stderr and stdout is in the answer."""
    command = [sys.executable, "-m", "snakemake", *arguments, "--configfile", config]
    command += ["--cores", str(cores)] if cores else []
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=place, capture_output=True, text=True, env=environment)


def jobs_of(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """The "Job stats" table of a (dry) run: rule → jobs, without the total."""
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^(\w+)\s+(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    return {rule: int(n) for rule, n in rows if rule not in ("job", "total")}


def overlay(place: Path, name: str, settings: dict[str, object], **entry: object) -> str:
    """Another config file: the workspace's own with other settings, or entries, of its data set."""
    own = place / "tiny.yaml"
    raw = yaml.safe_load((own if own.exists() else ROOT / "tests/configs/tiny.yaml").read_text())
    raw["datasets"]["tiny"] |= entry
    for section, values in settings.items():
        raw["datasets"]["tiny"]["settings"].setdefault(section, {}).update(values)
    (place / name).write_text(yaml.safe_dump(raw, sort_keys=False))
    return name


def make_workspace(place: Path) -> Path:
    """The project's code and the small data set in `place`; nothing is made yet."""
    for name in LINKS:
        (place / name).symlink_to(ROOT / name)
    overlay(place, "tiny.yaml", {}, root=str(place / "data" / "tiny"))  # the data stay where they are
    write_tree(place / "data" / "tiny")
    return place
