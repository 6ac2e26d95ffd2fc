"""Ref-DAVIS17 (Khoreva et al., ACCV 2018), by its two incompatible protocols.

A, four annotators (ReferFormer, SOC): the answers to one annotator's sentences become one label map, a pixel
going to the most confident answer that holds it; the map is scored by the DAVIS 2017 unsupervised protocol
(Caelles et al., 2019): all frames, void pixels removed, labels matched to objects per video by the
best mean of J and F (Hungarian), mean over frames, then over all objects of the split; then the mean over the
annotators.

B, per expression (VISA, VRS-HQ, Sa2VA): each answer against its object, mean over frames, then over
expressions; nothing is matched, void pixels count as background.

Legend: T frames, P predictions (labels of a map), O objects.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.metrics import clips
from stages.metrics.boundary import bound_radius
from stages.metrics.clips import Clip
from stages.metrics.protocol import Figures, Protocol, Row, Scored, boundary_kind, mean, mean_of
from stages.metrics.scene import Answer, Scene, compare


def extra(scene: Scene, scored: Scored, ratio: float) -> dict[str, Any]:
    """Protocol A: annotator → J and F of each of the video's objects."""
    objects = _objects(scene)
    truths = [_visible(scene, scene.annotations[key]) for key in objects]
    runs: dict[str, list[Answer]] = {}
    for answer, _ in sorted(scored, key=lambda pair: _number(pair[0].expression.id)):
        runs.setdefault(answer.expression.group, []).append(answer)
    radius = bound_radius(*scene.size, ratio)
    return {group: _run(scene, answers, truths, radius) | {"objects": objects} for group, answers in runs.items()}


def label_map(answers: Sequence[Answer]) -> list[Clip]:
    """The answers without pixels of a more confident one; ties go to the first."""
    order = sorted(range(len(answers)), key=lambda i: -answers[i].confidence)
    labels: dict[int, Clip] = {}
    taken: Clip | None = None
    for i in order:
        masks = answers[i].masks
        labels[i] = masks if taken is None else clips.without(masks, taken)
        taken = masks if taken is None else clips.union(taken, masks)
    return [labels[i] for i in range(len(answers))]


def assign(j_POT: NDArray[np.float64], f_POT: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which prediction is matched to which object: the assignment with the largest sum of (J + F) / 2."""
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(-(j_POT.mean(2) + f_POT.mean(2)) / 2)


def _objects(scene: Scene) -> list[str]:
    """As DAVIS counts them: labels from 1 to the largest in the first frame."""
    in_first = [int(key) for key, masks in scene.annotations.items() if masks.area[0]]
    wanted = [str(label) for label in range(1, max(in_first, default=0) + 1)]
    return [label for label in wanted if label in scene.annotations]


def _run(scene: Scene, answers: Sequence[Answer], truths: Sequence[Clip], radius: int) -> dict[str, Any]:
    preds = [_visible(scene, masks) for masks in label_map(answers)]
    preds += [clips.empty(scene.n_frames, scene.size)] * (len(truths) - len(preds))
    pairs = [[compare(pred, truth, range(scene.n_frames), radius) for truth in truths] for pred in preds]
    shape = (len(preds), len(truths), scene.n_frames)
    j_POT = np.array([[c.j_T for c in row] for row in pairs]).reshape(shape)
    f_POT = np.array([[c.f_T for c in row] for row in pairs]).reshape(shape)
    if not truths:
        return {"J": [], "F": []}
    rows, columns = assign(j_POT, f_POT)
    j, f = [0.0] * len(truths), [0.0] * len(truths)
    for p, o in zip(rows, columns):
        j[o], f[o] = float(j_POT[p, o].mean()), float(f_POT[p, o].mean())
    return {"J": j, "F": f}


def _number(identifier: str) -> tuple[int, str]:
    """Orders "2" before "10", whatever the order of the index."""
    return len(identifier), identifier


def _visible(scene: Scene, masks: Clip) -> Clip:
    return masks if scene.void is None else clips.without(masks, scene.void)


def figures(rows: Sequence[Row], extras: Mapping[str, Any]) -> Figures:
    """A's and B's J, F, J&F; of the annotators whose rows these are."""
    annotators = sorted({row["group"] for row in rows})
    result: Figures = {}
    for name in ("J", "F"):
        values = [
            mean(value for video in extras.values() for value in video.get(annotator, {}).get(name, ()))
            for annotator in annotators
        ]
        result[f"A {name}"] = mean(value for value in values if value is not None)
    j, f = result["A J"], result["A F"]
    result["A J&F"] = None if j is None or f is None else (j + f) / 2
    return result | {f"B {name}": value for name, value in mean_of(rows, "J", "F", "J&F").items()}


def title(rows: Sequence[Row]) -> str:
    n = len({row["group"] for row in rows})
    return (
        f"Ref-DAVIS17: A = label maps of {n} annotators, DAVIS 2017 unsupervised (void removed, Hungarian matching), "
        f"mean over objects, then annotators; B = per expression, no void, no matching; {boundary_kind(rows)}"
    )


DAVIS17 = Protocol("A J&F", title, figures, extra=extra)
