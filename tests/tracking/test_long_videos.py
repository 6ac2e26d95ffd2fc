"""What tracking keeps of a long video: of the sweep nothing that grows, of each track its tokens and run lengths."""

import gc
import tracemalloc

import numpy as np
import pytest
import torch
from support.sam2 import draw_frames
from support.sam2_parity import RLES, lockstep, sensitive_model

from stages.core.state.prompt_file import Prompt
from stages.tracking import recorder
from stages.tracking.assemble import assemble
from stages.tracking.greedy import Choice
from stages.tracking.sweeps import Round
from stages.tracking.tracker import TOKEN_CHANNELS, Masklet, PromptBatch

PROMPT = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sensitive_model("2.1 micro", tmp_path_factory.mktemp("model"))


def bytes_alive() -> int:
    """Of all tensors."""
    tensors = [value for value in gc.get_objects() if type(value) is torch.Tensor]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def most_alive(engine, folder, n_frames, monkeypatch) -> int:
    """While two tracks are followed through a video."""
    counts, advance = [], Round.advance

    def counted(self, frame, *, reverse):
        advance(self, frame, reverse=reverse)
        if frame in (PROMPT + 16, n_frames - 1, 0):  # all memories are there; the ends of both sweeps
            counts.append(bytes_alive())

    monkeypatch.setattr(Round, "advance", counted)
    monkeypatch.setattr(recorder, "PENDING", 0)  # what waits for the worker differs from run to run
    engine.track(draw_frames(folder, n_frames), [PromptBatch(PROMPT, RLES[:2])])
    monkeypatch.undo()
    assert len(counts) == 3
    return max(counts)


def test_a_sweep_keeps_of_more_frames_no_more_than_a_row_of_ages(model, tmp_path, monkeypatch):
    engine, lengths = lockstep(model, budget=(0, 0)), (36, 60)  # features all lie in a file
    short, long = (most_alive(engine, tmp_path / str(n), n, monkeypatch) for n in lengths)
    assert long - short <= (lengths[1] - lengths[0]) * 4 * TOKEN_CHANNELS, f"bytes of tensors: {short}, then {long}"


@pytest.mark.parametrize(("dtype", "per_channel"), [("float32", 4), ("float16", 2)])
def test_tokens_are_put_together_without_a_second_copy(dtype, per_channel, tmp_path):
    n, frames = 4, draw_frames(tmp_path / "f", 60)
    tokens_NTC = np.random.default_rng(0).standard_normal((n, len(frames), TOKEN_CHANNELS)).astype(np.float32)
    score_T = np.ones(len(frames), np.float32)
    masklets = [Masklet(RLES[:1] * len(frames), tokens_TC, score_T, score_T) for tokens_TC in tokens_NTC]
    prompts = [Prompt(frame=0, mask=RLES[0], box=(0, 0, 1, 1)) for _ in masklets]
    chain = [Choice(row, row, masklet) for row, masklet in enumerate(masklets)]
    tracemalloc.start()
    tracks, _ = assemble([chain], prompts, frames, 0, None, (24, 32), dtype)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    object_frames = n * len(frames)
    assert tracks.tokens_NTC.tobytes() == tokens_NTC.astype(dtype).tobytes()
    assert peak <= object_frames * (TOKEN_CHANNELS * per_channel + 450)
