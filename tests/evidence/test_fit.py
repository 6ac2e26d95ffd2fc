"""Fitting in memory: weights of known data come back, parameters are those of best quality, and the report is honest."""

import numpy as np
import pytest
from scipy.special import expit

from stages.core.records import TrackId
from stages.evidence.fusion.calibrate import calibrate
from stages.evidence.fusion.decide import Fusion, decide
from stages.evidence.fusion.features import Inputs
from stages.evidence.fusion.fit import STRENGTHS, fit, learn
from stages.evidence.fusion.reading import inputs_of
from stages.evidence.fusion.table import Sentence

TRUE = {"score": 0.8, "evidence.judge": -0.5, "existence.exists": 1.5}
LOW = {"low": "auto"}
NAN = float("nan")


def drawn(n: int = 300, seed: int = 0, missing: float = 0.0) -> list[Sentence]:
    """Sentences whose labels follow the weights above and a bias of −1; three videos in ten sentences."""
    rng = np.random.default_rng(seed)
    sentences = []
    for i in range(n):
        m = int(rng.integers(0, 9))
        score, judge, useless, exists = rng.normal(size=m) * 2, rng.normal(size=m) * 3, rng.normal(size=m), rng.normal()
        logit = -1 + 0.8 * score - 0.5 * judge + 1.5 * exists
        judge = np.where(rng.random(m) < missing, NAN, judge)
        sentences.append(
            Sentence(
                video=f"v{i % 30}",
                expression=str(i),
                number=None,
                tracks=tuple(TrackId("grid", k) for k in range(m)),
                score_N=score,
                evidence={"judge": judge, "useless": useless},
                existence={"judge": NAN, "useless": NAN, "exists": exists},
                labels_N=rng.random(m) < expit(logit),
            )
        )
    return sentences


def share_right(sentences):
    """Quality: the share of tracks that are rightly chosen or left."""
    return lambda i, chosen_N: float((chosen_N == sentences[i].labels_N).mean()) if len(chosen_N) else 1.0


INPUTS = Inputs(("judge", "useless"), ("exists",))


def test_the_weights_of_known_data_come_back():
    learnt = learn(drawn(3000), INPUTS)
    for name, weight in TRUE.items():
        assert learnt.weights[name] == pytest.approx(weight, abs=0.15)
    assert learnt.bias == pytest.approx(-1, abs=0.1) and abs(learnt.weights["evidence.useless"]) < 0.06
    assert learnt.weights["score.missing"] == 0.0, "a column that never changes"
    assert learnt.strength in STRENGTHS and 0.85 < learnt.auc < 1 and 0.3 < learnt.log_loss < 0.69


def test_what_is_missing_has_a_weight_of_its_own():
    sentences = drawn(2000, missing=0.4)
    for sentence in sentences:  # what the judge did not look at is seldom meant
        sentence.labels_N[np.isnan(sentence.evidence["judge"])] = False
    learnt = learn(sentences, INPUTS)
    assert learnt.weights["evidence.judge.missing"] < -2


def test_a_fit_finds_the_threshold_of_best_quality_and_says_what_each_source_is_worth():
    sentences = drawn(400)
    quality = share_right(sentences)
    fitted = fit(sentences, INPUTS, "threshold", LOW, None, quality)
    for low in np.arange(0.05, 1, 0.05):
        other = Fusion(fitted.fusion.bias, fitted.fusion.weights, None, "threshold", {"low": float(low)})
        mean = np.mean([quality(i, decide(other, s).chosen_N) for i, s in enumerate(sentences)])
        assert mean <= fitted.figures.quality + 1e-9
    assert list(fitted.without) == ["score", "evidence.judge", "evidence.useless", "existence.exists"]
    for source, figures in fitted.without.items():
        worse = figures.log_loss - fitted.figures.log_loss
        assert worse > 0.01 if source != "evidence.useless" else abs(worse) < 0.005
    assert (fitted.n_sentences, fitted.n_videos) == (400, 30) and fitted.n_tracks == sum(map(len, sentences))


def test_the_same_sentences_give_the_same_fusion_in_any_order_of_evidence():
    sentences = drawn(100)
    quality = share_right(sentences)
    settings = {"low": "auto", "high": "auto", "ratio": "auto", "distinct_iou": 0.5}
    one = fit(sentences, Inputs(("judge", "useless")), "number", settings, None, quality, ablate=False)
    two = fit(sentences, Inputs(("useless", "judge")), "number", settings, None, quality, ablate=False)
    assert one == two and one.fusion.parameters["distinct_iou"] == 0.5


def test_what_the_config_gives_is_not_searched():
    sentences = drawn(50)
    fusion = Fusion(0.0, {"score": 1.0}, None, "relative", {})
    given = {"low": 0.7, "high": "auto", "ratio": 0.25}
    parameters, _ = calibrate(fusion, given, sentences, share_right(sentences))
    assert (parameters["low"], parameters["ratio"]) == (0.7, 0.25) and isinstance(parameters["high"], float)


def test_of_equally_good_thresholds_the_middle_one_is_taken():
    [sentence] = drawn(1, seed=3)
    lone = Sentence("v", "0", None, (TrackId("grid", 0),), np.array([0.0]), {}, {}, labels_N=np.array([True]))
    parameters, quality = calibrate(
        Fusion(0.0, {"score": 1.0}, None, "threshold", {}), LOW, [lone], share_right([lone])
    )
    assert quality == 1.0 and parameters["low"] == 0.26, "of .04, .06, …, .48"
    assert sentence.video == "v0"


@pytest.mark.parametrize("labels", [True, False])
def test_tracks_of_one_class_teach_nothing(labels):
    sentences = drawn(20)
    for sentence in sentences:
        sentence.labels_N[:] = labels
    with pytest.raises(ValueError, match="learns from tracks that are referred to and tracks that are not"):
        fit(sentences, INPUTS, "threshold", LOW, None, share_right(sentences))
    with pytest.raises(ValueError, match="needs something to look at"):
        learn(drawn(20), Inputs(score=False))


def test_few_videos_and_folds_of_one_class_still_fit():
    sentences = [sentence for sentence in drawn(60) if sentence.video in ("v1", "v2") and len(sentence)]
    for sentence in sentences:
        sentence.labels_N[:] = sentence.labels_N & (sentence.video == "v1")
    assert np.isfinite(learn(sentences, Inputs(("judge",))).log_loss)
    assert np.isfinite(learn([s for s in sentences if s.video == "v1"], Inputs()).auc)


def test_inputs_are_what_says_something():
    inputs = inputs_of(drawn(5), behind=True, looks=False)
    assert inputs == Inputs(("judge", "useless"), ("exists",), behind=True)
