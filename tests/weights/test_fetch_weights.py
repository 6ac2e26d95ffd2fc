"""stages.fetch_weights against a local server that speaks the hub's API, and without any network."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from support.hub import DINO, SAM2, Hub, Place, Repository, go_online, model, sha, write

from stages.core.config.loading import load_config, settings_of
from stages.core.state.temporary import HOST
from stages.fetch_weights import main
from stages.micro.grounding_dino import build_random_grounding_dino
from stages.micro.text import build_random_text


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    go_online(monkeypatch, hub.url)
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture(scope="session")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder = build_random_grounding_dino(tmp_path_factory.mktemp("dino"), 0)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_random_text(tmp_path_factory.mktemp("text"), 0)


@pytest.fixture
def place(tmp_path: Path, text_folder: Path) -> Place:
    return Place(tmp_path, text_folder)


@pytest.fixture
def served(hub: Hub, dino: Repository) -> Hub:
    hub.push(SAM2, {"sam2.pt": b"weights " * 999, "README.md": b"not wanted"})
    hub.push(DINO, {**dino, "pytorch_model.bin": b"not wanted"})
    return hub


def test_first_fetch_is_recorded_and_its_weights_load(place: Place, served: Hub, dino: Repository) -> None:
    from stages.prompting.grounding_dino.detector import load_detector

    assert place.fetch() == 0
    commit = served.commits[DINO][0][0]
    entry = place.lock[DINO]
    assert (entry["requested"], entry["revision"]) == ("main", commit)
    assert entry["files"] == {name: {"size": len(dino[name]), "sha256": sha(dino[name])} for name in dino}
    assert place.lock[SAM2]["files"].keys() == {"sam2.pt"}
    assert place.found("sam2").path == place.weights / "test/sam2/sam2.pt"
    assert not (place.weights / "test/grounding_dino/pytorch_model.bin").exists()

    weights = place.found("grounding_dino")
    settings = settings_of(load_config(*place.config_files), "shapes").prompts.gdino
    (detections,) = load_detector(weights, settings, "cpu", 8).detect([np.zeros((64, 80, 3), np.uint8)], ["a cat"])[0]
    assert detections.boxes_N4.shape[1] == 4


def test_second_run_verifies_without_the_network(place: Place, served: Hub) -> None:
    assert place.fetch() == 0
    before = {path: path.stat().st_mtime_ns for path in place.weights.rglob("*") if path.is_file()}
    served.sent.clear()
    served.commits.clear()  # whoever asks now fails
    assert place.fetch() == 0
    assert served.sent == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_a_killed_run_left_unfinished_is_removed(place: Place, served: Hub) -> None:
    """Also where nothing is left to do."""
    assert place.fetch() == 0
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = place.weights / f"test/sam2/.record.json.{HOST}.{dead.pid}.tmp"
    left.write_text("{")
    assert place.fetch() == 0
    assert not left.exists()


def test_damaged_file_is_fetched_again(place: Place, served: Hub, caplog: pytest.LogCaptureFixture) -> None:
    assert place.fetch() == 0
    file = place.weights / "test/sam2/sam2.pt"
    good = file.read_bytes()
    file.write_bytes(good[:-1] + b"!")  # as long as before: a look at the size would not do
    assert place.fetch() == 0
    assert file.read_bytes() == good
    assert "sam2.pt" in caplog.text and "changed" in caplog.text


def test_bytes_other_than_the_locked_ones_are_refused(
    place: Place, served: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.fetch() == 0
    locked, wrong = place.lock, b"WEIGHTS " * 999
    served.tampered["sam2.pt"] = wrong
    assert place.fetch("--overwrite") == 2
    message = capsys.readouterr().err
    file = place.weights / "test/sam2/sam2.pt"
    assert all(part in message for part in (str(file), sha(wrong), sha(b"weights " * 999), str(place.lock_file)))
    assert not file.exists() and file.with_name("sam2.pt.refused").exists()
    assert not file.with_name("record.json").exists()
    assert place.lock == locked
    with pytest.raises(ValueError, match="fetch_weights"):
        place.found("sam2")
    assert place.found("grounding_dino")  # the others are in place all the same
    served.tampered.clear()
    assert place.fetch() == 0 and place.found("sam2")


def test_first_fetch_is_held_against_the_hubs_own_digest(
    place: Place, served: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    served.tampered["sam2.pt"] = b"WEIGHTS " * 999
    assert place.fetch() == 2
    assert "the hub's announcement" in capsys.readouterr().err
    assert SAM2 not in place.lock and not (place.weights / "test/sam2/sam2.pt").exists()


def test_download_that_was_cut_goes_on(place: Place, served: Hub) -> None:
    served.cuts = ["sam2.pt"]
    # huggingface_hub goes on by itself where it can; if not, the second run does
    assert place.fetch() == 0 or (not (place.weights / "test/sam2/sam2.pt").exists() and place.fetch() == 0)
    assert served.cuts == [] and served.sent.count("sam2.pt") == 2
    assert place.found("sam2").path.read_bytes() == b"weights " * 999


def test_file_that_stays_short_is_refused(place: Place, served: Hub) -> None:
    served.tampered["sam2.pt"] = b"weights " * 99
    assert place.fetch() == 2
    assert not (place.weights / "test/sam2/sam2.pt").exists() and SAM2 not in place.lock


def test_locked_commit_is_fetched_though_the_branch_moved(place: Place, served: Hub) -> None:
    assert place.fetch() == 0
    shutil.rmtree(place.weights)
    served.push(SAM2, {"sam2.pt": b"newer"})
    assert place.fetch() == 0
    assert place.found("sam2").path.read_bytes() == b"weights " * 999


def test_another_revision_than_the_locked_one_is_an_error(
    place: Place, served: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.fetch() == 0
    place.models["sam2"]["revision"] = "v2"
    assert place.fetch() == 2
    message = capsys.readouterr().err
    assert "'v2'" in message and "delete the entry" in message


def test_file_the_repository_lacks_is_named(place: Place, served: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    place.models["sam2"]["files"] = ["sam3.pt"]
    assert place.fetch() == 2
    message = capsys.readouterr().err
    assert "sam3.pt" in message and "it has README.md, sam2.pt" in message


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    go_online(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    server.server_close()  # nobody listens there any more


@pytest.mark.usefixtures("offline")
def test_offline_names_every_file_and_takes_them_by_hand(
    place: Place, dino: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.fetch() == 2
    message = capsys.readouterr().err
    for hub, role, name in (
        (SAM2, "sam2", "sam2.pt"),
        (DINO, "grounding_dino", "config.json"),
        (DINO, "grounding_dino", "model.safetensors"),
    ):
        assert f"{hub} at revision main" in message
        assert f"{name} → {place.weights / 'test' / role / name}" in message
    assert "*.json" in message and "--from" in message

    (place.weights / "test/sam2/sam2.pt").write_bytes(b"by hand")
    for name, content in dino.items():
        (place.weights / "test/grounding_dino" / name).write_bytes(content)
    assert place.fetch() == 0
    assert place.lock[SAM2]["files"]["sam2.pt"]["sha256"] == sha(b"by hand")
    assert place.found("sam2").path.read_bytes() == b"by hand"


@pytest.mark.usefixtures("offline")
def test_offline_refuses_a_file_put_by_hand_that_is_not_the_locked_one(
    place: Place, dino: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    source = fill(place.root / "source", dino)
    assert place.fetch("--from", str(source)) == 0
    shutil.rmtree(place.weights)
    hand = place.weights / "test/sam2/sam2.pt"
    hand.parent.mkdir(parents=True)
    hand.write_bytes(b"another")
    assert place.fetch() == 2
    message = capsys.readouterr().err
    assert sha(b"another") in message and sha(b"from a folder") in message and not hand.exists()
    assert f"tokenizer.json → {place.weights}/test/grounding_dino/tokenizer.json" in message  # known from the lock


@pytest.mark.usefixtures("offline")
def test_offline_names_the_shards_that_the_index_lists(
    place: Place, dino: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    place.models["mllm"] = model(hub="Qwen/vlm", revision="main", files=["*.json", "*.safetensors"])
    source = fill(place.root / "source", dino)
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    write(source / "mllm/config.json", json.dumps({"model_type": "qwen3_vl"}).encode())
    write(source / "mllm/model.safetensors.index.json", json.dumps({"weight_map": shards}).encode())
    write(source / "mllm" / shards["a"], b"first")
    assert place.fetch("--from", str(source)) == 2
    message = capsys.readouterr().err
    assert f"{shards['b']} → {source / 'mllm' / shards['b']}" in message and f"{shards['a']} →" not in message
    write(source / "mllm" / shards["b"], b"second")
    assert place.fetch("--from", str(source)) == 0


def test_offline_mode_of_huggingface_hub_is_named(
    place: Place, served: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert place.fetch() == 2
    assert "HF_HUB_OFFLINE" in capsys.readouterr().err and served.sent == []


def fill(source: Path, dino: Repository) -> Path:
    write(source / "sam2/sam2.pt", b"from a folder")
    for name, content in dino.items():
        write(source / "grounding_dino" / name, content)
    return source


def test_from_a_folder_asks_no_network(place: Place, hub: Hub, dino: Repository) -> None:
    source = fill(place.root / "source", dino)
    write(source / "grounding_dino/notes.md", b"not of the model")
    assert place.fetch("--from", str(source)) == 0
    assert hub.sent == []
    assert place.found("sam2").path.read_bytes() == b"from a folder"
    assert (source / "sam2/sam2.pt").exists()
    assert not (place.weights / "test/grounding_dino/notes.md").exists()
    assert place.lock[DINO]["files"].keys() == dino.keys()


def test_the_hub_adds_the_commit_to_what_came_from_a_folder(place: Place, hub: Hub, dino: Repository) -> None:
    source = fill(place.root / "source", dino)
    assert place.fetch("--from", str(source)) == 0
    assert place.lock[SAM2]["revision"] == "main"
    commit = hub.push(SAM2, {"sam2.pt": b"from a folder"})
    hub.push(DINO, dino)
    assert place.fetch("--overwrite") == 0
    assert (place.lock[SAM2]["requested"], place.lock[SAM2]["revision"]) == ("main", commit)


def test_name_that_leaves_the_folder_is_refused(place: Place, served: Hub) -> None:
    served.push(SAM2, {"../../sam2.pt": b"elsewhere"})
    place.models["sam2"]["files"] = ["*.pt"]
    assert place.fetch() == 2
    assert not (place.weights / "sam2.pt").exists()


def test_from_a_folder_with_wrong_bytes_is_refused(
    place: Place, served: Hub, dino: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.fetch() == 0
    source = fill(place.root / "source", dino)
    assert place.fetch("--from", str(source), "--overwrite") == 2
    message = capsys.readouterr().err
    assert sha(b"from a folder") in message and sha(b"weights " * 999) in message
    assert not (place.weights / "test/sam2/sam2.pt").exists()
    assert (source / "sam2/sam2.pt").exists()  # the user's own file stays


def test_path_overrides_the_hub_and_is_used_in_place(place: Place, served: Hub, tmp_path: Path) -> None:
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(b"mine")
    place.models["sam2"]["path"] = str(mine)
    assert place.fetch() == 0
    assert place.found("sam2").path == mine and "sam2.pt" not in served.sent
    first = place.found("sam2").id
    mine.write_bytes(b"else")
    assert place.fetch() == 0
    assert place.found("sam2").id != first  # the id follows the bytes


def test_missing_path_is_an_error(place: Place, served: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    place.models["text"] = model(path="nowhere/text")
    assert place.fetch() == 2
    assert "nowhere/text: does not exist" in capsys.readouterr().err


def test_config_of_another_kind_of_model_is_refused(
    place: Place, served: Hub, text_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.models["grounding_dino"] = model(path=str(text_folder))
    assert place.fetch() == 2
    assert "model_type is 'roberta', grounding_dino must be grounding-dino" in capsys.readouterr().err
    assert not (place.weights / "test/grounding_dino/record.json").exists()


def seeded(place: Place, seed: int = 0) -> Place:
    place.models["sam2"] = model(config="stages/micro/sam2_micro.yaml", seed=seed)
    for role in ("grounding_dino", "text", "mllm"):
        place.models[role] = model(seed=seed)
    return place


def digests(place: Place) -> dict[str, str]:
    return {role: place.found(role).id for role in place.models}


def test_seed_builds_once_and_the_same_everywhere(tmp_path: Path, text_folder: Path) -> None:
    (tmp_path / "other").mkdir()
    place, other = seeded(Place(tmp_path, text_folder)), seeded(Place(tmp_path / "other", text_folder))
    assert place.fetch() == 0 and other.fetch() == 0
    assert digests(place) == digests(other)
    before = {path: path.stat().st_mtime_ns for path in place.weights.rglob("*") if path.is_file()}
    assert place.fetch() == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(place.weights.rglob("*.building")) and place.lock == {}


def test_seed_builds_again_what_is_damaged_or_of_another_seed(place: Place) -> None:
    seeded(place)
    place.only("text")
    assert place.fetch() == 0
    first, file = place.found("text").id, place.found("text").path / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert place.fetch() == 0
    assert file.read_bytes() == content and place.found("text").id == first
    seeded(place, 1)
    place.only("text")
    assert place.fetch() == 0
    assert place.found("text").id != first


def test_seed_builds_again_where_snakemake_deleted_the_record(place: Place) -> None:
    seeded(place)
    place.only("text")
    assert place.fetch() == 0
    first = place.found("text").id
    (place.weights / "test/text/record.json").unlink()
    assert place.fetch() == 0
    assert place.found("text").id == first


def test_seed_never_replaces_files_of_the_user(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    seeded(place)
    place.only("text")
    mine = place.weights / "test/text/mine.safetensors"
    write(mine, b"mine")
    assert place.fetch() == 2
    assert "move them away" in capsys.readouterr().err and mine.read_bytes() == b"mine"


def test_hub_files_do_not_mix_with_a_random_models(place: Place, served: Hub, dino: Repository) -> None:
    from_hub = place.models["grounding_dino"]
    seeded(place)
    place.only("grounding_dino")
    assert place.fetch() == 0
    write(place.weights / "test/grounding_dino/left_over.json", b"{}")
    place.models["grounding_dino"] = from_hub
    assert place.fetch() == 0
    left = {path.name for path in (place.weights / "test/grounding_dino").iterdir() if path.is_file()}
    assert left == {*dino, "record.json"}


def test_two_jobs_do_not_fetch_the_same_twice(place: Place, served: Hub) -> None:
    codes: list[int] = []
    files = place.config_files
    run: Callable[[], None] = lambda: codes.append(main(["--preset", "test", *(f"--config={f}" for f in files)]))  # noqa: E731
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert served.sent.count("sam2.pt") == 1 and served.sent.count("model.safetensors") == 1


def test_one_role_fetches_its_model_alone(place: Place, served: Hub) -> None:
    assert place.fetch("--role", "sam2") == 0
    assert set(served.sent) == {"sam2.pt"} and set(place.lock) == {SAM2}
    assert place.found("sam2") and not (place.weights / "test/grounding_dino").exists()
    with pytest.raises(ValueError, match="fetch_weights --preset test --role text"):
        place.found("text")
    assert place.fetch() == 0  # the rest; what is there is verified
    assert served.sent.count("sam2.pt") == 1 and all(place.found(role) for role in place.models)


def test_a_role_that_the_preset_lacks_is_explained(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.only("text")
    assert place.fetch("--role", "mllm") == 2
    assert "preset 'test' has no model of role 'mllm'" in capsys.readouterr().err
    assert place.fetch("--role", "txt") == 2
    assert "did you mean 'text'" in capsys.readouterr().err
    assert place.fetch() == 0 and not (place.weights / "test/mllm").exists()


def test_jobs_of_several_roles_at_once_lose_nothing(place: Place, served: Hub, tmp_path: Path) -> None:
    """Each process writes to the lock file, which is read and written as a whole."""
    flags = ["--preset", "test", *(f"--config={file}" for file in place.config_files)]
    environment = os.environ | {"HF_ENDPOINT": served.url, "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-m", "stages.fetch_weights", *flags, "--role"]
    jobs = [
        subprocess.Popen([*command, role], env=environment, stderr=subprocess.PIPE, text=True) for role in place.models
    ]
    logs = [job.communicate()[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * len(jobs), logs
    assert set(place.lock) == {SAM2, DINO} and all(place.found(role) for role in place.models)
    assert all(log.count("waiting") <= 1 for log in logs)


def test_a_role_without_random_weights_is_explained(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seeded(place)
    place.only("text")
    monkeypatch.setattr("stages.weights.build.BUILDERS", {"sam2": None})
    assert place.fetch() == 2
    assert "no random weights of role text (there are sam2)" in capsys.readouterr().err


def test_unknown_preset_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--preset", "mikro"]) == 2
    assert "did you mean 'micro'" in capsys.readouterr().err
