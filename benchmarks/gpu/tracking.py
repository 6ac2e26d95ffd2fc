"""The arms of benchmarks.tracking: R0 and R2 on the stock predictor, L and L+A on the lock-step engine.

SAM2 hiera-large at 1024 px in bfloat16, 80 drawn frames. The engine's arms run twice first, since their first time
plans kernels; the stock ones run a second time where there is time for it.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from benchmarks.gpu.models import HIERA_L, MICRO, clip, predictor, settings
from benchmarks.gpu.run import Row, Run, markdown
from benchmarks.tracking import Case, Contest, place_prompts

CODE = ("benchmarks/tracking.py", "benchmarks/clips.py", "stages/tracking")
FRAMES, EXPRESSIONS, CAP, BATCH = 80, 8, 2, 32
ORDER = ("R0", "L", "L+A", "R2", "L", "L+A", "R0", "R2")
SPARE = 1.3  # an arm begins again where so many of its last times are left


def measure(run: Run) -> Iterator[tuple[str, Row]]:
    with clip(8 if run.tiny else FRAMES, run.tiny) as frames:
        contest = Contest(make_case(run, frames))
        for name in ORDER:
            if run.left <= SPARE * min(contest.seconds.get(name, [0])):
                if all(arm in contest.seconds for arm in ORDER):
                    return  # only second rounds are missing
                raise TimeoutError
            contest.run(name)
            table = contest.table()
            yield from ((arm, {**table[arm], "all": rounded(contest.seconds[arm])}) for arm in table)


def make_case(run: Run, frames: object) -> Case:
    model = predictor(MICRO if run.tiny else HIERA_L, run.device)
    base = settings().tracks
    caps = base.max_tracks.model_copy(update={"gdino": CAP})
    precision = "float32" if run.device == "cpu" else "bfloat16"
    changed = base.model_copy(update={"precision": precision, "max_tracks": caps})
    n_expressions = 2 if run.tiny else EXPRESSIONS
    prompts = place_prompts(frames, n_expressions, np.random.default_rng(0))
    return Case(model, frames, prompts, n_expressions, changed, BATCH)


def rounded(seconds: list[float]) -> list[float]:
    return [round(one, 2) for one in seconds]


def table(rows: Mapping[str, Row]) -> str:
    head = ("arm", "s, each time", "× R0", "× R2", "encodes", "object-frames", "pointer Δ to R0", "lowest mask IoU")
    lines = []
    for arm, row in rows.items():
        times = [min(rows[base]["all"]) / min(row["all"]) if base in rows else float("nan") for base in ("R0", "R2")]
        counts, against = row["counts"], row["against_R0"]
        cells = (", ".join(f"{one:.2f}" for one in row["all"]), *(f"{one:.2f}" for one in times))
        cells += (counts["encodes"], counts["object_frames"], against["pointer_max"], against["mask_iou_min"])
        lines.append((arm, *cells))
    return markdown(head, lines)
