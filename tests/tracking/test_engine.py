"""The lock-step engine against the stock predictor, one prompt frame a state: the same tracks, however it is run."""

import logging

import numpy as np
import pytest
import torch
from support.sam2 import box_mask, draw_frames
from support.sam2_parity import MODELS, RLES, assert_parity, lockstep, mixed_prompts, sensitive_model

from stages.core.media import masks
from stages.tracking import sweeps
from stages.tracking.bank import Bank
from stages.tracking.encoder import Features
from stages.tracking.features import FeatureStore
from stages.tracking.recall import n_slots, recalled_ages, slot_of
from stages.tracking.stock import StockTracker
from stages.tracking.tracker import PromptBatch


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sensitive_model("2.1 micro", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Frames and prompts of the tests that compare the engine with itself."""
    frames = draw_frames(tmp_path_factory.mktemp("short") / "frames", 8)
    return frames, [PromptBatch(2, RLES[:2]), PromptBatch(5, RLES)]


@pytest.fixture(scope="module")
def tracked(model, short):
    return lockstep(model).track(*short)


def tokens(found):
    return np.array([masklet.tokens_TC for masklets in found for masklet in masklets])


def rles(found):
    return [masklet.rles_T for masklets in found for masklet in masklets]


@pytest.mark.parametrize("name", MODELS)
def test_parity_with_mixed_prompt_frames(name, tmp_path):
    """In the micro models objects come and go; those of the tiny ones are all there or all absent."""
    n_frames = 10 if "micro" in name else 4
    model, frames, batches = (
        sensitive_model(name, tmp_path),
        draw_frames(tmp_path / "f", n_frames),
        mixed_prompts(n_frames),
    )
    stock, ours = StockTracker(model, "float32"), lockstep(model)
    assert_parity(stock.track(frames, batches), ours.track(frames, batches))
    counts = {"rounds": 1, "object_frames": len(batches) * n_frames, "encodes": n_frames, "batch": ours.batches.limit}
    assert dict(ours.runtime.counts) == counts
    assert stock.runtime.counts["encodes"] >= 2 * n_frames


@pytest.mark.parametrize("n_frames", [1, 2, 40])
def test_parity_from_the_first_the_last_and_a_middle_frame(model, n_frames, tmp_path):
    frames = draw_frames(tmp_path / "frames", n_frames)
    batches = [PromptBatch(start, RLES[:1]) for start in sorted({0, n_frames // 2, n_frames - 1})]
    assert_parity(StockTracker(model, "float32").track(frames, batches), lockstep(model).track(frames, batches))


def test_a_prompt_without_a_pixel_at_the_models_size(model, tmp_path):
    frames = draw_frames(tmp_path / "frames", 4, size=(128, 160))
    dot = np.zeros(frames.size, bool)
    dot[7, 9] = True
    square = box_mask(frames.size, 60, 5, 100, 45)
    batches = [PromptBatch(1, [masks.encode(dot), masks.encode(square)])]
    expected = StockTracker(model, "float32").track(frames, batches)
    assert expected[0][0].score_T[1] == -10
    assert_parity(expected, lockstep(model).track(frames, batches))


def test_bfloat16_is_as_near_to_stock_as_stock_to_float32(model, short):
    frames, batches = short
    stock = tokens(StockTracker(model, "bfloat16").track(frames, batches))
    exact = tokens(StockTracker(model, "float32").track(frames, batches))
    ours = tokens(lockstep(model, precision="bfloat16").track(frames, batches))
    between = np.percentile(np.abs(ours - stock), (50, 95))
    assert (between <= 1.5 * np.percentile(np.abs(exact - stock), (50, 95))).all() and between[1] > 0


@pytest.mark.parametrize("budget", [(0, 0), (0, 3 * 10**5)])
def test_where_features_lie_changes_no_bit(model, short, tracked, budget):
    engine = lockstep(model, budget=budget)
    found = engine.track(*short)
    assert tokens(found).tobytes() == tokens(tracked).tobytes() and rles(found) == rles(tracked)
    again = engine.track(*short)  # another round, from the cache alone
    assert tokens(again).tobytes() == tokens(tracked).tobytes()
    assert engine.runtime.counts["encodes"] == 8 and engine.runtime.counts["rounds"] == 2


def test_another_video_starts_anew(model, short, tracked, tmp_path):
    engine = lockstep(model)
    other = draw_frames(tmp_path / "frames", 3)
    engine.track(other, [PromptBatch(0, RLES[:1])])
    assert tokens(engine.track(*short)).tobytes() == tokens(tracked).tobytes()
    assert engine.runtime.counts["encodes"] == 8 and engine.runtime.counts["rounds"] == 1
    assert engine.track(other, [PromptBatch(0, []), PromptBatch(1, RLES[:1])])[0] == []
    assert engine.track(other, []) == []


def test_short_memory_halves_the_batch_and_goes_on(model, short, tracked, caplog):
    """The error that CUDA's allocator raises, from the real decoder when more than 2 tracks come at once."""

    def refuse(module, args, kwargs):
        if len(kwargs["image_embeddings"]) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    engine = lockstep(model)
    engine.heads.model.sam_mask_decoder.register_forward_pre_hook(refuse, with_kwargs=True)
    with caplog.at_level(logging.WARNING, "stages.core.run.batches"):
        found = engine.track(*short)
    assert_parity(tracked, found)
    assert engine.batches.limit == 1 and "going on with 1" in caplog.text
    assert engine.runtime.counts["object_frames"] == 5 * 8


def test_tracks_whose_banks_do_not_fit_together_take_several_rounds(model, short, tracked, monkeypatch, caplog):
    def refuse(count, *rest):
        if count > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return Bank(count, *rest)

    monkeypatch.setattr(sweeps, "Bank", refuse)
    engine = lockstep(model)
    with caplog.at_level(logging.WARNING, "stages.core.run.batches"):
        assert_parity(tracked, engine.track(*short))
    assert engine.rounds.limit == 2 and engine.runtime.counts["rounds"] == 3 and "tracks in one round" in caplog.text


def test_a_track_that_does_not_fit_alone_is_an_error(model, short):
    def refuse(module, args, kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    engine = lockstep(model)
    engine.heads.model.sam_mask_decoder.register_forward_pre_hook(refuse, with_kwargs=True)
    with pytest.raises(torch.OutOfMemoryError):
        engine.track(*short)


def test_padded_and_compiled_batches_give_the_same_tracks(model, tmp_path):
    """With torch's eager backend: capture, guards and padding are those of the real one, code generation is not."""
    frames, batches = draw_frames(tmp_path / "frames", 4), [PromptBatch(1, RLES)]
    sizes = []
    engine = lockstep(model, compiler="eager")
    engine.heads.model.memory_encoder.register_forward_hook(lambda module, args, out: sizes.append(len(args[1])))
    found = engine.track(frames, batches)
    torch._dynamo.reset()
    assert_parity(lockstep(model).track(frames, batches), found)
    assert sizes == [4] * 4  # three tracks


def test_slots_hold_what_is_read():
    """Every frame that a track reads lies in a slot that nothing has overwritten since."""
    for n_frames in (1, 2, 7, 20):
        for prompt in range(n_frames):
            for reach in (1, 2, 6, 15):
                slots = {}
                order = [(t, False) for t in range(prompt, n_frames)] + [(t, True) for t in range(prompt - 1, -1, -1)]
                for t, reverse in order:
                    ages = recalled_ages(prompt, t, n_frames, reach, reverse=reverse) if t != prompt else ()
                    frames = [t + age if reverse else t - age for age in ages]
                    assert all(slots[slot_of(prompt, frame, reach)] == frame for frame in frames)
                    assert prompt not in frames and len(frames) <= reach
                    slots[slot_of(prompt, t, reach)] = t
                assert slots[0] == prompt and max(slots) < n_slots(reach)


def test_features_go_where_there_is_room():
    features = [
        Features(torch.rand(1, 8, 2, 2), (torch.rand(1, 1, 8, 8).bfloat16(), torch.rand(1, 2, 4, 4))) for _ in range(5)
    ]
    size = 4 * 32 + 2 * 64 + 4 * 32
    store = FeatureStore(torch.device("cpu"), (10**9, 2 * size))
    for frame in (3, 0, 4, 1, 2):
        assert frame not in store
        store.put(frame, features[frame])
    assert sorted(store._packed) == [0, 3] and sorted(store._in_file) == [1, 2, 4] and not store._kept
    for frame in range(5):
        found = store.get(frame)
        assert torch.equal(found.top_1Chw, features[frame].top_1Chw)
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(found.fine, features[frame].fine))
    store.close()


def test_an_error_in_the_worker_reaches_the_caller(model, short, monkeypatch):
    monkeypatch.setattr("stages.tracking.recorder.encoded", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        lockstep(model).track(*short)
