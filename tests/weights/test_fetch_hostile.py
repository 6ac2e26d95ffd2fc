"""fetch_weights against servers that cut, lie about ranges and serve wrong bytes; --list and --verify."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from support.hub import SAM2, Hub, Place, go_online, model, write

from stages.micro.text import build_random_text

CONTENT = b"".join(hashlib.sha256(str(i).encode()).digest() for i in range(40_000))  # 1.28 MB, nothing repeats


class Hostile(Hub):
    """`misbehave(start, times)` decides how a download of weights is answered, and what of it arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.starts: list[int] = []  # where every download of the weights was asked to begin
        self.misbehave: Callable[[int, int], tuple[int, bytes, int | None]] | None = None

    def send(  # type: ignore[override]
        self, request: BaseHTTPRequestHandler, content: bytes, body: bool, headers: dict[str, str], cut: bool = False
    ) -> None:
        if not body or "ETag" not in headers or not request.path.endswith("sam2.pt"):
            return Hub.send(request, content, body, headers, cut)
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.starts.append(start)
        if self.misbehave is None:
            return Hub.send(request, content, body, headers, cut)
        status, answer, arrives = self.misbehave(start, len(self.starts))
        request.send_response(status)
        extra = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if status == 206 else {}
        for key, value in {**headers, **extra, "Content-Length": str(len(answer))}.items():
            request.send_header(key, value)
        request.end_headers()
        request.wfile.write(answer[:arrives])
        return None


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    hub = Hostile()
    go_online(monkeypatch, hub.url)
    monkeypatch.setattr("stages.weights.transfer.CHUNK", 1 << 16)  # a download goes on at whole chunks
    monkeypatch.setattr(
        "stages.weights.transfer.time.sleep", lambda seconds: None
    )  # a second and more between two tries
    hub.push(SAM2, {"sam2.pt": CONTENT})
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_random_text(tmp_path_factory.mktemp("text"), 0)


@pytest.fixture
def place(tmp_path: Path, text_folder: Path) -> Place:
    """SAM2 from the hub, and the text encoder from a folder."""
    place = Place(tmp_path, text_folder)
    place.only("sam2", "text")
    return place


def fetch_until_good(place: Place, tries: int = 3) -> list[int]:
    """Fetches again until it succeeds; under its final name the file is whole or absent, at any time."""
    file, codes = place.weights / "test/sam2/sam2.pt", list[int]()
    while len(codes) < tries and (not codes or codes[-1]):
        codes.append(place.fetch())
        assert (codes[-1] == 0) == file.exists(), "a failed fetch leaves nothing under the final name"
        assert not file.exists() or file.read_bytes() == CONTENT
        assert (SAM2 in place.lock) == (codes[-1] == 0)
    assert codes[-1] == 0
    return codes


def test_a_connection_that_is_cut_again_and_again_goes_on_where_it_stopped(place: Place, hub: Hostile) -> None:
    def cut(start: int, times: int) -> tuple[int, bytes, int | None]:
        return (206 if start else 200), CONTENT[start:], None if times > 3 else 400_000

    hub.misbehave = cut
    fetch_until_good(place)
    assert hub.starts[0] == 0 and max(hub.starts) > 3 * 300_000
    assert hub.starts == sorted(set(hub.starts)), "nothing is fetched twice"


def test_a_second_run_goes_on_where_the_first_gave_up(place: Place, hub: Hostile) -> None:
    up = threading.Event()

    def cut(start: int, times: int) -> tuple[int, bytes, int | None]:
        return (206 if start else 200), CONTENT[start:], None if up.is_set() else 65_536 if start < 200_000 else 0

    hub.misbehave = cut
    assert place.fetch() == 2
    assert not (place.weights / "test/sam2/sam2.pt").exists()
    tried = len(hub.starts)
    up.set()
    assert place.fetch() == 0
    assert hub.starts[tried:] == [max(hub.starts)] and max(hub.starts) >= 200_000
    assert place.found("sam2").path.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges(place: Place, hub: Hostile) -> None:
    hub.misbehave = lambda start, times: (200, CONTENT, 500_000 if times == 1 else None)
    fetch_until_good(place)
    assert place.found("sam2").path.read_bytes() == CONTENT


def test_a_server_that_says_range_and_sends_the_start(place: Place, hub: Hostile) -> None:
    def lie(start: int, times: int) -> tuple[int, bytes, int | None]:
        if times == 1:
            return 200, CONTENT, 500_000
        return (206, CONTENT[: len(CONTENT) - start], None) if start else (200, CONTENT, None)

    hub.misbehave = lie
    fetch_until_good(place)


def test_another_file_behind_a_resumed_download_is_refused(place: Place, hub: Hostile) -> None:
    other = bytes(len(CONTENT))

    def swap(start: int, times: int) -> tuple[int, bytes, int | None]:
        return (206, other[start:], None) if start else (200, CONTENT, 600_000 if times == 1 else None)

    hub.misbehave = swap
    codes = fetch_until_good(place)
    assert codes[0] == 2, "right length, wrong bytes"


def test_wrong_bytes_stay_refused_as_long_as_they_come(
    place: Place, hub: Hostile, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.misbehave = lambda start, times: (200, bytes(len(CONTENT)), None)
    for _ in range(2):
        assert place.fetch() == 2
        message = capsys.readouterr().err
        assert (
            hashlib.sha256(CONTENT).hexdigest() in message
            and hashlib.sha256(bytes(len(CONTENT))).hexdigest() in message
        )
        assert not (place.weights / "test/sam2/sam2.pt").exists() and SAM2 not in place.lock
    hub.misbehave = None
    fetch_until_good(place)


def test_a_server_that_refuses_is_named(place: Place, hub: Hostile, capsys: pytest.CaptureFixture[str]) -> None:
    hub.misbehave = lambda start, times: (403, b"no", None)
    assert place.fetch() == 2
    message = capsys.readouterr().err
    assert "403" in message and SAM2 in message and "--from" in message
    assert place.found("text"), "the others are fetched all the same"


# ------------------------------------------------------------- --list and --verify


def table(place: Place, capsys: pytest.CaptureFixture[str], flag: str, preset: bool = True) -> tuple[int, list[str]]:
    from stages.fetch_weights import main

    flags = [*(f"--config={file}" for file in place.config_files), flag, *(["--preset", "test"] if preset else [])]
    capsys.readouterr()
    code = main(flags)
    return code, capsys.readouterr().out.splitlines()


@pytest.fixture
def only_two_roles(place: Place) -> Place:
    """The preset has no other models, which is no defect; SAM2's has a licence."""
    place.models["sam2"]["license"] = "Apache-2.0"
    return place


def test_list_shows_every_file_before_and_after(
    only_two_roles: Place, hub: Hostile, capsys: pytest.CaptureFixture[str]
) -> None:
    place = only_two_roles
    code, lines = table(place, capsys, "--list")
    assert code == 0 and hub.starts == []
    assert lines[0].split() == ["preset", "role", "from", "revision", "licence", "file", "bytes", "state"]
    assert lines[1].split()[:7] == ["test", "sam2", SAM2, "main", "Apache-2.0", "sam2.pt", "?"]
    assert lines[1].endswith("not recorded: missing")
    assert place.fetch() == 0
    code, lines = table(place, capsys, "--list")
    commit = hub.commits[SAM2][0][0]
    found = [line.split() for line in lines if line.split()[1] == "sam2"]
    assert found == [
        ["test", "sam2", SAM2, f"main@{commit[:12]}", "Apache-2.0", "sam2.pt", str(len(CONTENT)), "in", "place"]
    ]
    assert any("model.safetensors" in line and line.endswith("in place") for line in lines if " text " in line)
    everything = table(place, capsys, "--list", preset=False)[1]
    assert {line.split()[0] for line in everything[1:]} >= {"large", "micro", "test"}


def test_verify_hashes_again_and_finds_what_list_cannot(
    place: Place, hub: Hostile, capsys: pytest.CaptureFixture[str]
) -> None:
    place.models["mllm"] = place.models["text"]
    place.models["grounding_dino"] = model(path="stages/micro/weights/grounding_dino")
    assert place.fetch() == 0
    assert table(place, capsys, "--verify")[0] == 0
    assert table(place, capsys, "--verify", preset=False)[0] == 0  # presets that were never fetched are left out
    file = place.weights / "test/sam2/sam2.pt"
    file.write_bytes(CONTENT[:-1] + b"!")
    code, lines = table(place, capsys, "--list")
    assert code == 0 and any("sam2.pt" in line and line.endswith("in place") for line in lines)
    for flag in (True, False):
        code, lines = table(place, capsys, "--verify", preset=flag)
        assert code == 1 and any("sam2.pt" in line and "wrong bytes: sha256" in line for line in lines)
    file.write_bytes(CONTENT[:-9])
    assert any(f"wrong size: {len(CONTENT) - 9}" in line for line in table(place, capsys, "--list")[1])
    file.unlink()
    code, lines = table(place, capsys, "--verify")
    assert code == 1 and any("sam2.pt" in line and line.endswith("missing") for line in lines)
    assert not list(place.weights.rglob("*.refused")), "verify changes nothing"


def test_verify_of_nothing_is_no_success(only_two_roles: Place, capsys: pytest.CaptureFixture[str]) -> None:
    write(only_two_roles.lock_file, b"{}")
    assert table(only_two_roles, capsys, "--verify")[0] == 1
    assert table(only_two_roles, capsys, "--verify", preset=False)[0] == 1


def test_fetching_needs_a_preset(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    from stages.fetch_weights import main

    assert main([]) == 2 and "--preset" in capsys.readouterr().err
