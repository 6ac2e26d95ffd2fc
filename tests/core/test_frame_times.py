"""The times of frames as packets tell them are those that decoding gives, in every container."""

import pytest
from support.video_files import make_video, picture

from stages.core.media.frame_times import frame_times
from stages.core.media.video import decode

TIMES_MS = [0, 40, 80, 200, 240, 500]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.gif"])
@pytest.mark.parametrize("times_ms", [None, TIMES_MS], ids=["even", "uneven"])
def test_packets_and_frames_agree(tmp_path, name, times_ms):
    path = make_video(tmp_path / name, 6, times_ms=times_ms)
    found = frame_times(path)
    seconds = [float(tick * found.base) for tick in found.ticks]
    assert seconds == pytest.approx([frame.time for frame in decode(path)], abs=1e-9)
    if times_ms:
        assert seconds == pytest.approx([time / 1000 for time in TIMES_MS], abs=0.006)
    assert found.ticks[0] == 0 and found.end > found.ticks[-1] and found.base.numerator == 1


def test_animated_pictures_have_times_too(tmp_path):
    from PIL import Image

    first, *rest = (Image.fromarray(picture(i, (16, 16))) for i in range(3))
    first.save(tmp_path / "a.webp", save_all=True, append_images=rest, duration=[100, 250, 50])
    found = frame_times(tmp_path / "a.webp")
    assert [float(tick * found.base) for tick in (*found.ticks, found.end)] == pytest.approx([0, 0.1, 0.35, 0.4])


def test_a_single_frame_lasts_a_25th(tmp_path):
    found = frame_times(make_video(tmp_path / "a.mkv", 1, times_ms=[0]))
    assert len(found.ticks) == 1 and 0 < found.end * found.base <= 0.1
