"""GroundingDINO Swin-T at 800 px: transformers' model, one caption in one frame at a time, against ours.

Random weights that spread boxes and scores; the stock model computes in float32. The gate says what share of the
stock model's boxes of a score above 0.2 ours finds again at IoU ≥ 0.9.
"""

import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.models import settings
from benchmarks.gpu.run import Row, Run, markdown, precisions
from benchmarks.prompt_models import first_frame, swin_t
from benchmarks.prompts import CAPTIONS, PAIRS, detection_row
from stages.core.config.file import Model
from stages.core.state.weights import Weights
from stages.prompting.grounding_dino.checkpoint import find_checkpoint, read_config
from stages.prompting.grounding_dino.detector import GroundingDino, load_detector
from stages.prompting.grounding_dino.transformers_backend import load_model

CODE = ("benchmarks/prompts.py", "benchmarks/plain_prompts.py", "benchmarks/prompt_models.py", "stages/prompting")
MORE = [f"{caption} near the wall" for caption in CAPTIONS]
COUNTS, FRAMES = (1, 4, 16), 2


def measure(run: Run) -> Iterator[tuple[str, Row]]:
    frames = [np.roll(first_frame(None), 9 * i, 1) for i in range(1 if run.tiny else FRAMES)]
    with tempfile.TemporaryDirectory() as folder:
        place = swin_t(Path(folder), *((192, 1) if run.tiny else (800, 12)))
        plain = load_model(find_checkpoint(place), read_config(place)).eval().to(run.device)
        arguments = Namespace(device=run.device, rounds=1 if run.tiny else 2)

        def row(n: int, precision: str) -> Row:
            captions = (CAPTIONS + MORE)[:n]
            detector = random_detector(place, precision, run.device)
            peak = run.peak_gib(lambda: detector.detect(frames, captions))
            measured = detection_row(arguments, f"{n} captions, {precision}", plain, detector, frames, captions)
            return {**measured, "peak GiB": peak}

        yield from run.each({
            f"{n} captions, {precision}": lambda n=n, precision=precision: row(n, precision)
            for n in (COUNTS[:1] if run.tiny else COUNTS) for precision in precisions(run.device)
        })  # fmt: skip


def random_detector(place: Path, precision: str, device: str) -> GroundingDino:
    weights = Weights(place, "random", Model(hub=None, revision=None, files=[], seed=0, path=None, license=None))
    chosen = settings().prompts.gdino.model_copy(update={"precision": precision, "max_boxes": 900})
    return load_detector(weights, chosen, device, PAIRS)


def table(rows: Mapping[str, Row]) -> str:
    head = ("", "plain, s", "referee, s", "times", "boxes found again", "peak GiB")
    return markdown(
        head, [(name, *seconds(row), row["gate"]["recall_at_iou_90"], row["peak GiB"]) for name, row in rows.items()]
    )


def seconds(row: Row) -> tuple[Any, ...]:
    plain, ours = (figures["min"] for figures in row["seconds"].values())
    return plain, ours, row["times_faster"]["min"]
