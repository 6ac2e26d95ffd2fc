"""J and F: this project against the plain official algorithm and the vos-benchmark package, on one core.

    make install      # brings vos-benchmark; pip alone would bring OpenCV's windowed build with it
    python -m benchmarks.metrics [--frames 16] [--rounds 9]

Measures, on the same masks at 480 × 854 and 1080 × 1920, for every contender in turn (A B C D A B C D …), the
processor time per pair of masks, which other work on the machine disturbs less than wall-clock time:
  metric      masks in memory in the form that the contender works on: images, or run lengths;
  end to end  from COCO RLE of both masks; with "truth cached" the ground truth's runs and boundary are
              already computed, as in stages.evaluate from the second expression about an object on.
Every contender's J and F must be equal to the last bit. Prints a table, writes benchmarks/results/metrics.json.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import describe
from benchmarks.plain_davis import j_and_f
from stages.core.media import masks
from stages.core.records import Rle
from stages.metrics import boundary_f, jaccard
from stages.metrics.boundary import bound_radius
from stages.metrics.clips import Clip, from_rles
from stages.metrics.scene import compare

SIZES = ((480, 854), (1080, 1920))
PLAIN, VOS = "plain official", "vos-benchmark"
OURS, OURS_IMAGES, OURS_CACHED = "referee", "referee, images", "referee, truth cached"
TARGETS = {"metric": 20, "end to end": 8}
Mask = NDArray[np.bool_]
Scores = list[tuple[float, float]]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=16, help="pairs of masks per size (default: 16)")
    parser.add_argument("--rounds", type=int, default=9, help="times every contender runs (default: 9)")
    arguments = parser.parse_args(argv)
    cv2.setNumThreads(1)
    results = []
    for height, width in SIZES:
        pred, truth = draw_pairs(height, width, arguments.frames)
        for kind, contenders in (("metric", metric(pred, truth)), ("end to end", end_to_end(pred, truth))):
            results.append({"kind": kind, "size": [height, width], **measure(contenders, arguments.rounds, len(pred))})
    print_table(results)
    document = {
        "command": " ".join(["python -m benchmarks.metrics", *(sys.argv[1:] if argv is None else argv)]),
        "machine": describe("numpy", "numba", "opencv-python-headless", "pycocotools", "vos-benchmark", "scikit-image"),
        "results": results,
    }
    target = Path(__file__).parent / "results" / "metrics.json"
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def draw_pairs(height: int, width: int, n: int) -> tuple[list[Mask], list[Mask]]:
    """Truths: wobbly outlines of one to three objects with holes. Predictions: outlined a little differently, with
    specks; one in eight is empty, one elsewhere."""
    rng = np.random.default_rng(height)
    truths, preds = [], []
    for i in range(n):
        outlines = [outline(rng, height, width) for _ in range(1 + i % 3)]
        truths.append(fill(outlines, height, width))
        if i % 8 == 6:
            preds.append(np.zeros((height, width), bool))
        elif i % 8 == 7:
            preds.append(fill([outline(rng, height, width)], height, width))
        else:
            error = 0.006 * height
            pred = fill([o + rng.normal(0, error, o.shape) for o in outlines], height, width)
            pred[tuple(rng.integers(0, (height, width), (20, 2)).T)] ^= True
            preds.append(pred)
    return preds, truths


def outline(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """A closed contour of 120 points around a random centre, as (120, 2) of x, y."""
    angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    waves = sum(rng.normal(0, 0.3 / k) * np.sin(k * angle + rng.uniform(0, 6.3)) for k in range(2, 9))
    radius = rng.uniform(0.08, 0.25) * height * np.clip(1 + waves, 0.2, 2)
    centre = rng.uniform(0.15, 0.85, 2) * (width, height)
    return np.asarray(centre + np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1))


def fill(outlines: Sequence[NDArray[np.float64]], height: int, width: int) -> Mask:
    canvas = np.zeros((height, width), np.uint8)
    for points in outlines:
        cv2.fillPoly(canvas, [points.astype(np.int32)], 1)
    return canvas.astype(bool)


def metric(preds: list[Mask], truths: list[Mask]) -> dict[str, Callable[[], Scores]]:
    pred_THW, truth_THW = np.stack(preds), np.stack(truths)
    pred, truth = clip_of(preds), clip_of(truths)
    return {
        PLAIN: lambda: [j_and_f(p, t) for p, t in zip(preds, truths)],
        VOS: lambda: vos(preds, truths),
        OURS_IMAGES: lambda: list(zip(jaccard(pred_THW, truth_THW).tolist(), boundary_f(pred_THW, truth_THW).tolist())),
        # A new clip each time: a clip keeps its areas and boundaries once they are computed.
        OURS: lambda: score(anew(pred), anew(truth), preds[0].shape),
    }


def end_to_end(preds: list[Mask], truths: list[Mask]) -> dict[str, Callable[[], Scores]]:
    size = (preds[0].shape[0], preds[0].shape[1])
    pred_rles, truth_rles = ([masks.encode(m) for m in side] for side in (preds, truths))
    truth = from_rles(truth_rles, size)

    def decoded(pair_scores: Callable[[list[Mask], list[Mask]], Scores]) -> Scores:
        return pair_scores([masks.decode(r) for r in pred_rles], [masks.decode(r) for r in truth_rles])

    return {
        PLAIN: partial(decoded, lambda p, t: [j_and_f(*pair) for pair in zip(p, t)]),
        VOS: partial(decoded, vos),
        OURS: lambda: score(from_rles(pred_rles, size), from_rles(truth_rles, size), size),
        OURS_CACHED: lambda: score(from_rles(pred_rles, size), truth, size),
    }


def clip_of(images: list[Mask]) -> Clip:
    rles: list[Rle] = [masks.encode(image) for image in images]
    return from_rles(rles, (images[0].shape[0], images[0].shape[1]))


def anew(clip: Clip) -> Clip:
    return Clip(clip.turns, clip.offset, clip.length, clip.lines)


def score(pred: Clip, truth: Clip, size: tuple[int, ...]) -> Scores:
    comparison = compare(pred, truth, range(len(pred)), bound_radius(size[0], size[1]))
    return list(zip(comparison.j_T.tolist(), comparison.f_T.tolist()))


def vos(preds: list[Mask], truths: list[Mask]) -> Scores:
    """vos-benchmark's own per-frame function, one object per pair; it leaves out pairs without an object."""
    from vos_benchmark.evaluator import Evaluator

    scores: Scores = []
    for pred, truth in zip(preds, truths):
        evaluator = Evaluator()
        evaluator.feed_frame(pred.view(np.uint8), truth.view(np.uint8))
        scores.append((float(evaluator.object_iou[1][0]), float(evaluator.boundary_f[1][0])))
    return scores


def measure(contenders: dict[str, Callable[[], Scores]], rounds: int, n: int) -> dict[str, object]:
    """Runs every contender once per round, in turn; the first round warms up and compares the scores."""
    scores = {name: run() for name, run in contenders.items()}
    for name, own in scores.items():
        if own != scores[PLAIN]:
            raise SystemExit(f"{name} differs from the official algorithm: no time is reported")
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.process_time()
            run()
            times[name].append((time.process_time() - start) / n * 1e6)
    plain = times[PLAIN]
    return {
        "pairs": n,
        "rounds": rounds,
        "equal": True,
        "microseconds_a_pair": {
            name: {
                "min": round(min(values), 1),
                "median": round(statistics.median(values), 1),
                "times_faster_min": round(min(plain) / min(values), 1),
                "times_faster_median": round(statistics.median(plain) / statistics.median(values), 1),
            }
            for name, values in times.items()
        },
    }


def print_table(results: list[dict[str, object]]) -> None:
    print(f"{'':12}{'size':>11}  {'contender':24}{'min µs':>10}{'median µs':>11}{'× (min)':>9}{'× (median)':>11}")
    for result in results:
        height, width = result["size"]  # type: ignore[misc]
        for name, figures in result["microseconds_a_pair"].items():  # type: ignore[attr-defined]
            values = [figures[key] for key in ("min", "median", "times_faster_min", "times_faster_median")]
            print(
                f"{result['kind']:12}{f'{height}x{width}':>11}  {name:24}"
                + "{:10.1f}{:11.1f}{:9.1f}{:11.1f}".format(*values)
            )
    print(
        "targets: "
        + ", ".join(f"{kind} ≥ {times}×" for kind, times in TARGETS.items())
        + "; all J and F equal to the last bit"
    )


if __name__ == "__main__":
    raise SystemExit(main())
