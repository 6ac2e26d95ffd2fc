"""Fixtures of all tests: a process that no test changes, a config in a temporary place, the real clips; how examples
are drawn; and which files go first where several workers share the tests."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support.project import CLIPS, ROOT, make_config

from stages.core.config.file import Config

# Random examples are the same in every run; HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# With several workers a file is one worker's: these take a minute or more, so none of them is begun last.
FIRST = (
    "test_workflow.py",
    "test_console.py",
    "test_house.py",
    "test_ddp.py",
    "test_training.py",
    "test_gather.py",
    "test_chaos.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Nothing in a test may reach a hub; one thread per process makes CPU results independent of the machine's load.

    Set before test modules are imported: huggingface_hub and OpenMP read their variables once.
    """
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("OMP_NUM_THREADS", "1")
    # A shell that runs pytest in the background has it ignore Ctrl-C, and what tests start would inherit that.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    unstable = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if unstable:
        raise pytest.UsageError(f"{unstable[0]}: give this parameter an id, an address is another in every worker")
    order = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(autouse=True, scope="session")
def _in_the_project() -> Iterator[None]:
    """Paths in config.yaml are relative to the project's folder, from wherever pytest was started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield


@pytest.fixture(autouse=True)
def _process_is_left_as_it_was() -> Iterator[None]:
    """A test that changed what all tests share would decide in which order they pass."""
    before, ours = process_state(), logging.getLogger("stages")
    level, handlers = ours.level, list(ours.handlers)
    yield
    ours.setLevel(level)  # a command that ran in this process has set its log up
    ours.handlers[:] = handlers
    after = process_state()
    changed = {name: (value, after.get(name)) for name, value in before.items() if after.get(name) != value}
    assert not changed, "restore what you change (monkeypatch does)"


def process_state() -> dict[str, Any]:
    """The working folder, environment variables, the root logger and, once it is imported, torch's switches."""
    state: dict[str, Any] = {f"${name}": value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    state |= {"folder": Path.cwd(), "log level": logging.root.level, "logging": logging.root.manager.disable}
    if torch := sys.modules.get("torch"):
        state |= {"threads": torch.get_num_threads(), "dtype": torch.get_default_dtype()}
        state |= {"gradients": torch.is_grad_enabled(), "precision": torch.get_float32_matmul_precision()}
        state |= {"deterministic": torch.are_deterministic_algorithms_enabled()}
    return state


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The project's config with every path below `tmp_path`."""
    return make_config(tmp_path)


@pytest.fixture
def clips() -> Path:
    if not CLIPS.is_dir():
        pytest.skip(f"the real clips are not here ({CLIPS.name}/ beside the project in shared/)")
    return CLIPS
