"""The fusion as pure functions: columns, weights, near-duplicates, rules."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from scipy.special import expit
from support.project import make_config

from stages.core.config.loading import ConfigError, settings_of
from stages.core.config.section import Section, Threshold
from stages.core.records import TrackId
from stages.core.tables import RULES, Rule
from stages.evidence.fusion.decide import Fusion, decide
from stages.evidence.fusion.features import Inputs, column, table_of
from stages.evidence.fusion.rules import Objects
from stages.evidence.fusion.table import Sentence

NAN = float("nan")


def sentence(score: list[float], **change: Any) -> Sentence:
    n = len(score)
    values: dict[str, Any] = {
        "video": "v",
        "expression": "0",
        "number": None,
        "tracks": tuple(TrackId("grid", k) for k in range(n)),
        "score_N": np.array(score, float),
        "evidence": {},
        "existence": {},
    }
    return Sentence(**(values | change))


def by_hand(weights: dict[str, float], threshold: float = 0.5, bias: float = 0.0) -> Fusion:
    return Fusion(bias, {"score": 1.0, **weights}, None, "threshold", {"low": threshold})


# ---------------------------------------------------------------- columns


def test_columns_say_what_is_missing_and_how_far_the_best_is():
    about = sentence([1.0, -2.0, 0.5], evidence={"judge": np.array([3.0, NAN, -1.0])}, existence={"exists": -0.5})
    inputs = Inputs(("judge",), ("exists",), behind=True)
    assert inputs.columns == (
        "score",
        "score.missing",
        "score.behind",
        "evidence.judge",
        "evidence.judge.missing",
        "evidence.judge.behind",
        "existence.exists",
        "existence.exists.missing",
    )
    expected = [
        [1.0, 0, 0, 3, 0, 0, -0.5, 0],
        [-2.0, 0, -3, 0, 1, 0, -0.5, 0],
        [0.5, 0, -0.5, -1, 0, -4, -0.5, 0],
    ]
    np.testing.assert_array_equal(table_of(about, inputs.columns), expected)
    assert inputs.without("evidence.judge").sources == ("score", "existence.exists")
    assert inputs.without("score").sources == ("evidence.judge", "existence.exists")


def test_sentences_that_say_looks_alone_have_columns_of_their_own():
    inputs = Inputs(("judge",), ("exists",), looks=True)
    names = ("score", "score.looks", "evidence.judge", "evidence.judge.looks")
    assert set(inputs.columns) - set(Inputs(("judge",), ("exists",)).columns) == {names[1], names[3]}
    known = {"evidence": {"judge": np.array([3.0, NAN])}, "existence": {"exists": -0.5}}
    about = sentence([1.0, -2.0], **known)
    assert not about.looks_alone
    np.testing.assert_array_equal(table_of(about, names), [[1, 0, 3, 0], [-2, 0, 0, 0]])
    np.testing.assert_array_equal(table_of(replace(about, looks_alone=True), names), [[1, 1, 3, 3], [-2, -2, 0, 0]])
    assert inputs.without("score").columns == Inputs(("judge",), ("exists",), score=False, looks=True).columns


@pytest.mark.parametrize("name", ["score", "evidence.judge", "evidence.other", "existence.judge"])
def test_what_is_not_known_at_all_is_0_and_missing(name):
    about = sentence([NAN, NAN], evidence={"judge": np.full(2, NAN)}, existence={"judge": NAN})
    assert column(about, name).tolist() == [0, 0] and column(about, f"{name}.missing").tolist() == [1, 1]
    assert column(about, f"{name}.behind").tolist() == [0, 0] or name.startswith("existence")


# ---------------------------------------------------------------- weights


@given(scores=st.lists(st.floats(-1e3, 1e3), max_size=6), log_odds=st.floats(-100, 100), threshold=st.floats(0, 1))
def test_without_weight_the_selector_decides_bit_for_bit(scores, log_odds, threshold):
    known = np.array([log_odds if n % 2 == 0 else NAN for n in range(len(scores))])
    plain = decide(by_hand({}, threshold), sentence(scores))
    unweighed = decide(by_hand({"evidence.judge": 0.0}, threshold), sentence(scores, evidence={"judge": known}))
    assert plain.final_N.tolist() == unweighed.final_N.tolist() == scores
    assert (
        plain.chosen_N.tolist() == unweighed.chosen_N.tolist() == [bool(expit(score) > threshold) for score in scores]
    )


def test_evidence_moves_the_decision_and_none_may_be_chosen():
    evidence = {"judge": np.array([-4.0, 4.0, NAN]), "other": np.array([1.0, NAN, NAN])}
    about = sentence([0.5, -0.5, 0.5], evidence=evidence)
    both = decide(by_hand({"evidence.judge": 0.25, "evidence.other": 2.0}), about)
    assert both.final_N.tolist() == [1.5, 0.5, 0.5] and both.chosen_N.all()
    one = decide(by_hand({"evidence.judge": 0.25}), about)
    assert one.final_N.tolist() == [-0.5, 0.5, 0.5] and one.chosen_N.tolist() == [False, True, True]
    assert not decide(by_hand({}, 0.9), about).chosen_N.any()


@given(st.permutations(["a", "b", "c"]))
def test_the_order_in_which_evidence_was_gathered_does_not_matter_to_the_last_bit(names):
    values = {"a": 0.1, "b": 1e16, "c": -1e16}
    about = sentence([0.3], evidence={name: np.array([values[name]]) for name in names})
    fusion = by_hand({f"evidence.{name}": 1.0 for name in sorted(names)})
    assert decide(fusion, about).final_N.tolist() == [0.3 + 0.1 + 1e16 - 1e16]


def test_existence_moves_all_tracks_alike_and_its_absence_none():
    fusion = by_hand({"existence.exists": 2.0}, bias=0.5)
    assert decide(fusion, sentence([1.0, -1.0], existence={"exists": -3.0})).final_N.tolist() == [-4.5, -6.5]
    assert decide(fusion, sentence([1.0, -1.0], existence={"exists": NAN})).final_N.tolist() == [1.5, -0.5]


def test_what_has_no_word_is_answered_with_nothing():
    assert not decide(by_hand({}, 0.0), sentence([9.0], asked=False)).chosen_N.any()
    assert decide(by_hand({}, 0.0), sentence([], asked=True)).chosen_N.shape == (0,)


# ---------------------------------------------------------------- near-duplicates


def test_near_duplicates_share_the_mean_of_their_log_odds_and_count_once():
    ious = np.eye(4, dtype=np.float32)
    ious[0, 2] = ious[2, 0] = 0.9
    about = sentence([3.0, 0.0, -1.0, -5.0], ious_NN=ious, number=2)
    parameters = {"low": 0.4, "high": 0.9, "ratio": 1.0, "distinct_iou": 0.5}
    decision = decide(Fusion(0.0, {"score": 1.0}, 0.8, "number", parameters), about)
    assert decision.final_N.tolist() == [1.0, 0.0, 1.0, -5.0]
    assert decision.chosen_N.tolist() == [True, True, True, False], "two objects, the first of them as two tracks"
    alone = decide(Fusion(0.0, {"score": 1.0}, None, "number", parameters), about)
    assert alone.final_N.tolist() == [3.0, 0.0, -1.0, -5.0] and alone.chosen_N.tolist() == [True, True, False, False]


# ---------------------------------------------------------------- rules


def chosen(rule: str, probability: list[float], number: int | None = None, ious: Any = None, **parameters: float):
    shared = np.eye(len(probability), dtype=np.float32) if ious is None else np.array(ious, np.float32)
    return np.flatnonzero(RULES[rule].choose(Objects(np.array(probability), shared, number), parameters)).tolist()


def test_threshold():
    assert chosen("threshold", [0.4, 0.6, 0.5, 0.9], low=0.5) == [1, 3]
    assert chosen("threshold", [], low=0.5) == []


RELATIVE = {"low": 0.3, "high": 0.5, "ratio": 0.8}


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        ([0.4, 0.35, 0.1], [0]),  # the best is above low, nothing else above high
        ([0.9, 0.8, 0.6], [0, 1]),  # the third is not within .8 of the best
        ([0.3, 0.2], []),  # low itself is not enough
        ([0.6, 0.6], [0, 1]),
        ([0.4, 0.4], [0]),  # ties go to the first
        ([], []),
    ],
)
def test_relative(probability, expected):
    assert chosen("relative", probability, **RELATIVE) == expected
    assert chosen("number", probability, **RELATIVE, distinct_iou=0.5) == expected, "the number is unknown"


@pytest.mark.parametrize(
    ("number", "expected"), [(1, [2]), (2, [1, 2]), (3, [0, 1, 2]), (4, [0, 1, 2])], ids=lambda value: str(value)
)
def test_number_takes_the_best_and_never_more(number, expected):
    probability = [0.5, 0.9, 0.95, 0.2]
    assert chosen("number", probability, number, **RELATIVE, distinct_iou=0.5) == expected


def test_number_counts_distinct_objects():
    shared = np.eye(3)
    shared[0, 1] = shared[1, 0] = 0.6
    assert chosen("number", [0.9, 0.8, 0.7], 2, shared, **RELATIVE, distinct_iou=0.5) == [0, 2]
    assert chosen("number", [0.9, 0.8, 0.7], 2, shared, **RELATIVE, distinct_iou=0.7) == [0, 1]


@given(
    st.lists(st.floats(0, 1), max_size=8),
    st.one_of(st.none(), st.integers(1, 4)),
    st.fixed_dictionaries({key: st.floats(0, 1) for key in RELATIVE}),
)
def test_no_rule_chooses_what_is_not_above_low_or_more_than_was_asked(probability, number, parameters):
    for rule in RULES:
        picked = chosen(rule, probability, number, **parameters, distinct_iou=0.5)
        lowest = min((probability[g] for g in picked), default=math.inf)
        assert lowest > min(parameters["low"], parameters["high"])
        assert rule != "number" or number is None or len(picked) <= number


# ---------------------------------------------------------------- another rule


class BestSettings(Section):
    low: Threshold = Field(description="The best object alone, above this probability")


def the_best_alone(objects: Objects, parameters: Mapping[str, float]) -> np.ndarray:
    best_G = np.arange(len(objects.probability_G)) == (objects.order or [0])[0]
    return best_G & (objects.probability_G > parameters["low"])


BEST = Rule("best", BestSettings, grid={"low": (0.25, 0.5, 0.75)}, choose=the_best_alone)


def test_a_rule_is_one_value(tmp_path):
    over = {"rerank": {"rule": {"kind": "best", "best": {"low": "auto"}}}}
    with RULES.extended_by(BEST):
        rule = settings_of(make_config(tmp_path, over), "mevis").rerank.rule
        assert (rule.kind, rule.own.low) == ("best", "auto")
        fusion = Fusion(0.0, {"score": 1.0}, None, "best", {"low": 0.5})
        assert decide(fusion, sentence([0.5, 2.0, 1.0])).chosen_N.tolist() == [False, True, False]
    with pytest.raises(ConfigError, match="rerank"):
        make_config(tmp_path, over)


def test_a_rule_that_searches_what_its_settings_lack_is_refused():
    with (
        pytest.raises(ValueError, match=r"rule 'best': its settings have no \['ratio'\]"),
        RULES.extended_by(Rule("best", BestSettings, grid={"ratio": (0.5,)}, choose=the_best_alone)),
    ):
        pass
