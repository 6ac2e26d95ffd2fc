"""Training in two processes that torchrun starts: the gradients of one, and the same bytes after a kill."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from support.gradients import VARIANTS, joint_gradients
from support.project import ROOT
from support.trainings import make_toy, toy_config, write_toy_prompts

from stages.core.config.file import Config
from stages.core.config.loading import merge, parse_config
from stages.core.state.graph import TRAIN_SELECTOR, Layout
from stages.datasets import open_split
from stages.training.checkpoint import read
from stages.training.processes import World

GRADIENTS = """
import sys
from pathlib import Path
import torch
from stages.core.config.loading import load_config
from stages.training.processes import join
from support.gradients import joint_gradients

config = load_config(Path(sys.argv[1]))
with join("cpu") as world:
    assert world.size == 2
    assert world.gather([10 * i for i in world.deal(range(5))]) == [0, 10, 20, 30, 40]
    assert world.first_decides(lambda: world.rank) == 0
    found = joint_gradients(config, world)
    if world.first:
        torch.save(found, sys.argv[2])
"""

KILLED = """
import os, signal, sys
from stages import train_selector
from stages.training import loop
loop.CHECKPOINT_SECONDS = 0.0
save, calls = loop.save, 0
def save_or_die(*arguments):
    global calls
    calls += 1
    if calls > 7:
        os.kill(os.getpid(), signal.SIGKILL)
    save(*arguments)
loop.save = save_or_die
raise SystemExit(train_selector.main(sys.argv[1:]))
"""


@pytest.fixture
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """Steps of two groups, so that either process has one; `course` sees the detector's scores."""
    name, still = getattr(request, "param", "sola"), {"dropout": 0.0, "attention_dropout": 0.0}
    config = toy_config(tmp_path, still, name, epochs=2, batch_size=6, expressions_per_video=3)
    if name == "course":
        seeing = {"selector": {"course": {"detector": True}}}
        raw = config.model_dump(mode="json")
        config = parse_config(merge(raw, {"datasets": {"toy": {"settings": seeing}}}))
    make_toy(tmp_path, config)
    for split in ("train", "valid_u"):
        for video in open_split(config, "toy", split).videos():
            write_toy_prompts(Layout.of(config, "toy", split), video)
    return config


def torchrun(*arguments: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def written(folder: Path, config: Config) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    return path


def test_two_processes_have_the_gradients_of_one(config: Config, tmp_path: Path) -> None:
    script, out = tmp_path / "gradients.py", tmp_path / "gradients.pt"
    script.write_text(GRADIENTS, encoding="utf-8")
    done = torchrun(str(script), str(written(tmp_path, config)), str(out))
    assert done.returncode == 0, done.stderr
    alone = joint_gradients(config, World())
    together = torch.load(out, weights_only=True)
    assert together.keys() == alone.keys() == VARIANTS.keys()
    for name, expected in alone.items():
        assert sum(wanted.abs().sum() for wanted in expected) > 0
        for found, wanted in zip(together[name], expected, strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("config", ["sola", "course"], indirect=True)
def test_a_killed_training_of_two_processes_ends_in_the_same_bytes(config: Config, tmp_path: Path) -> None:
    flags = ["--config", str(written(tmp_path, config)), "--dataset", "toy", "--split", "train"]
    script = tmp_path / "killed.py"
    script.write_text(KILLED, encoding="utf-8")
    folder = Layout.of(config, "toy", "train").folder(TRAIN_SELECTOR)
    assert torchrun(str(script), *flags).returncode != 0
    found = read(folder)
    assert found is not None and (found.clock.epoch, found.clock.epoch_step) == (1, 1)
    names = ("best.safetensors", "training.json")
    ends = []
    for _ in range(2):  # going on after the kill, then from the start
        done = torchrun("-m", "stages.train_selector", *flags)
        assert done.returncode == 0, done.stderr
        ends.append([(folder / name).read_bytes() for name in names])
        for file in (*names, "checkpoint.pt"):
            (folder / file).unlink()
    assert ends[0] == ends[1]
