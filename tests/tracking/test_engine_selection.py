"""Chains pooled into rounds, and prompts shared between expressions."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.greedy import draw_prompts, published_loop, track_by_shifting
from support.project import CONFIG

from stages.core.config.loading import load_config
from stages.core.media import masks
from stages.core.state.cache import Stamp
from stages.core.state.graph import BUILD_TRACKS
from stages.core.state.prompt_file import SERVES_ALL, Prompt
from stages.core.state.track_file import History, read_history, read_tracks, write_tracks
from stages.tracking.assemble import assemble, merged_prompts
from stages.tracking.greedy import select_tracks
from stages.tracking.sharing import SharedPrompts

N_EXPRESSIONS = 3


def tracks_config(**over):
    config = load_config(CONFIG).tracks
    caps = config.max_tracks.model_copy(update=over.pop("caps", {}))
    return config.model_copy(update={"max_tracks": caps, **over})


def counting(track):
    rounds = []

    def counted(batches):
        rounds.append([len(batch.masks) for batch in batches])
        return track(batches)

    return counted, rounds


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 30),
    n_frames=st.integers(1, 5),
    per_pass=st.integers(1, 4),
    cap=st.integers(1, 8),
    covered_iou=st.sampled_from([0.5, 0.7, 1.0]),
    source=st.sampled_from(["grid", "gdino", "gt"]),
)
def test_pooled_chains_select_what_the_published_loop_does(seed, n, n_frames, per_pass, cap, covered_iou, source):
    """Prompts of few drawn objects, so that areas tie and tracks cover each other."""
    prompts = draw_prompts(np.random.default_rng(seed), n, n_frames)
    if source != "gdino":
        prompts = [replace(prompt, expression=SERVES_ALL) for prompt in prompts]
    config = tracks_config(prompts_per_pass=per_pass, covered_iou=covered_iou, caps={"grid": cap, "gdino": cap})
    track, rounds = counting(track_by_shifting(n_frames))
    chains = select_tracks(prompts, source, N_EXPRESSIONS, config, track)
    rows = [[row for row in range(n) if prompts[row].expression == e] for e in (SERVES_ALL, *range(N_EXPRESSIONS))]
    unfiltered = (2.0, n) if source == "gt" else (covered_iou, cap)
    expected = [published_loop(prompts, own, n_frames, per_pass, *unfiltered) for own in rows]
    assert [[choice.row for choice in chain] for chain in chains] == expected
    assert all(choice.tracked == choice.row for chain in chains for choice in chain)
    assert sum(map(sum, rounds)) == sum(map(len, expected))  # nothing was tracked in vain
    if source != "gt":
        assert all(len(sizes) <= len(rows) and max(sizes) <= per_pass for sizes in rounds)


def moving(x, y, w=4, h=3, t=0):
    mask = np.zeros((12, 16), bool)
    mask[y : y + h, x + t : x + t + w] = True
    return masks.encode(mask)


def shared_case():
    """Two expressions find one object, nearly alike; the second finds another besides, twice."""
    pair = masks.decode(moving(1, 1, 5, 5))
    pair[1, 1] = False  # 24 of 25 pixels: IoU .96
    return [
        Prompt(0, moving(1, 1, 5, 5), (1, 1, 6, 6), expression=0),
        Prompt(0, masks.encode(pair), (1, 1, 6, 6), expression=1),
        Prompt(0, moving(8, 6, 4, 4), (8, 6, 12, 10), expression=1),
        Prompt(1, moving(1, 1, 5, 5, t=1), (2, 1, 7, 6), expression=2),  # another frame: not shared
        Prompt(0, moving(8, 6, 4, 4), (8, 6, 12, 10), expression=2),
    ]


def test_shared_prompts_are_tracked_once_and_recorded(tmp_path):
    prompts, config = shared_case(), tracks_config(share_prompts="iou", share_iou=0.95)
    track, rounds = counting(track_by_shifting(3))
    chains = select_tracks(prompts, "gdino", N_EXPRESSIONS, config, track)
    assert [[(c.row, c.tracked) for c in chain] for chain in chains] == [
        [],
        [(0, 0)],
        [(1, 0), (2, 2)],
        [(3, 3), (4, 2)],
    ]
    assert chains[2][0].masklet is chains[1][0].masklet
    assert sum(map(sum, rounds)) == 3

    frames = type("Frames", (), {"size": (12, 16), "__len__": lambda self: 3})()
    tracks, rles = assemble(chains, prompts, frames, N_EXPRESSIONS, None, (12, 16), np.float32)
    assert tracks.prompt_id_N.tolist() == [0, 2, 3] and tracks.prompt_frame_N.tolist() == [0, 0, 1]
    assert [members.tolist() for members in tracks.expression_tracks] == [[0], [0, 1], [2, 1]]
    path, history = tmp_path / "v.h5", History({"rounds": len(rounds)}, merged_prompts(chains))
    write_tracks(path, Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {}), tracks, rles, history)
    found = read_tracks(path)
    assert [members.tolist() for members in found.expression_tracks] == [[0], [0, 1], [2, 1]]
    assert read_history(path) == History({"rounds": len(rounds)}, [(1, 0), (4, 2)])


def test_off_and_a_higher_threshold_share_nothing_else():
    prompts = shared_case()
    for config, n in ((tracks_config(), 5), (tracks_config(share_prompts="iou", share_iou=1.0), 4)):
        track, rounds = counting(track_by_shifting(3))
        chains = select_tracks(prompts, "gdino", N_EXPRESSIONS, config, track)
        assert sum(map(sum, rounds)) == n
        assert [[c.row for c in chain] for chain in chains] == [[], [0], [1, 2], [3, 4]]


def test_a_later_round_is_served_by_an_earlier_track():
    prompts = shared_case()
    config = tracks_config(share_prompts="iou", prompts_per_pass=1)
    track, rounds = counting(track_by_shifting(3))
    chains = select_tracks(prompts, "gdino", N_EXPRESSIONS, config, track)
    assert rounds == [[1, 1], [1]]  # expression 1's first prompt is served in the same round, 2's second by it
    assert [[c.tracked for c in chain] for chain in chains] == [[], [0], [0, 2], [3, 2]]


def test_the_most_similar_prompt_serves():
    exact, near = moving(0, 0, 10, 10), moving(0, 0, 10, 9)
    prompts = [Prompt(0, mask, (0, 0, 1, 1)) for mask in (near, exact, exact)]
    shared = SharedPrompts(prompts, 0.9)
    assert [shared.serving(row) for row in range(3)] == [0, 0, 0]
    shared = SharedPrompts(prompts, 0.95)
    assert [shared.serving(row) for row in range(3)] == [0, 1, 1]


def test_yaml_reads_off_as_false():
    assert (
        tracks_config().model_validate({**tracks_config().model_dump(), "share_prompts": False}).share_prompts == "off"
    )
    with pytest.raises(ValueError, match="share_prompts"):
        tracks_config().model_validate({**tracks_config().model_dump(), "share_prompts": True})
