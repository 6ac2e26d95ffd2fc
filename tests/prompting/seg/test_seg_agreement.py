"""Kind `seg`: agreement of tracks with decoded masks, by hand, and as a stage; the baseline; referee seg-plan."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.drawn_tracks import tracks_of
from support.evidence import SIZE as STAGE_SIZE
from support.evidence import job_of, layout_of, make_config
from support.fusion import write_split
from support.project import CONFIG, ROOT

from stages import gather_evidence
from stages.__main__ import main as referee
from stages.comparison.baselines import baselines
from stages.core.config.loading import ConfigError
from stages.core.media import masks
from stages.core.records import Expression, Rle, TrackId, Video
from stages.core.run import runner
from stages.core.state.cache import CacheError, Stamp
from stages.core.state.evidence_file import read_evidence
from stages.core.state.graph import BUILD_TRACKS, GATHER_EVIDENCE, GENERATE_PROMPTS, SCORE_TRACKS, Layout
from stages.core.state.prompt_file import NAN, Prompt, write_prompts
from stages.core.state.track_file import read_masks, write_tracks
from stages.prompting.seg.agreement import agreement

SIZE, T = (24, 32), 5
NOTHING = masks.empty(SIZE)
NO_BOX = (0.0, 0.0, 0.0, 0.0)


def box(x: int, y: int, width: int = 8, height: int = 8) -> Rle:
    mask_HW = np.zeros(SIZE, bool)
    mask_HW[y : y + height, x : x + width] = True
    return masks.encode(mask_HW)


@pytest.fixture
def drawn(tmp_path: Path) -> tuple[Layout, Video]:
    """Two tracks of grid, one of seg, and the masks of two sentences in frames 0, 2 and 4; a third has none."""
    layout = Layout(tmp_path, "toy", "valid")
    expressions = tuple(Expression(str(e), f"thing {e}", None, f"thing {e}") for e in range(3))
    video = Video("v", tuple(map(str, range(T))), tmp_path, expressions, T)
    prompts = [
        Prompt(0, box(0, 0), NO_BOX, 0, mask_score=0.9),
        Prompt(2, box(0, 0, 16), NO_BOX, 0, mask_score=0.9),
        Prompt(4, NOTHING, NO_BOX, 0, mask_score=0.9),
        Prompt(2, box(4, 0), NO_BOX, 1, mask_score=0.9),
    ]
    write_prompts(
        layout.file(GENERATE_PROMPTS, "v", "seg"),
        Stamp(GENERATE_PROMPTS.name, GENERATE_PROMPTS.version, {}),
        prompts,
        SIZE,
    )
    leaves = [box(0, 0)] * 4 + [NOTHING]
    tracks = {"grid": [[box(0, 0)] * T, leaves], "seg": [[NOTHING] * 2 + [box(8, 0)] + [NOTHING] * 2]}
    stamp = Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {})
    for source, rles_NT in tracks.items():
        write_tracks(layout.file(BUILD_TRACKS, "v", source), stamp, tracks_of(SIZE, rles_NT, 3, T), rles_NT)
    return layout, video


TRACKS = [TrackId("seg", 0), TrackId("grid", 0), TrackId("grid", 1)]


def test_mean_iou_over_the_frames_with_a_mask(drawn: tuple[Layout, Video]) -> None:
    agreed = agreement(*drawn, TRACKS, "seg", "iou")
    # seg: absent in frame 0 (0), half of the mask in frame 2 (1/2), both empty in frame 4 (does not count)
    np.testing.assert_allclose(agreed.mean_EM[0], [1 / 4, (1 + 1 / 2 + 0) / 3, (1 + 1 / 2) / 2])
    assert agreed.frames_EM[0].tolist() == [2, 3, 2]
    np.testing.assert_allclose(agreed.mean_EM[1], [4 / 12, 4 / 12, 4 / 12])
    assert np.isnan(agreed.mean_EM[2]).all() and not agreed.frames_EM[2].any()


def test_share_of_the_track_that_is_inside(drawn: tuple[Layout, Video]) -> None:
    agreed = agreement(*drawn, TRACKS, "seg", "inside")
    np.testing.assert_allclose(agreed.mean_EM[0], [1, (1 + 1 + 0) / 3, 1])
    assert agreed.frames_EM[0].tolist() == [1, 3, 2]
    np.testing.assert_allclose(agreed.mean_EM[1], [1 / 2, 1 / 2, 1 / 2])


def test_masks_of_other_expressions_are_refused(drawn: tuple[Layout, Video]) -> None:
    layout, video = drawn
    fewer = Video(video.id, video.frames, video.location, video.expressions[:1], T)
    with pytest.raises(CacheError, match="other expressions"):
        agreement(layout, fewer, TRACKS, "seg", "iou")


def test_the_stage_gathers_it_without_a_model(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(runner, "lease_device", lambda *_: pytest.fail("leased a device"))
    write_split(tmp_path)
    layout = layout_of(tmp_path)
    shutil.rmtree(layout.folder(SCORE_TRACKS))
    [one] = read_masks(layout.file(BUILD_TRACKS, "v", "grid"), [0])
    stamp = Stamp(GENERATE_PROMPTS.name, GENERATE_PROMPTS.version, {})
    prompts = [Prompt(t, one[t], NO_BOX, 0, box_score=NAN, mask_score=0.5) for t in (0, 3)]
    write_prompts(layout.file(GENERATE_PROMPTS, "v", "seg"), stamp, prompts, STAGE_SIZE)
    write_prompts(layout.file(GENERATE_PROMPTS, "empty", "seg"), stamp, [], STAGE_SIZE)
    over = {"rerank": {"evidence": ["seg"], "weights": {"seg": 1.0}}}
    gather_evidence.run(
        job_of(
            make_config(tmp_path, over),
        ),
        "seg",
    )
    evidence = read_evidence(layout.file(GATHER_EVIDENCE, "v", "seg"))
    about = {track.track: track for track in evidence["0"].tracks}
    assert about[TrackId("grid", 0)].log_odds == pytest.approx(math.log(999))  # the same mask
    assert about[TrackId("grid", 0)].provenance == {"agreement": 1.0, "frames": 2}
    assert about[TrackId("grid", 1)].log_odds == pytest.approx(-math.log(999))
    assert not evidence["1"].tracks and evidence["0"].existence is None
    with pytest.raises(ConfigError, match="did you mean 'seg'"):
        make_config(tmp_path, {"evidence": {"seg": {"source": "sge"}}})


def test_the_baseline_needs_tracks_of_seg() -> None:
    [contender] = baselines(["seg"], [0])
    assert contender.fits(("seg",)) and contender.fits(("grid", "seg")) and not contender.fits(("grid", "gdino"))


def test_seg_plan_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> dict[str, object]:
        assert referee(["seg-plan", "--config", str(CONFIG), *words]) == 0
        printed: dict[str, object] = json.loads(capsys.readouterr().out)
        return printed

    plan = said("--variant", "sasasa2va", "--mode", "wrap_around", "--frames", "250")
    assert plan["slots"] == list(range(100)) and plan["propagate"] is True
    assert plan["clips"] == [f // 10 for f in range(100)] + [None] * 150
    assert plan["images"] == [x for k in range(0, 100, 10) for x in ([k], list(range(k + 1, k + 10)))]
    plan = said("--variant", "vrs_hq", "--frames", "25", "--text-frame", "7")
    assert plan["slots"] == [1, 4, 7, 10, 13, 16, 19, 22]
    plan = said("--variant", "svac", "--frames", "9", "--clips", "3", "--grid", "1")
    assert plan["images"] == [[0], [1], [3], [4], [6], [7]] and plan["clips"] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert said("--variant", "sasasa2va", "--mode", "q_frame", "--frames", "101", "--chosen", *map(str, range(1, 101)))[
        "clips"
    ] == [None] + [f // 10 for f in range(100)]
    assert said("--variant", "sa2va", "--frames", "3")["slots"] == [0, 1, 2]
    for wrong, message in (
        (["--variant", "sa2va_j"], "did you mean 'sa2va_i'"),
        (["--variant", "sa2va", "--mode", "uniform"], "variant sa2va has no mode"),
        (["--variant", "vrs_hq", "--text-frame", "10"], "the frame that fits the sentence best is 10"),
    ):
        assert referee(["seg-plan", "--config", str(CONFIG), "--frames", "10", *wrong]) == 2
        assert message in capsys.readouterr().err
