"""Backend `openai` against llama.cpp's server with a tiny random model, where llama-server is installed.

It is looked for on PATH, or where LLAMA_SERVER says; the tiny model is written with the package gguf.
"""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.tiny_gguf import write_tiny_gguf

from stages.evidence.backends.server import ServerJudge
from stages.evidence.backends.server_settings import Server
from stages.evidence.questions import Question

PROGRAM = shutil.which(os.environ.get("LLAMA_SERVER", "llama-server"))
SECONDS = 60

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="llama-server (llama.cpp) is neither on PATH nor in LLAMA_SERVER"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("gguf", reason="the package gguf writes the tiny model")
    model = write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(PROGRAM), "-m", str(model), "--host", "127.0.0.1", "--port", str(port), "-c", "2048", "-np", "4"]
    log = model.with_suffix(".log")
    with log.open("wb") as file, subprocess.Popen([*command, "-t", "1"], stdout=file, stderr=file) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process, log)
            given = {"url": f"http://127.0.0.1:{port}/v1", "model": "tiny", "key_env": None, "concurrency": 4}
            yield Server.model_validate({**given, "timeout_s": 30.0, "retries": 2, "prices": None})
        finally:
            process.terminate()


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(log.read_text(errors="replace")[-2000:])


def questions(n: int) -> list[Question]:
    return [Question((" object 1 moves left.",), (f" is it number {i}, yes or no?",)) for i in range(n)]


def test_a_real_server_gives_logprobs_and_the_same_ones_again(server: Server) -> None:
    judge = ServerJudge(server)
    first, second = judge.answer(questions(20)), judge.answer(questions(20))
    assert judge.top in (20, 5)
    for one, two in zip(first, second, strict=True):
        assert one.kind == "logprobs" and one.is_finite and 0 <= one.mass <= 1
        assert one.scores == pytest.approx(two.scores, abs=0.05)
    assert len({reply.scores for reply in first}) > 1


def test_of_many_questions_none_is_lost(server: Server) -> None:
    """A random model begins some answers with a part of a character, of which this server gives no logprobs."""
    replies = ServerJudge(server).answer(questions(300))
    assert len(replies) == 300 and all(reply.is_finite for reply in replies)
    off = [reply for reply in replies if reply.kind == "parsed"]
    assert 0 < len(off) < 100 and all(reply.mass == 0 and reply.log_odds == 0 for reply in off)
