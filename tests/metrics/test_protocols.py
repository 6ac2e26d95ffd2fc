"""Every protocol against a plain version of its authors' arithmetic, on masks drawn by hand."""

import contextlib
import io
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support.official_f import Bool, official_f, random_mask

from stages.core.media import masks
from stages.core.records import Expression
from stages.datasets import a2d as a2d_reader
from stages.datasets import jhmdb as jhmdb_reader
from stages.metrics import a2d, boundary_f, clips, davis17, jaccard
from stages.metrics.protocols import PROTOCOLS, protocol_of
from stages.metrics.report import Evaluation, summarise
from stages.metrics.scene import Answer, Scene, base_row, compare_answer

SIZE = (24, 36)
T = 4
Clip = NDArray[np.bool_]


def box(top: int, left: int, height: int = 8, width: int = 10) -> Bool:
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


NONE = np.zeros(SIZE, bool)


def clip(*frames: Bool) -> Clip:
    return np.stack(frames)


def rles(masks_THW: Clip | list[Bool | None]) -> list[Any]:
    return [None if mask is None else masks.encode(mask) for mask in masks_THW]


def expression(name: str, *keys: str, group: str = "", known: bool = True) -> Expression:
    return Expression(name, "a box", keys if known else None, "a box", group)


def answer(to: Expression, masks_THW: Clip, confidence: float = 0.9) -> Answer:
    return Answer(to, clips.from_rles(rles(masks_THW), SIZE), confidence)


def evaluation(name: str, scene: Scene, answers: list[Answer], ratio: float = 0.008) -> Evaluation:
    """What the evaluate stage would have left of one video."""
    protocol, rows, scored = protocol_of(name), [], []
    for one in answers:
        comparison = compare_answer(scene, one, ratio, holding_only=protocol.holding_only)
        row = {"video": "v", "group": one.expression.group, **base_row(one, comparison, ratio)}
        if comparison is not None:
            row |= protocol.columns(scene, one, comparison) if protocol.columns else {}
            scored.append((one, comparison))
        rows.append(row)
    extra = protocol.extra(scene, scored, ratio) if protocol.extra else None
    return Evaluation(name, rows, {"v": extra})


def summary(name: str, scene: Scene, answers: list[Answer]) -> dict[str, Any]:
    return summarise(evaluation(name, scene, answers), "set", "split")


def random_clip(rng: np.random.Generator, n: int = T) -> Clip:
    return np.stack([random_mask(rng, *SIZE) for _ in range(n)])


# ------------------------------------------------------------------------------------------------- scenes
def test_an_expression_is_the_union_of_its_annotations_over_all_frames() -> None:
    left, right = box(4, 2), box(4, 12)
    scene = Scene({"1": rles([left, left, None, left]), "2": rles([right, None, None, right])}, SIZE, T)
    both = expression("0", "1", "2")
    pred, truth = clip(left | right, left | right, NONE, NONE), clip(left | right, left, NONE, left | right)
    row = evaluation("mevis", scene, [answer(both, pred)]).rows[0]
    assert row["J"] == pytest.approx((1 + 0.5 + 1 + 0) / 4) == jaccard(pred, truth).mean()
    assert row["F"] == boundary_f(pred, truth).mean()
    assert row["J&F"] == (row["J"] + row["F"]) / 2
    assert (row["no_target"], row["predicted_empty"], row["missing"]) == (False, False, False)
    assert scene.truth(both) is scene.truth(expression("5", "1", "2"))  # made once an annotation set


def test_truth_that_does_not_fit_the_frames_is_an_error() -> None:
    annotation = [masks.encode(np.ones((4, 5), bool))]
    with pytest.raises(ValueError, match=r"annotation 7: masks are of size \[\(4, 5\)\].*\(5, 4\)"):
        Scene({"7": annotation}, (5, 4), 1)
    with pytest.raises(ValueError, match="annotation 7 has 1 masks, the video has 2 frames"):
        Scene({"7": annotation}, (4, 5), 2)
    with pytest.raises(ValueError, match="void has 1 masks"):
        Scene({}, (4, 5), 2, void=annotation)
    with pytest.raises(ValueError, match=r"annotations \['8'\]"):
        Scene({"7": annotation}, (4, 5), 1).truth(expression("0", "8"))


def test_an_unknown_protocol_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'vos'.*mevis, ytvos, davis17"):
        protocol_of("vos")


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_says_what_it_is_and_bears_unknown_truth(name: str) -> None:
    scene = Scene({"1": rles(clip(*[box(4, 2)] * T))}, SIZE, T)
    group = "referring" if name == "revos" else ""
    known, unknown = expression("0", "1", group=group), expression("1", group=group, known=False)
    found = summary(name, scene, [answer(known, clip(*[box(4, 2)] * T)), answer(unknown, clip(*[NONE] * T))])
    assert found["counts"] | {"expressions": 2, "scored": 1, "predicted_empty": 1} == found["counts"]
    assert found["metric"] in found["figures"] and len(found["protocol"]) > 20
    assert found["figures"][found["metric"]] == 1
    blind = summary(name, Scene({}, SIZE, T), [answer(unknown, clip(*[NONE] * T))])
    assert blind["truth"] is False and not blind.keys() & {"figures", "protocol"}


# ------------------------------------------------------------------------------------ MeViS, Ref-YouTube-VOS
def row(j: float | None, f: float | None, no_target: bool | None = False, empty: bool = False, **more: Any) -> Any:
    both = None if j is None or f is None else (j + f) / 2
    row = {"video": "v", "expression": "0", "group": "", "J": j, "F": f, "J&F": both, "no_target": no_target}
    return row | {"predicted_empty": empty, "missing": False, "boundary_ratio": 0.008, "confidence": 0.5, **more}


def test_figures_of_mevis() -> None:
    rows = [row(0.5, 0.7), row(0, 0, empty=True), row(1, 1, True, True), row(0, 0, True), row(0, 0.2, True)]
    found = summarise(Evaluation("mevis", rows), "mevis", "valid_u")
    assert (found["metric"], found["truth"], found["missing"]) == ("J&F", True, [])
    assert found["protocol"] == "MeViS v2: mean over expressions of the mean over frames; official DAVIS J and F"
    counts = {"videos": 1, "expressions": 5, "scored": 5, "no_target": 3, "predicted_empty": 2, "missing": 0}
    assert found["counts"] == counts and "groups" not in found
    expected = {"J": 0.3, "F": 0.38, "J&F": 0.34, "J&F target": 0.3, "N-acc": 1 / 3, "T-acc": 0.5}
    assert found["figures"] == pytest.approx(expected | {"Final": (0.34 + 1 / 3 + 0.5) / 3})


def test_figures_that_are_not_defined_are_none() -> None:
    found = summarise(Evaluation("mevis", [row(0.5, 0.7), row(None, None, None)]), "mevis", "valid_u")
    assert found["figures"]["N-acc"] is None and found["figures"]["Final"] is None
    assert found["figures"]["J&F"] == pytest.approx(0.6) and found["counts"]["scored"] == 1
    assert found["protocol"].startswith("MeViS v1")


def test_another_tolerance_is_not_called_official() -> None:
    other = row(1, 1) | {"boundary_ratio": 0.02}
    assert "official" not in summarise(Evaluation("mevis", [other]), "mevis", "valid_u")["protocol"]
    with pytest.raises(ValueError, match=r"0\.008 in video v, 0\.02 in video v"):
        summarise(Evaluation("mevis", [other, row(1, 1)]), "mevis", "valid_u")


def test_ref_youtube_vos_is_called_unofficial() -> None:
    found = summarise(Evaluation("ytvos", [row(0.5, 0.7), row(1, 1)]), "ytvos", "valid")
    assert "unofficial" in found["protocol"] and "official DAVIS" not in found["protocol"]
    assert found["figures"] == pytest.approx({"J": 0.75, "F": 0.85, "J&F": 0.8})


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans(), st.booleans()), min_size=1), st.randoms())
def test_the_order_of_rows_changes_no_bit(values: list[Any], random: Any) -> None:
    for name in ("mevis", "ytvos", "revos", "none"):
        rows = [row(*value, group=("referring", "reasoning")[i % 2]) for i, value in enumerate(values)]
        rows = [one | dict.fromkeys(("A", "R", "A_legacy255", "R_legacy255"), one["J"]) for one in rows]
        found = summarise(Evaluation(name, rows), "d", "s")
        random.shuffle(rows)
        assert summarise(Evaluation(name, rows), "d", "s") == found


# -------------------------------------------------------------------------------------------------- ReVOS
def published_revos(preds: Clip, truths: list[Clip], foreground: Clip, white: int) -> tuple[float, float]:
    """A and R in uint8, as published; `white` = value of the object in predictions."""
    gt = np.zeros((len(preds), *SIZE), np.uint8)
    for truth in truths:
        gt += truth.astype(np.uint8)
    pred, fg = preds.astype(np.uint8) * np.uint8(white), foreground.astype(np.uint8)
    a = np.mean([np.mean(g == p) for g, p in zip(gt, pred)])
    r = np.mean([max(1 - ((1 - g) * p).sum() / (f.sum() + 1e-6), 0) for g, p, f in zip(gt, pred, fg)])
    return float(a), float(r)


@pytest.mark.parametrize("seed", range(6))
def test_revos_accuracy_and_robustness(seed: int) -> None:
    """Overlapping truths and false positives: corrected on binary masks, legacy as the published code computes."""
    rng = np.random.default_rng(seed)
    one, two, three = (random_clip(rng) for _ in range(3))
    pred, foreground = random_clip(rng), np.ones((T, *SIZE), bool)
    foreground[:, :, : seed * 6] = False
    annotations = {"1": rles(one), "2": rles(two), "3": rles(three)}
    scene = Scene(annotations, SIZE, T, foreground=rles(foreground))
    found = evaluation("revos", scene, [answer(expression("0", "1", "2", "3", group="referring"), pred)]).rows[0]
    a, r = published_revos(pred, [one, two, three], foreground, 255)
    assert (found["A_legacy255"], found["R_legacy255"]) == pytest.approx((a, r), abs=1e-12)
    a, r = published_revos(pred, [one | two | three], foreground, 1)
    assert (found["A"], found["R"]) == pytest.approx((a, r), abs=1e-12)
    assert found["J"] == jaccard(pred, one | two | three).mean()


def test_revos_legacy_trap() -> None:
    """Ten wrong pixels of a hundred in the foreground: R .9; published, 2,550 wrong ones: R 0."""
    truth, pred = box(2, 2, 10, 9), box(2, 2, 10, 10)
    scene = Scene({"1": rles([truth])}, SIZE, 1, foreground=rles([pred]))
    found = evaluation("revos", scene, [answer(expression("0", "1", group="reasoning"), pred[None])]).rows[0]
    assert found["R"] == pytest.approx(0.9) and found["R_legacy255"] == 0
    blind = Scene({"1": rles([truth])}, SIZE, 1)
    one = summary("revos", blind, [answer(expression("0", "1", group="reasoning"), pred[None])])
    assert one["figures"]["R"] is None and one["figures"]["A"] is not None


def test_revos_overall_is_the_plain_mean_of_two_groups_of_rounded_rows() -> None:
    more = {"A": 0.5, "R": 0.25, "A_legacy255": 0.5, "R_legacy255": 0.0}
    rows = [row(j, f, group="referring", **more) for j, f in ((0.123449, 0.2), (0.123456, 0.4), (0.3, 0.6))]
    rows += [row(0.77777, 0.88888, group="reasoning", **more), row(0, 0, True, group="hallucination", **more)]
    found = summarise(Evaluation("revos", rows), "revos", "valid")
    j = (0.1234 + 0.1235 + 0.3) / 3
    assert found["groups"]["referring"]["J"] == pytest.approx(j, abs=1e-15)
    assert found["groups"]["reasoning"]["J"] == pytest.approx(0.7778, abs=1e-15)
    assert found["figures"]["J"] == pytest.approx((j + 0.7778) / 2, abs=1e-15)
    assert found["figures"]["J&F"] == pytest.approx(((j + 0.4) / 2 + (0.7778 + 0.8889) / 2) / 2, abs=1e-15)
    assert set(found["groups"]["hallucination"].values()) == {None}  # not scored
    assert found["figures"]["R"] == 0.25 and "plain mean of referring and reasoning" in found["protocol"]


# ------------------------------------------------------------------------------------------------- Ref-DAVIS17
def unsupervised(preds: list[Clip], truths: list[Clip], void: Clip) -> tuple[float, float]:
    """DAVIS 2017 unsupervised by brute force: the best of all matchings; means over frames and objects."""
    preds = preds + [np.zeros_like(void)] * (len(truths) - len(preds))
    best: tuple[float, float, float] = (-1, 0, 0)
    for order in permutations(range(len(preds)), len(truths)):
        pairs = [(preds[p] & ~void, truth & ~void) for p, truth in zip(order, truths)]
        j = np.mean([jaccard(a, b).mean() for a, b in pairs])
        f = np.mean([np.mean([official_f(x, y) for x, y in zip(a, b)]) for a, b in pairs])
        best = max(best, (float(j + f), float(j), float(f)))
    return best[1:]


def painted(answers: list[Answer], masks_: list[Clip]) -> list[Clip]:
    """The label map by argmax over scores, background .1, then one mask a label."""
    scores = [np.full((T, *SIZE), 0.1)] + [np.where(m, a.confidence, 0.0) for a, m in zip(answers, masks_)]
    labels = np.argmax(np.stack(scores), axis=0)
    return [labels == i + 1 for i in range(len(answers))]


@pytest.mark.parametrize("seed", range(8))
def test_ref_davis17_both_protocols(seed: int) -> None:
    rng = np.random.default_rng(seed)
    area = [box(1, 1), box(12, 3), box(6, 20)]
    truths = [np.stack([np.roll(mask, t, 1) for t in range(T)]) for mask in area]
    truths[1] &= ~truths[0]
    void = np.stack([box(int(rng.integers(14)), int(rng.integers(24)), 5, 6) for _ in range(T)])
    scene = Scene({str(i + 1): rles(t) for i, t in enumerate(truths)}, SIZE, T, void=rles(void))
    expected, answers, plain = [], [], []
    for annotator in range(2):
        order = rng.permutation(3)  # answers of the wrong objects: matching repairs what B counts as wrong
        preds = [np.roll(truths[o], rng.integers(-4, 5, 2), (1, 2)) for o in order][: 3 - annotator]
        run = [
            answer(expression(str(4 * i + annotator), str(i + 1), group=str(annotator)), p, float(rng.uniform(0.5, 1)))
            for i, p in enumerate(preds)
        ]
        expected.append(unsupervised(painted(run, preds), truths, void))
        plain += [(jaccard(p, truths[i]).mean(), boundary_f(p, truths[i]).mean()) for i, p in enumerate(preds)]
        answers += run
    found = summary("davis17", scene, answers)
    figures = found["figures"]
    assert (figures["A J"], figures["A F"]) == pytest.approx(tuple(np.mean(expected, axis=0)), abs=1e-12)
    assert (figures["B J"], figures["B F"]) == pytest.approx(tuple(np.mean(plain, axis=0)), abs=1e-12)
    assert figures["A J&F"] == (figures["A J"] + figures["A F"]) / 2
    for annotator in range(2):
        group = found["groups"][str(annotator)]
        assert (group["A J"], group["A F"]) == pytest.approx(expected[annotator], abs=1e-12)
    assert "2 annotators" in found["protocol"] and "per expression" in found["protocol"]
    answers.reverse()
    assert summary("davis17", scene, answers) == found


def test_ref_davis17_missing_predictions_are_empty_and_hidden_ones_lose_pixels() -> None:
    truth = clip(*[box(4, 4)] * T)
    scene = Scene({"1": rles(truth), "2": rles(clip(*[box(14, 20)] * T))}, SIZE, T)
    sure = answer(expression("0", "1", group="0"), truth, 0.9)
    unsure = answer(expression("4", "2", group="0"), truth, 0.6)  # the same pixels: the map gives them to `sure`
    assert [m.area.tolist() for m in davis17.label_map([unsure, sure])] == [[0] * T, [80] * T]
    assert [m.area.tolist() for m in davis17.label_map([sure, answer(unsure.expression, truth, 0.9)])][1] == [0] * T
    found = summary("davis17", scene, [sure, unsure])["figures"]
    assert (found["A J"], found["A F"]) == (0.5, 0.5)
    assert summary("davis17", scene, [sure])["figures"]["A J"] == 0.5


def test_ref_davis17_counts_objects_of_the_first_frame() -> None:
    late = rles([None, *[box(14, 20)] * (T - 1)])
    scene = Scene({"1": rles(clip(*[box(4, 4)] * T)), "2": late}, SIZE, T)
    found = summary("davis17", scene, [answer(expression("0", "1", group="0"), clip(*[box(4, 4)] * T))])
    assert found["figures"]["A J"] == 1


# ------------------------------------------------------------------------------------- A2D-Sentences, JHMDB
def coco_ap(pairs: list[tuple[str, Bool, Bool, float]]) -> float:
    """COCOeval on masks: image id, prediction, truth, score."""
    images = [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(len(pairs))]
    truth, found = [], []
    for i, (_, pred, gt, score) in enumerate(sorted(pairs, key=lambda p: p[0])):
        rle, other = (coco_masks.encode(np.asfortranarray(m.astype(np.uint8))) for m in (gt, pred))
        place = {"image_id": i, "category_id": 1}
        truth.append({"id": i + 1, "segmentation": rle, "area": int(gt.sum()), "iscrowd": 0, **place})
        found.append({"segmentation": other, "score": score, **place})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": images, "annotations": truth, "categories": [{"id": 1}], "info": {}}
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(found), "segm")
        evaluator.params.useCats = 0
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return float(evaluator.stats[0])


@pytest.mark.parametrize("name", ["a2d", "jhmdb"])
@pytest.mark.parametrize("seed", range(4))
def test_a2d_figures(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    annotations, answers, pairs = {}, [], []
    for i in range(9):
        truth: list[Bool | None] = [np.roll(box(6, 10), t, 1) for t in range(6)]
        truth[int(rng.integers(6))] = None  # the instance is not annotated there: no sample
        pred = np.stack([np.roll(box(6, 10), (int(rng.integers(-2, 3)), t), (0, 1)) for t in range(6)])
        pred[1] = rng.random() < 0.5 and pred[1]
        score = float(rng.choice([0.2, 0.5, 0.5, 0.9]))
        annotations[str(i)] = rles(truth)
        answers.append(answer(expression(str(i), str(i)), pred, score))
        pairs += [(("v", str(i), t), pred[t], truth[t], score) for t in (1, 2, 4) if truth[t] is not None]
    scene = Scene(annotations, SIZE, 6, scored=[1, 2, 4])
    found = summary(name, scene, answers)["figures"]
    inter = np.array([(p & t).sum() for _, p, t, _ in pairs])
    union = np.array([(p | t).sum() for _, p, t, _ in pairs])
    assert 18 <= len(pairs) < 27
    for level in (0.5, 0.6, 0.7, 0.8, 0.9):
        assert found[f"P@{level}"] == pytest.approx((inter / union > level).mean())
    assert found["overall IoU"] == pytest.approx(inter.sum() / union.sum())
    assert found["mean IoU"] == pytest.approx(((inter + 1e-6) / (union + 1e-6)).mean(), abs=1e-15)
    assert found["mAP"] == pytest.approx(coco_ap(pairs), abs=1e-15) and 0.1 < found["mAP"] < 1
    answers.reverse()
    assert summary(name, scene, answers)["figures"] == found


def test_a2d_precision_is_of_more_than_k() -> None:
    """An IoU of exactly .5 is none above .5."""
    scene = Scene({"1": rles([box(4, 4, 8, 10)])}, SIZE, 1, scored=[0])
    found = summary("a2d", scene, [answer(expression("0", "1"), box(4, 4, 8, 5)[None])])["figures"]
    assert (found["overall IoU"], found["P@0.5"]) == (0.5, 0.0)


def test_a2d_without_a_sample_is_not_scored() -> None:
    scene = Scene({"1": rles([None, box(4, 4)])}, SIZE, 2, scored=[0])
    found = evaluation("a2d", scene, [answer(expression("0", "1"), clip(NONE, NONE))])
    assert found.rows[0]["J"] is None and found.extras["v"] == {}


def test_an_empty_answer_is_a_miss_to_average_precision() -> None:
    sample = {"name": "a", "intersection": 0, "union": 80, "prediction": 0, "truth": 80, "score": 0.0}
    hit = {"name": "b", "intersection": 80, "union": 80, "prediction": 80, "truth": 80, "score": 0.7}
    assert a2d.average_precision([sample]) == 0
    assert a2d.average_precision([sample, hit]) == pytest.approx(51 / 101)  # recall stops at one half


def test_the_readers_name_their_protocols() -> None:
    assert a2d_reader.A2dSplit.protocol in PROTOCOLS and jhmdb_reader.JhmdbSplit.protocol in PROTOCOLS
    assert jhmdb_reader.SAMPLES in PROTOCOLS["jhmdb"].title([])


# ---------------------------------------------------------------------------------------------- Long-RVOS
def test_long_rvos_in_time_and_space() -> None:
    truth = clip(box(4, 4), box(4, 4), NONE, NONE)
    pred = clip(NONE, box(4, 4, 8, 5), box(4, 4), NONE)
    scene = Scene({"1": rles(truth), "2": rles(clip(*[NONE] * T))}, SIZE, T)
    one, two = expression("0", "1", group="static"), expression("1", "2", group="dynamic")
    found = summary("long_rvos", scene, [answer(one, pred), answer(two, clip(*[NONE] * T))])
    assert found["groups"]["static"] | {"tIoU": 1 / 3, "vIoU": 0.5 / 3} == pytest.approx(found["groups"]["static"])
    assert found["groups"]["dynamic"] == {"J": 1, "F": 1, "J&F": 1, "tIoU": 1, "vIoU": 1}  # both never there
    assert found["figures"]["tIoU"] == pytest.approx((1 / 3 + 1) / 2)
    late = summary("long_rvos", scene, [answer(two, clip(NONE, NONE, box(0, 0), NONE))])["figures"]
    assert (late["tIoU"], late["vIoU"]) == (0, 0)
