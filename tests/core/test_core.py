"""The cache, shards, masks, config: what every stage stands on."""

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.project import CONFIG, make_config

from stages.core.config.file import Config
from stages.core.config.loading import ConfigError, load_config, section, section_digest, settings_of
from stages.core.config.sections import Batches, Settings
from stages.core.digests import flatten
from stages.core.media import masks
from stages.core.records import Expression, Video, check_id
from stages.core.run.cli import Job
from stages.core.run.profiles import read_profile
from stages.core.run.runner import Finish, StaleError, run_shard, shard
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
from stages.core.state.graph import EVALUATE, GENERATE_PROMPTS, STAGES, Stage
from stages.core.state.prompt_file import Prompt, read_prompts, write_prompts
from stages.core.tables import SELECTORS, SOURCES
from stages.prompting.frame_choice import FrameChoice
from stages.tools import run as run_tool

STAMP = Stamp("evaluate", 1, {"config": {"evaluate": {"boundary_ratio": 0.008}}})


def make_video(name: str, cost: int = 1, defect: str = "") -> Video:
    return Video(name, ("00000",), Path("nowhere"), (), cost, defect)


# ---------------------------------------------------------------- records


@pytest.mark.parametrize("bad", ["", "/etc", "../a", "a/../b", "a//b", "./a", "a/", ".hidden", "a\\b", "a\0b"])
def test_ids_that_leave_the_root_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="cannot be used as a path"):
        check_id(bad, "video id")


def test_ids_with_slashes_are_fine() -> None:
    assert check_id("UVO/all/2E4T5NCywcE", "video id")


def test_records_refuse_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="is empty"):
        Expression("0", "", None, "")
    twice = (Expression("0", "a", None, "a"), Expression("0", "b", None, "b"))
    with pytest.raises(ValueError, match="ids repeat"):
        Video("v", (), Path(), twice, 1)


# ---------------------------------------------------------------- sharding


@given(costs=st.lists(st.integers(0, 50), max_size=40), n_pids=st.integers(1, 9))
def test_shards_are_disjoint_complete_and_balanced(costs: list[int], n_pids: int) -> None:
    videos = [make_video(f"v{i}", cost) for i, cost in enumerate(costs)]
    shards = [shard(videos, pid, n_pids) for pid in range(n_pids)]
    dealt = [video.id for part in shards for video in part]
    assert sorted(dealt) == sorted(video.id for video in videos)
    assert shards == [shard(videos[::-1], pid, n_pids) for pid in range(n_pids)], "the order given does not matter"
    loads = [sum(video.cost for video in part) for part in shards]
    assert max(loads) - min(loads) <= max(costs, default=0), "longest first, dealt like cards"


@pytest.mark.parametrize(("pid", "n_pids"), [(-1, 2), (2, 2), (0, 0)])
def test_wrong_shards_are_refused(pid: int, n_pids: int) -> None:
    with pytest.raises(ValueError, match="--pid"):
        shard([], pid, n_pids)


# ---------------------------------------------------------------- cache


def test_a_file_is_complete_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []


def test_states_and_reasons(tmp_path: Path) -> None:
    for name in ("x.json", "x.h5"):
        path = tmp_path / name
        assert inspect(path, STAMP)[0] is State.MISSING
        if name == "x.json":
            write_json(path, {"rows": []}, STAMP)
        else:
            with create_h5(path, STAMP) as file:
                file["a"] = np.arange(3)
        assert inspect(path, STAMP)[0] is State.COMPLETE
        other = Stamp("evaluate", 2, {"config": {"evaluate": {"boundary_ratio": 0.01}}})
        state, reason = inspect(path, other)
        assert state is State.STALE
        assert "boundary_ratio: 0.008 → 0.01" in reason and "layout version 1 → 2" in reason
        path.write_bytes(path.read_bytes()[:40])
        state, reason = inspect(path, STAMP)
        assert state is State.DAMAGED and str(path) in reason and "python -m stages.evaluate" in reason


def test_an_unfinished_h5_is_no_result(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["stamp"] = STAMP.dumps()
    with pytest.raises(CacheError, match="never finished"), open_h5(tmp_path / "x.h5", "evaluate", 1):
        pass


def test_readers_refuse_other_stages_and_versions(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {}, STAMP)
    with pytest.raises(CacheError, match="layout version 1, this code reads 2"):
        read_json(tmp_path / "x.json", "evaluate", 2)
    with pytest.raises(CacheError, match="written by evaluate, not by score_tracks"):
        read_json(tmp_path / "x.json", "score_tracks", 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere; the next test covers root")
def test_a_folder_without_rights_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CacheError, match="cannot be created"):
        write_json(tmp_path / "a" / "x.json", {})


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match="cannot be created"):
        write_json(tmp_path / "file" / "x.json", {})


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    prompts = [Prompt(0, masks.encode(np.eye(5)), (0, 0, 5, 5), phrase="é", token_scores=(0.5, 0.25))]
    for name in ("a.h5", "b.h5"):
        write_prompts(tmp_path / name, Stamp(GENERATE_PROMPTS.name, GENERATE_PROMPTS.version, {}), prompts, (5, 5))
        time.sleep(1.1)  # a time stamp in the file would differ
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    found = read_prompts(tmp_path / "a.h5")[0]
    assert (found.mask, found.phrase, found.token_scores) == (prompts[0].mask, "é", (0.5, 0.25))


# ---------------------------------------------------------------- the shard loop


def make_job(config: Config, **over: object) -> Job:
    values: dict[str, object] = {"dataset": "shapes", "split": "valid_u", "source": None, "pid": 0, "n_pids": 1}
    values |= {"overwrite": False, "limit": None}
    return Job(config=config, **(values | over))  # type: ignore[arg-type]


class Recorder:
    """A worker that writes a real cache file and remembers which videos it made."""

    def __init__(self, failing: str = "") -> None:
        self.made: list[str] = []
        self.failing = failing

    def __call__(self, video: Video, path: Path, stamp: Stamp) -> None:
        if video.id == self.failing:
            raise ValueError(f"{video.id}: broken; fix it")
        self.made.append(video.id)
        write_json(path, {"video": video.id}, stamp)


def run(job: Job, videos: list[Video], worker: Recorder, ingredient: str = "x") -> list[str]:
    worker.made.clear()
    run_shard(job, EVALUATE, videos, lambda video: {"input": ingredient}, lambda device: worker)
    return worker.made


def test_finished_videos_are_never_made_again(config: Config) -> None:
    videos, worker = [make_video(f"v{i}") for i in range(5)], Recorder()
    assert len(run(make_job(config), videos, worker)) == 5
    assert run(make_job(config), videos, worker) == []
    assert [run(make_job(config, pid=pid, n_pids=3), videos, worker) for pid in range(3)] == [[], [], []]
    assert len(run(make_job(config, overwrite=True), videos, worker)) == 5
    assert len(run(make_job(config), videos, worker, ingredient="changed")) == 5


def test_one_bad_video_fails_alone(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    videos = [make_video("a"), make_video("b"), make_video("c", defect="c: sentence 2 is empty")]
    worker = Recorder(failing="a")
    with pytest.raises(SystemExit) as end:
        run(make_job(config), videos, worker)
    assert end.value.code == 1 and worker.made == ["b"]
    assert "a: broken; fix it" in caplog.text and "c: sentence 2 is empty" in caplog.text
    record = make_job(config).layout.errors(EVALUATE) / "a.json"
    assert json.loads(record.read_text())["error"] == "a: broken; fix it"
    run(make_job(config), [make_video("a"), make_video("b")], Recorder())
    assert not record.exists(), "a mended video loses its record"


def test_what_a_killed_run_left_half_made_is_removed(config: Config) -> None:
    path = make_job(config).layout.file(EVALUATE, "a")
    path.parent.mkdir(parents=True)
    leftover = path.with_name(f".{path.name}.123.tmp")
    leftover.write_text("half")
    run(make_job(config), [make_video("a")], Recorder())
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_end_of_a_video_runs_while_the_next_one_is_worked_on(config: Config) -> None:
    events: list[str] = []
    may_write = {name: threading.Event() for name in "abc"}

    def work(video: Video, path: Path, stamp: Stamp) -> Finish:
        events.append(f"work {video.id}")
        if video.id != "a":
            may_write[chr(ord(video.id) - 1)].set()  # the video before writes only once this one has begun

        def finish() -> None:
            assert may_write[video.id].wait(60), "the next video waits for the writing of this one"
            write_json(path, {"video": video.id}, stamp)
            events.append(f"written {video.id}")

        return finish

    may_write["c"].set()
    videos = [make_video(name) for name in "abc"]
    run_shard(make_job(config), EVALUATE, videos, lambda video: {"input": "x"}, lambda device: work)
    written = [event for event in events if event.startswith("written")]
    assert written == ["written a", "written b", "written c"]
    assert events.index("written a") < events.index("work c"), "at most one video waits to be written"
    assert run(make_job(config), videos, Recorder()) == []


def test_an_end_that_fails_fails_its_own_video(config: Config) -> None:
    def work(video: Video, path: Path, stamp: Stamp) -> Finish:
        def finish() -> None:
            if video.id == "b":
                raise OSError("no space left")
            write_json(path, {"video": video.id}, stamp)

        return finish

    videos = [make_video(name) for name in "abc"]
    with pytest.raises(SystemExit):
        run_shard(make_job(config), EVALUATE, videos, lambda video: {"input": "x"}, lambda device: work)
    assert json.loads((make_job(config).layout.errors(EVALUATE) / "b.json").read_text())["error"] == "no space left"
    assert run(make_job(config), videos, Recorder()) == ["b"]


def test_an_interrupted_job_keeps_the_video_that_was_being_written(config: Config) -> None:
    def work(video: Video, path: Path, stamp: Stamp) -> Finish:
        if video.id == "b":
            raise KeyboardInterrupt

        def finish() -> None:
            time.sleep(0.2)
            write_json(path, {"video": video.id}, stamp)

        return finish

    videos = [make_video(name) for name in "ab"]
    with pytest.raises(KeyboardInterrupt):
        run_shard(make_job(config), EVALUATE, videos, lambda video: {"input": "x"}, lambda device: work)
    assert run(make_job(config), videos, Recorder()) == ["b"]


def test_no_work_loads_no_model(config: Config) -> None:
    run(make_job(config), [make_video("a")], Recorder())

    def refuse(device: str) -> Recorder:
        raise AssertionError("a model was loaded for nothing")

    run_shard(make_job(config), EVALUATE, [make_video("a")], lambda video: {"input": "x"}, refuse)


def test_stale_files_can_stop_the_job(tmp_path: Path) -> None:
    config = make_config(tmp_path, {"run": {"on_stale": "stop"}})
    run(make_job(config), [make_video("a")], Recorder())
    with pytest.raises(StaleError, match="input: x → y"):
        run(make_job(config), [make_video("a")], Recorder(), ingredient="y")


# ---------------------------------------------------------------- config


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"prompts": {"grdi": {}}}, "prompts.grdi: unknown key; did you mean 'grid'"),
        (
            {"presets": {"micro": {"settings": {"tracks": {"engin": 1}}}}},
            "tracks.engin: unknown key; did you mean 'engine'",
        ),
        ({"datasets": {"shapes": {"splits": {"train": {"rol": 1}}}}}, "did you mean 'role'"),
        ({"datasets": {"mevis": {"models": "lrge"}}}, "no preset 'lrge'"),
        ({"datasets": {"mevis": {"selector": {"train": "mevis/trian"}}}}, "not a configured <dataset>/<split>"),
        ({"tracks": {"covered_iou": 2}}, "tracks.covered_iou"),
        ({"prompts": {"gdino": {"frames": {"step": None}}}}, "give step, count, or both"),
        ({"datasets": {"shapes": {"splits": {"a/b": {"role": "train", "limit": None}}}}}, "letters a to z, digits"),
        ({"datasets": {"shapes": {"splits": {"é": {"role": "train", "limit": None}}}}}, "letters a to z, digits"),
        ({"datasets": {"mevis": {"selector": {"train": "mevis/train/"}}}}, "not of the form <dataset>/<split>"),
        ({"datasets": {"mevis": {"root": ""}}}, "datasets.mevis.root"),
        ({"datasets": {"mevis": {"root": "a\0b"}}}, "datasets.mevis.root"),
        ({"paths": {"cache": ""}}, "paths.cache: .*write the folder's path in full"),
        ({"paths": {"results": "~/results"}}, "paths.results: .*write the folder's path in full"),
        ({"paths": {"results": "my results"}}, "paths.results: .*holds ' ', which"),
        ({"paths": {"weights": "w{x}"}}, "paths.weights: .*holds '{', which"),
        ({"frames": {"fps": float("inf")}}, "frames.fps: .*finite"),
        ({"render": {"fps": 1e-300}}, "render.fps: .*greater than or equal to 0.01"),
        ({"run": {"n_pids": True}}, "run.n_pids: .*needs a number"),
        ({"tracks": {"covered_iou": True}}, "tracks.covered_iou: .*needs a number"),
        ({"rerank": {"weights": {"judge": float("nan")}}}, "rerank.weights.judge"),
    ],
)
def test_config_errors_name_the_place(tmp_path: Path, over: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        make_config(tmp_path, over)


def test_config_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such config file"):
        load_config(tmp_path / "nothing.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1")
    with pytest.raises(ConfigError, match="not readable as YAML"):
        load_config(tmp_path / "broken.yaml")
    for value in ("!!timestamp x", "!!bool x", '!!int ""', "!!float x"):  # errors of four kinds in the library
        (tmp_path / "tag.yaml").write_text(f"run: {value}")
        with pytest.raises(ConfigError, match="not readable as YAML"):
            load_config(tmp_path / "tag.yaml")
        with pytest.raises(ValueError, match=r"--config run=.* not readable as YAML"):
            run_tool._entry(f"run={value}")
        with pytest.raises(ValueError, match="not YAML"):
            read_profile(tmp_path / "tag.yaml")
    (tmp_path / "twice.yaml").write_text("run:\n  threads: 1\n  threads: 2\n")
    with pytest.raises(ConfigError, match=r"'threads' is given twice\s.*line 3"):
        load_config(tmp_path / "twice.yaml")
    (tmp_path / "list.yaml").write_text("? [a]\n: 1\n")
    with pytest.raises(ConfigError, match=r"\['a'\] is no key\s.*line 1"):
        load_config(tmp_path / "list.yaml")
    (tmp_path / "deep.yaml").write_text("[" * 5000)
    with pytest.raises(ConfigError, match="nested too deeply"):
        load_config(tmp_path / "deep.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")  # reading it would wait for ever
    with pytest.raises(ConfigError, match="is not a file"):
        load_config(tmp_path / "pipe.yaml")


def test_a_config_file_may_begin_with_a_mark_or_hold_nothing_but_comments(tmp_path: Path) -> None:
    (tmp_path / "marked.yaml").write_bytes(b"\xef\xbb\xbfrun: {threads: 3}\n")
    assert load_config(CONFIG, tmp_path / "marked.yaml").run.threads == 3
    (tmp_path / "comments.yaml").write_text("# nothing yet\n")
    assert load_config(CONFIG, tmp_path / "comments.yaml") == load_config(CONFIG)


def test_a_data_set_overrides_its_preset(tmp_path: Path) -> None:
    config = make_config(tmp_path, {"datasets": {"shapes": {"settings": {"tracks": {"max_tracks": {"grid": 3}}}}}})
    shapes, mevis = settings_of(config, "shapes"), settings_of(config, "mevis")
    assert (shapes.tracks.max_tracks.grid, shapes.tracks.max_tracks.gdino) == (3, 6)
    assert (mevis.tracks.max_tracks.grid, mevis.prompts.gdino.box_threshold) == (64, 0.2)


@pytest.mark.parametrize(
    ("change", "rerun"),
    [
        ({"rerank": {"weights": {"judge": 0.25}}}, {"rerank_tracks"}),
        ({"selector": {"threshold": 0.25}}, {"rerank_tracks"}),
        ({"rerank": {"same_iou": 0.8}}, {"fit_fusion", "rerank_tracks"}),
        ({"rerank": {"fit_on": "mevis/train"}}, {"rerank_tracks"}),
        ({"evidence": {"judge": {"frame_side": 64}}}, {"gather_evidence"}),
        ({"selector": {"soc": {"dim": 64}}}, set()),
        ({"selector": {"sola": {"learning_rate": 1.0}}}, {"train_selector"}),
        ({"run": {"batches": dict.fromkeys(Batches.model_fields, 3)}}, set()),
        ({"tracks": {"covered_iou": 0.5}}, {"build_tracks"}),
        ({"tracks": {"max_tracks": {"grid": 7}}}, {"build_tracks"}),
        ({"tracks": {"max_tracks": {"gdino": 7}}}, set()),
        ({"prompts": {"gdino": {"max_boxes": 7}}}, set()),
    ],
)
def test_a_changed_key_concerns_only_the_stages_and_sources_that_read_it(
    tmp_path: Path, change: dict[str, object], rerun: set[str]
) -> None:
    before = settings_of(make_config(tmp_path), "mevis")
    after = settings_of(make_config(tmp_path, change), "mevis")
    changed = {
        name
        for name, stage in STAGES.items()
        if digest_of(before, stage, "grid", "judge") != digest_of(after, stage, "grid", "judge")
    }
    assert changed == rerun


def digest_of(settings: Settings, stage: Stage, source: str, evidence: str) -> str:
    return section_digest(
        settings, stage.reads(settings, {"source": source, "evidence": evidence, None: None}[stage.per])
    )


def test_every_key_is_read_by_a_stage(tmp_path: Path) -> None:
    """Of the architectures' sections, each by a config that chooses it."""
    read: list[str] = []
    for selector in SELECTORS:
        settings = settings_of(make_config(tmp_path, {"selector": {"name": selector}}), "mevis")
        branches = {"source": tuple(SOURCES), "evidence": tuple(settings.evidence), None: (None,)}
        read += [name for stage in STAGES.values() for b in branches[stage.per] for name in stage.reads(settings, b)]
    keys = flatten({name: section(settings, name) for name in Settings.model_fields})
    unread = {key for key in keys if not any(f"{key}.".startswith(f"{name}.") for name in read)}
    assert {key.split(".")[0] for key in unread} == {"run", "compare"}, "how jobs run, and what a table compares"


def test_frame_choices() -> None:
    assert FrameChoice(step=None, count=2).select(9) == [0, 4]
    assert FrameChoice(step=4, count=None).select(9) == [0, 4, 8]
    assert FrameChoice(step=None, count=5).select(2) == [0, 1]


def test_frames_of_a_long_video_are_limited() -> None:
    both = FrameChoice(step=4, count=3)
    assert both.select(9) == [0, 4, 8] == FrameChoice(step=4, count=None).select(9)
    assert both.select(13) == [0, 4, 8] == FrameChoice(step=None, count=3).select(13)
    assert both.select(1200) == [0, 400, 800]
    with pytest.raises(ValueError, match="give step, count, or both"):
        FrameChoice(step=None, count=None)


# ---------------------------------------------------------------- masks

small_masks = st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=4, max_size=4).map(np.array)


@given(small_masks)
def test_rle_round_trip(mask: np.ndarray) -> None:
    assert (masks.decode(masks.encode(mask)) == mask).all()
    assert masks.area([masks.encode(mask)])[0] == mask.sum()


@given(small_masks, small_masks)
def test_overlaps_and_unions(a: np.ndarray, b: np.ndarray) -> None:
    first, second = masks.encode(a), masks.encode(b)
    union, common = (a | b).sum(), (a & b).sum()
    assert masks.iou_matrix([first], [second])[0, 0] == pytest.approx(common / union if union else 0)
    assert masks.containment_matrix([first], [second])[0, 0] == pytest.approx(common / a.sum() if a.any() else 0)
    assert (masks.decode(masks.union([first, second], (4, 5))) == (a | b)).all()


def test_rle_of_the_reference() -> None:
    mask = np.zeros((4, 5), bool)
    assert masks.empty((4, 5))["counts"] == "d0"
    mask[1:3, 2:4] = True
    assert masks.encode(mask)["counts"] == "92203"
    assert masks.boxes([masks.encode(mask), masks.empty((4, 5))]).tolist() == [[2, 1, 4, 3], [0, 0, 0, 0]]


def test_masks_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot join a union"):
        masks.union([masks.empty((4, 5))], (5, 4))
    with pytest.raises(ValueError, match="broken RLE"):
        masks.decode({"size": (2, 2), "counts": masks.encode(np.ones((9, 9)))["counts"]})
