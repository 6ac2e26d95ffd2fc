"""Ten ways a lock-step engine goes wrong (docs/tracking.md), each put in on purpose: parity must notice every one."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.sam2 import draw_frames
from support.sam2_parity import assert_parity, lockstep, mixed_prompts, sensitive_model

from stages.tracking import bank, conditioning, recall, schedule
from stages.tracking.bank import Bank
from stages.tracking.conditioning import Conditioner
from stages.tracking.heads import Heads
from stages.tracking.model_frames import ModelFrames
from stages.tracking.stock import StockTracker

Patch = pytest.MonkeyPatch
N_FRAMES = 10  # fewer than 16, so that a fixed divisor of pointer ages is wrong


def both_sweeps_at_once(patch: Patch) -> None:
    """The reverse sweep cannot see forward memories."""
    honest = recall.recalled_ages

    def ages(prompt: int, frame: int, n_frames: int, reach: int, *, reverse: bool) -> tuple[int, ...]:
        found = honest(prompt, frame, n_frames, reach, reverse=reverse)
        return tuple(age for age in found if not reverse or frame + age < prompt)

    patch.setattr(schedule, "recalled_ages", ages)


def before_its_prompt(patch: Patch) -> None:
    """Both sweeps follow every track of the round, as a state with mixed prompt frames does."""
    patch.setattr(schedule, "is_active", lambda prompt, frame, *, reverse: frame != prompt and (reverse or frame > 0))


def own_slot_read(patch: Patch) -> None:
    """Going back, the prompt's own place is filled with its memory."""
    patch.setattr(
        schedule,
        "recalled_ages",
        lambda prompt, frame, n_frames, reach, *, reverse: (
            tuple(range(1, min(reach, n_frames - 1 - frame) + 1))
            if reverse
            else recall.recalled_ages(prompt, frame, n_frames, reach, reverse=False)
        ),
    )


def padded_memories(patch: Patch) -> None:
    """Every track reads as many memories, blank ones where it has none."""
    patch.setattr(schedule, "recalled_ages", lambda *args, reverse: tuple(range(1, args[3] + 1)))


def fixed_divisor(patch: Patch) -> None:
    """Pointer ages are divided by 15, whatever the video's length."""
    honest = conditioning.pointer_positions

    def positions(model: Any, n_frames: int) -> torch.Tensor:
        return honest(model, max(n_frames, model.max_obj_ptrs_in_encoder))

    patch.setattr(conditioning, "pointer_positions", positions)


def one_age_for_all(patch: Patch) -> None:
    """All tracks of a bucket take the first one's pointer ages."""
    honest = Bank.read

    def read(self: Bank, *args: Any, **options: Any) -> Any:
        found = honest(self, *args, **options)
        return found._replace(pointer_age_BP=found.pointer_age_BP[:1].expand_as(found.pointer_age_BP))

    patch.setattr(Bank, "read", read)


def pointers_first(patch: Patch) -> None:
    """Pointer tokens before the memories, so that the rotary encoding turns the wrong ones."""
    honest = Conditioner.keys

    def keys(self: Conditioner, bucket: Any) -> Any:
        memory, position, n = honest(self, bucket)
        return *(torch.cat([part[:, -n:], part[:, :-n]], 1) for part in (memory, position)), n

    patch.setattr(Conditioner, "keys", keys)


def memory_of_the_given_mask(patch: Patch) -> None:
    """The prompt's memory from its mask at the model's size, not from stride-4 logits."""
    honest = Heads.prompt

    def prompt(self: Heads, features: Any, masks_B: Any) -> Any:
        found = honest(self, features, masks_B)
        given = self.prompt_masks(np.stack(masks_B)) * 20 - 10
        return found._replace(memory_BLD=self.memory(features, given, found.score_B1, from_prompt=True))

    patch.setattr(Heads, "prompt", prompt)


def soft_prompt_memory(patch: Patch) -> None:
    """The prompt's memory without cutting its logits at 0."""
    honest = Heads.memory

    def memory(self: Heads, *args: Any, from_prompt: bool) -> torch.Tensor:
        return honest(self, *args, from_prompt=False)

    patch.setattr(Heads, "memory", memory)


def wide_memories(patch: Patch) -> None:
    """Memories in float32 on the CPU."""
    patch.setattr(bank, "MEMORY_DTYPE", torch.float32)


def no_pointer_gate(patch: Patch) -> None:
    """An absent object keeps its own pointer."""
    honest = Heads.pointer
    patch.setattr(Heads, "pointer", lambda self, token, score: honest(self, token, torch.ones_like(score)))


def no_mask_gate(patch: Patch) -> None:
    """An absent object keeps its mask."""
    patch.setattr(Heads, "gated", lambda self, logits, score: logits)


def no_memory_gate(patch: Patch) -> None:
    """An absent object's memory is not marked (SAM 2.1)."""
    honest = Heads.memory

    def memory(self: Heads, features: Any, logits: Any, score: Any, *, from_prompt: bool) -> torch.Tensor:
        return honest(self, features, logits, torch.ones_like(score), from_prompt=from_prompt)

    patch.setattr(Heads, "memory", memory)


def times_of_the_other_version(patch: Patch) -> None:
    """Pointer times as in SAM 2.0 for 2.1, and the other way round."""
    honest = conditioning.pointer_positions

    def positions(model: Any, n_frames: int) -> torch.Tensor:
        if model.add_tpos_enc_to_obj_ptrs:
            return torch.zeros_like(honest(model, n_frames))
        ages_A = torch.arange(n_frames) / max(1, min(n_frames, 16) - 1)
        return conditioning.get_1d_sine_pe(ages_A, dim=model.mem_dim)

    patch.setattr(conditioning, "pointer_positions", positions)


def frames_of_the_image_predictor(patch: Patch) -> None:
    """Frames resized bilinearly as tensors, as the image predictor does, instead of by PIL."""

    def pixels(self: ModelFrames, index: int) -> torch.Tensor:
        image_1CHW = torch.from_numpy(self.frames.load(index)).permute(2, 0, 1)[None].float()
        side = (self.side, self.side)
        resized = F.interpolate(image_1CHW, side, mode="bilinear", align_corners=False, antialias=True)
        return resized[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)

    patch.setattr(ModelFrames, "pixels", pixels)


FAULTS = {
    1: [both_sweeps_at_once],
    2: [before_its_prompt],
    3: [own_slot_read, padded_memories],
    4: [fixed_divisor, one_age_for_all],
    5: [pointers_first],
    6: [memory_of_the_given_mask, soft_prompt_memory],
    7: [wide_memories],
    8: [no_pointer_gate, no_mask_gate, no_memory_gate],
    9: [times_of_the_other_version],
    10: [frames_of_the_image_predictor],
}


@pytest.fixture(scope="module")
def case_of(tmp_path_factory):
    """By name: a model, frames, prompts in four frames, and the stock predictor's tracks of them."""

    @functools.cache
    def make(name):
        folder = tmp_path_factory.mktemp("faults")
        model, frames = sensitive_model(name, folder), draw_frames(folder / "frames", N_FRAMES)
        batches = mixed_prompts(N_FRAMES)
        return model, frames, batches, StockTracker(model, "float32").track(frames, batches)

    return make


CASES = [("2.1 micro", n, fault) for n, faults in FAULTS.items() for fault in faults]
CASES.append(("2.0 micro", 9, times_of_the_other_version))


@pytest.mark.parametrize(
    ("name", "fault"), [pytest.param(name, fault, id=f"{n}-{fault.__name__}-{name[:3]}") for name, n, fault in CASES]
)
def test_every_fault_shows(case_of, name, fault, monkeypatch):
    model, frames, batches, expected = case_of(name)
    fault(monkeypatch)
    with pytest.raises(AssertionError, match="differ"):
        assert_parity(expected, lockstep(model).track(frames, batches))


@pytest.mark.parametrize("name", ["2.0 micro", "2.1 micro"])
def test_without_a_fault_there_is_parity(case_of, name):
    model, frames, batches, expected = case_of(name)
    assert_parity(expected, lockstep(model).track(frames, batches))
    absent = np.array([masklet.score_T <= 0 for masklets in expected for masklet in masklets])
    assert 0.05 < absent.mean() < 0.95  # objects come and go, so that the gates matter


@pytest.mark.parametrize(
    ("flag", "value"),
    [("fill_hole_area", 8), ("non_overlap_masks", True), ("non_overlap_masks_for_mem_enc", True)],
)
def test_what_couples_tracks_is_refused(case_of, flag, value, monkeypatch):
    """The rest of faults 7 and 8: hole filling does nothing without its extension, constraints couple a batch."""
    model = case_of("2.1 micro")[0]
    monkeypatch.setattr(model, flag, value)
    with pytest.raises(ValueError, match=f"{flag} is {value!r}.*tracks.engine to stock"):
        lockstep(model)
