"""Fixtures of all tests: a config in a temporary place, the real clips, and how examples are drawn."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from support.project import CLIPS, make_config

from stages.core.config.file import Config

# Random examples are the same in every run; HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


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


@pytest.fixture
def clips() -> Path:
    if not CLIPS.is_dir():
        pytest.skip(f"the real clips are not here ({CLIPS.name}/ beside the project in shared/)")
    return CLIPS
