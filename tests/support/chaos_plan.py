"""Every stage on a tiny data set, in an order in which each finds its inputs, and what each of them makes."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from support.chaos_runs import Command
from support.seg_checkpoints import SAM2, write_internvl
from support.seg_trainings import SEG as SEG_MODEL
from support.seg_trainings import TRAINING
from support.workspace import make_workspace, overlay

CACHE = "results/cache"
FILES = ("--config", "config.yaml", "--config", "tiny.yaml")
# Named by a rule's log and not by what it makes; times of a run; what failed.
NOT_STATE = ("logs", "runtime", "errors")


@dataclass(frozen=True)
class Step:
    """A stage at work.

    Attributes:
        name: of the stage, and of the branch where it has one.
        command: runs it.
        makes: files and folders below the workspace, which nothing else makes.
        per_video: whether it leaves a file for each video, which stays when it is ended.
    """

    name: str
    command: Command
    makes: tuple[str, ...]
    per_video: bool = True

    @property
    def stage(self) -> str:
        return self.name.partition(" ")[0]


def steps(short: bool) -> list[Step]:
    """In the order of the data; `short`: what one source of tracks, one selector and no MLLM take."""
    usual = [
        *(_weights(role) for role in ("sam2", "text")),
        _step("extract_frames", "train", "frames"),
        _step("encode_text", "train", "text"),
        *_tracked("train", "gt"),
        _step("extract_frames", "valid_u", "frames"),
        _step("encode_text", "valid_u", "text"),
        *_tracked("valid_u", "grid"),
        _step("train_selector", "train", "selector", per_video=False),
        _step("score_tracks", "valid_u", "scores"),
        _step("rerank_tracks", "valid_u", "decisions"),
        _step("evaluate", "valid_u", "evaluation"),
        _step("render_predictions", "valid_u", "render"),
        *(_collect(task) for task in ("build_tracks-grid", "evaluate", "render_predictions")),
    ]
    others = [
        *(_weights(role) for role in ("grounding_dino", "mllm")),
        *_tracked("valid_u", "gdino"),
        _step("gather_evidence", "valid_u", "evidence/judge", "--name", "judge"),
        _step("fit_fusion", "valid_u", "fusion.json", "--config", "fit.yaml", per_video=False),
        _weights("seg", "--config", "seg.yaml"),
        Step("make_shapes", MAKE_SHAPES, ("data/shapes",), per_video=False),
        _step("train_seg", "train", "seg", "--config", "seg.yaml", per_video=False),
    ]
    last = Step("assemble", _command("assemble", "valid_u"), ("results/tiny/valid_u",), per_video=False)
    return [*usual, last] if short else [*usual, *others, last]


MAKE_SHAPES = Command("stages.make_shapes", (*FILES, "--dataset", "shapes", "--jobs", "1"))
# Stage of the split valid_u → the one that reads its files.
READERS = {
    "extract_frames": "generate_prompts grid",
    "encode_text": "score_tracks",
    "generate_prompts grid": "build_tracks grid",
    "build_tracks grid": "score_tracks",
    "score_tracks": "rerank_tracks",
    "rerank_tracks": "evaluate",
    "evaluate": "assemble",
    "render_predictions": "assemble",
}


def _command(stage: str, split: str, *flags: str) -> Command:
    return Command(f"stages.{stage}", (*FILES, "--dataset", "tiny", "--split", split, *flags))


def _step(stage: str, split: str, folder: str, *flags: str, per_video: bool = True) -> Step:
    branch = f" {flags[1]}" if flags and flags[0] in ("--source", "--name") else ""
    makes = (f"{CACHE}/tiny/{split}/{folder}",)
    which = " of train" if split == "train" else ""
    return Step(f"{stage}{branch}{which}", _command(stage, split, *flags), makes, per_video)


def _tracked(split: str, source: str) -> Iterator[Step]:
    for stage, folder in (("generate_prompts", "prompts"), ("build_tracks", "tracks")):
        yield _step(stage, split, f"{folder}/{source}", "--source", source)


def _weights(role: str, *flags: str) -> Step:
    command = Command("stages.fetch_weights", (*FILES, *flags, "--preset", "random", "--role", role))
    return Step(f"fetch_weights {role}", command, (f"weights/random/{role}",), per_video=False)


def _collect(task: str) -> Step:
    command = _command("collect", "valid_u", "--task", task)
    return Step(f"collect {task}", command, (f"{CACHE}/tiny/valid_u/done/{task}.json",), per_video=False)


# ---------------------------------------------------------------- the place


def make_place(place: Path) -> Path:
    """A workspace for all steps."""
    place.mkdir(parents=True, exist_ok=True)
    make_workspace(place)
    few = {"selector": {"sources": {"train": ["gt"], "evaluate": ["grid"]}}, "rerank": {"evidence": []}}
    overlay(place, "tiny.yaml", few)
    overlay(
        place,
        "fit.yaml",
        {
            "rerank": {"evidence": ["judge"], "fusion": "fitted", "fit_on": "tiny/valid_u"},
            "selector": {"training": {"positive_iou": 0.01}},
        },
    )
    (place / "media.yaml").write_text("datasets: {clips: {root: data/media}}\n")
    write_internvl(place / "own" / "seg")
    seg = {"presets": {"random": {"models": {"seg": {**SEG_MODEL, "sam2": SAM2, "path": "own/seg"}}}}}
    seg |= {"datasets": {"tiny": {"settings": {"seg_training": TRAINING, "prompts": {"seg": SEG_PROMPTS}}}}}
    (place / "seg.yaml").write_text(yaml.safe_dump(seg))
    return place


SEG_PROMPTS: Mapping[str, Any] = {"variant": "sa2va_i", "sa2va_i": {"frames": 3}}


def remove(place: Path, step: Step) -> None:
    for name in step.makes:
        path = place / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


# ---------------------------------------------------------------- what is there

Content = tuple[str, str]  # kind, and digest of the bytes, or target of a link


def contents(place: Path, names: Sequence[str], passed_over: Sequence[str] = ()) -> dict[str, Content]:
    """Every file and link below some places: path → what it holds."""
    there: dict[str, Content] = {}
    for name in names:
        path = place / name
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            key = str(file.relative_to(place))
            if file.is_symlink():
                there[key] = "link", str(file.readlink())
            elif file.is_file() and not set(passed_over) & set(file.relative_to(place).parts):
                there[key] = "file", hashlib.sha256(file.read_bytes()).hexdigest()
    return there


def identities(place: Path, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Path → inode and time of change: another one was made again."""
    return {
        name: ((stat := (place / name).lstat()).st_ino, stat.st_mtime_ns)
        for name in names
        if os.path.lexists(place / name)
    }


def is_temporary(name: str) -> bool:
    return any(part.startswith(".") and part.endswith(".tmp") for part in Path(name).parts)
