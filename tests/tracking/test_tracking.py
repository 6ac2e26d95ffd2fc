"""Tracking: the reference engine against a hand-driven predictor, the greedy selection, the labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sam2.sam2_video_predictor import SAM2VideoPredictor
from sam2.utils.misc import load_video_frames
from support.greedy import draw_prompts, published_loop, shifted, track_by_shifting
from support.project import CONFIG
from support.sam2 import box_mask, draw_frames, micro_weights

from stages.core.config.loading import load_config
from stages.core.media import masks
from stages.core.state.prompt_file import SERVES_ALL, Prompt
from stages.tracking.greedy import GreedyChain, rows_of_chains, run_chains, select_tracks
from stages.tracking.labels import compare, oriented
from stages.tracking.sam2_model import load_sam2
from stages.tracking.sharing import SharedPrompts
from stages.tracking.stock import ModelFrames, StockTracker, memory_reach

SIZE = (48, 64)
OBJECTS = [box_mask(SIZE, 8, 5, 28, 25), box_mask(SIZE, 35, 28, 51, 44)]
RLES = [masks.encode(mask) for mask in OBJECTS]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return micro_weights(tmp_path_factory.mktemp("sam2"))


@pytest.fixture(scope="module")
def stock(weights):
    return load_sam2(weights, "cpu", SAM2VideoPredictor)


@pytest.fixture(scope="module")
def tracker(weights):
    return StockTracker.load(weights, "cpu", "float32")


def drive_by_hand(predictor, frames, start, objects, folder, directions=(False, True)):
    """The plain stock predictor on a JPEG folder: masks (N, T, H, W), pointers (N, T, C), scores (N, T)."""
    folder.mkdir()
    for index in range(len(frames)):
        (folder / f"{index:05}.jpg").symlink_to(frames.path(index))
    state = predictor.init_state(str(folder))
    for index, mask in enumerate(objects):
        predictor.add_new_mask(state, start, index, mask)
    masks_NTHW = np.zeros((len(objects), len(frames), *frames.size), bool)
    for reverse in directions:
        for frame, _, logits in predictor.propagate_in_video(state, start, reverse=reverse):
            masks_NTHW[:, frame] = logits[:, 0].numpy() > 0
    outputs = [
        {**o["non_cond_frame_outputs"], **o["cond_frame_outputs"]} for o in state["output_dict_per_obj"].values()
    ]
    order = range(len(frames))
    tokens = np.array([[output[t]["obj_ptr"][0].numpy() for t in order] for output in outputs])
    scores = np.array([[output[t]["object_score_logits"].item() for t in order] for output in outputs])
    return masks_NTHW, tokens, scores


def test_equals_hand_driven_predictor_and_sweeps_forward_first(tracker, stock, tmp_path):
    # Long enough that memories are forgotten, PNG and odd names, another prompt frame on the same state.
    frames = draw_frames(tmp_path / "frames", 36)
    assert memory_reach(stock) == 16
    for start, objects in ((1, OBJECTS[:1]), (20, OBJECTS)):
        found = tracker.propagate(frames, start, [masks.encode(mask) for mask in objects])
        expected_masks, tokens, scores = drive_by_hand(stock, frames, start, objects, tmp_path / str(start))
        for n, masklet in enumerate(found):
            assert masklet.tokens_TC.dtype == np.float32
            np.testing.assert_array_equal(masklet.tokens_TC, tokens[n])
            np.testing.assert_array_equal(masklet.score_T, scores[n].astype(np.float32))
            np.testing.assert_array_equal([masks.decode(rle) for rle in masklet.rles_T], expected_masks[n])
            assert masklet.score_T[start] == 10 and masklet.iou_T[start] == 1  # dummies of a mask prompt
            assert ((masklet.iou_T > 0) & (masklet.iou_T <= 1)).all() and (np.delete(masklet.iou_T, start) < 1).all()
    backwards = drive_by_hand(stock, frames, 20, OBJECTS, tmp_path / "backwards", directions=(True, False))
    assert np.abs(backwards[1] - tokens).max() > 1e-4  # so the order of the sweeps matters here


def test_frames_equal_what_the_package_loads(tmp_path):
    frames = draw_frames(tmp_path / "frames", 2, suffix=".jpg", name="{}")
    images, height, width = load_video_frames(str(frames.directory), 128, False, compute_device=torch.device("cpu"))
    mine = ModelFrames(frames, 128, torch.device("cpu"))
    assert (height, width, len(images)) == (*frames.size, len(mine))
    for index in (1, 0, 1):
        assert torch.equal(mine[index], images[index])
        assert mine[index].stride() == images[index].stride()  # the memory order decides which kernel runs


def test_predicted_iou_is_that_of_the_chosen_mask(tracker, tmp_path):
    frames = draw_frames(tmp_path / "frames", 3)
    seen = []
    decoder = tracker.predictor.sam_mask_decoder
    handle = decoder.register_forward_hook(lambda module, args, kwargs, out: seen.append(out[1]), with_kwargs=True)
    (masklet,) = tracker.propagate(frames, 0, RLES[:1])
    handle.remove()
    # Call 0 makes the prompt's pointer; then one per frame, three candidates each.
    assert [tuple(iou.shape) for iou in seen[1:]] == [(1, 3), (1, 3)]
    assert masklet.iou_T[1:].tolist() == [iou.max().item() for iou in seen[1:]]


def test_one_frame_and_no_mask(tracker, stock, tmp_path):
    frames = draw_frames(tmp_path / "frames", 1, suffix=".jpg", name="only")
    (masklet,) = tracker.propagate(frames, 0, RLES[:1])
    expected_masks, tokens, _ = drive_by_hand(stock, frames, 0, OBJECTS[:1], tmp_path / "jpg")
    np.testing.assert_array_equal(masklet.tokens_TC, tokens[0])
    np.testing.assert_array_equal(masks.decode(masklet.rles_T[0]), expected_masks[0, 0])
    assert tracker.propagate(frames, 0, []) == []


def test_a_batch_equals_its_objects_alone_and_bfloat16_is_near(tracker, weights, tmp_path):
    frames = draw_frames(tmp_path / "frames", 4)
    together = tracker.propagate(frames, 2, RLES)
    for rle, masklet in zip(RLES, together):
        (alone,) = tracker.propagate(frames, 2, [rle])
        np.testing.assert_array_equal(alone.tokens_TC, masklet.tokens_TC)
        assert alone.rles_T == masklet.rles_T
    rounded = StockTracker(tracker.predictor, "bfloat16").propagate(frames, 2, RLES)
    difference = np.abs(rounded[0].tokens_TC - together[0].tokens_TC).max()
    assert 0 < difference < 0.1


# ---------------------------------------------------------------- greedy selection


def run_chain(chain, prompts, track):
    return [choice.row for choice in run_chains([chain], prompts, SharedPrompts(prompts, None), track)[0]]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 24), st.integers(1, 5), st.integers(1, 4), st.integers(1, 12))
def test_selection_equals_the_published_loop(seed, n, n_frames, per_pass, cap):
    prompts = draw_prompts(np.random.default_rng(seed), n, n_frames)
    rows = list(range(n))
    chain = GreedyChain(prompts, rows, per_pass=per_pass, covered_iou=0.7, cap=cap)
    selected = run_chain(chain, prompts, track_by_shifting(n_frames))
    assert selected == published_loop(prompts, rows, n_frames, per_pass, 0.7, cap)


def test_selection_by_hand():
    big, small, far = (box_mask((12, 16), *b) for b in ((0, 0, 6, 6), (0, 0, 6, 5), (9, 7, 12, 10)))
    prompts = [
        Prompt(0, masks.encode(small), (0, 0, 6, 5)),
        Prompt(1, masks.encode(shifted(small, 1)), (1, 0, 7, 5)),  # IoU 5/6 with the track of `big`: covered
        Prompt(0, masks.encode(far), (9, 7, 12, 10)),
        Prompt(0, masks.encode(big), (0, 0, 6, 6)),
        Prompt(1, masks.encode(shifted(big & ~small, 1)), (1, 5, 7, 6)),  # IoU 1/6
        Prompt(0, masks.encode(np.zeros((12, 16), bool)), (0, 0, 0, 0)),
    ]
    calls = []

    def track(batches):
        calls.append([(batch.frame, len(batch.masks)) for batch in batches])
        return track_by_shifting(2)(batches)

    def choose(**options):
        return run_chain(GreedyChain(prompts, range(6), **options), prompts, track)

    assert choose(per_pass=4, covered_iou=0.7, cap=64) == [3, 0, 2, 4]
    assert calls == [[(0, 3)], [(1, 1)]]
    assert choose(per_pass=1, covered_iou=0.7, cap=64) == [3, 2, 4]  # now 0 is covered before its turn
    assert choose(per_pass=1, covered_iou=5 / 6, cap=64) == [3, 0, 2, 4]  # exactly 5/6 is not more
    assert choose(per_pass=4, covered_iou=0.7, cap=2) == [3, 0]
    calls.clear()
    assert choose(per_pass=4, covered_iou=None, cap=None) == [3, 0, 2, 1, 4]
    assert calls == [[(0, 3), (1, 2)]]  # without a filter nothing waits


def test_the_surest_may_go_first():
    """Of masks of one object: those of highest predicted IoU; what a track covers is dropped all the same."""
    small, large = box_mask((12, 16), 0, 0, 4, 4), box_mask((12, 16), 0, 0, 9, 9)
    masks_of = {0: (large, 0.5), 1: (small, 0.75), 2: (np.zeros_like(small), 1.0), 3: (small, 0.875), 4: (large, 0.5)}
    prompts = [
        Prompt(row, masks.encode(mask), (0, 0, 1, 1), 0, mask_score=score) for row, (mask, score) in masks_of.items()
    ]
    track = track_by_shifting(5)
    for first, expected in (("surest", [3, 1, 0, 4]), ("largest", [0, 4, 1, 3])):
        chain = GreedyChain(prompts, range(5), per_pass=2, covered_iou=None, cap=None, first=first)
        assert run_chain(chain, prompts, track) == expected


def test_sources_have_their_own_chains():
    prompts = draw_prompts(np.random.default_rng(1), 30, 3)
    config = load_config(CONFIG).tracks.model_copy(update={"prompts_per_pass": 2})
    caps = config.max_tracks.model_copy(update={"gdino": 1, "grid": 2})
    config = config.model_copy(update={"max_tracks": caps})
    for_all = [replace(prompt, expression=SERVES_ALL) for prompt in prompts]
    of = {"gt": for_all, "grid": for_all, "gdino": prompts}
    found = {source: select_tracks(of[source], source, 4, config, track_by_shifting(3)) for source in of}
    assert sorted(choice.row for choice in found["gt"][0]) == [i for i, p in enumerate(prompts) if p.area]
    assert [len(chain) for chain in found["grid"]] == [2, 0, 0, 0, 0]
    assert [len(chain) for chain in found["gdino"]] == [0, 1, 1, 1, 0]
    assert [prompts[chain[0].row].expression for chain in found["gdino"][1:4]] == [0, 1, 2]
    assert rows_of_chains([], 2) == [[], [], []]


# ---------------------------------------------------------------- labels


def encode_rows(*rows):
    return masks.encode(np.array([[c == "#" for c in row] for row in rows]))


def test_labels_by_hand():
    empty = encode_rows("....", "....")
    track = [encode_rows("##..", "##.."), encode_rows("##..", "...."), empty, empty]
    truth = {
        "a": [encode_rows("##..", "...."), encode_rows(".##.", "...."), None, None],
        "b": [None, None, encode_rows("####", "####"), None],
        "never": [None] * 4,
    }
    labels = compare([track, [empty] * 4], truth, (2, 4), (2, 4))
    assert labels.annotations == ("a", "b", "never")
    # a: frames 0 and 1 have a union: IoU 2/4 and 1/3; precision 2/4 and 1/2; recall 2/2 and 1/2.
    np.testing.assert_allclose(labels.iou_NA, [[(1 / 2 + 1 / 3) / 2, 0, 0], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(labels.precision_NA, [[1 / 2, 0, 0], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(labels.recall_NA, [[3 / 4, 0, 0], [0, 0, 0]], rtol=1e-6)
    assert labels.iou_NA.dtype == np.float32


def test_labels_are_compared_at_label_size():
    # At half the width only columns 0 and 2 count: there the two agree.
    track = [encode_rows("#.#.", "....", "....", "....")]
    truth = {"a": [encode_rows("####", "....", "....", "....")]}
    assert compare([track], truth, (4, 4), (4, 4)).iou_NA.item() == 0.5
    assert compare([track], truth, (4, 4), (4, 2)).iou_NA.item() == 1.0
    assert oriented((360, 640), (540, 960)) == (540, 960)
    assert oriented((640, 360), (540, 960)) == (960, 540)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 70), st.integers(0, 3))
def test_labels_at_native_size_equal_rle_overlaps(seed, n, a):
    rng = np.random.default_rng(seed)
    draw = lambda: masks.encode((rng.random((6, 9)) < 0.5) & (rng.random() < 0.8))  # noqa: E731
    tracks, truth = [[draw()] for _ in range(n)], {str(i): [draw()] for i in range(a)}
    labels = compare(tracks, truth, (6, 9), (6, 9))
    expected = masks.iou_matrix([t[0] for t in tracks], [t[0] for t in truth.values()])
    inside = masks.containment_matrix([t[0] for t in tracks], [t[0] for t in truth.values()])
    np.testing.assert_allclose(labels.iou_NA, expected, atol=1e-6)
    np.testing.assert_allclose(labels.precision_NA, inside, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(*[st.integers(1, 13)] * 4))
def test_labels_at_any_size_equal_those_of_resized_pictures(seed, sides):
    """Smaller, larger, and with the other side longer."""
    height, width, *label = sides
    rng = np.random.default_rng(seed)
    tracks_NTHW, truth_ATHW = (rng.random((n, 3, height, width)) < rng.random((n, 3, 1, 1)) for n in (3, 2))
    rows, columns = (
        np.arange(n) * full // n for full, n in zip((height, width), oriented((height, width), tuple(label)))
    )
    small_NTP, small_ATP = (x[:, :, rows][..., columns].reshape(*x.shape[:2], -1) for x in (tracks_NTHW, truth_ATHW))
    shared_NAT = (small_NTP[:, None] & small_ATP).sum(-1)
    joined_NAT = (small_NTP[:, None] | small_ATP).sum(-1)
    share_NAT = np.where(joined_NAT, shared_NAT / np.maximum(joined_NAT, 1), 0)
    expected_NA = share_NAT.sum(-1) / np.maximum((joined_NAT > 0).sum(-1), 1)
    rles = [[[masks.encode(mask) for mask in sequence] for sequence in x] for x in (tracks_NTHW, truth_ATHW)]
    labels = compare(rles[0], {str(a): row for a, row in enumerate(rles[1])}, (height, width), tuple(label))
    np.testing.assert_allclose(labels.iou_NA, expected_NA, rtol=1e-6)


@pytest.mark.parametrize(("frames", "size", "part"), [(2, (2, 4), "2 frames"), (1, (4, 4), r"\(4, 4\)")])
def test_labels_refuse_what_does_not_fit(frames, size, part):
    with pytest.raises(ValueError, match=f"'bad'.*{part}"):
        compare([[masks.empty((2, 4))]], {"bad": [masks.empty(size)] * frames}, (2, 4), (2, 4))
