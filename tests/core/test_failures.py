"""A video that fails: it stops its split's results, or it is left out of them and named (`run.on_failure`)."""

import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import pytest
from support.jobs import folder_job
from support.video_files import make_video

from stages import collect, extract_frames
from stages.core.records import Video
from stages.core.run.cli import Job
from stages.core.run.runner import run_shard
from stages.core.state.cache import CacheError, Stamp, atomic_path
from stages.core.state.failures import Failure, failed_videos, first_failure
from stages.core.state.graph import EXTRACT_FRAMES, GENERATE_PROMPTS, Layout
from stages.datasets import open_split

LEAVE_OUT = {"run": {"on_failure": "leave_out"}}


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two sound videos and one that is cut short."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("a", "broken", "c"):
        make_video(folder / f"{name}.mp4", 4)
    whole = (folder / "broken.mp4").read_bytes()
    (folder / "broken.mp4").write_bytes(whole[: len(whole) // 2])
    return folder


def job_on(clips: Path, over: dict[str, Any]) -> Job:
    over = {"datasets": {"clips": {"settings": over}}}
    return folder_job(clips.parent, {name: ["a square"] for name in ("a", "broken", "c")}, over)


def test_stop_ends_with_status_1_after_the_others_are_done(clips: Path) -> None:
    job = job_on(clips, {"run": {"on_failure": "stop"}})
    with pytest.raises(SystemExit) as stopped:
        extract_frames.run(job)
    assert stopped.value.code == 1
    assert [job.layout.file(EXTRACT_FRAMES, name).exists() for name in ("a", "broken", "c")] == [True, False, True]
    with pytest.raises(CacheError, match="extract_frames is incomplete for 1 videos"):
        collect.run(job, "extract_frames")


def test_left_out_it_is_named_and_later_stages_pass_it_over(clips: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = job_on(clips, LEAVE_OUT)
    extract_frames.run(job)
    collect.run(job, "extract_frames")
    document = json.loads(job.layout.verified(EXTRACT_FRAMES).read_text())
    assert sorted(document["videos"]) == ["a", "c"] and "cut short" in document["failed"]["broken"]
    made: list[str] = []

    def work(video: Video, path: Path, stamp: Stamp) -> None:
        made.append(video.id)

    grid = dataclasses.replace(job, source="grid")
    videos = open_split(job.config, job.dataset, job.split).videos()
    run_shard(grid, GENERATE_PROMPTS, videos, lambda _: {}, lambda _: work)
    assert sorted(made) == ["a", "c"] and "left out: broken (failed in extract_frames)" in caplog.text
    assert list(failed_videos(job.layout)) == ["extract_frames/broken"]


def test_what_is_healed_is_left_out_no_more(clips: Path) -> None:
    job = job_on(clips, LEAVE_OUT)
    extract_frames.run(job)
    assert first_failure(job.layout, "broken") is not None
    make_video(clips / "broken.mp4", 4)
    extract_frames.run(job)
    collect.run(job, "extract_frames")
    assert first_failure(job.layout, "broken") is None and failed_videos(job.layout) == {}
    assert json.loads(job.layout.verified(EXTRACT_FRAMES).read_text())["failed"] == {}


def test_the_first_failure_is_the_one_that_others_follow_from(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "d", "s")
    for task, reason in (("build_tracks-grid", "later"), ("generate_prompts-gdino", "first"), ("evaluate", "last")):
        record = tmp_path / "d/s/errors" / task / "v.json"
        record.parent.mkdir(parents=True)
        record.write_text(json.dumps({"error": reason}))
    assert first_failure(layout, "v") == Failure("generate_prompts-gdino", "first")
    assert first_failure(layout, "w") is None and first_failure(Layout(tmp_path, "d", "t"), "v") is None
    (tmp_path / "d/s/errors/generate_prompts-gdino/v.json").write_text("no JSON")
    assert first_failure(layout, "v") == Failure(
        "generate_prompts-gdino", f"see {tmp_path / 'd/s/errors/generate_prompts-gdino/v.json'}"
    )


def refuse(path: Path, *_: object, **__: object) -> None:
    """As a disk that is mounted read-only does, also where there is no such file."""
    raise OSError(errno.EROFS, "Read-only file system", str(path))


def test_a_disk_that_is_read_only_is_named_with_its_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "unlink", refuse)
    words = r"a\.json: not writable \(Read-only file system\); check its rights or `paths`"
    with pytest.raises(CacheError, match=words), atomic_path(tmp_path / "a.json") as temporary:
        refuse(temporary)


def test_finished_work_is_passed_over_on_a_disk_that_is_read_only(
    clips: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = job_on(clips, LEAVE_OUT)
    make_video(clips / "broken.mp4", 4)
    extract_frames.run(job)
    monkeypatch.setattr(Path, "unlink", refuse)
    with caplog.at_level("INFO"):
        extract_frames.run(job)
    assert "0 of 3 videos to do" in caplog.text
