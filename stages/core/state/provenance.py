"""What made a result: versions, commit, weights and fingerprints. Nothing that changes from run to run."""

import json
import platform
import subprocess
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stages import __version__
from stages.core.config.file import Config
from stages.core.config.loading import settings_of
from stages.core.state.graph import Layout, Stage
from stages.core.state.weights import record_path

PACKAGES = ("torch", "torchvision", "sam2", "transformers", "snakemake", "h5py", "numpy", "av", "pycocotools")
Work = tuple[Stage, str | None]  # a stage at work for one of its branches


def collect_provenance(config: Config, layout: Layout, work: Collection[Work]) -> dict[str, Any]:
    """Versions and commit, the records of the models that some work loads, and the fingerprint of every file it made.

    Not of every model and file that is there: what other targets have made by then is a matter of the order of jobs.
    """
    settings = settings_of(config, layout.dataset)
    tasks = {stage.task(branch) for stage, branch in work}
    roles = {role for stage, branch in work for role in stage.roles(settings, branch)}
    preset = config.datasets[layout.dataset].models
    return {
        "dataset": layout.dataset,
        "split": layout.split,
        "referee": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "weights": {
            role: load(path)
            for role in sorted(roles)
            if (path := record_path(config, preset, role)).exists()  # not where tracks were imported
        },
        "tasks": {
            path.stem: videos
            for path in sorted((layout.root / "done").glob("*.json"))
            if path.stem in tasks and (videos := _verified(path)) is not None  # a training's marker names no video
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
