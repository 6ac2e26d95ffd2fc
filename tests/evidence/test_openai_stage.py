"""gather_evidence with a server: what enters stamps, what is asked once, and that a key is written nowhere."""

import hashlib
import json
import logging
import math
import os
from pathlib import Path
from typing import Any

import pytest
from support.evidence import job_of, layout_of, make_config, write_project
from support.openai_server import KEY, Log, Said, completion, failure, serving

from stages import gather_evidence
from stages.core.state.cache import read_json, read_stamp
from stages.core.state.evidence_file import read_evidence
from stages.core.state.graph import GATHER_EVIDENCE
from stages.evidence.backends import server
from stages.evidence.backends.server import PROBE


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mllm").mkdir()
    (tmp_path / "mllm/model.safetensors").write_bytes(b"")
    write_project(tmp_path, tmp_path / "mllm")
    monkeypatch.setenv("A_KEY", KEY)
    return tmp_path


def reply(body: dict[str, Any], before: int) -> Said:
    """Another answer for every question, whenever it is asked."""
    digest = hashlib.sha256(json.dumps(body["messages"]).encode()).digest()
    yes = (digest[0] + 1) / 258
    return completion({"Yes": math.log(yes), " no": math.log(1 - yes)})


def run(root: Path, log: Log, model: str = "a-model", **change: Any) -> None:
    given = {"url": log.url, "model": model, "key_env": "A_KEY", "retries": 0, **change}
    config = make_config(root, backend="openai", server=given)
    gather_evidence.run(job_of(config), "judge")


def evidence(root: Path) -> Path:
    return layout_of(root).file(GATHER_EVIDENCE, "v", "judge")


def log_odds(root: Path) -> dict[str, list[float]]:
    return {e: [track.log_odds for track in found.tracks] for e, found in read_evidence(evidence(root)).items()}


def asked(log: Log) -> int:
    return sum(n for words, n in log.tries.items() if words != PROBE.asked[0])


def bytes_below(root: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in root.rglob("*") if path.is_file())


def test_a_server_gathers_evidence_and_its_key_is_written_nowhere(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(reply) as log, caplog.at_level(logging.DEBUG):
        run(project, log)
    assert log.keys == {f"Bearer {KEY}"} and asked(log) > 4
    document = read_json(evidence(project), GATHER_EVIDENCE.name, GATHER_EVIDENCE.version)
    assert '"kind": "logprobs"' in json.dumps(document) and '"bounded": []' in json.dumps(document)
    ingredients = read_stamp(evidence(project), GATHER_EVIDENCE.name).ingredients
    assert ingredients["config"]["evidence.judge"]["server"] == {"url": log.url, "model": "a-model"}
    assert "precision" not in ingredients["config"]["evidence.judge"] and ingredients["weights"] == {}
    written = bytes_below(project)
    assert b"a-model" in written and KEY.encode() not in written and KEY not in caplog.text


def test_a_failed_job_writes_no_key_and_goes_on_where_it_was(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(reply) as log:
        run(project, log)
    expected, whole = log_odds(project), asked(log)
    evidence(project).unlink()
    broken = [True]

    def sometimes(body: dict[str, Any], before: int) -> Said:
        if broken[0] and len(again.answered) > whole // 2:
            return failure(400, f"the header was: Bearer {KEY}")
        return reply(body, before)

    with serving(sometimes) as again, caplog.at_level(logging.DEBUG):
        with pytest.raises(SystemExit):
            run(project, again)
        assert not evidence(project).exists() and KEY.encode() not in bytes_below(project)
        assert "the header was: Bearer (key)" in caplog.text and KEY not in caplog.text
        broken[0] = False
        run(project, again)
        answered = {words: n for words, n in again.answered.items() if words != PROBE.asked[0]}
    assert sum(answered.values()) == len(answered) == whole, "none is answered twice"
    assert log_odds(project) == expected


def test_how_a_server_is_treated_moves_nothing_but_its_model_does(project: Path) -> None:
    with serving(reply) as log:
        run(project, log)
        first, count = evidence(project).read_bytes(), asked(log)
        prices = {"input": 0.5, "output": 1.0}
        run(project, log, concurrency=2, timeout_s=7, retries=5, prices=prices)
        assert evidence(project).read_bytes() == first and asked(log) == count
        run(project, log, model="another")
        assert asked(log) == 2 * count


def test_a_missing_key_is_named_before_anything_is_asked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_KEY")
    assert "A_KEY" not in os.environ
    with serving(reply) as log:
        with pytest.raises(SystemExit):
            run(project, log)
        assert not log.bodies
    [error] = [path for path in project.rglob("v.json") if "errors" in path.parts]
    assert "the environment variable A_KEY is not set; export it" in json.loads(error.read_text())["error"]


def test_pictures_are_encoded_once_for_all_questions(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    real = server.png
    monkeypatch.setattr(server, "png", lambda picture: made.append(picture.digest) or real(picture))
    with serving(reply) as log:
        run(project, log)
    shown = sum(part["type"] == "image_url" for body in log.bodies for part in body["messages"][0]["content"])
    assert 0 < len(made) < shown
