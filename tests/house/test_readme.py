"""The README's commands, tried: a dry run of everything that runs the workflow, its links, its map, its make targets."""

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from support.project import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
WORKFLOW = [line for line in LINES if line.startswith(("snakemake ", "referee run ", "referee demo"))]
FIRST = "snakemake --cores 8 --resources gpu=4 -- results/mevis/valid_u"
MAP = next(block for block in BLOCKS if "stages/__main__.py" in block)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A newcomer's checkout: the code, no data, no results."""
    place = tmp_path_factory.mktemp("checkout")
    for name in ("Snakefile", "workflow", "stages", "envs", "config.yaml", "tests"):
        (place / name).symlink_to(ROOT / name)
    return place


def test_the_readme_has_commands() -> None:
    assert WORKFLOW[0] == FIRST, "the main job, as users write it"
    assert len(WORKFLOW) >= 7


@cache
def planned(line: str, workspace: Path) -> subprocess.CompletedProcess[str]:
    """A dry run of a command of the README."""
    program, *words = [word for word in shlex.split(line) if word != "-n"]
    if program == "snakemake":
        command = ["-m", "snakemake", "--dry-run", *words]  # behind "--" it would be a target
    else:
        command = ["-m", "stages", *words, "--dry-run"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return subprocess.run([sys.executable, *command], cwd=workspace, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("line", WORKFLOW)
def test_workflow_commands_plan(line: str, workspace: Path) -> None:
    if "--report" in line:
        pytest.skip("a report needs finished results: tests/workflow/test_workflow.py writes one")
    done = planned(line, workspace)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^total\s+\d+$", done.stdout + done.stderr, re.MULTILINE)


def test_the_main_job_is_the_same_in_both_ways(workspace: Path) -> None:
    """What `referee run` plans for the second line is what snakemake plans for the first."""
    assert WORKFLOW[1].startswith("referee ")
    runs = [planned(line, workspace) for line in (FIRST, WORKFLOW[1])]
    plans = [sorted(re.findall(r"^(\w+ +\d+)$", done.stdout + done.stderr, re.MULTILINE)) for done in runs]
    assert plans[0] == plans[1] and len(plans[0]) > 10


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:^|  )((?:\w|/)+(?:/|\.\w+)|Snakefile)(?=  )", MAP, re.M))))
def test_the_map_shows_what_is_there(path: str) -> None:
    place = ROOT / path
    assert place.is_dir() if path.endswith("/") else place.is_file()


def test_the_map_shows_every_package() -> None:
    missing = [
        path.parent.name for path in (ROOT / "stages").glob("*/__init__.py") if f"stages/{path.parent.name}/" not in MAP
    ]
    assert not missing


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {line.split()[1] for line in LINES if line.startswith("make ")}
    assert named >= {"demo", "test"}
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in named)
