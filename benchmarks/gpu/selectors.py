"""Training of each selector at its published size on the device: the plain loop against this project's trainer.

The data of benchmarks.selector_training: 4 videos of 16 tracks, 64 frames and 14 expressions; texts of a RoBERTa-large
with random weights. A plain step is one expression, read and encoded again, in float32; ours has 32, in bfloat16 as in the
config, with deterministic kernels.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from benchmarks.gpu.run import Row, Run, markdown
from benchmarks.selector_training import EPOCHS, EXPRESSIONS, VIDEOS, build_encoder, plain, referee, write_data
from stages.training.arithmetic import deterministic

CODE = ("benchmarks/selector_training.py", "benchmarks/published_loop.py", "stages/selectors", "stages/training")
NAMES = ("sola", "soc", "course")
WARM_UP, PLAIN_STEPS, STEPS = 4, 20, 12


def measure(run: Run) -> Iterator[tuple[str, Row]]:
    size = "micro" if run.tiny else "large"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # of `deterministic`, before CUDA starts
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_encoder(size, folder / "text")
        encoding, _ = write_data(folder, torch.get_num_threads(), run.device)
        once = encoding / (VIDEOS * EXPRESSIONS * EPOCHS)
        yield from run.each({name: lambda name=name: compared(run, size, folder, name, once) for name in NAMES})


def compared(run: Run, size: str, folder: Path, name: str, once: float) -> Row:
    """Seconds per expression of both; ours with its share of encoding all texts once."""
    plainly = per_expression(run, plain(size, folder, name, run.device), 1 if run.tiny else PLAIN_STEPS)
    with deterministic():  # as `referee train-selector` does
        ours = per_expression(run, referee(size, folder, name, run.device), 1 if run.tiny else STEPS)
    return {
        "plain ms per expression": round(1e3 * plainly["per expression"], 2),
        "ms per expression": round(1e3 * (ours["per expression"] + once), 3),
        "steps per s": round(1 / ours["per step"], 2),
        "times": round(plainly["per expression"] / (ours["per expression"] + once), 1),
        "peak GiB": ours["peak"],
    }


def per_expression(run: Run, steps: Iterator[int], n: int) -> Row:
    done = 0

    def some() -> None:
        nonlocal done
        done = sum(next(steps) for _ in range(n))

    for _ in range(1 if run.tiny else WARM_UP):
        next(steps)
    start = run.now()
    peak = run.peak_gib(some)
    taken = run.now() - start
    return {"per expression": taken / done, "per step": taken / n, "peak": peak}


def table(rows: Mapping[str, Row]) -> str:
    columns = ("plain ms per expression", "ms per expression", "times", "steps per s", "peak GiB")
    return markdown(("", *columns), [(name, *(row[column] for column in columns)) for name, row in rows.items()])
