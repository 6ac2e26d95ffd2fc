"""The oracle against brute force, the baselines on real cache files, recall of tracks by hand."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.comparisons import comparable, score_of, videos_of
from support.trainings import kinds_of, toy_job, write_toy_tracks

from stages.comparison.baselines import NAMES, baselines
from stages.comparison.contenders import Contender
from stages.comparison.measure import OWN, Measurement, Measurer
from stages.comparison.oracle import best_union
from stages.comparison.recall import LEVELS, NEVER, TRACKED, Ranks
from stages.comparison.video import VideoScorer, View, open_view
from stages.core.config.file import Config
from stages.core.media import masks
from stages.core.records import Source, TrackId
from stages.core.state.cache import CacheError, Stamp
from stages.core.state.graph import GENERATE_PROMPTS
from stages.core.state.prompt_file import read_prompts, write_prompts
from stages.datasets import open_split
from stages.metrics import boundary_f, clips, jaccard

H, W, T = 12, 16, 3
RATIO = 0.05  # radius 1
Bool = NDArray[np.bool_]


def clip_of(masks_THW: Bool) -> clips.Clip:
    return clips.from_rles([masks.encode(mask_HW) for mask_HW in masks_THW], masks_THW.shape[1:])


def jf_of(pred_THW: Bool, truth_THW: Bool) -> float:
    j, f = jaccard(pred_THW, truth_THW).mean(), boundary_f(pred_THW, truth_THW, bound_ratio=RATIO).mean()
    return float(j + f) / 2


def union_of(tracks: list[Bool], chosen: tuple[int, ...]) -> Bool:
    return np.logical_or.reduce([np.zeros((T, H, W), bool), *(tracks[i] for i in chosen)])


def brute_force(tracks: list[Bool], truth: Bool) -> float:
    choices = itertools.chain.from_iterable(
        itertools.combinations(range(len(tracks)), n) for n in range(len(tracks) + 1)
    )
    return max(jf_of(union_of(tracks, chosen), truth) for chosen in choices)


@st.composite
def objects(draw: st.DrawFn) -> Bool:
    """Boxes that move, vanish for a frame, or fill it; neighbours touch and overlap."""
    masks_THW = np.zeros((T, H, W), bool)
    top, left = draw(st.integers(0, H - 1)), draw(st.integers(0, W - 1))
    height, width = draw(st.integers(1, H)), draw(st.integers(1, W))
    for t, shown in enumerate(draw(st.lists(st.booleans(), min_size=T, max_size=T))):
        if shown:
            masks_THW[t, top : top + height, left + t : left + t + width] = True
    return masks_THW


@settings(max_examples=150)
@given(tracks=st.lists(objects(), max_size=5), parts=st.lists(objects(), max_size=2))
def test_the_oracle_is_the_best_of_all_unions(tracks: list[Bool], parts: list[Bool]) -> None:
    truth = union_of(parts, tuple(range(len(parts))))
    best = best_union([clip_of(track) for track in tracks], clip_of(truth), radius=1)
    assert best.proven
    assert best.jf == pytest.approx(jf_of(union_of(tracks, best.chosen), truth), abs=1e-12)
    assert best.jf == pytest.approx(brute_force(tracks, truth), abs=1e-12)


def blocks(*columns: int) -> Bool:
    masks_THW = np.zeros((T, H, W), bool)
    for column in columns:
        masks_THW[:, 2:8, 4 * column : 4 * column + 4] = True
    return masks_THW


def test_the_oracle_joins_the_parts_of_several_objects() -> None:
    tracks = [blocks(0), blocks(3), blocks(1), blocks(0, 2)]
    best = best_union([clip_of(track) for track in tracks], clip_of(blocks(0, 1)), radius=1)
    assert best.chosen == (0, 2) and best.jf == 1 and best.proven


def test_no_single_exchange_leads_to_the_best_union() -> None:
    """One track over everything is better than any part; only the three parts together are better than it."""
    truth, tracks = blocks(0, 1, 2), [blocks(0, 1, 2), blocks(0), blocks(1), blocks(2)]
    tracks[0][:, 8:11] = True
    for masks_THW in (truth, *tracks):
        masks_THW[-1] = False
    clipped = [clip_of(track) for track in tracks]
    climbed = best_union(clipped, clip_of(truth), radius=1, work=0)
    assert climbed.chosen == (0,) and not climbed.proven
    best = best_union(clipped, clip_of(truth), radius=1)
    assert best.chosen == (1, 2, 3) and best.jf == 1 and best.proven


def test_without_a_target_the_oracle_is_empty() -> None:
    best = best_union([clip_of(blocks(0))], clip_of(blocks()), radius=1)
    assert best.chosen == () and best.jf == 1 and best.proven
    assert best_union([], clip_of(blocks(0)), radius=1).jf == 0


def test_a_search_that_may_not_end_says_so_and_is_never_worse_than_one_track() -> None:
    rng = np.random.default_rng(0)
    tracks = [rng.random((T, H, W)) < 0.3 for _ in range(12)]
    truth = tracks[0] | tracks[3] & (rng.random((T, H, W)) < 0.8)
    best = best_union([clip_of(track) for track in tracks], clip_of(truth), radius=1, work=1 << 13)
    assert not best.proven
    assert best.jf == pytest.approx(jf_of(union_of(tracks, best.chosen), truth))
    assert best.jf >= max(jf_of(track, truth) for track in tracks) - 1e-12


# ------------------------------------------------------------- on a data set


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return comparable(tmp_path_factory.mktemp("baselines"))


MIX: tuple[Source, ...] = ("grid", "gdino")


def view_of(config: Config, number: int, mix: tuple[Source, ...] = MIX) -> View:
    split = open_split(config, "toy", "valid_u")
    return open_view(VideoScorer(toy_job(config, "valid_u").layout, split, split.videos()[number], mix, RATIO), mix)


def measure(
    config: Config, contenders: list[Contender], mix: tuple[Source, ...] = MIX
) -> tuple[list[Measurement], Measurer]:
    split = open_split(config, "toy", "valid_u")
    measurer = Measurer(toy_job(config, "valid_u").layout, split, contenders, [mix], RATIO, 0.7)
    for video in split.videos():
        measurer.add(video)
    return measurer.measurements(), measurer


def chosen_by(contender: Contender, view: View, expression: int) -> list[TrackId]:
    verdict = contender.method(view)[expression]
    return [c.id for c in verdict.pick(view.candidates(expression), verdict.choose(None))]


def one(name: str, seed: int = 0) -> Contender:
    (contender,) = baselines([name], [seed])
    return contender


def test_the_oracle_bounds_every_other_way_on_every_expression(config: Config) -> None:
    everyone = [c for c in baselines(NAMES, [0, 1, 2]) if not c.swept]
    view = view_of(config, 2)
    oracle = everyone[0].method(view)
    for contender in everyone[1:]:
        for e, (expression, best, verdict) in enumerate(
            zip(view.video.expressions, oracle, contender.method(view), strict=True)
        ):
            candidates = view.candidates(e)
            top, _, _ = view.scorer.score(expression, best.pick(candidates, best.choose(None)))
            row, _, _ = view.scorer.score(expression, verdict.pick(candidates, verdict.choose(None)))
            assert top["J&F"] >= row["J&F"] - 1e-12, (contender.name, expression.id)
    assert not oracle[-1].chosen_N.any(), "the last sentence of a toy video refers to nothing"


def test_figures_of_the_plain_baselines(config: Config) -> None:
    """Every object has its own track, so the oracle is perfect; a fifth of the sentences refer to nothing."""
    found = {m.name: m.figures for m in measure(config, baselines(["oracle", "all", "none"], [0]))[0]}
    assert found["oracle"]["J&F"] == found["oracle"]["N-acc"] == found["oracle"]["T-acc"] == 1
    assert (found["all"]["N-acc"], found["all"]["T-acc"]) == (0, 1)
    assert (found["none"]["N-acc"], found["none"]["T-acc"]) == (1, 0)
    assert found["none"]["J"] == pytest.approx(1 / 5)


def test_the_oracle_counts_what_it_proved(config: Config) -> None:
    contenders = baselines(["oracle"], [0])
    _, measurer = measure(config, contenders)
    # three single objects, a pair, and nothing, in three videos
    assert "proven for 15 of 15 pairs" in measurer.notes()[0]


def test_largest_takes_the_track_of_most_pixels(config: Config) -> None:
    view = view_of(config, 1)
    areas = {track: int(view.scorer.clips[track].area.sum()) for track in view.tracks.ids}
    for e in range(len(view.video.expressions)):
        (largest,) = chosen_by(one("largest"), view, e)
        assert areas[largest] == max(areas[track] for track in view.candidates(e))


def test_gdino_best_takes_the_surest_track_of_the_expression(config: Config) -> None:
    """Its own score counts, also where it shares the track with a sentence that began it."""
    view, contender, kinds = view_of(config, 0), one("gdino-best"), kinds_of(0, 1)
    for e, expression in enumerate(view.video.expressions):
        named = [row for row, kind in enumerate(kinds) if str(kind) in expression.text]
        expected = [("gdino", max(named, key=lambda row, e=e: score_of(e, row)))] if named else []
        assert chosen_by(contender, view, e) == expected, "tracks of grid have no score and are never chosen"


def test_the_detector_with_a_threshold(config: Config) -> None:
    view = view_of(config, 0)
    verdict, candidates = one("gdino").method(view)[3], view.candidates(3)
    found = {o: p for o, p in zip(candidates, verdict.probability_N, strict=True) if o[0] == "gdino"}
    assert found == {("gdino", row): pytest.approx(score_of(3, row)) for row in (0, 2)}
    assert [c.track for c in verdict.pick(candidates, verdict.choose(0.4))] == [2], "0.3 and 0.5"
    assert verdict.choose(0.2).sum() == 2, "grid's tracks are under every threshold"


def test_random_depends_on_seed_and_ids_alone(config: Config) -> None:
    alone, after = view_of(config, 1), view_of(config, 1)
    one("random").method(view_of(config, 0))
    picks = [chosen_by(one("random", 0), alone, e) for e in range(5)]
    assert picks == [chosen_by(one("random", 0), after, e) for e in range(5)]
    assert all(len(pick) == 1 for pick in picks)
    draws = {tuple(chosen_by(one("random", seed), alone, 0)) for seed in range(40)}
    assert len(draws) == len(alone.candidates(0)), "every track is drawn by some seed"


def test_prompts_of_another_making_are_refused(tmp_path: Path) -> None:
    config = comparable(tmp_path)
    path = toy_job(config, "valid_u").layout.file(GENERATE_PROMPTS, "v0", "gdino")
    stamp = Stamp(GENERATE_PROMPTS.name, GENERATE_PROMPTS.version, {"other": 1})
    write_prompts(path, stamp, [replace(p, box_score=0.5) for p in read_prompts(path)], (24, 32))
    with pytest.raises(CacheError, match=r"v0\.h5: was made from other prompts"):
        one("gdino-best").method(view_of(config, 0))


def test_a_video_without_tracks_is_answered_with_nothing(tmp_path: Path) -> None:
    config = comparable(tmp_path)
    layout, video = toy_job(config, "valid_u").layout, videos_of(config)[0]
    write_toy_tracks(layout, video, "grid", empty=True)
    found, measurer = measure(config, [c for c in baselines(NAMES, [0]) if c.fits(("grid",))], ("grid",))
    assert {m.name for m in found} == {"oracle", "largest", "random", "all", "none"}
    rows = [row for tally in measurer._tallies.values() for row in tally.rows if row["video"] == "v0"]
    assert rows and all(row["predicted_empty"] for row in rows)


def test_an_unknown_baseline_is_named() -> None:
    with pytest.raises(ValueError, match="no baseline 'orakel'; did you mean 'oracle'"):
        baselines(["orakel"], [0])


# ------------------------------------------------------------- recall of tracks


def test_recall_counts_the_first_track_that_fits() -> None:
    ranks = Ranks(places={0.5: [1, 3, NEVER, 3], 0.7: [2, NEVER, NEVER, 3]}, longest=4)
    assert ranks.curve(0.5).tolist() == [0.25, 0.25, 0.75, 0.75]
    assert ranks.curve(0.7).tolist() == [0, 0.25, 0.5, 0.5]


def test_recall_in_the_order_of_tracking_and_by_score(config: Config) -> None:
    _, measurer = measure(config, [one("gdino")], ("gdino",))
    tracked, scored = measurer.ranks[("gdino",), TRACKED, ""], measurer.ranks[("gdino",), "gdino", ""]
    # a sentence of one object has one track; of two, two tracks, in the places of its objects
    assert tracked.longest == 2 and tracked.curve(LEVELS[0]).tolist() == [pytest.approx(4 / 5), 1]
    assert sorted(scored.places[0.7]) == sorted(tracked.places[0.7]), "turned round, the same places are taken"
    kept = Ranks()
    view = view_of(config, 0)
    kept.add(view, 3, np.arange(len(view.candidates(3)))[::-1])
    grid_and_gdino = view.candidates(3)
    first_fits = [next(i for i, o in enumerate(grid_and_gdino[::-1], 1) if o[1] == row) for row in (0, 2)]
    assert kept.places[0.7] == first_fits


def test_own_decisions_have_one_case_each(config: Config) -> None:
    found, _ = measure(config, baselines(["oracle", "random"], [0, 1]))
    assert [(m.name, m.run, m.case.label) for m in found] == [
        ("oracle", "", OWN),
        ("random", "seed 0", OWN),
        ("random", "seed 1", OWN),
    ]
