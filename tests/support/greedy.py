"""Prompts of drawn objects, a tracker that shifts them, and the published selection written down plainly, on pixels."""

import numpy as np
from support.sam2 import box_mask

from stages.core.media import masks
from stages.core.state.prompt_file import Prompt
from stages.tracking.tracker import Masklet


def shifted(mask, by):
    return np.roll(mask, by, axis=1)


def draw_prompts(rng, n, n_frames):
    """Prompts of few moving objects, with noise: some cover others, some are equal, one may be empty."""
    objects = [box_mask((12, 16), *(o := rng.integers(0, 8, 2)), *(o + rng.integers(2, 6, 2))) for _ in range(4)]
    prompts = []
    for _ in range(n):
        frame = int(rng.integers(n_frames))
        mask = shifted(objects[rng.integers(len(objects))], frame)
        if rng.random() < 0.5:
            mask = mask & (rng.random(mask.shape) < 0.9)
        if rng.random() < 0.05:
            mask = np.zeros_like(mask)
        prompts.append(Prompt(frame, masks.encode(mask), (0, 0, 1, 1), expression=int(rng.integers(3))))
    return prompts


def track_by_shifting(n_frames):
    def moved(frame, rle):
        rles_T = [masks.encode(shifted(masks.decode(rle), t - frame)) for t in range(n_frames)]
        return Masklet(rles_T, np.zeros((n_frames, 256)), np.zeros(n_frames), np.zeros(n_frames))

    return lambda batches: [[moved(batch.frame, rle) for rle in batch.masks] for batch in batches]


def published_loop(prompts, rows, n_frames, per_pass, covered_iou, cap):
    """The selection written down plainly, on pixels."""
    pixels = {row: masks.decode(prompts[row].mask) for row in rows}
    left = sorted((row for row in rows if pixels[row].any()), key=lambda row: (-pixels[row].sum(), row))
    chosen = []
    while left and len(chosen) < cap:
        frame = prompts[left[0]].frame
        batch = [row for row in left if prompts[row].frame == frame][:per_pass][: cap - len(chosen)]
        left = [row for row in left if row not in batch]
        for row in batch:
            for other in list(left):
                track = shifted(pixels[row], prompts[other].frame - frame)
                if (track & pixels[other]).sum() / (track | pixels[other]).sum() > covered_iou:
                    left.remove(other)
        chosen += batch
    return chosen
