"""The README's commands, tried: a dry run of every snakemake line, --help of every stage it names, its links."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.project import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
WORKFLOW = [line for line in LINES if line.startswith("snakemake")]
STAGES = sorted(set(re.findall(r"python -m (stages\.\w+)", TEXT)))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A newcomer's checkout: the code, no data, no results."""
    place = tmp_path_factory.mktemp("checkout")
    for name in ("Snakefile", "workflow", "stages", "envs", "config.yaml", "tests"):
        (place / name).symlink_to(ROOT / name)
    return place


def test_the_readme_has_commands() -> None:
    assert len(WORKFLOW) >= 7 and len(STAGES) >= 2


@pytest.mark.parametrize("line", WORKFLOW)
def test_workflow_commands_plan(line: str, workspace: Path) -> None:
    words = [word for word in shlex.split(line) if word != "-n"]
    if "--report" in words:
        pytest.skip("a report needs finished results: tests/workflow/test_workflow.py writes one")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", *words, "--dry-run"]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^total\s+\d+$", done.stdout + done.stderr, re.MULTILINE)


@pytest.mark.parametrize("stage", STAGES)
def test_named_stages_exist(stage: str) -> None:
    done = subprocess.run([sys.executable, "-m", stage, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(((?!http)[^)#]+)\)", TEXT))))
def test_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {line.split()[1] for line in LINES if line.startswith("make ")}
    assert named >= {"demo", "test"}
    assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in named)
