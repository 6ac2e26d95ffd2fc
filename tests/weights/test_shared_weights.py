"""Presets with the same model: its files are fetched once."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.hub import SAM2, Hub, Place, go_online, sha

from stages.core.config.loading import ConfigError, load_config, parse_config
from stages.core.state.weights import find_weights
from stages.fetch_weights import main
from stages.micro.text import build_random_text

CONTENT = b"weights " * 999


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    go_online(monkeypatch, hub.url)
    hub.push(SAM2, {"sam2.pt": CONTENT})
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path, build_random_text(tmp_path / "text", 0))
    place.only("sam2")
    return place


def fetch_twin(place: Place) -> int:
    """The model of a preset that is like the other."""
    overlay = place.root / "twin.yaml"
    overlay.write_text(yaml.safe_dump({"presets": {"twin": {"like": "test"}}}))
    return main(["--preset", "twin", *(f"--config={file}" for file in (*place.config_files, overlay))])


def test_files_of_a_preset_like_another_are_fetched_once(place: Place, served: Hub) -> None:
    assert place.fetch() == 0
    assert fetch_twin(place) == 0
    assert served.sent == ["sam2.pt"]
    assert not (place.weights / "twin/sam2/sam2.pt").exists()
    config = load_config(*place.config_files)
    twin = config.model_copy(update={"presets": {**config.presets, "twin": config.presets["test"]}})
    twin = twin.model_copy(
        update={"datasets": {"shapes": config.datasets["shapes"].model_copy(update={"models": "twin"})}}
    )
    assert find_weights(twin, "shapes", "sam2").path == place.found("sam2").path
    assert find_weights(twin, "shapes", "sam2").id == place.found("sam2").id


def test_files_that_are_damaged_or_gone_are_not_shared(place: Place, served: Hub) -> None:
    place.fetch()
    (place.weights / "test/sam2/sam2.pt").write_bytes(b"other")
    assert fetch_twin(place) == 0
    assert sha((place.weights / "twin/sam2/sam2.pt").read_bytes()) == sha(CONTENT)
    shutil.rmtree(place.weights)
    assert fetch_twin(place) == 0
    assert (place.weights / "twin/sam2/sam2.pt").read_bytes() == CONTENT


def test_other_bytes_of_the_same_size_are_not_the_same_weights(place: Place, served: Hub) -> None:
    place.fetch()
    whole = place.found("sam2").id
    os.utime(place.weights / "test/sam2/sam2.pt")  # newer than the record, and the same
    assert place.found("sam2").id == whole
    (place.weights / "test/sam2/sam2.pt").write_bytes(CONTENT[::-1])
    with pytest.raises(ValueError, match=r"sam2\.pt: missing, or not the 7992 bytes that were recorded: run"):
        place.found("sam2")


def test_shared_files_that_go_are_fetched_again(place: Place, served: Hub) -> None:
    place.fetch()
    fetch_twin(place)
    (place.weights / "test/sam2/sam2.pt").unlink()
    assert fetch_twin(place) == 0
    assert (place.weights / "twin/sam2/sam2.pt").read_bytes() == CONTENT


def test_a_preset_is_like_one_that_there_is(place: Place) -> None:
    raw = load_config(*place.config_files).model_dump(mode="json")
    raw["presets"]["twin"] = {"like": "tset"}
    with pytest.raises(ConfigError, match=r"presets\.twin\.like: no 'tset' to be like; did you mean 'test'"):
        parse_config(raw)
