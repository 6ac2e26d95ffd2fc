"""Experiment trackers: the packages themselves, offline; and what the kernel makes of trackers that come, go and fail."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
from support import trackers as stored
from support.kernel import Toy, train_and_die
from support.project import ROOT

from stages.core.config.file import Config
from stages.core.config.loading import ConfigError, load_config
from stages.core.trackers import TRACKERS, Run, Tracker
from stages.training import curve, experiment, loop
from stages.training.clock import Length
from stages.training.experiment import require_installed
from stages.training.loop import train

STEPS = Length(steps=8)
READERS = {"wandb": stored.of_wandb, "mlflow": stored.of_mlflow, "trackio": stored.of_trackio}


def toy() -> Toy:
    return Toy(per_epoch=4)  # lines after steps 2, 4, 4 (the end of an epoch, and its checkpoint), 6, 8, 8


def written(folder: Path) -> stored.Figures:
    """The figures of curve.jsonl."""
    figures: stored.Figures = {}
    for line in map(json.loads, (folder / curve.FILE).read_text(encoding="utf-8").splitlines()):
        flat = {name: value for name, value in line.items() if name not in ("step", "seconds", "validation")}
        flat |= {f"validation/{name}": value for name, value in line.get("validation", {}).items()}
        figures.setdefault(line["step"], {}).update(flat)
    return figures


# ------------------------------------------------------------- the packages


@pytest.mark.parametrize("name", READERS)
def test_a_killed_training_is_one_run_without_a_doubled_step(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after step 7, when its tracker had been told of step 6; the checkpoint is of step 4."""
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        pytest.skip(f"{name} is not installed: pip install {name}")
    for key, value in {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_DIR": str(tmp_path),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
    }.items():
        monkeypatch.setenv(key, value)
    folder = tmp_path / "toy"
    train_and_die(toy(), STEPS, folder, 7, trackers=[name])
    first = json.loads((folder / experiment.FILE).read_text())[name]["run"]
    train(toy(), STEPS, folder, resume=True, trackers=[name])
    runs, parameters = READERS[name](tmp_path)
    assert list(runs) == [first] == [json.loads((folder / experiment.FILE).read_text())[name]["run"]]
    assert runs[first].keys() == {2, 4, 6, 8}
    for step, figures in written(folder).items():
        assert runs[first][step] == pytest.approx(figures), step
    assert "recipe.learning_rate" in parameters[0] and str(parameters[0]["seed"]) == "0"


def test_every_tracker_has_an_extra_of_its_name() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {name for name in TRACKERS if name not in extras} == {"tensorboard"}, "which everybody has"


def test_a_misspelt_tracker_is_named(config: Config, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("run: {experiment_trackers: [wanbd]}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run\.experiment_trackers.*wandb"):
        load_config(ROOT / "config.yaml", mine)


# ------------------------------------------------------------- the kernel


class Notes:
    """A tracker that keeps what it is told, and fails where it is asked to."""

    def __init__(self, name: str = "notes") -> None:
        self.begun = 0
        self.told: list[tuple[str, int, str]] = []
        self.closed: list[bool] = []
        self.fails_at: int | None = None
        self.tracker = Tracker(name, "json", self.open)

    def open(self, run: Run) -> "Notes.Writer":
        if self.fails_at == 0:
            raise ConnectionError("the server is away")
        self.begun += run.id is None
        return self.Writer(self, run.id or f"run {self.begun}")

    class Writer:
        def __init__(self, notes: "Notes", name: str) -> None:
            self.notes, self.id = notes, name

        def log(self, step: int, figures: Mapping[str, float]) -> None:
            if step == self.notes.fails_at:
                raise ConnectionError("the server is away")
            self.notes.told.append((self.id, step, " ".join(sorted(figures))))

        def close(self, failed: bool) -> None:
            self.notes.closed.append(failed)


@pytest.fixture
def notes() -> Iterator[Notes]:
    kept = Notes()
    with TRACKERS.extended_by(kept.tracker):
        yield kept


def steps(notes: Notes) -> list[int]:
    return [step for _, step, _ in notes.told]


def test_a_tracker_is_told_every_line_once_however_often_it_is_killed(tmp_path: Path, notes: Notes) -> None:
    train_and_die(toy(), STEPS, tmp_path, 7, trackers=["notes"])
    assert steps(notes) == [2, 4, 4, 6] and notes.closed == [True]
    train_and_die(toy(), STEPS, tmp_path, 5, resume=True, trackers=["notes"])
    train_and_die(toy(), STEPS, tmp_path, 7, resume=True, trackers=["notes"])
    assert steps(notes) == [2, 4, 4, 6], "the step that is repeated is known"
    train(toy(), STEPS, tmp_path, resume=True, trackers=["notes"])
    assert notes.told[0] == ("run 1", 2, "loss norm odd") and notes.told[2] == ("run 1", 4, "epoch validation/sum")
    assert steps(notes) == [2, 4, 4, 6, 8, 8] and notes.begun == 1 and notes.closed[-1] is False


def test_a_tracker_that_is_added_later_gets_the_whole_curve(tmp_path: Path, notes: Notes) -> None:
    train_and_die(toy(), STEPS, tmp_path, 7)
    train(toy(), STEPS, tmp_path, resume=True, trackers=["notes", "tensorboard"])
    assert steps(notes) == [2, 4, 4, 6, 8, 8]


def test_a_run_goes_on_that_was_killed_before_its_first_line(
    tmp_path: Path, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    train_and_die(toy(), STEPS, tmp_path, 1, trackers=["notes"])
    train(toy(), STEPS, tmp_path, resume=True, trackers=["notes"])
    assert notes.begun == 1 and steps(notes) == [2, 4, 4, 6, 8, 8]


def test_another_training_in_the_same_place_is_another_run(tmp_path: Path, notes: Notes) -> None:
    train(toy(), STEPS, tmp_path, trackers=["notes"])
    (tmp_path / "checkpoint.pt").unlink()
    train(toy(), STEPS, tmp_path, trackers=["notes"])
    assert notes.begun == 2 and [run for run, _, _ in notes.told] == ["run 1"] * 6 + ["run 2"] * 6


def test_a_tracker_that_fails_does_not_stop_the_training(
    tmp_path: Path, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    notes.fails_at = 4
    train_and_die(toy(), STEPS, tmp_path, 7, trackers=["notes"])
    said = [record.message for record in caplog.records if "experiment tracker" in record.message]
    assert said == [
        "experiment tracker notes: the server is away; the training goes on without it, curve.jsonl has everything"
    ]
    notes.fails_at = 0
    train_and_die(toy(), STEPS, tmp_path, 7, resume=True, trackers=["notes"])
    assert steps(notes) == [2] and len(written(tmp_path)) == 3
    notes.fails_at = None
    train(toy(), STEPS, tmp_path, resume=True, trackers=["notes"])
    assert steps(notes) == [2, 4, 4, 6, 8, 8] and notes.begun == 1, "it is told what it has missed"


def test_a_tracker_that_cannot_begin_is_an_error(tmp_path: Path, notes: Notes) -> None:
    notes.fails_at = 0
    with pytest.raises(ValueError, match=r"tracker notes: the server is away; fix it, or take it out of run\.exp"):
        train(toy(), STEPS, tmp_path, trackers=["notes"])


def test_a_tracker_that_is_not_installed_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no_such_package").mkdir()  # as wandb leaves a folder of its name where it runs
    monkeypatch.syspath_prepend(str(tmp_path))
    with TRACKERS.extended_by(Tracker("mine", "no_such_package", Notes().open)):
        with pytest.raises(ValueError, match=r"tracker mine is not installed: pip install no_such_package, or take"):
            require_installed(["tensorboard", "mine"])
        with pytest.raises(ValueError, match="not installed"):
            train(toy(), STEPS, tmp_path / "toy", trackers=["mine"])


def test_no_tracker_is_needed(tmp_path: Path) -> None:
    train(toy(), STEPS, tmp_path, trackers=[])
    assert written(tmp_path).keys() == {2, 4, 6, 8} and not (tmp_path / "tensorboard").exists()


def test_no_package_of_a_tracker_is_imported_before_it_is_asked_for() -> None:
    probe = (
        "import sys, stages.training.trackers, stages.training.experiment\n"
        "assert not {'torch', 'wandb', 'mlflow', 'trackio', 'tensorboard'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", probe], cwd=ROOT).returncode == 0
