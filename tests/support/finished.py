"""A small project that is run to its end on this machine, and whether another run of it has made the same files."""

import filecmp
import time
from pathlib import Path

from support.project import ROOT
from support.workspace import make_workspace, overlay, snakemake

TARGET, FRAMES = "results/tiny/valid_u", "results/cache/tiny/valid/done/extract_frames.json"
# Records of frames name the folder that their links lead to, which is another one here.
STATE = ("prompts", "tracks", "text", "scores", "evidence", "decisions", "evaluation", "render")
# As the demo decides: with the models, and the selector, that are in the repository.
DEMO = {"weights": str(ROOT / "stages/micro/weights/selector/best.safetensors"), "train": None, "validate_on": None}


def workspace(place: Path, n_pids: int = 2, weights: Path | None = None) -> Path:
    """A project with the small data set; the models of another one serve, as on nodes without a network."""
    make_workspace(place)
    settings: dict[str, object] = {
        "run": {"n_pids": n_pids},
        "rerank": {"evidence": ["judge"], "weights": {"judge": 0.5}},
    }
    overlay(place, "tiny.yaml", settings, root=str(place / "data/tiny"), models="micro", selector=DEMO)
    if weights is not None:
        (place / "weights").symlink_to(weights)
    return place


def finish(folder: Path) -> Path:
    """What a run on this machine alone leaves, in one shard: how many there are changes no byte."""
    place = workspace(folder, n_pids=1)
    started = time.monotonic()
    done = snakemake(place, TARGET)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-20000:]
    print(f"on this machine alone: {time.monotonic() - started:.0f} s")
    return place


def assert_same(place: Path, local: Path) -> None:
    """Every file that a stage computed, byte for byte."""
    for folder in STATE:
        cache = Path("results/cache/tiny/valid_u", folder)
        assert_same_files(place / cache, local / cache)
    for folder in ("predictions", "overlays"):
        assert_same_files(place / TARGET / folder, local / TARGET / folder)
    for name in ("metrics.json", "per_expression.csv", "submission.zip"):
        assert (place / TARGET / name).read_bytes() == (local / TARGET / name).read_bytes(), name


def assert_same_files(left: Path, right: Path) -> None:
    names = sorted(str(path.relative_to(right)) for path in right.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(left)) for path in left.rglob("*") if path.is_file())
    _, different, errors = filecmp.cmpfiles(left, right, names, shallow=False)
    assert not different and not errors, (left, different, errors)
