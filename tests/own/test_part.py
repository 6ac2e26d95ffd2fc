"""A stretch of a video: which frames are taken, and what their times mean."""

from pathlib import Path

import pytest
from support.project import make_config
from support.video_files import make_video

from stages.core.config.loading import settings_of
from stages.extract_frames import Span, Taken, decode_frames


def taken(tmp_path: Path, span: Span) -> Taken:
    """Of twelve frames, ten a second."""
    folder = tmp_path / "frames"
    folder.mkdir()
    settings = settings_of(make_config(tmp_path), "own")
    return decode_frames(make_video(tmp_path / "a.mp4", 12), folder, settings, span, as_shown=True)


@pytest.mark.parametrize(
    ("span", "n_frames", "start", "end"),
    [((None, None), 12, 0.0, 1.2), ((0.25, None), 9, 0.3, 0.9), ((0.25, 0.7), 4, 0.3, 0.4), ((None, 0.3), 3, 0.0, 0.3)],
)
def test_frames_of_a_stretch_have_times_from_its_first(
    tmp_path: Path, span: Span, n_frames: int, start: float, end: float
) -> None:
    part = taken(tmp_path, span)
    assert part.timestamps is not None
    assert part.timestamps == pytest.approx([0.1 * i for i in range(n_frames)])
    assert (part.start, part.end) == pytest.approx((start, end))
    assert [frame.name for frame in part.frames] == [f"{i:05d}" for i in range(n_frames)]


def test_a_stretch_without_a_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.mp4: has no frame between 5 s and its end"):
        taken(tmp_path, (5.0, None))
