"""The project's root, its config in a temporary place, where the real clips are, and its command line."""

import os
import subprocess
import sys
from pathlib import Path

from stages.core.config.file import Config
from stages.core.config.loading import merge, parse_config, read_yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config.yaml"
CLIPS = ROOT.parent / "shared" / "clips"


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


def referee(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """`referee <words>` in a folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "stages", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)
