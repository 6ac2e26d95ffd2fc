"""The content of cache files is protected: damage is found, said, and made again; what cannot be read now is left."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.answers import answer, job_of, tiny_split
from support.project import ROOT

from benchmarks.corruption import measure
from stages import evaluate, extract_frames, render_predictions
from stages.core.media import masks
from stages.core.records import Expression, Video
from stages.core.run.cli import Job
from stages.core.run.runner import Worker, run_shard
from stages.core.state import temporary
from stages.core.state.cache import (
    CacheError,
    Stamp,
    State,
    atomic_path,
    create_h5,
    inspect,
    open_h5,
    read_json,
    write_json,
)
from stages.core.state.choices import Candidate, write_choices
from stages.core.state.evidence_file import ExpressionEvidence, TrackEvidence, write_evidence
from stages.core.state.folders import replaced_folder
from stages.core.state.graph import ENCODE_TEXT, EVALUATE, GATHER_EVIDENCE, GENERATE_PROMPTS, SCORE_TRACKS, Stage
from stages.core.state.h5_arrays import write_array
from stages.core.state.prompt_file import Prompt, write_prompts
from stages.core.state.temporary import DiskFull, disk_full, remove_leftovers
from stages.core.state.text_file import TextFeatures, write_text
from stages.core.state.track_file import read_tracks
from stages.datasets import open_split

STAMP = Stamp(EVALUATE.name, EVALUATE.version, {"config": {"x": 1}})


def stamp_of(stage: Stage) -> Stamp:
    return Stamp(stage.name, stage.version, {"config": {"key": "value é"}, "weights": {"sam2": "a" * 16}})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A split with a finished file of every stage that keeps one."""
    folder = tmp_path_factory.mktemp("made")
    job = job_of(tiny_split(folder), "tiny", "valid_u")
    answer(job)
    evaluate.run(job)
    render_predictions.run(job)
    random = np.random.default_rng(0)
    for video in open_split(job.config, "tiny", "valid_u").videos():
        path = job.layout.file(GENERATE_PROMPTS, video.id, "gdino")
        prompt = Prompt(0, masks.encode(np.eye(9)), (0, 0, 9, 9), phrase="a dög", token_scores=(0.5,), annotation="1")
        write_prompts(path, stamp_of(GENERATE_PROMPTS), [prompt] * 3, (9, 9), {"batches": {"points": 4}})
        features = [TextFeatures(random.normal(size=(5, 8)).astype(np.float32), np.ones(8, np.float32))]
        path = job.layout.file(ENCODE_TEXT, video.id)
        write_text(path, stamp_of(ENCODE_TEXT), video, features * len(video.expressions))
        candidates = [Candidate("grid", n, 0.25 * n) for n in range(3)]
        choices = {expression.id: candidates for expression in video.expressions}
        write_choices(job.layout.file(SCORE_TRACKS, video.id), stamp_of(SCORE_TRACKS), choices, 0.5)
        evidence = {e: ExpressionEvidence(tuple(TrackEvidence(c.id, 1.5) for c in candidates)) for e in choices}
        write_evidence(job.layout.file(GATHER_EVIDENCE, video.id, "judge"), stamp_of(GATHER_EVIDENCE), evidence, {})
    return job


def test_no_corruption_is_read_as_other_content(made: Job) -> None:
    """`python -m benchmarks.corruption` does the same with thousands."""
    figures = measure(made.layout.root, 900, seed=1)
    assert figures["read_as_other_content"] == [] and figures["wrong"] == 0
    assert set(figures["stages"]) >= {"generate_prompts", "build_tracks", "encode_text", "score_tracks", "evaluate"}
    assert set(figures["stages"]) >= {"gather_evidence", "rerank_tracks", "render_predictions", "extract_frames"}
    assert all(row["found"] > 50 for row in figures["stages"].values())


# ---------------------------------------------------------------- damage heals


def damaged_file(kind: str, path: Path) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "deep":
        path.write_text('{"stamp": ' + "[" * 100_000)
    elif kind == "stamp of another type":
        path.write_text(json.dumps({"stamp": {"stage": 1, "version": "x", "ingredients": []}}))
    elif kind == "dangling link":
        path.symlink_to(path.parent / "nowhere")
    else:
        path.write_bytes({"empty": b"", "bytes": b"\xff\xfe", "no object": b"[1]"}[kind])


KINDS = ["folder", "pipe", "deep", "stamp of another type", "dangling link", "empty", "bytes", "no object"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".json", ".h5"])
def test_what_cannot_be_read_as_ours_is_damaged(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"v{suffix}"
    damaged_file(kind, path)
    state, reason = inspect(path, STAMP)
    assert state is State.DAMAGED and str(path) in reason and "run `" in reason and "\n" not in reason


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_damage_is_written_over(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "v.json"
    damaged_file(kind, path)
    write_json(path, {"rows": []}, STAMP)
    assert inspect(path, STAMP)[0] is State.COMPLETE


def test_a_folder_in_a_files_place_is_named_with_what_clears_it(tmp_path: Path) -> None:
    path = tmp_path / "a b.json"
    path.mkdir()
    with pytest.raises(CacheError, match=r"a folder is in the place of a file; clear it: `rm -r '.*a b\.json'`"):
        write_json(path, {}, STAMP)
    assert path.is_dir(), "it might be somebody's"
    with pytest.raises(CacheError, match="clear it"), replaced_folder(tmp_path / "a b", record=path):
        pass
    assert path.is_dir() and not (tmp_path / "a b").exists()


def test_an_error_of_another_place_is_told_as_it_is(tmp_path: Path) -> None:
    """A frame that cannot be read is not an output that cannot be written."""
    elsewhere = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "data" / "0.jpg"))
    with (
        pytest.raises(PermissionError, match=r"0\.jpg"),
        replaced_folder(tmp_path / "cache/v", tmp_path / "cache/v.json"),
    ):
        raise elsewhere


def test_one_changed_byte_in_a_stamp_is_found(made: Job) -> None:
    """HDF5 itself keeps no checksum of its strings of variable length: a stamp is not one."""
    path = next(made.layout.root.rglob("*.h5"))
    content = bytearray(path.read_bytes())
    at = content.index(b'"ingredients"')
    content[at + 3] = 0xE9
    path = path.with_name("changed.h5")
    path.write_bytes(content)
    state, reason = inspect(path, STAMP)
    assert state is State.DAMAGED and "changed.h5" in reason
    path.unlink()


# ---------------------------------------------------------------- what cannot be read now


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("suffix", [".json", ".h5"])
def test_what_cannot_be_read_now_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, suffix: str
) -> None:
    path = tmp_path / f"v{suffix}"
    path.write_bytes(b"{}")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(OSError, match=r"cannot be read at this moment .*; it is left as it is") as raised:
        inspect(path, STAMP)
    assert raised.value.errno == number and not isinstance(raised.value, CacheError) and path.exists()


def test_a_finished_file_that_somebody_has_locked_is_read(tmp_path: Path) -> None:
    path = tmp_path / "v.h5"
    with create_h5(path, STAMP) as file:
        write_array(file, "x", np.arange(3))
    code = "import fcntl, sys, time; f = open(sys.argv[1], 'rb+'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True)"
    holder = subprocess.Popen(
        [sys.executable, "-c", f"{code}; sys.stdin.read()", str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"1\n"
    try:
        with open_h5(path, EVALUATE.name, EVALUATE.version) as file:
            assert file["x"][:].tolist() == [0, 1, 2]
    finally:
        holder.communicate()


# ---------------------------------------------------------------- two processes on one shard


def test_temporaries_of_the_living_stay_and_those_of_the_dead_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "v.json"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    living = os.getppid()
    names = {
        f".v.json.{temporary.HOST}.{dead.pid}.tmp": False,
        f".v.json.{dead.pid}.tmp": False,  # as earlier versions named them
        f".v.json.{temporary.HOST}.{living}.tmp": True,
        ".v.json.another-machine.7.tmp": True,
        ".w.json.7.tmp": True,
        "v.json.7.tmp": True,
    }
    for name in names:
        (tmp_path / name).write_text("half")
    old = tmp_path / ".v.json.gone-machine.7.tmp"
    old.write_text("half")
    os.utime(old, (time.time() - 3 * 24 * 3600,) * 2)
    remove_leftovers(path)
    assert {entry.name for entry in tmp_path.iterdir()} == {name for name, stays in names.items() if stays}


def test_two_processes_may_make_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both swap theirs in at about the same moment, many times: each time one of them is there, whole."""
    folder, record = tmp_path / "v", tmp_path / "v.json"
    mine = threading.local()
    monkeypatch.setattr(
        "stages.core.state.folders.temporary_beside", lambda path: path.with_name(f".{path.name}.{mine.name}.tmp")
    )
    errors: list[BaseException] = []

    def work(name: str) -> None:
        mine.name = name
        try:
            for _ in range(60):
                with replaced_folder(folder, record) as place:
                    for i in range(5):
                        (place / str(i)).write_text(name)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {(folder / str(i)).read_text() for i in range(5)} in ({"a"}, {"b"})


# ---------------------------------------------------------------- a full disk


def test_a_full_disk_is_one_line_and_stops_the_shard(made: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def make_worker(_: str) -> Worker:
        def work(video: Video, path: Path, stamp: Stamp) -> None:
            tried.append(video.id)
            with create_h5(path, stamp) as file:
                write_array(file, "x", np.arange(3))
                raise RuntimeError("Unable to flush (file write failed: errno = 28, error message = 'No space left')")

        return work

    videos = [Video(f"v{i}", ("0",), Path("x"), (Expression("0", "a", None, "a"),), 1) for i in range(4)]
    with pytest.raises(DiskFull, match=r"no space left on /.* for .*; free some and run this again"):
        run_shard(made, ENCODE_TEXT, videos, lambda _: {}, make_worker)
    assert len(tried) == 1
    assert disk_full(ValueError("x"), Path("y")) is None


def test_a_really_full_disk(tmp_path: Path) -> None:
    """A small file system of its own, where this machine lets us mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        for suffix in (".h5", ".json"):
            with (
                pytest.raises(DiskFull, match=f"no space left on {place} for"),
                atomic_or_h5(place / f"v{suffix}") as fill,
            ):
                fill(np.random.default_rng(0).integers(0, 255, 10**6).astype(np.uint8))
            assert list(place.iterdir()) == []
    finally:
        subprocess.run(["umount", str(place)], check=True)


class atomic_or_h5:
    """Writes bytes to a cache file of either kind."""

    def __init__(self, path: Path) -> None:
        self.inner = create_h5(path, STAMP) if path.suffix == ".h5" else atomic_path(path)

    def __enter__(self):
        place = self.inner.__enter__()
        if isinstance(place, Path):
            return lambda data: place.write_bytes(data.tobytes())
        return lambda data: write_array(place, "x", data)

    def __exit__(self, *error: object) -> bool | None:
        return self.inner.__exit__(*error)


# ---------------------------------------------------------------- older layouts


def test_files_of_an_older_layout_are_recognised_and_said_so(tmp_path: Path) -> None:
    """Without digest and with strings as HDF5 keeps them: what earlier versions wrote."""
    old = Stamp(EVALUATE.name, EVALUATE.version - 1, STAMP.ingredients)
    (tmp_path / "v.json").write_text(json.dumps({"stamp": json.loads(old.dumps()), "rows": []}))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.attrs["stamp"], file.attrs["complete"] = old.dumps(), True
    for path in (tmp_path / "v.json", tmp_path / "v.h5"):
        state, reason = inspect(path, STAMP)
        assert state is State.STALE and reason == f"layout version {old.version} → {EVALUATE.version}"
    with pytest.raises(CacheError, match="has layout version"):
        read_json(tmp_path / "v.json", EVALUATE.name, EVALUATE.version)


def test_a_damaged_upstream_file_fails_its_video_with_the_command_that_heals_it(made: Job) -> None:
    path = next((made.layout.root / "tracks").rglob("*.h5"))
    whole = path.read_bytes()
    try:
        content = bytearray(whole)
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        try:
            read_tracks(path)
        except CacheError as error:
            assert "damaged" in str(error) and "stages.build_tracks" in str(error)
    finally:
        path.write_bytes(whole)
    assert extract_frames and ROOT
