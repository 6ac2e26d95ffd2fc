"""Every part against its stock counterpart on the device, in each precision, and against itself on the CPU in float32.

Trained micro models, since their masks, boxes and answers mean something; and SAM2 hiera-large at 1024 px with random
weights. `stock` is the sam2 package's predictor and generator, transformers' GroundingDINO one caption at a time, and a
whole pass per question of the judge. The text encoder is transformers' own, and selectors have no other: of both, the
device is compared with the CPU.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.models import HIERA_L, MICRO, clip, predictor, settings
from benchmarks.gpu.parity_prompts import boxes_row, masks_row
from benchmarks.gpu.run import Row, Run, markdown, precisions
from benchmarks.mllm_cost import questions_of
from benchmarks.selector_training import C, new_model
from benchmarks.tracking import difference, engine, place_prompts
from stages.core.run.batches import Batches
from stages.evidence.backends.transformers import LocalJudge, load_judge
from stages.selectors.batch import Batch, Sample, TrackFeatures, collate
from stages.selectors.text_encoder import TransformersTextEncoder
from stages.tracking.stock import StockTracker
from stages.tracking.tracker import Masklet, PromptBatch
from stages.training.arithmetic import autocast

CODE = (
    "benchmarks/gpu/parity_prompts.py",
    "benchmarks/tracking.py",
    "stages/tracking",
    "stages/prompting",
    "stages/evidence/backends",
    "stages/selectors",
)
WEIGHTS = Path("stages/micro/weights")
CAPTIONS = ["the red circle", "the large blue square that moves to the left", "the thing that stops and turns around"]
SELECTORS, N_TRACKS, N_FRAMES, TEXT_DIM = ("sola", "soc", "course"), 16, 48, 1024
Masklets = dict[int, Masklet]


def measure(run: Run) -> Iterator[tuple[str, Row]]:
    of_precision: dict[str, Callable[[str], Row]] = {
        "masks of points, stock": partial(masks_row, run.device),
        "boxes, stock": partial(boxes_row, run.device, captions=CAPTIONS),
        "judge, whole passes": partial(judge_row, run.device),
    }
    with clip(4 if run.tiny else 12, run.tiny) as frames, clip(2 if run.tiny else 6, run.tiny) as few:
        tracks = cache(partial(tracked, frames))
        of_precision |= {
            "tracks, micro, stock": lambda precision: compared(
                tracks("stock", run.device, precision), tracks("engine", run.device, precision)
            )
        }
        if not run.tiny:
            of_precision |= {"tracks, hiera-large, stock": lambda precision: large_tracks(run.device, precision, few)}
        makers = {
            f"{name}, {precision}": partial(make, precision)
            for name, make in of_precision.items()
            for precision in precisions(run.device)
        }
        makers |= {
            "tracks, micro, CPU, float32": lambda: compared(
                tracks("engine", "cpu", "float32"), tracks("engine", run.device, "float32")
            ),
            "masks of points, CPU, float32": lambda: masks_row(run.device, "float32", against="cpu"),
            "boxes, CPU, float32": lambda: boxes_row(run.device, "float32", CAPTIONS, against="cpu"),
            "judge, CPU, float32": lambda: judge_row(run.device, "float32", against="cpu"),
            "text, CPU, float32": lambda: text_row(run.device),
        }
        makers |= {
            f"{name}, CPU, {precision}": partial(selector_row, run, name, precision)
            for name in SELECTORS
            for precision in precisions(run.device)
        }
        yield from run.each(makers)


# ---------------------------------------------------------------- tracks


def tracked(frames: Any, engine_name: str, device: str, precision: str, which: Any = MICRO) -> Masklets:
    """Tracks of two expressions' prompts."""
    model = predictor(which, device)
    changed = settings().tracks.model_copy(update={"precision": precision})
    prompts = sorted(place_prompts(frames, 2, np.random.default_rng(0)), key=lambda prompt: prompt.frame)
    batches = [
        PromptBatch(frame, [prompt.mask for prompt in group])
        for frame, group in groupby(prompts, lambda prompt: prompt.frame)
    ]
    tracker = StockTracker(model, changed.precision) if engine_name == "stock" else engine(model, changed, 32)
    flat = [masklet for masklets in tracker.track(frames, batches) for masklet in masklets]
    return dict(enumerate(flat))


def large_tracks(device: str, precision: str, frames: Any) -> Row:
    return compared(*(tracked(frames, name, device, precision, HIERA_L) for name in ("stock", "engine")))


def compared(expected: Masklets, actual: Masklets) -> Row:
    apart = difference(expected, actual)
    return {
        "tracks": apart["rows"],
        "pointer Δ": apart["pointer_max"],
        "mask IoU, least": apart["mask_iou_min"],
        "mask IoU, mean": apart["mask_iou_mean"],
    }


# ---------------------------------------------------------------- judge, text, selectors


@cache
def judge(device: str, precision: str) -> LocalJudge:
    return load_judge(WEIGHTS / "mllm", device, precision, Batches(8, "questions"))


def judge_row(device: str, precision: str, against: str | None = None) -> Row:
    """Log-odds with a shared encoding; against whole passes on the device, or the same on another."""
    questions = questions_of(settings("shapes").evidence["judge"], 4, CAPTIONS[0])
    ours = judge(device, precision)
    replies = ours.answer(questions)
    expected = judge(against, precision).answer(questions) if against else ours.whole_pass(questions)
    odds = [[reply.log_odds for reply in side] for side in (expected, replies)]
    return {"questions": len(questions), "shared": ours.sharing, "log-odds Δ": apart(*odds), "largest": size(odds[0])}


def text_row(device: str) -> Row:
    words = [
        np.concatenate([TransformersTextEncoder(WEIGHTS / "text", 128, place).encode(text, "").words_WD for text in CAPTIONS])
        for place in ("cpu", device)
    ]  # fmt: skip
    return {"sentences": len(CAPTIONS), "feature Δ": apart(*words), "largest": size(words[0])}


def selector_row(run: Run, name: str, precision: str) -> Row:
    """Scores of a selector of the published size with random weights."""
    batch, model = drawn_batch(), new_model("micro" if run.tiny else "large", TEXT_DIM, name).eval()
    with torch.inference_mode():
        expected = model(batch).logits_BN.sigmoid()
        model = model.to(run.device)
        with autocast(run.device, precision):
            actual = model(batch.to(run.device)).logits_BN.float().sigmoid().cpu()
    return {"scores": expected.numel(), "score Δ": apart(expected.numpy(), actual.numpy())}


def drawn_batch() -> Batch:
    rng = np.random.default_rng(0)
    shape = (N_TRACKS, N_FRAMES)
    corner, extent = rng.random((*shape, 2)) / 2, rng.random((*shape, 2)) / 2
    tracks = TrackFeatures(
        tokens_MTC=rng.normal(size=(*shape, C)).astype(np.float32),
        presence_MT=rng.normal(3, 3, shape).astype(np.float32),
        area_MT=rng.random(shape).astype(np.float32),
        prompted_MT=np.arange(N_FRAMES)[None] == rng.integers(0, N_FRAMES, (N_TRACKS, 1)),
        boxes_MT4=np.concatenate([corner, corner + extent], -1).astype(np.float32),
    )
    samples = []
    for n_words in (5, 9, 14):
        words_WD = rng.normal(size=(n_words, TEXT_DIM)).astype(np.float32)
        detections_N2 = rng.random((N_TRACKS, 2)).astype(np.float32)
        samples.append(Sample(tracks, np.arange(N_TRACKS), words_WD, words_WD.mean(0), detections_N2=detections_N2))
    return collate(samples)


def apart(expected: Any, actual: Any) -> float:
    return float(f"{np.abs(np.asarray(expected, np.float64) - np.asarray(actual, np.float64)).max():.2g}")


def size(values: Any) -> float:
    return float(f"{np.abs(values).max():.3g}")


def table(rows: Mapping[str, Row]) -> str:
    lines = [(name, ", ".join(f"{what} {value}" for what, value in row.items())) for name, row in rows.items()]
    return markdown(("what, against what, precision", ""), lines)
