"""What made a result: versions, commit, weights and fingerprints. Nothing that changes from run to run."""

import json
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stages import __version__
from stages.core.config.file import Config
from stages.core.state.graph import Layout
from stages.core.state.weights import record_path

PACKAGES = ("torch", "torchvision", "sam2", "transformers", "snakemake", "h5py", "numpy", "av", "pycocotools")


def collect_provenance(config: Config, layout: Layout) -> dict[str, Any]:
    """Versions and commit, the weights' records, and the fingerprint of every verified file of the split."""
    preset = config.datasets[layout.dataset].models
    return {
        "dataset": layout.dataset,
        "split": layout.split,
        "referee": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "weights": {
            path.parent.name: load(path)
            for path in sorted(record_path(config, preset, "*").parent.parent.glob("*/record.json"))
        },
        "tasks": {
            path.stem: videos
            for path in sorted((layout.root / "done").glob("*.json"))
            if (videos := _verified(path)) is not None  # a training's marker names no video
        },
    }


def _verified(path: Path) -> dict[str, str] | None:
    """Video → fingerprint, as `collect` wrote it; None of other markers, which were empty in earlier versions."""
    return load(path).get("videos") if path.stat().st_size else None


def commit() -> str | None:
    """The commit of the code, with "+changes" where the work tree differs; None outside a checkout."""
    root = Path(__file__).resolve().parents[3]
    try:
        head = _git(root, "rev-parse", "HEAD").strip()
        return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no").strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout
