"""Weights whose terms must be accepted first: whose token is asked for, what the error says, and that no token is kept."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from support.hub import SAM2, Hub, Place, go_online

GOOD, OTHER = "hf_allowedAllowedAllowed", "hf_notYetNotYetNotYetNotYet"


class Gated(Hub):
    """Says what a repository has to anybody, and gives its files to one token."""

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if "/resolve/" not in request.path or token == GOOD:
            return super().answer(request, body=body)
        request.send_response(403 if token else 401)
        request.send_header("X-Error-Code", "GatedRepo")
        request.send_header("X-Error-Message", f"Access to model {SAM2} is restricted.")
        request.send_header("Content-Length", "0")
        request.end_headers()
        return None


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gated]:
    hub = Gated()
    go_online(monkeypatch, hub.url)
    hub.push(SAM2, {"sam2.pt": b"the weights"})
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-login"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    place = Place(tmp_path, tmp_path)
    place.only("sam2")
    return place


def test_without_a_token_the_error_says_where_to_ask(
    place: Place, hub: Gated, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.fetch() == 2
    message = capsys.readouterr().err
    assert "without a token (401)" in message and "set HF_TOKEN" in message
    assert f"https://huggingface.co/{SAM2}" in message and "settings/tokens" in message and "--from DIR" in message
    assert not (place.weights / "test/sam2/sam2.pt").exists() and SAM2 not in place.lock


def test_a_token_without_access_is_refused_and_never_shown(
    place: Place, hub: Gated, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", OTHER)
    assert place.fetch() == 2
    out, err = capsys.readouterr()
    assert "refuses the token in HF_TOKEN (403)" in err and f"https://huggingface.co/{SAM2}" in err
    assert OTHER not in out + err and not files_with(place.root, OTHER)


def test_the_token_of_the_environment_fetches_and_is_kept_nowhere(
    place: Place, hub: Gated, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", GOOD)
    assert place.fetch() == 0
    assert place.found("sam2").path.read_bytes() == b"the weights"
    out, err = capsys.readouterr()
    assert GOOD not in out + err and not files_with(place.root, GOOD)
    monkeypatch.delenv("HF_TOKEN")
    assert place.fetch() == 0, "what is in place and verified asks nobody"


def files_with(folder: Path, word: str) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and word.encode() in file.read_bytes()]
