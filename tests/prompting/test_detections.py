"""The detector's scores of tracks: which prompts speak for which track, and for which sentence."""

from pathlib import Path

import numpy as np
import pytest
from support.drawn_tracks import tracks_of

from stages.core.media import masks
from stages.core.records import Expression, Rle, TrackId, Video
from stages.core.state.cache import CacheError, Stamp
from stages.core.state.graph import BUILD_TRACKS, GENERATE_PROMPTS, Layout
from stages.core.state.prompt_file import NAN, Prompt, write_prompts
from stages.core.state.track_file import write_tracks
from stages.prompting.detections import match_detections

SIZE, T = (24, 32), 5
NOTHING = masks.empty(SIZE)


def box(x: int, y: int, side: int = 8) -> Rle:
    mask_HW = np.zeros(SIZE, bool)
    mask_HW[y : y + side, x : x + side] = True
    return masks.encode(mask_HW)


def video(n_expressions: int = 3) -> Video:
    expressions = tuple(Expression(str(e), f"thing {e}", None, f"thing {e}") for e in range(n_expressions))
    return Video("v", tuple(map(str, range(T))), Path("v"), expressions, T)


def write(layout: Layout, prompts: list[Prompt], **tracks: list[list[Rle]]) -> None:
    """A prompt file of `gdino`, and a track file of each source."""
    stamp = Stamp(GENERATE_PROMPTS.name, GENERATE_PROMPTS.version, {})
    write_prompts(layout.file(GENERATE_PROMPTS, "v", "gdino"), stamp, prompts, SIZE)
    stamp = Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {})
    for source, rles_NT in tracks.items():
        write_tracks(layout.file(BUILD_TRACKS, "v", source), stamp, tracks_of(SIZE, rles_NT, 3, T), rles_NT)


def prompt(frame: int, mask: Rle, expression: int, score: float) -> Prompt:
    return Prompt(frame, mask, (0, 0, 1, 1), expression, box_score=score)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path, "toy", "valid")


def test_best_and_mean_of_the_prompts_that_match(layout: Layout) -> None:
    still = [box(0, 0)] * T
    moving = [box(4 * t, 10) for t in range(T)]
    leaves = [box(0, 0), NOTHING, NOTHING, NOTHING, box(0, 0)]
    prompts = [
        prompt(0, box(0, 0), 0, 0.75),  # `still` and `leaves`
        prompt(2, box(1, 0), 0, 0.25),  # IoU 7/9 with `still`; `leaves` is absent
        prompt(2, box(8, 10), 0, 0.5),  # `moving`, where it is by then
        prompt(3, box(8, 10), 0, 0.875),  # `moving` has moved on: 4/12
        prompt(4, box(0, 0), 1, 0.625),  # of another sentence
        prompt(4, box(0, 0), -1, 0.9375),  # of none
        prompt(1, box(0, 0), 2, NAN),  # without a score
    ]
    write(layout, prompts, grid=[still, moving], gdino=[leaves])
    ids = [TrackId("gdino", 0), TrackId("grid", 1), TrackId("grid", 0), TrackId("gdino", 0)]
    found = match_detections(layout, video(), ids, "gdino", 0.5)
    none = [NAN] * 4
    np.testing.assert_array_equal(found.best_EM, [[0.75, 0.5, 0.75, 0.75], [0.625, NAN, 0.625, 0.625], none])
    np.testing.assert_array_equal(found.mean_EM, [[0.75, 0.5, 0.5, 0.75], [0.625, NAN, 0.625, 0.625], none])
    assert found.best_EM.dtype == found.mean_EM.dtype == np.float32
    strict = match_detections(layout, video(), ids, "gdino", 0.9)
    np.testing.assert_array_equal(strict.mean_EM[0], [0.75, 0.5, 0.75, 0.75])
    at_the_limit = match_detections(layout, video(), ids, "gdino", 1.0)
    np.testing.assert_array_equal(at_the_limit.best_EM, strict.best_EM)


def test_without_prompts_or_tracks_nothing_is_known(layout: Layout) -> None:
    write(layout, [], grid=[[box(0, 0)] * T])
    found = match_detections(layout, video(), [TrackId("grid", 0)], "gdino", 0.5)
    np.testing.assert_array_equal(found.best_EM, [[NAN]] * 3)
    write(layout, [prompt(0, box(0, 0), 0, 0.5)], grid=[])
    assert match_detections(layout, video(), [], "gdino", 0.5).mean_EM.shape == (3, 0)


def test_files_of_other_sentences_or_frames_are_named(layout: Layout) -> None:
    write(layout, [prompt(T, box(0, 0), 0, 0.5)], grid=[[box(0, 0)] * T])
    with pytest.raises(CacheError, match=r"tracks/grid/v.h5: has no frame 5; run `python -m stages.build_tracks`"):
        match_detections(layout, video(), [TrackId("grid", 0)], "gdino", 0.5)
    write(layout, [prompt(0, box(0, 0), 2, 0.5)])
    with pytest.raises(CacheError, match=r"prompts/gdino/v.h5: holds prompts of other expressions"):
        match_detections(layout, video(2), [TrackId("grid", 0)], "gdino", 0.5)
    with pytest.raises(CacheError, match=r"tracks/import/v.h5: does not exist"):
        match_detections(layout, video(), [TrackId("import", 0)], "gdino", 0.5)
