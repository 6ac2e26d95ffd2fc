"""The training kernel with a toy task: length, exact resume, the curve, refusals, several processes, the command."""

import dataclasses
import json
import os
import subprocess
import sys
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from support.kernel import Toy, ToyRecipe, kill_before, same, train_and_die
from support.project import ROOT, make_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stages.core.config.loading import settings_of
from stages.core.run.slots import Slot
from stages.training import checkpoint, curve, loop, processes
from stages.training.arithmetic import deterministic
from stages.training.checkpoint import read
from stages.training.clock import Clock, Length
from stages.training.command import Command, build_parser
from stages.training.curve import Means
from stages.training.descent import Averaged, update
from stages.training.loop import train
from stages.training.processes import World, refuse_crowding

STEPS = Length(steps=7)


@pytest.fixture
def saves_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """The curve without what a clock says."""
    lines = [json.loads(line) for line in (folder / curve.FILE).read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


# ------------------------------------------------------------- length


def test_steps_drive_progress(tmp_path: Path) -> None:
    toy = Toy()
    clock = train(toy, Length(steps=4), tmp_path)
    assert clock.step == 4 and toy.progress == [0, 0.25, 0.5, 0.75]
    assert toy.optimiser.param_groups[0]["lr"] == pytest.approx(0.25 * 0.05)


def test_minutes_follow_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(10**6))
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(ticks)))
    toy = Toy()
    clock = train(toy, Length(minutes=0.1), tmp_path)  # a look at this clock takes a second
    assert clock.seconds >= 6 and 1 < clock.step <= 6
    assert toy.progress[0] == 0 and toy.progress == sorted(toy.progress) and toy.progress[-1] < 1


def test_epochs_end_with_their_work_and_may_be_cut_short(tmp_path: Path) -> None:
    toy = Toy(per_epoch=3)
    clock = train(toy, Length(epochs=4), tmp_path / "a")
    assert (clock.epoch, clock.epoch_step, clock.step) == (4, 0, 12) and len(toy.history.losses) == 4
    assert toy.progress == pytest.approx([i / 12 for i in range(12)])
    toy = Toy(per_epoch=1)
    assert train(toy, Length(epochs=20), tmp_path / "b").epoch == 9, "the task said that it is over"


@pytest.mark.parametrize("given", [{}, {"steps": 0}, {"minutes": -1.0}, {"steps": 1, "epochs": 1}])
def test_a_length_is_one_positive_number(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a positive number of steps, minutes or epochs"):
        Length(**given)
    assert str(Length(minutes=120)) == "120 minutes" and str(Length(steps=800)) == "800 steps"


# ------------------------------------------------------------- resume


@pytest.mark.parametrize("per_epoch", [None, 3])
def test_resuming_at_every_step_ends_in_the_same_bytes(
    tmp_path: Path, saves_always: None, per_epoch: int | None
) -> None:
    whole = Toy(per_epoch=per_epoch)
    train(whole, STEPS, tmp_path / "whole")
    assert not same(Toy().weights(), whole.weights())
    for step in range(1, 7):
        folder = tmp_path / str(step)
        train_and_die(Toy(per_epoch=per_epoch), STEPS, folder, step)
        resumed = Toy(per_epoch=per_epoch)
        clock = train(resumed, STEPS, folder, resume=True)
        assert clock.step == 7 and len(resumed.progress) == 7 - step
        assert same(resumed.weights(), whole.weights()), step
        assert resumed.history.losses == whole.history.losses
        assert lines_of(folder) == lines_of(tmp_path / "whole"), "means of a line were cut by the kill"
        mine, other = (read(where) for where in (folder, tmp_path / "whole"))
        assert mine is not None and other is not None
        assert same(mine.parts, other.parts) and mine.means == other.means
        mine.clock.seconds = other.clock.seconds
        assert mine.clock == other.clock


def test_what_was_logged_after_the_checkpoint_is_forgotten(tmp_path: Path) -> None:
    """Without a checkpoint every step, a kill in epoch 2 goes back to the end of epoch 1."""
    train(Toy(per_epoch=4), Length(steps=8), tmp_path / "whole")
    folder = tmp_path / "cut"
    train_and_die(Toy(per_epoch=4), Length(steps=8), folder, 7)
    assert [line["step"] for line in lines_of(folder)] == [2, 4, 4, 6]
    with (folder / curve.FILE).open("a") as handle:
        handle.write('{"step": 7, "lo')  # cut in the middle
    resumed = Toy(per_epoch=4)
    train(resumed, Length(steps=8), folder, resume=True)
    assert len(resumed.progress) == 4
    assert [line["step"] for line in lines_of(folder)] == [2, 4, 4, 6, 8, 8]
    assert lines_of(folder) == lines_of(tmp_path / "whole")
    scalars = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert [event.step for event in scalars.Scalars("loss")] == [2, 4, 6, 8]
    assert [event.step for event in scalars.Scalars("validation/sum")] == [4, 8]


def test_a_line_holds_means_over_the_steps_that_have_a_loss(tmp_path: Path) -> None:
    train(Toy(), Length(steps=2), tmp_path)
    (line,) = lines_of(tmp_path)
    assert line["step"] == 2 and line["odd"] == 1.0 and line["loss"] > 0 and line["norm"] > 0
    means = Means()
    means.add({"a": 1e-7, "b": 2.0})
    means.add({"a": 3e-7})
    assert means.take() == {"a": 2e-7, "b": 2.0} and means.take() == {}


def test_a_training_from_the_start_forgets_the_old_curve(tmp_path: Path) -> None:
    train(Toy(), Length(steps=4), tmp_path)
    (tmp_path / checkpoint.FILE).unlink()
    train(Toy(), Length(steps=3), tmp_path)
    assert [line["step"] for line in lines_of(tmp_path)] == [2]


# ------------------------------------------------------------- refusals


def test_a_training_is_not_overwritten(tmp_path: Path) -> None:
    train(Toy(), Length(steps=1), tmp_path)
    before = (tmp_path / checkpoint.FILE).read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint\.pt: a training is there already; give --resume"):
        train(Toy(), Length(steps=1), tmp_path)
    assert (tmp_path / checkpoint.FILE).read_bytes() == before


def test_another_recipe_or_seed_is_refused_by_name(tmp_path: Path) -> None:
    train(Toy(), Length(steps=1), tmp_path)
    with pytest.raises(ValueError, match=rf"{tmp_path}/checkpoint\.pt: .*seed: 0 → 1\); train into another folder"):
        train(Toy(seed=1), STEPS, tmp_path, resume=True)
    other = dataclasses.replace(ToyRecipe(), clip_norm=0.5)
    with pytest.raises(ValueError, match=r"recipe\.clip_norm: 1\.0 → 0\.5"):
        train(Toy(recipe=other), STEPS, tmp_path, resume=True)
    train(Toy(), STEPS, tmp_path, resume=True)  # a recipe's tuples are the lists of the file


@pytest.mark.parametrize("damage", ["cut", "foreign", "other code"])
def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    train(Toy(), Length(steps=1), tmp_path)
    file = tmp_path / checkpoint.FILE
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    elif damage == "foreign":
        torch.save({"weights": torch.ones(1)}, file)
    else:
        content = torch.load(file, weights_only=True)
        del content["parts"]["model"]["0.bias"]
        torch.save(content, file)
    with pytest.raises(ValueError, match="delete it and start again without --resume") as caught:
        train(Toy(), STEPS, tmp_path, resume=True)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist; start without --resume"):
        train(Toy(), STEPS, tmp_path, resume=True)


# ------------------------------------------------------------- arithmetic


def test_averaged_weights_follow_and_copy_buffers() -> None:
    module = torch.nn.BatchNorm1d(1)
    averaged = Averaged(module, 0.5)
    module.weight.data.fill_(3.0)
    module.running_mean.fill_(7.0)
    averaged.update(module, 0)  # keeps 1/10 of the start
    assert averaged.module.weight.item() == pytest.approx(0.1 * 1 + 0.9 * 3)
    averaged.update(module, 10**6)
    assert averaged.module.weight.item() == pytest.approx(0.5 * 2.8 + 0.5 * 3)
    assert averaged.module.running_mean.item() == 7


def test_a_gradient_that_is_not_finite_is_skipped(caplog: pytest.LogCaptureFixture) -> None:
    weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    weight.grad = torch.tensor([float("nan"), 1.0])
    assert not update(optimiser, 1.0) < float("inf")
    assert weight.tolist() == [3, 4] and weight.grad is None and "not finite" in caplog.text
    weight.grad = torch.tensor([3.0, 4.0])
    assert update(optimiser, 1.0) == pytest.approx(5)
    assert weight.tolist() == pytest.approx([3 - 0.6, 4 - 0.8])


def test_deterministic_algorithms_end_with_the_training(tmp_path: Path) -> None:
    seen = []

    class Watching(Toy):
        def loss(self, clock: Clock, progress: float) -> Any:
            seen.append(torch.are_deterministic_algorithms_enabled())
            return super().loss(clock, progress)

    train(Watching(), Length(steps=1), tmp_path)
    assert seen == [True] and not torch.are_deterministic_algorithms_enabled()
    with deterministic():
        assert torch.are_deterministic_algorithms_enabled()


# ------------------------------------------------------------- processes

TOGETHER = """
import sys
from pathlib import Path
import torch
from support.kernel import Toy, train_and_die
from stages.training import loop
from stages.training.clock import Length
from stages.training.loop import train
from stages.training.processes import join

torch.set_num_threads(1)
out = Path(sys.argv[1])
with join("cpu") as world:
    assert world.size == 2
    assert world.gather([10 * i for i in world.deal(range(5))]) == [0, 10, 20, 30, 40]
    assert world.first_decides(lambda: world.rank) == 0 == world.agree(world.rank)
    whole = Toy(dropout=0.0, world=world)
    train(whole, Length(steps=6), out / "whole", world=world)
    loop.CHECKPOINT_SECONDS = 0.0
    train_and_die(Toy(dropout=0.0, world=world), Length(steps=6), out / "cut", 4, world=world)
    resumed = Toy(dropout=0.0, world=world)
    train(resumed, Length(steps=6), out / "cut", resume=True, world=world)
    timed = train(Toy(world=world), Length(minutes=0.002), out / "timed", world=world)
    torch.save({"whole": whole.weights(), "resumed": resumed.weights(), "steps": timed.step}, out / f"{world.rank}.pt")
"""


def test_two_processes_are_one_training(tmp_path: Path) -> None:
    """The weights of one process, the same bytes after a kill, one end by the clock, one writer."""
    script = tmp_path / "together.py"
    script.write_text(TOGETHER, encoding="utf-8")
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same(first, second) and first["steps"] > 0
    assert same(first["whole"], first["resumed"])
    alone = Toy(dropout=0.0)
    train(alone, Length(steps=6), tmp_path / "alone")
    for name, weight in alone.weights().items():
        torch.testing.assert_close(first["whole"][name], weight, atol=1e-6, rtol=1e-4)
    assert [line["step"] for line in lines_of(tmp_path / "cut")] == [2, 4, 6]
    assert len(list((tmp_path / "whole" / "tensorboard").iterdir())) == 1


def test_more_processes_than_devices_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(processes, "visible_slots", lambda: [Slot(str(i), str(i)) for i in range(2)])
    with pytest.raises(ValueError, match=r"4 processes .* 2 visible CUDA devices: start it with --nproc-per-node 2"):
        refuse_crowding("auto")
    refuse_crowding("cpu")  # the CPU is shared
    monkeypatch.setattr(processes, "visible_slots", lambda: [Slot(str(i), str(i)) for i in range(4)])
    refuse_crowding("cuda")


@pytest.mark.parametrize(("ranks", "expected"), [("1", 3), ("2", 1)])
def test_processes_of_one_training_never_share_a_device(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ranks: str, expected: int
) -> None:
    """NCCL refuses two on one device; other jobs may still share it."""
    run = settings_of(make_config(tmp_path), "shapes").run.model_copy(update={"slots_per_device": 3})
    leased: list[int] = []
    monkeypatch.setenv("WORLD_SIZE", ranks)
    monkeypatch.setattr(
        processes, "lease_device", lambda run: nullcontext(leased.append(run.slots_per_device) or "cpu")
    )
    monkeypatch.setattr(processes, "join", lambda device: nullcontext(World()))
    with processes.processes(run):
        assert leased == [expected]


def test_one_process_shares_with_nobody() -> None:
    world = World()
    assert world.first and world.deal([1, 2]) == [1, 2] == world.gather([1, 2]) and world.gradients([]) == []
    tensor = torch.ones(2)
    world.add_up([tensor])
    assert tensor.tolist() == [1, 1]


# ------------------------------------------------------------- the command


def finish(toy: Toy, clock: Clock, arguments: Namespace) -> dict[str, float]:
    return {"steps": clock.step, "weight": float(toy.model[0].weight[0, 0])}


def run_command(*flags: str) -> int:
    command = Command(Length(steps=3), Toy, finish, lambda arguments: {"measured": str(arguments.evaluate)})
    return command.run(build_parser("toy", "Trains a toy.", "FILE", Length(steps=3)).parse_args(flags))


def test_the_command_trains_resumes_refuses_and_evaluates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, saves_always: None
) -> None:
    out = str(tmp_path / "out")
    assert run_command("--out", out) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["steps"] == 3 and printed == json.loads((tmp_path / "out" / "scores.json").read_text())
    assert run_command("--out", out) == 2
    assert capsys.readouterr().err.count("error: ") == 1
    assert run_command("--out", out, "--resume", "--steps", "5") == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 5
    assert run_command("--out", out, "--resume", "--seed", "1") == 2
    assert "seed: 0 → 1" in capsys.readouterr().err
    assert run_command("--out", str(tmp_path / "none"), "--steps", "0") == 2
    assert "positive number" in capsys.readouterr().err
    assert run_command("--evaluate", "x") == 0
    assert json.loads(capsys.readouterr().out) == {"measured": "x"}


def test_help_imports_no_torch() -> None:
    probe = (
        "import sys, stages.training.command as c; from stages.training.clock import Length\n"
        "c.build_parser('toy', 'doc', 'FILE', Length(steps=1)); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_kill_helper_that_never_fires_would_be_noticed(tmp_path: Path) -> None:
    toy = Toy()
    kill_before(toy, 99)
    assert train(toy, Length(steps=2), tmp_path).step == 2
    with pytest.raises(AssertionError, match="was not killed"):
        train_and_die(Toy(), Length(steps=2), tmp_path / "b", 99)
