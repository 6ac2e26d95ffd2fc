"""fetch_weights with files that have https addresses of their own, against a local mirror that misbehaves."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from support.detectors import build_wide, package_state, prompts
from support.hub import DINO, Hub, Place, go_online, model

from stages.core.config.file import Model
from stages.fetch_weights import main
from stages.micro.text import build_random_text
from stages.prompting.grounding_dino.detector import load_detector

CONTENT = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(40_000))  # 1.28 MB, nothing repeats
URL = "https://files.example.org/sam2/072824/sam2_tiny.pt"
PATH = URL.removeprefix("https:/")
Answer = tuple[int, bytes, int | None]  # status, body, how much of it arrives


class Files:
    """A mirror: serves bytes by path; `misbehave(start, times)` decides how downloads go."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {PATH: CONTENT}
        self.starts: list[int] = []
        self.misbehave: Callable[[int, int], Answer] | None = None
        self.answers_head = True
        files = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                files.answer(self, body=False)

            def do_GET(self) -> None:
                files.answer(self, body=True)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        content = self.files.get(request.path)
        if content is None or not (body or self.answers_head):
            request.send_error(404 if content is None else 405)
            return
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        answer: Answer = (206 if start else 200), content[start:], None
        if body:
            self.starts.append(start)
            answer = self.misbehave(start, len(self.starts)) if self.misbehave else answer
        request.send_response(answer[0])
        request.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        if answer[0] == 206:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(answer[1])))
        request.end_headers()
        if body:
            request.wfile.write(answer[1][: answer[2]])


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    files = Files()
    monkeypatch.setenv("REFEREE_MIRROR", files.url + "/")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("stages.weights.transfer.CHUNK", 1 << 16)  # a download goes on at whole chunks
    monkeypatch.setattr("stages.weights.transfer.time.sleep", lambda seconds: None)
    yield files
    files.server.shutdown()
    files.server.server_close()


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_random_text(tmp_path_factory.mktemp("text"), 0)


@pytest.fixture
def place(tmp_path: Path, text_folder: Path) -> Place:
    """SAM2 from an address, and the text encoder from a folder."""
    place = Place(tmp_path, text_folder)
    place.models["sam2"] = model(config="stages/micro/sam2_micro.yaml", files=[URL], license="Apache-2.0")
    place.only("sam2", "text")
    return place


def file_of(place: Place) -> Path:
    return place.weights / "test/sam2/sam2_tiny.pt"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_it_is_fetched_recorded_and_left_alone(place: Place, mirror: Files) -> None:
    assert place.fetch() == 0 == place.fetch()
    assert place.found("sam2").path == file_of(place) and file_of(place).read_bytes() == CONTENT
    facts = {"size": len(CONTENT), "sha256": sha256(CONTENT)}
    assert place.lock == {URL: {"requested": URL, "revision": URL, "files": {"sam2_tiny.pt": facts}}}
    assert mirror.starts == [0]
    assert place.fetch("--overwrite") == 0 and mirror.starts == [0, 0]
    assert not list(place.weights.rglob(".partial"))


def test_a_server_without_head(place: Place, mirror: Files) -> None:
    mirror.answers_head = False
    assert place.fetch() == 0 and file_of(place).read_bytes() == CONTENT


def test_a_cut_goes_on_where_it_stopped_in_this_run_and_the_next(place: Place, mirror: Files) -> None:
    up = threading.Event()

    def cut(start: int, times: int) -> Answer:
        return (206 if start else 200), CONTENT[start:], None if up.is_set() else 400_000 if start < 600_000 else 0

    mirror.misbehave = cut
    assert place.fetch() == 2
    assert not file_of(place).exists() and place.lock == {}
    tried, furthest = len(mirror.starts), max(mirror.starts)
    assert furthest >= 600_000
    up.set()
    assert place.fetch() == 0
    assert mirror.starts[tried:] == [furthest] and file_of(place).read_bytes() == CONTENT


def test_a_server_that_ignores_ranges(place: Place, mirror: Files) -> None:
    mirror.misbehave = lambda start, times: (200, CONTENT, 500_000 if times == 1 else None)
    assert place.fetch() == 0 and file_of(place).read_bytes() == CONTENT


def test_the_beginning_of_another_version_is_not_continued(place: Place, mirror: Files) -> None:
    mirror.misbehave = lambda start, times: (206 if start else 200, CONTENT[start:], 300_000 if not start else 0)
    assert place.fetch() == 2
    mirror.misbehave, mirror.files[PATH] = None, bytes(len(CONTENT))
    mirror.starts.clear()
    assert place.fetch() == 0
    assert mirror.starts == [0] and file_of(place).read_bytes() == bytes(len(CONTENT))


def test_wrong_bytes_are_refused_as_long_as_they_come(
    place: Place, mirror: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.fetch() == 0
    file_of(place).unlink()
    mirror.misbehave = lambda start, times: (200, bytes(len(CONTENT)), None)
    for _ in range(2):
        assert place.fetch() == 2
        message = capsys.readouterr().err
        assert sha256(CONTENT) in message and sha256(bytes(len(CONTENT))) in message and URL in message
        assert not file_of(place).exists()
    mirror.misbehave = None
    assert place.fetch() == 0
    file_of(place).write_bytes(b"changed by hand")
    assert place.fetch() == 0 and file_of(place).read_bytes() == CONTENT


def test_what_is_missing_is_named_with_its_place(
    place: Place, mirror: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror.files.clear()
    assert place.fetch() == 2
    message = capsys.readouterr().err
    assert "404" in message and str(file_of(place)) in message and "--from" in message and mirror.url in message
    file_of(place).parent.mkdir(parents=True, exist_ok=True)
    file_of(place).write_bytes(CONTENT)  # put there by hand
    assert place.fetch() == 0 and place.lock[URL]["files"]["sam2_tiny.pt"]["sha256"] == sha256(CONTENT)


def test_from_a_folder_without_a_network(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "usb"
    assert place.fetch("--from", str(source)) == 2
    assert str(source / "sam2/sam2_tiny.pt") in capsys.readouterr().err
    (source / "sam2").mkdir(parents=True)
    (source / "sam2/sam2_tiny.pt").write_bytes(CONTENT)
    assert place.fetch("--from", str(source)) == 0 and file_of(place).read_bytes() == CONTENT
    (source / "sam2/sam2_tiny.pt").write_bytes(CONTENT[:-1] + b"!")
    assert place.fetch("--overwrite", "--from", str(source)) == 2
    assert "must be" in capsys.readouterr().err and not file_of(place).exists()


def test_list_and_verify(place: Place, mirror: Files, capsys: pytest.CaptureFixture[str]) -> None:
    def rows(flag: str) -> list[list[str]]:
        capsys.readouterr()
        main([*(f"--config={file}" for file in place.config_files), flag, "--preset", "test"])
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        return [line for line in lines if line[1] == "sam2"]

    known = ["test", "sam2", "files.example.org", "-", "Apache-2.0", "sam2_tiny.pt"]
    assert rows("--list") == [[*known, "?", "not", "recorded:", "missing"]]
    assert place.fetch() == 0
    assert rows("--list") == [[*known, str(len(CONTENT)), "in", "place"]]
    assert rows("--verify") == [[*known, str(len(CONTENT)), "verified"]]
    file_of(place).write_bytes(CONTENT[:-1] + b"!")
    assert "wrong" in rows("--verify")[0]


def test_the_authors_checkpoint_beside_the_hubs_description(
    place: Place, mirror: Files, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = build_wide(tmp_path_factory.mktemp("dino"))
    torch.save({"model": package_state(folder)}, folder / "ogc.pth")
    mirror.files["/github.com/authors/dino/releases/ogc.pth"] = (folder / "ogc.pth").read_bytes()
    hub = Hub()
    hub.push(DINO, {file.name: file.read_bytes() for file in folder.glob("*.json")})
    go_online(monkeypatch, hub.url)
    address = "https://github.com/authors/dino/releases/ogc.pth"
    place.models = {"grounding_dino": model(hub=DINO, revision="main", files=["*.json", address])}
    try:
        assert place.fetch() == 0 == place.fetch()
    finally:
        hub.server.shutdown()
        hub.server.server_close()
    assert set(place.lock) == {DINO, address}
    assert len(mirror.starts) == 1
    assert load_detector(place.found("grounding_dino"), prompts("transformers"), "cpu", 8)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"files": []}, "exactly one of hub"),
        ({"files": [URL], "seed": 0}, "exactly one of hub"),
        ({"files": [URL, "*.json"]}, "there is no hub"),
        ({"hub": "a/b", "revision": "main", "files": [URL]}, "needs revision and files"),
        ({"files": ["http://insecure.org/a.pt"]}, "exactly one of hub"),
        ({"files": ["https://a.org/x/"]}, "file name of its own"),
        ({"files": ["https://a.org/x/.."]}, "file name of its own"),
        ({"files": ["https://a.org/..%2Fa.pt"]}, "file name of its own"),
        ({"files": [URL, "https://b.org/sam2_tiny.pt?v=2"]}, "file name of its own"),
    ],
    ids=str,
)
def test_sources_that_make_no_sense_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Model(**model(**given))
