"""render_predictions and the drawing functions, on real tracks, decisions, frames and videos."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.drawn_tracks import tracks_of
from support.jobs import folder_job
from support.video_files import add_sound, make_video

from stages import extract_frames, render_predictions
from stages.core.media import masks, overlays
from stages.core.media.drawing import (
    colour_of,
    draw_numbered,
    draw_objects,
    interior_point,
    outline,
    tint,
    viewing_size,
)
from stages.core.media.video import decode
from stages.core.state.cache import Stamp, read_json
from stages.core.state.choices import Candidate, write_choices
from stages.core.state.frames import open_frames
from stages.core.state.graph import BUILD_TRACKS, RENDER_PREDICTIONS, RERANK_TRACKS
from stages.core.state.renders import open_render
from stages.core.state.track_file import write_tracks

SIZE, N_FRAMES = (48, 64), 6
SENTENCES = ["The  left ONE", "both of them", "a unicorn"]


def box_mask(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask_HW = np.zeros(SIZE, bool)
    mask_HW[y : y + height, x : x + width] = True
    return mask_HW


def track_masks() -> list[list[np.ndarray]]:
    """Two tracks: one moves right and is absent at the end, one stays."""
    moving = [box_mask(2 + 3 * t, 4, 10, 12) if t < N_FRAMES - 1 else box_mask(0, 0, 0, 0) for t in range(N_FRAMES)]
    return [moving, [box_mask(40, 20, 16, 20)] * N_FRAMES]


def write_upstream(job, video: str) -> None:
    """The track file and the decisions: nothing, one track or both are chosen."""
    rles = [[masks.encode(mask_HW) for mask_HW in track] for track in track_masks()]
    tracks = tracks_of(SIZE, rles, len(SENTENCES), N_FRAMES)
    stamp = Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {})
    write_tracks(job.layout.file(BUILD_TRACKS, video, "grid"), stamp, tracks, rles)
    chosen = {"0": (True, False), "1": (True, True), "2": (False, False)}
    choices = {
        e: [Candidate("grid", i, 0.0, final=-i - 1.0, chosen=c) for i, c in enumerate(flags)]
        for e, flags in chosen.items()
    }
    stamp = Stamp(RERANK_TRACKS.name, RERANK_TRACKS.version, {"chosen": chosen})
    write_choices(job.layout.file(RERANK_TRACKS, video), stamp, choices, 0.5)


@pytest.fixture
def job(tmp_path):
    job = folder_job(tmp_path, {"clip": SENTENCES})
    make_video(tmp_path / "data/clip.mp4", N_FRAMES)
    extract_frames.run(job)
    write_upstream(job, "clip")
    return job


def folder(job) -> Path:
    return job.layout.folder(RENDER_PREDICTIONS) / "clip"


def test_every_frame_has_its_png(job):
    render_predictions.run(job)
    names = open_frames(job.layout, "clip").names
    moving, still = track_masks()
    expected = {
        "0": moving,
        "1": [a | b for a, b in zip(moving, still)],
        "2": [np.zeros(SIZE, bool)] * N_FRAMES,
    }
    for expression, masks_T in expected.items():
        pngs = folder(job) / "predictions" / expression
        assert sorted(path.name for path in pngs.iterdir()) == [f"{name}.png" for name in names]
        for name, mask_HW in zip(names, masks_T):
            with Image.open(pngs / f"{name}.png") as image:
                assert image.mode == "L" and image.size == (64, 48)
                assert np.array_equal(np.asarray(image), mask_HW * np.uint8(255))


FACTOR = 7  # 64x48 is drawn on at 448x336


def test_overlay_plays_shows_the_mask_and_keeps_the_times(job):
    render_predictions.run(job)
    frames = list(decode(folder(job) / "overlays/1.mp4"))
    assert [frame.time for frame in frames] == pytest.approx([i / 10 for i in range(N_FRAMES)], abs=1e-4)
    height, width = frames[0].image_HW3.shape[:2]
    assert width == FACTOR * 64 and height % 2 == 0
    assert height > FACTOR * 48  # the sentence stands below the picture
    picture_HW3 = frames[2].image_HW3.astype(int)
    still, moving = picture_HW3[30 * FACTOR, 48 * FACTOR], picture_HW3[14 * FACTOR, 13 * FACTOR]
    outside = picture_HW3[42 * FACTOR, 10 * FACTOR]
    assert np.ptp(outside) < 25  # grey
    for pixel, number in ((moving, 0), (still, 1)):  # every track in its own colour
        tinted = 0.55 * 36 + 0.45 * np.asarray(overlays.colour_of(number))
        assert np.abs(pixel - tinted).max() < 25
    assert (frames[0].image_HW3[48 * FACTOR :] > 150).any()  # letters


def test_a_track_has_one_colour_in_all_overlays(job):
    stamp = Stamp(RERANK_TRACKS.name, RERANK_TRACKS.version, {"chosen": "second"})
    choices = {"0": [(0, True), (1, True)], "1": [(1, True)], "2": [(0, True)]}
    candidates = {e: [Candidate("grid", t, 0.0, chosen=c) for t, c in row] for e, row in choices.items()}
    write_choices(job.layout.file(RERANK_TRACKS, "clip"), stamp, candidates)
    render_predictions.run(job)
    seen = {}
    for expression in "012":
        picture_HW3 = list(decode(folder(job) / f"overlays/{expression}.mp4"))[2].image_HW3.astype(int)
        seen[expression] = (picture_HW3[14 * FACTOR, 13 * FACTOR], picture_HW3[30 * FACTOR, 48 * FACTOR])
    assert np.abs(seen["0"][1] - seen["1"][1]).max() < 10 and np.abs(seen["0"][0] - seen["2"][0]).max() < 10
    assert np.abs(seen["0"][0] - seen["0"][1]).max() > 60


def test_an_empty_answer_says_why(job, caplog):
    with caplog.at_level("WARNING"):
        render_predictions.run(job)
    assert open_render(job.layout, "clip").notes == {"2": "No object was chosen (best score 0.27 below 0.50)"}
    said = [r.getMessage() for r in caplog.records if "no answer" in r.getMessage()]
    assert said == [
        "clips/all: 1 of 3 expressions have no answer, as clip/2: No object was chosen (best score 0.27 below 0.50)"
    ]
    first = {e: next(decode(folder(job) / f"overlays/{e}.mp4")).image_HW3 for e in "12"}
    assert (first["2"][:20] > 150).any() and (first["2"][:12] < 60).mean() > 0.5  # white letters on a dark strip
    assert first["1"][:12, 200:].std() < first["2"][:12, :200].std()


@pytest.mark.parametrize(
    ("candidates", "threshold", "words"),
    [
        (None, 0.5, "No prediction was imported"),
        ([], 0.5, "No object was chosen (nothing was tracked)"),
        ([Candidate("grid", 0, 0.0)], 0.9, "No object was chosen (best score 0.50 below 0.90)"),
        ([Candidate("grid", 0, 9.0, final=-9.0)], None, "No object was chosen"),
        ([Candidate("grid", 0, 0.0, chosen=True)], 0.5, "The chosen object is not visible in any frame"),
    ],
)
def test_every_empty_answer_has_a_reason(candidates, threshold, words):
    assert render_predictions.why_empty(candidates, threshold) == words


def test_sentences_do_not_change_the_size_and_can_be_left_out(job, tmp_path):
    long = folder_job(tmp_path, {"clip": ["the dog", "word " * 80, "狗在跑"]})
    render_predictions.run(long)
    assert len({next(decode(folder(job) / f"overlays/{e}.mp4")).image_HW3.shape for e in "012"}) == 1
    render_predictions.run(folder_job(tmp_path, {"clip": SENTENCES}, {"render": {"captions": False}}))
    assert next(decode(folder(job) / "overlays/1.mp4")).image_HW3.shape == (FACTOR * 48, FACTOR * 64, 3)


def test_sound_goes_along_and_the_last_frame_lasts(tmp_path):
    job = folder_job(tmp_path, {"clip": SENTENCES})
    pictures = make_video(tmp_path / "pictures.mkv", N_FRAMES, times_ms=[0, 100, 200, 300, 400, 1500])
    add_sound(pictures, tmp_path / "data/clip.mkv", seconds=1.0)
    extract_frames.run(job)
    write_upstream(job, "clip")
    render_predictions.run(job)
    with av.open(str(folder(job) / "overlays/0.mp4")) as overlay:
        frames = list(overlay.decode(video=0))
        end = frames[-1].time + float(frames[-1].duration * frames[-1].time_base)
        overlay.seek(0)
        samples = np.concatenate([frame.to_ndarray() for frame in overlay.decode(audio=0)], 1)
        rate = overlay.streams.audio[0].rate
    assert end == pytest.approx(open_frames(job.layout, "clip").end, abs=1e-3)
    assert samples.shape[1] / rate == pytest.approx(1.0, abs=0.1) and np.abs(samples).max() > 0.2


def test_sound_that_is_broken_ends_early_and_harms_nothing(tmp_path, caplog):
    job = folder_job(tmp_path, {"clip": SENTENCES})
    make_video(tmp_path / "data/clip.mp4", N_FRAMES)
    extract_frames.run(job)
    write_upstream(job, "clip")
    (tmp_path / "data/clip.mp4").write_bytes(b"gone")  # after extraction
    render_predictions.run(job)
    assert len(list(decode(folder(job) / "overlays/0.mp4"))) == N_FRAMES


def test_record_lists_what_is_there(job):
    render_predictions.run(job)
    path = job.layout.file(RENDER_PREDICTIONS, "clip")
    record = read_json(path, RENDER_PREDICTIONS.name, RENDER_PREDICTIONS.version)
    assert record["frames"] == list(open_frames(job.layout, "clip").names) and record["size"] == list(SIZE)
    assert [e["sentence"] for e in record["expressions"].values()] == ["The left ONE", "both of them", "a unicorn"]
    for entry in record["expressions"].values():
        assert (folder(job) / entry["predictions"]).is_dir() and (folder(job) / entry["overlay"]).is_file()
    assert {p.name for p in path.parent.iterdir()} == {"clip", "clip.json"}


def test_bytes_repeat(job, tmp_path):
    render_predictions.run(job)
    first = {p.relative_to(folder(job)): p.read_bytes() for p in folder(job).rglob("*") if p.is_file()}
    render_predictions.mask_png.cache_clear()
    render_predictions.run(dataclasses.replace(job, overwrite=True))
    assert first == {p.relative_to(folder(job)): p.read_bytes() for p in folder(job).rglob("*") if p.is_file()}
    assert len(first) == 3 * (N_FRAMES + 1)


def test_overlays_can_be_left_out_and_odd_limits_hold(job, tmp_path):
    render_predictions.run(dataclasses.replace(job, config=changed(tmp_path, {"overlays": False})))
    assert [p.name for p in folder(job).iterdir()] == ["predictions"]
    render_predictions.run(dataclasses.replace(job, config=changed(tmp_path, {"max_side": 33})))
    image_HW3 = next(decode(folder(job) / "overlays/0.mp4")).image_HW3
    assert image_HW3.shape[1] == 34  # smaller than the source: not enlarged
    with Image.open(next((folder(job) / "predictions/0").iterdir())) as image:
        assert image.size == (64, 48)  # predictions stay native


def changed(tmp_path: Path, render: dict):
    return folder_job(tmp_path, {"clip": SENTENCES}, {"render": render}).config


@pytest.mark.parametrize("loss", ["folder", "png", "overlay"])
@pytest.mark.parametrize("how", ["gone", "empty", "half", "one byte", "pipe"])
def test_what_was_lost_or_damaged_is_made_again(job, loss, how):
    render_predictions.run(job)
    target = {
        "folder": folder(job),
        "png": folder(job) / "predictions/1/00002.png",
        "overlay": folder(job) / "overlays/0.mp4",
    }[loss]
    before = target.read_bytes() if target.is_file() else b""
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    if loss != "folder" and how == "pipe":
        os.mkfifo(target)
    elif loss != "folder" and how != "gone":
        middle = len(before) // 2
        changed = before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :]
        target.write_bytes({"empty": b"", "half": before[:middle], "one byte": changed}[how])
    render_predictions.run(job)
    assert target.is_dir() if loss == "folder" else target.read_bytes() == before
    assert not open_render(job.layout, "clip").damage(thorough=True)


def test_a_changed_decision_is_rendered_again_and_nothing_else_is(job):
    render_predictions.run(job)
    png = folder(job) / "predictions/2/00000.png"
    before = png.stat().st_ino
    render_predictions.run(job)
    assert png.stat().st_ino == before
    stamp = Stamp(RERANK_TRACKS.name, RERANK_TRACKS.version, {"chosen": "other"})
    choices = {e: [Candidate("grid", 1, 0.0, chosen=True)] for e in "012"}
    write_choices(job.layout.file(RERANK_TRACKS, "clip"), stamp, choices)
    render_predictions.run(job)
    assert np.array_equal(np.asarray(Image.open(png)) > 0, track_masks()[1][0])


def test_missing_decisions_name_the_stage_to_run(job):
    stamp = Stamp(RERANK_TRACKS.name, RERANK_TRACKS.version, {})
    write_choices(job.layout.file(RERANK_TRACKS, "clip"), stamp, {"0": []})
    with pytest.raises(SystemExit):
        render_predictions.run(job)
    assert "no decision for expression '1'" in _error(job)
    job.layout.file(RERANK_TRACKS, "clip").unlink()
    with pytest.raises(SystemExit):
        render_predictions.run(job)
    assert "stages.rerank_tracks" in _error(job)
    assert not folder(job).exists()


def _error(job) -> str:
    return json.loads((job.layout.errors(RENDER_PREDICTIONS) / "clip.json").read_text())["error"]


# ------------------------------------------------------------------------------------------ drawing

GREY = np.full((*SIZE, 3), 100, np.uint8)


def test_tint_mixes_inside_alone():
    mask_HW = box_mask(10, 10, 5, 5)
    image_HW3 = tint(GREY, mask_HW, (200, 0, 100), 0.5)
    assert image_HW3[12, 12].tolist() == [150, 50, 100]
    assert (image_HW3[~mask_HW] == 100).all() and (GREY == 100).all()
    assert np.array_equal(tint(GREY, mask_HW, (200, 0, 0), 0), GREY)
    assert tint(GREY, mask_HW, (200, 0, 7), 1)[12, 12].tolist() == [200, 0, 7]


def test_outline_marks_border_and_holes():
    mask_HW = box_mask(10, 10, 30, 30)
    mask_HW[20:30, 20:30] = False
    image_HW3 = outline(GREY, mask_HW, (255, 0, 0), 1)
    assert image_HW3[10, 25].tolist() == [255, 0, 0] and image_HW3[19, 25].tolist() == [255, 0, 0]
    assert image_HW3[15, 15].tolist() == [100, 100, 100] and image_HW3[25, 25].tolist() == [100, 100, 100]
    assert np.array_equal(outline(GREY, box_mask(0, 0, 0, 0), (255, 0, 0), 3), GREY)


def test_sizes_that_differ_are_named():
    with pytest.raises(ValueError, match=r"mask of \(4, 4\) cannot be drawn on a frame of \(48, 64\)"):
        tint(GREY, np.ones((4, 4), bool), (0, 0, 0), 1)
    with pytest.raises(ValueError, match="mask of"):
        draw_numbered(GREY, [masks.encode(np.ones((4, 4)))], [1], 1)
    with pytest.raises(ValueError, match="1 masks with 2 numbers"):
        draw_numbered(GREY, [masks.encode(box_mask(0, 0, 4, 4))], [1, 2], 1)


@given(st.integers(0, 2**32 - 1))
def test_interior_point_is_inside_and_deepest(seed):
    rng = np.random.default_rng(seed)
    mask_HW = np.zeros((20, 30), bool)
    for _ in range(rng.integers(1, 4)):
        y, x, h, w = rng.integers(0, 20), rng.integers(0, 30), rng.integers(1, 12), rng.integers(1, 12)
        mask_HW[y : y + h, x : x + w] = True
    x, y = interior_point(mask_HW)
    ys, xs = np.nonzero(~np.pad(mask_HW, 1))
    depth = {(cx, cy): ((ys - 1 - cy) ** 2 + (xs - 1 - cx) ** 2).min() for cy, cx in np.argwhere(mask_HW)}
    assert mask_HW[y, x] and depth[x, y] == max(depth.values())


def test_interior_point_of_a_ring_is_not_its_centre():
    mask_HW = box_mask(4, 4, 40, 40)
    mask_HW[12:36, 12:36] = False
    x, y = interior_point(mask_HW)
    assert mask_HW[y, x]
    with pytest.raises(ValueError, match="empty mask"):
        interior_point(np.zeros((4, 4), bool))


def test_badges_stand_inside_and_apart():
    frame = np.full((240, 320, 3), 100, np.uint8)
    big = np.zeros((240, 320), bool)
    big[20:220, 20:300] = True
    rles = [masks.encode(big), masks.encode(big), masks.encode(np.zeros((240, 320), bool))]
    image_HW3 = draw_numbered(frame, rles, [1, 2, 3], 2)
    flat = image_HW3.reshape(-1, 3)
    for number in (1, 2):
        inner = (image_HW3[24:216, 24:296] == colour_of(number)).all(-1)
        assert inner.sum() > 80  # the badge, apart from the outline
    assert not (flat == colour_of(3)).all(-1).any()  # an empty mask shows nothing
    assert (frame == 100).all()


def test_colours_differ_for_eight_numbers():
    assert len({colour_of(number) for number in range(1, 9)}) == 8


@pytest.mark.parametrize("number", [1, 12345])
def test_badges_fit_tiny_frames_and_masks_at_the_edge(number):
    for y, x in [(0, 0), (47, 63), (0, 63)]:
        mask_HW = np.zeros(SIZE, bool)
        mask_HW[y, x] = True
        assert draw_numbered(GREY, [masks.encode(mask_HW)], [number], 1).shape == GREY.shape
    assert draw_numbered(np.zeros((3, 3, 3), np.uint8), [masks.encode(np.ones((3, 3)))], [number], 1).shape == (3, 3, 3)


def test_small_pictures_are_enlarged_by_whole_factors():
    assert viewing_size((48, 64), 960) == (336, 448)
    assert viewing_size((48, 64), 100) == (48, 64)
    assert viewing_size((480, 640), 960) == (480, 640)
    assert viewing_size((1080, 1920), 960) == (540, 960)
    assert viewing_size((2, 2), 960) == (480, 480)


def test_objects_have_their_own_colours_and_whole_borders():
    left, right = box_mask(4, 4, 20, 20), box_mask(20, 4, 20, 20)
    image_HW3 = draw_objects(GREY, [(0, masks.encode(left)), (3, masks.encode(right))], SIZE, 0.5)
    assert image_HW3[12, 10].tolist() == [round(50 + value / 2) for value in colour_of(0)]
    assert image_HW3[12, 34].tolist() == [round(50 + value / 2) for value in colour_of(3)]
    assert image_HW3[12, 20].tolist() == list(colour_of(3))  # the border of the second, over the first
    assert (GREY == 100).all()
