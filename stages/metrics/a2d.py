"""A2D-Sentences and JHMDB-Sentences (Gavrilyuk et al., CVPR 2018), as MTTR and ReferFormer score them.

A sample is an annotated frame and an instance in it; frames that lack the instance are not samples of it.

    P@K          share of samples with IoU > K
    overall IoU  Σ intersection / Σ union over all samples
    mean IoU     mean over samples of (intersection + 1e-6) / (union + 1e-6)
    mAP          COCO's average precision of masks, IoU .5 … .95, each sample an image, categories ignored

One mask per sample is submitted to mAP: the pipeline's answer, with its confidence. Submitting every candidate
inflates it (published figures differ by three points for the same model).
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.metrics.protocol import Figures, Protocol, Row, Scored, mean
from stages.metrics.scene import Scene

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
EPSILON = 1e-6


def extra(scene: Scene, scored: Scored, ratio: float) -> dict[str, Any]:
    """Expression → its samples: frame indices, and pixels of the intersection, the union and each mask."""
    return {
        answer.expression.id: {
            "frame": list(comparison.frames),
            "intersection": comparison.intersection_T.tolist(),
            "union": comparison.union_T.tolist(),
            "prediction": comparison.pred.area.tolist(),
            "truth": comparison.truth.area.tolist(),
        }
        for answer, comparison in scored
    }


def figures(rows: Sequence[Row], extras: Mapping[str, Any]) -> Figures:
    """P@.5 … P@.9, overall and mean IoU, mAP."""
    samples = [sample for row in rows for sample in _samples(row, extras[row["video"]][row["expression"]])]
    iou = [_ratio(s["intersection"], s["union"]) for s in samples]
    # The authors' code adds ε here too, but in float32, where it vanishes next to any object of 17 pixels or more.
    result: Figures = {f"P@{level}": mean(float(value > level) for value in iou) for level in LEVELS}
    union = sum(s["union"] for s in samples)
    result["overall IoU"] = sum(s["intersection"] for s in samples) / union if union else None
    result["mean IoU"] = mean((s["intersection"] + EPSILON) / (s["union"] + EPSILON) for s in samples)
    result["mAP"] = average_precision(samples) if samples else None
    return result


def average_precision(samples: Sequence[Mapping[str, Any]]) -> float:
    """COCOeval's AP over IoU .5 … .95 of samples with one truth and one prediction each.

    Args:
        samples: with `name` (unique), `intersection`, `union`, `prediction`, `truth` (pixels), `score`.

    COCOeval does the matching and the curve; the overlaps are those of the samples, so that no mask has to be
    kept. Samples are put in the order of their names, which decides ties between scores.
    """
    ordered = sorted(samples, key=lambda s: s["name"])
    evaluation = _evaluation(ordered)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        evaluation.evaluate()
        evaluation.accumulate()
    precision: NDArray[np.float64] = evaluation.eval["precision"]
    return float(precision[precision > -1].mean())


def _evaluation(samples: Sequence[Mapping[str, Any]]) -> Any:
    """A COCOeval whose overlaps are already known."""
    from pycocotools.cocoeval import COCOeval

    class KnownOverlaps(COCOeval):
        def computeIoU(self, imgId: int, catId: int) -> NDArray[np.float64]:
            sample = samples[imgId - 1]
            return np.array([[_ratio(sample["intersection"], sample["union"])]])

    numbered = list(enumerate(samples, 1))  # from 1: COCOeval takes an id of 0 for "no match"
    truths = [{"id": i, "area": s["truth"], "iscrowd": 0, **_place(i)} for i, s in numbered]
    predictions = [{"id": i, "area": s["prediction"], "score": s["score"], **_place(i)} for i, s in numbered]
    evaluation = KnownOverlaps(
        _coco(truths, len(samples)), _coco(predictions, len(samples)), "bbox"
    )  # no mask is looked at
    evaluation.params.useCats = 0
    evaluation.params.maxDets = [100]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
    return evaluation


def _coco(annotations: list[dict[str, Any]], n_images: int) -> Any:
    from pycocotools.coco import COCO

    images = [{"id": i} for i in range(1, n_images + 1)]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco = COCO()
        coco.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
        coco.createIndex()
    return coco


def _place(image: int) -> dict[str, int]:
    return {"image_id": image, "category_id": 1}


def _samples(row: Row, kept: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
    names = ("intersection", "union", "prediction", "truth")
    return [
        {"name": (row["video"], row["expression"], frame), "score": row["confidence"], **dict(zip(names, values))}
        for frame, *values in zip(kept["frame"], *(kept[name] for name in names), strict=True)
    ]


def _ratio(intersection: int, union: int) -> float:
    return intersection / union if union else 1.0


def _title(name: str) -> str:
    return (
        f"{name}: P@K (IoU > K), overall and mean IoU over samples (annotated frame, instance); mAP of COCO masks, "
        "one answer per sample, useCats = 0"
    )


A2D = Protocol("mAP", lambda rows: _title("A2D-Sentences"), figures, extra=extra, holding_only=True)
JHMDB = Protocol(
    "mAP", lambda rows: _title("JHMDB-Sentences (three frames per clip, list referee-jhmdb-928x3-seed0)"), figures,
    extra=extra, holding_only=True,
)  # fmt: skip
