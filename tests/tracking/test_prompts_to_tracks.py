"""The stages generate_prompts and build_tracks, with random weights, on drawn videos in MeViS layout."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from support.jobs import make_job
from support.project import ROOT, make_config
from support.sam2 import box_mask, draw_frames

from stages import build_tracks, extract_frames, generate_prompts
from stages.core.config.loading import merge, read_yaml
from stages.core.media import masks
from stages.core.state.cache import CacheError, read_stamp
from stages.core.state.graph import BUILD_TRACKS, GENERATE_PROMPTS
from stages.core.state.prompt_file import read_prompts
from stages.core.state.track_file import read_history, read_masks, read_tracks
from stages.datasets import open_split
from stages.weights.fetch import fetch_preset

SIZE = (48, 64)
SMALL = {
    "prompts": {"grid": {"points_per_side": 3}, "gdino": {"max_boxes": 2}},
    "tracks": {"max_tracks": {"grid": 5, "gdino": 2}, "label_size": [24, 32], "prompts_per_pass": 3},
}
RANDOM = {"presets": read_yaml(ROOT / "tests/configs/tiny.yaml")["presets"]}
OVER = merge(RANDOM, {"presets": {"random": {"settings": SMALL}}, "datasets": {"shapes": {"models": "random"}}})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with random weights, data and extracted frames."""
    folder = tmp_path_factory.mktemp("place")
    config = make_config(folder, OVER)
    fetch_preset(config, "random", overwrite=False, source=None)
    root = folder / "data" / "shapes"
    write_split(root / "train", {"still/a": 5, "b": 3, "unseen": 2}, truth=True)
    write_split(root / "valid", {"c": 4}, truth=False)
    for split in ("train", "valid"):
        extract_frames.run(job_of(config, split, None))
    return folder


def write_split(folder, videos, truth):
    index, mask_dict = {}, {}
    for name, n in videos.items():
        frames = draw_frames(folder / "JPEGImages" / name, n, suffix=".jpg", name="{:05}")
        keys = [f"{len(mask_dict) + i}" for i in range(2)]
        if truth:
            mask_dict[keys[0]] = [None, *(encode(5 + t, 5, 25 + t, 25) for t in range(1, n))]
            mask_dict[keys[1]] = [encode(40 - t, 28, 56 - t, 44) for t in range(n)]
            if name == "unseen":
                mask_dict[keys[0]] = mask_dict[keys[1]] = [None] * n
        ids = {"anno_id": [int(k) for k in keys], "obj_id": [0, 1]} if truth else {}
        expressions = {"0": {"exp": "the red square", **ids}, "1": {"exp": "the blue square moving left", **ids}}
        index[name] = {"frames": list(frames.names), "expressions": expressions}
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": index}))
    if truth:
        (folder / "mask_dict.json").write_text(json.dumps(mask_dict))


def encode(*box):
    rle = masks.encode(box_mask(SIZE, *box))
    return {"size": list(rle["size"]), "counts": rle["counts"]}


def job_of(config, split, source, overwrite=False):
    return make_job(config, "shapes", split, source=source, overwrite=overwrite)


def make(job):
    generate_prompts.run(job)
    build_tracks.run(job)
    return job


def files_of(job, video):
    return [job.layout.file(stage, video, job.source) for stage in (GENERATE_PROMPTS, BUILD_TRACKS)]


def test_ground_truth_gives_a_labelled_track_an_annotation(place):
    job = make(job_of(make_config(place, OVER), "train", "gt"))
    prompts, tracks = (read(path) for read, path in zip((read_prompts, read_tracks), files_of(job, "still/a")))
    assert [(p.annotation, p.frame, p.area) for p in prompts] == [("0", 1, 400), ("1", 0, 256)]
    assert tracks.tokens_NTC.shape == (2, 5, 256) and tracks.tokens_NTC.dtype == np.float32
    assert tracks.prompt_id_N.tolist() == [0, 1] and tracks.prompt_frame_N.tolist() == [1, 0]
    assert tracks.size == SIZE
    assert [members.tolist() for members in tracks.expression_tracks] == [[0, 1], [0, 1]]
    rles = read_masks(files_of(job, "still/a")[1], [0])[0]
    assert tracks.area_NT[0].tolist() == masks.area(rles).tolist()
    assert tracks.bbox_NT4[0, 1].tolist() == masks.boxes(rles)[1].tolist()
    assert masks.iou_matrix([rles[1]], [prompts[0].mask])[0, 0] > 0.8  # the prompt itself, through 32 × 32 logits
    assert tracks.labels.annotations == ("0", "1") and tracks.labels.iou_NA.shape == (2, 2)
    assert tracks.labels.recall_NA[0, 0] > 0


def test_no_prompt_gives_a_finished_file_without_tracks(place):
    job = make(job_of(make_config(place, OVER), "train", "gt"))
    prompts, path = files_of(job, "unseen")
    assert read_prompts(prompts) == []
    tracks = read_tracks(path)
    assert tracks.tokens_NTC.shape == (0, 2, 256) and len(tracks) == 0
    assert [len(members) for members in tracks.expression_tracks] == [0, 0]
    assert tracks.labels.iou_NA.shape == (0, 2) and read_masks(path, []) == []


def test_a_video_of_more_frames_than_a_track_file_can_number_is_refused_at_once(place, monkeypatch):
    monkeypatch.setattr(build_tracks, "MOST_FRAMES", 4)
    job = job_of(make_config(place, OVER), "train", "gt")
    split = open_split(job.config, "shapes", "train")
    video = next(video for video in split.videos() if video.id == "still/a")
    with pytest.raises(ValueError, match="has 5 frames, a track file at most 4: set frames"):
        build_tracks.build(job, split, video, None, place / "refused.h5", None)


@pytest.mark.parametrize("source", ["grid", "gdino"])
def test_sources_build_twice_to_equal_bytes(place, source):
    config = make_config(place, OVER)
    job = make(job_of(config, "valid", source))
    files = files_of(job, "c")
    before = [file.read_bytes() for file in files]
    make(job_of(config, "valid", source, overwrite=True))
    assert [file.read_bytes() for file in files] == before
    prompts, tracks = read_prompts(files[0]), read_tracks(files[1])
    assert tracks.labels is None and len(tracks) > 0
    members = [m.tolist() for m in tracks.expression_tracks]
    if source == "grid":
        assert {p.frame for p in prompts} == {0, 2} and len(tracks) <= 5
        assert members == [list(range(len(tracks)))] * 2
    else:
        assert [t for tracks_e in members for t in tracks_e] == list(range(len(tracks)))
        assert max(map(len, members)) <= 2
        for e, rows in enumerate(members):
            assert {prompts[row].expression for row in tracks.prompt_id_N[rows]} <= {e}


def test_both_engines_build_the_same_tracks(place):
    """And leave what they took: counts in the file, seconds beside the state."""
    found = {}
    for engine in ("stock", "lockstep"):
        over = {"datasets": {"shapes": {"settings": {"tracks": {"engine": engine}}}}}
        job = make(job_of(make_config(place, merge(OVER, over)), "valid", "gdino"))
        path = files_of(job, "c")[1]
        found[engine] = (read_tracks(path), read_history(path))
        took = json.loads((job.layout.root / "runtime" / "build_tracks-gdino" / "c.json").read_text())
        assert took["tracks"] == len(found[engine][0]) and took["seconds"]["write"] > 0
        assert took["encodes"] == found[engine][1].counts["encodes"]
    (stock, slow), (lockstep, fast) = found["stock"], found["lockstep"]
    np.testing.assert_allclose(lockstep.tokens_NTC, stock.tokens_NTC, rtol=0, atol=1e-6)
    assert lockstep.prompt_id_N.tolist() == stock.prompt_id_N.tolist()
    assert np.abs(lockstep.area_NT.astype(int) - stock.area_NT.astype(int)).max() <= 1
    assert fast.counts["encodes"] == 4 < slow.counts["encodes"] and fast.merged == slow.merged == []
    assert fast.counts["object_frames"] == slow.counts["object_frames"] == 4 * len(stock)


def test_bfloat16_stores_half_tokens(place):
    over = {"datasets": {"shapes": {"settings": {"tracks": {"precision": "bfloat16"}}}}}
    config = make_config(place, OVER)
    job = make(job_of(config, "train", "gt"))
    full = read_tracks(files_of(job, "b")[1])
    rounded = make(job_of(make_config(place, merge(OVER, over)), "train", "gt"))
    half = read_tracks(files_of(rounded, "b")[1])
    assert half.tokens_NTC.dtype == np.float16
    np.testing.assert_allclose(half.tokens_NTC, full.tokens_NTC, atol=0.1)


def test_split_without_truth_has_no_gt(place):
    for stage in (generate_prompts, build_tracks):
        with pytest.raises(ValueError, match="split 'valid' has no ground truth"):
            stage.run(job_of(make_config(place, OVER), "valid", "gt"))


def test_gt_prompts_need_no_weights_and_tracks_name_the_missing_stage(place, tmp_path, caplog):
    for part in ("data", "cache"):
        shutil.copytree(place / part, tmp_path / part, symlinks=True)
    config = make_config(tmp_path, OVER)
    extract_frames.run(job_of(config, "train", None))
    shutil.rmtree(tmp_path / "cache" / "shapes" / "train" / "prompts", ignore_errors=True)
    job = job_of(config, "train", "gt")
    generate_prompts.run(job)
    assert len(read_prompts(files_of(job, "b")[0])) == 2
    with pytest.raises(ValueError, match="fetch_weights --preset random"):
        build_tracks.run(job)
    shutil.copytree(place / "weights", tmp_path / "weights")
    with pytest.raises(SystemExit):
        build_tracks.run(job_of(config, "train", "grid"))
    assert "generate_prompts" in caplog.text


def test_stamps_follow_what_each_stage_reads(place):
    config = make_config(place, OVER)
    job = make(job_of(config, "train", "gt"))
    prompts, tracks = (read_stamp(f, s.name) for f, s in zip(files_of(job, "b"), (GENERATE_PROMPTS, BUILD_TRACKS)))
    assert set(prompts.ingredients) == {"config", "frames", "weights", "annotations"}
    assert prompts.ingredients["weights"] == {} and set(prompts.ingredients["config"]) == {"prompts.gt"}
    assert set(tracks.ingredients) == {"config", "prompts", "frames", "weights", "expressions", "annotations"}
    assert tracks.ingredients["prompts"] == prompts.fingerprint
    files = files_of(job, "b")
    written = [file.stat().st_mtime_ns for file in files]
    make(replace(job, n_pids=1))
    assert [file.stat().st_mtime_ns for file in files] == written  # finished work is left alone
    with pytest.raises(CacheError):
        read_stamp(job.layout.file(BUILD_TRACKS, "b", "gdino"), "build_tracks")
