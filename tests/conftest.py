"""Fixtures of all tests: the project's root, a config in a temporary place, the real clips."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from stages.core.config import merge, parse_config, read_yaml
from stages.core.config_file import Config

ROOT = Path(__file__).resolve().parents[1]
# Random examples are the same in every run; HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

CLIPS = ROOT.parent / "shared" / "clips"


@pytest.fixture(autouse=True, scope="session")
def _offline_and_single_threaded() -> Iterator[None]:
    """Nothing in a test may reach a hub; one thread makes CPU results independent of the machine's load."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    yield


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The project's config with every path below `tmp_path`."""
    return make_config(tmp_path)


def make_config(folder: Path, over: dict[str, object] | None = None) -> Config:
    return parse_config(merge(config_document(folder), over or {}))


def config_document(folder: Path) -> dict[str, object]:
    """The project's config as plain data, with every path below `folder`."""
    raw = read_yaml(ROOT / "config.yaml")
    places = {
        "weights": str(folder / "weights"),
        "weights_lock": str(folder / "weights.lock.json"),
        "cache": str(folder / "cache"),
        "results": str(folder / "results"),
    }
    roots = {name: {"root": str(folder / "data" / name)} for name in raw["datasets"]}
    return merge(raw, {"paths": places, "datasets": roots})


@pytest.fixture
def clips() -> Path:
    if not CLIPS.is_dir():
        pytest.skip(f"the real clips are not here ({CLIPS.name}/ beside the project in shared/)")
    return CLIPS
