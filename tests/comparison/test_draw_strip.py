"""draw_strip on the tiny MeViS tree with answers drawn by hand: its rows, their pictures, its errors."""

import numpy as np
import pytest
from PIL import Image
from support.answers import answer, job_of, tiny_split

from stages.core.media.video import shrink
from stages.core.state.frames import open_frames
from stages.datasets import open_split
from stages.tools import draw_strip


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    flags = tiny_split(tmp_path_factory.mktemp("strip"))
    answer(job_of(flags, "tiny", "valid_u"))
    return [*flags, "--dataset", "tiny", "--split", "valid_u"]


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_row_shows_frames_from_first_to_last(flags, tmp_path):
    job = job_of(flags[:-4], "tiny", "valid_u")
    video = open_split(job.config, job.dataset, job.split).videos()[0]
    out = tmp_path / "strip.png"
    show = f"{video.id}/{video.expressions[1].id}"
    assert draw_strip.main([*flags, "--show", show, "--columns", "3", "--side", "64", "--out", str(out)]) == 0
    image_HW3 = picture(out)
    assert image_HW3.shape[1] == 3 * 64 + 2 * draw_strip.GAP
    frames = open_frames(job.layout, video.id)
    for i, t in enumerate((0, round((len(frames) - 1) / 2), len(frames) - 1)):
        frame_HW3 = shrink(frames.load(t), 64)
        shown_HW3 = image_HW3[: frame_HW3.shape[0], i * (64 + draw_strip.GAP) :][:, :64]
        change_HW3 = shown_HW3 - frame_HW3
        tinted_HW = (change_HW3[..., 0] > 30) & (change_HW3[..., 2] <= 0)  # the colour of answers is half red, no blue
        assert tinted_HW.any() == (t > 0)  # `squares`: expressions of an odd id are empty in the first frame
        if t == 0:
            assert (shown_HW3[change_HW3.max(-1) > 0] == 255).all(-1).any()  # the white outline of the truth


def test_without_names_it_takes_a_row_a_video(flags, tmp_path):
    job = job_of(flags[:-4], "tiny", "valid_u")
    n_videos = len(open_split(job.config, job.dataset, job.split).videos())
    for limit, rows in ((1, 1), (n_videos, min(n_videos, draw_strip.ROWS))):
        out = tmp_path / f"{limit}.jpg"
        assert draw_strip.main([*flags, "--limit", str(limit), "--columns", "1", "--out", str(out)]) == 0
        white = (picture(out).min((1, 2)) > 240).astype(int)
        assert (np.diff(white) == 1).sum() == rows - 1  # the gaps between rows


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--show", "nowhere/0"], "no video 'nowhere'"),
        (["--show", "FIRST/nine"], "has no expression 'nine'; it has"),
        (["--out", "strip.gif"], "ends in .jpg or .png"),
    ],
)
def test_errors_say_what_to_give(flags, tmp_path, capsys, monkeypatch, more, message):
    monkeypatch.chdir(tmp_path)
    job = job_of(flags[:-4], "tiny", "valid_u")
    first = open_split(job.config, job.dataset, job.split).videos()[0].id
    assert draw_strip.main([*flags, *(part.replace("FIRST", first) for part in more)]) == 2
    assert message in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_rows_are_drawn_by_a_seed(flags, tmp_path):
    def drawn(seed, name):
        out = tmp_path / f"{name}.png"
        assert draw_strip.main([*flags, "--random", str(seed), "--columns", "1", "--out", str(out)]) == 0
        return out.read_bytes()

    assert drawn(0, "a") == drawn(0, "b")
    assert len({drawn(seed, seed) for seed in range(6)}) > 1
