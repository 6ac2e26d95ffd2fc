"""SIGTERM, as a scheduler sends it before SIGKILL, in the middle of every stage: the stage ends by itself, and loses nothing."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.stopped import STOPPER
from support.workspace import make_workspace

from stages.core.run.cli import build_parser, execute
from stages.core.run.stopping import Terminated

WEIGHTS = ["sam2", "grounding_dino", "text", "mllm"]
IN_A_VIDEO, WRITING, IN_TRAINING = ["work"], ["work", "write"], ["training"]


def plan() -> list[tuple[str, list[str], list[str]]]:
    """Every stage that works video by video or trains, with its flags, in an order in which each finds its inputs."""
    job = ["--config", "config.yaml", "--config", "tiny.yaml"]
    train, valid = ([*job, "--dataset", "tiny", "--split", split] for split in ("train", "valid_u"))
    stages: list[tuple[str, list[str], list[str]]] = [
        ("fetch_weights", [*job, "--preset", "random", "--role", role], []) for role in WEIGHTS
    ]
    for flags, sources, stopped in ((train, ["gt", "grid"], False), (valid, ["grid", "gdino"], True)):
        in_a_video, writing = (IN_A_VIDEO, WRITING) if stopped else ([], [])
        stages += [("extract_frames", flags, writing), ("encode_text", flags, writing)]
        for source in sources:
            of_source = [*flags, "--source", source]
            stages += [("generate_prompts", of_source, in_a_video), ("build_tracks", of_source, in_a_video)]
    stages += [("train_selector", train, IN_TRAINING), ("score_tracks", valid, IN_A_VIDEO)]
    stages += [("gather_evidence", [*valid, "--name", "judge"], IN_A_VIDEO)]
    stages += [(name, valid, IN_A_VIDEO) for name in ("rerank_tracks", "evaluate", "render_predictions")]
    return stages


def test_sigterm_ends_every_stage_and_nothing_finished_is_made_again(tmp_path: Path) -> None:
    place = make_workspace(tmp_path)
    command = [sys.executable, "-c", STOPPER, json.dumps(plan())]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(place)}
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, env=environment)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(rows) == sum(len(moments) + 1 for _, _, moments in plan()), done.stderr[-5000:]
    said = done.stderr.split("== ")[1:]
    state: dict[str, int] = {}
    for (stage, moment, status, files), text in zip(rows, said, strict=True):
        assert status == (143 if moment else 0), (stage, moment, text)
        words = "training stopped" if moment == "training" else "the same command goes on" if moment else ""
        assert words in text and ("terminated" in text) == bool(moment) and "Traceback" not in text, (
            stage,
            moment,
            text,
        )
        assert not [file for file in files if file.endswith(".tmp")], (stage, moment)
        assert state.items() <= files.items(), (stage, moment, "made a finished file again")
        state = {file: changed for file, changed in files.items() if is_of_a_video(Path(file))}


def is_of_a_video(file: Path) -> bool:
    return file.parts[:3] == ("results", "cache", "tiny") and file.suffix in (".h5", ".json") and "video" in file.name


def test_a_second_sigterm_does_not_disturb_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    ended = []

    def action(_: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            ended.append("cleaned up")

    before = signal.getsignal(signal.SIGTERM)
    assert execute(build_parser("A command."), [], action) == 143
    assert ended == ["cleaned up"] and capsys.readouterr().err == "terminated\n"
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_error_that_a_library_makes_of_a_signal_is_the_signal(
    number: signal.Signals, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """As pydantic does where one comes while it builds a model (seen: SchemaError, and a traceback)."""

    def action(_: object) -> None:
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt as error:
            raise RuntimeError("building failed") from error

    before = signal.getsignal(number)
    assert execute(build_parser("A command."), [], action) == status
    assert capsys.readouterr().err in ("terminated\n", "interrupted\n")
    with pytest.raises(RuntimeError, match="its own"):
        execute(build_parser("A command."), [], _fail)
    assert signal.getsignal(number) == before


def _fail(_: object) -> None:
    raise RuntimeError("its own")


def test_a_sigterm_that_is_to_be_ignored_is_ignored() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert execute(build_parser("A command."), [], lambda _: os.kill(os.getpid(), signal.SIGTERM)) == 0
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_command_outside_the_main_thread_leaves_signals_alone() -> None:
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(execute(build_parser("A command."), [], lambda _: 7)))
    thread.start()
    thread.join()
    assert answers == [7] and issubclass(Terminated, KeyboardInterrupt)
