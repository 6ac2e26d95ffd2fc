"""A small pipeline under kills, faults and broken input, a little of each; `make chaos` does it at length."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.project import ROOT

pytestmark = pytest.mark.timeout(1800)  # a minute and a half, unless the machine is busy
SEED = os.environ.get("CHAOS_SEED", "0")  # another one: for a longer search
PROGRAM = ("-m", "support.chaos", "--short", "--seed", SEED)
SOME = ("--kills", "20", "--faults", "1", "--inputs", "63")


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What the program saw, by kind of fact."""
    place = tmp_path_factory.mktemp("chaos") / "place"
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *PROGRAM, *SOME, "--place", str(place)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for line in done.stdout.splitlines():
        fact = json.loads(line)
        by_kind.setdefault(fact["kind"], []).append(fact)
    assert "end" in by_kind, done.stderr[-5000:]
    return by_kind


def wrong(facts: dict[str, list[dict[str, Any]]]) -> str:
    again = f"OMP_NUM_THREADS=1 PYTHONPATH=.:tests python {' '.join((*PROGRAM, *SOME))} --place <new folder>"
    return "\n\n".join([f"{fact['step']}: {fact['what']}" for fact in facts.get("wrong", [])] + [again])


def test_nothing_was_wrong(facts: dict[str, list[dict[str, Any]]]) -> None:
    assert "wrong" not in facts, wrong(facts)


def test_every_stage_was_killed(facts: dict[str, list[dict[str, Any]]]) -> None:
    (total,) = facts["kills"]
    assert total["kills"] >= 18
    assert {fact["stage"] for fact in facts["stage"]} >= {
        "extract_frames",
        "build_tracks",
        "train_selector",
        "assemble",
    }


def test_every_kind_of_fault_was_made_or_says_why_not(facts: dict[str, list[dict[str, Any]]]) -> None:
    (faults,) = facts["faults"]
    assert facts["bits"][0]["flipped"] > 100
    assert len(faults["kinds"]) + len(faults["skipped"]) >= 15
    if faults["skipped"]:
        pytest.skip(f"all but: {faults['skipped']}")


def test_input_came_in_at_every_door(facts: dict[str, list[dict[str, Any]]]) -> None:
    (inputs,) = facts["inputs"]
    assert inputs["total"] >= 60 and len(inputs["doors"]) == 9


def test_nothing_outside_is_left(facts: dict[str, list[dict[str, Any]]]) -> None:
    mounts = Path("/proc/mounts")
    assert not mounts.exists() or "chaos" not in mounts.read_text()
