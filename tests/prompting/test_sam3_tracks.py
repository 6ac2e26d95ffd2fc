"""SAM3 without a network: suppression of masks, tracks of chunks that overlap joined into one, whole tracks taken as they are."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.sam2 import box_mask

from stages.core.media import masks
from stages.core.records import Rle
from stages.core.state.prompt_file import Prompt
from stages.prompting.ground_truth import mask_box
from stages.prompting.sam3.chunks import Track, chunks_of, join, tube_iou, without_doubles
from stages.prompting.sam3.suppression import kept_masks, mask_ious
from stages.tracking.assemble import assemble, merged_prompts
from stages.tracking.given import given_tracks

SIZE = (24, 32)


def rle_of(*box: int) -> Rle:
    return masks.encode(box_mask(SIZE, *box))


def square(frame: int, x: int = 0, y: int = 4) -> Rle:
    """A square that moves a pixel per frame."""
    return rle_of(x + frame, y, x + frame + 8, y + 8)


def track_of(frames: range, x: int = 0, y: int = 4, score: float = 0.5) -> Track:
    return Track({frame: square(frame, x, y) for frame in frames}, score)


# ---------------------------------------------------------------- suppression


def test_of_masks_that_overlap_the_surest_is_kept() -> None:
    boxes = [(0, 0, 10, 10), (1, 0, 11, 10), (20, 0, 30, 10), (0, 0, 10, 5), (20, 0, 30, 10)]
    stack_NHW = torch.from_numpy(np.stack([box_mask(SIZE, *box) for box in boxes]).astype(bool))
    score_N = torch.tensor([0.6, 0.9, 0.5, 0.8, 0.5])
    iou_NN = mask_ious(stack_NHW)
    assert iou_NN[0, 1] == pytest.approx(90 / 110) and iou_NN[0, 3] == pytest.approx(0.5) and iou_NN[0, 2] == 0
    assert kept_masks(stack_NHW, score_N, 0.5) == [1, 3, 2], "3 shares 45 of 105 pixels with 1; ties go to the lower"
    assert kept_masks(stack_NHW, score_N, 0.1) == [1, 2]
    assert kept_masks(stack_NHW, score_N, 1.0) == [1, 3, 0, 2, 4], "nothing shares more than all"
    assert kept_masks(stack_NHW[:0], score_N[:0], 0.5) == []


def test_overlaps_of_masks_are_those_of_their_encodings() -> None:
    rng = np.random.default_rng(0)
    stack_NHW = rng.random((6, *SIZE)) > 0.6
    stack_NHW[5] = False
    rles = masks.encode_all(stack_NHW)
    np.testing.assert_allclose(mask_ious(torch.from_numpy(stack_NHW)), masks.iou_matrix(rles, rles), atol=1e-6)


# ---------------------------------------------------------------- chunks


@given(st.integers(1, 400), st.integers(2, 90), st.integers(1, 89))
def test_chunks_cover_a_video_and_share_frames(n_frames: int, length: int, overlap: int) -> None:
    overlap = min(overlap, length - 1)
    chunks = chunks_of(n_frames, length, overlap)
    assert chunks[0].start == 0 and chunks[-1].stop == n_frames
    assert all(len(chunk) <= length for chunk in chunks)
    assert all(before.stop - after.start == overlap for before, after in pairwise(chunks))


def test_an_object_in_every_chunk_is_one_track() -> None:
    tracks: list[Track] = []
    end = 0
    for chunk in chunks_of(20, 8, 3):
        found = [track_of(chunk, x=0, score=0.5 + chunk.start / 100), track_of(chunk, y=14, score=0.7)]
        found.reverse()
        tracks = join(tracks, found, range(chunk.start, end), 0.5)
        end = chunk.stop
    assert len(tracks) == 2
    near, far = sorted(tracks, key=lambda track: track.score)
    assert list(near.masks) == list(range(20)) and near.masks == track_of(range(20)).masks
    assert near.score == pytest.approx(0.65) and far.masks == track_of(range(20), y=14).masks


def test_each_track_has_one_partner_and_the_best_one() -> None:
    shared = range(4, 8)
    before = [track_of(range(8)), track_of(range(8), x=3)]
    after = [track_of(range(4, 12), x=2), track_of(range(4, 12), x=3)]
    joined = join(before, after, shared, 0.3)
    assert [max(track.masks) for track in joined] == [11, 11], "3 goes with 3, so 0 gets 2, which it shares less with"
    assert joined[1].masks == track_of(range(12), x=3).masks
    assert joined[0].masks[7] == square(7), "in shared frames the earlier masks stay"


def test_tracks_that_do_not_meet_stay_apart() -> None:
    hidden = Track({frame: square(frame) for frame in range(3)})  # not seen in the shared frames
    joined = join([hidden], [track_of(range(4, 12))], range(4, 8), 0.5)
    assert [list(track.masks) for track in joined] == [[0, 1, 2], list(range(4, 12))]
    assert join([], [track_of(range(3))], range(0), 0.0)[0].masks == track_of(range(3)).masks
    assert join([hidden], [], range(4, 8), 0.0) == [hidden]
    assert len(join([track_of(range(8), x=0)], [track_of(range(4, 12), x=15)], range(4, 8), 0.0)) == 2, (
        "0 is no overlap"
    )


def test_the_overlap_of_tracks_counts_pixels_of_all_frames() -> None:
    one, other = {0: rle_of(0, 0, 4, 4), 1: rle_of(0, 0, 4, 4)}, {0: rle_of(0, 0, 4, 2), 2: rle_of(0, 0, 2, 2)}
    assert tube_iou(one, other, [0, 1, 2]) == pytest.approx(8 / (16 + 16 + 4))
    assert tube_iou(one, other, [0]) == pytest.approx(8 / 16) and tube_iou(one, other, [7]) == 0


def test_double_tracks_are_dropped() -> None:
    tracks = [
        track_of(range(9), score=0.6),
        track_of(range(1, 9), score=0.9),
        track_of(range(9), x=14, score=0.3),
        Track(),
    ]
    assert without_doubles(tracks, 0.5) == [tracks[1], tracks[2]]
    assert without_doubles([], 0.5) == []


# ---------------------------------------------------------------- whole tracks


def prompts_of(track: Track, expression: int, name: str) -> list[Prompt]:
    return [
        Prompt(frame, rle, mask_box(rle), expression, annotation=name, box_score=track.score)
        for frame, rle in track.masks.items()
    ]


def test_whole_tracks_are_taken_as_they_are() -> None:
    near, far, weak = (
        track_of(range(2, 6), score=0.9),
        track_of(range(6), x=12, score=0.8),
        track_of(range(1), x=5, score=0.1),
    )
    prompts = [
        *prompts_of(weak, 0, "0"),
        *prompts_of(near, 0, "1"),
        *prompts_of(far, 0, "2"),
        *prompts_of(near, 1, "0"),
    ]
    chains = given_tracks(prompts, 3, 2, 7, SIZE)
    assert [[choice.row for choice in chain] for chain in chains] == [[], [1, 5], [11], []], (
        "the two surest, in their order"
    )

    class Frames:
        size = SIZE

        def __len__(self) -> int:
            return 7

    tracks, rles_NT = assemble(chains, prompts, Frames(), 3, None, (12, 16), np.float16)  # type: ignore[arg-type]
    assert [rows.tolist() for rows in tracks.expression_tracks] == [[0, 1], [0], []], "sentences share equal tracks"
    assert merged_prompts(chains) == [(11, 1)]
    empty = masks.empty(SIZE)
    assert rles_NT == [[near.masks.get(t, empty) for t in range(7)], [far.masks.get(t, empty) for t in range(7)]]
    assert (tracks.score_NT > 0).tolist() == [[t in near.masks for t in range(7)], [t in far.masks for t in range(7)]]
    assert tracks.tokens_NTC.shape == (2, 7, 256) and not tracks.tokens_NTC.any()
    assert tracks.prompt_frame_N.tolist() == [2, 0]
    assert given_tracks([], 1, None, 4, SIZE) == [[], []]
