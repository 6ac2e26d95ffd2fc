"""From replies to log-odds: polarities, calibration, choices, clips, existence; and which candidates are shown."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from support.project import CONFIG
from support.scenes import eight_squares

from stages.core.config.file import Config
from stages.core.config.loading import load_config
from stages.core.records import TrackId
from stages.core.state.graph import Layout
from stages.evidence.asked import Answer
from stages.evidence.judging.asking import about_each, calibrated, flat, logsumexp, pooled, which_of, yes_log_odds
from stages.evidence.judging.candidates import Candidate, Grouping, best_of, contexts_of
from stages.evidence.judging.settings import JudgeSettings
from stages.evidence.judging.showing import Shown
from stages.evidence.kinds.exists import CONTRADICTIONS, contradiction, existence, is_no
from stages.evidence.prompts import CONTENT_FREE, NONE
from stages.evidence.questions import Reply
from stages.evidence.views.compose import compose
from stages.evidence.views.table import VIEWS


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(CONFIG)


def settings_of(config: Config, **change: Any) -> JudgeSettings:
    settings = config.evidence["judge"]
    assert isinstance(settings, JudgeSettings)
    return settings.model_copy(update=change)


def tracks(n: int) -> list[TrackId]:
    return [TrackId("grid", k) for k in range(n)]


def candidates(n: int) -> list[Candidate]:
    return [Candidate(track, (track,), float(track.track)) for track in tracks(n)]


def shown(n: int, *views: str) -> Shown:
    scene = eight_squares((48, 64), 6).only(range(n))
    composed = compose([VIEWS[name](64, 32) for name in views], scene, [1, 4])
    return Shown(tuple(candidates(n)), (1, 4), (), composed)


def answer(*chances: float, kind: Any = "logprobs") -> Answer:
    return Answer("k", Reply(tuple(math.log(chance) for chance in chances), sum(chances), kind))


# ---------------------------------------------------------------- yes or no


def biased(odds: float, bias: float) -> dict[str, Answer]:
    """What a model of log-odds `odds` answers both ways, with a liking of `bias` for the word yes."""

    def reply(log_odds: float) -> Answer:
        yes = 1 / (1 + math.exp(-log_odds))
        return answer(yes, 1 - yes)

    return {"for": reply(odds + bias), "against": reply(-odds + bias)}


@pytest.mark.parametrize("bias", [-3.0, 0.0, 0.7, 5.0])
def test_both_polarities_cancel_a_biased_model(bias):
    assert yes_log_odds(biased(1.25, bias)) == pytest.approx(1.25)
    one_way = {"for": biased(1.25, bias)["for"]}
    assert yes_log_odds(one_way) == pytest.approx(1.25 + bias)


def test_calibration_subtracts_what_is_said_of_nothing():
    """A candidate that is liked whatever is asked for has no evidence from being liked."""
    liked, free = biased(2.0, 0.5), biased(1.5, 0.5)
    answers = {**liked, **{f"free_{way}": reply for way, reply in free.items()}}
    assert yes_log_odds(answers) == pytest.approx(0.5)
    assert yes_log_odds({way: answers[way] for way in ("for", "free_for")}) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("both", "free", "ways"), [(True, True, 4), (True, False, 2), (False, True, 2), (False, False, 1)]
)
def test_a_candidate_is_asked_about_as_the_settings_say(config, both, free, ways):
    items = about_each(shown(3, "card"), "the red square", settings_of(config, both_polarities=both, calibrate=free))
    assert [item.n for item in items] == [0, 1, 2]
    for item in items:
        assert len(item.questions) == ways and "for" in item.questions
        for way, question in item.questions.items():
            words = str(question.asked[-1])
            assert words.endswith(CONTENT_FREE if way.startswith("free") else "the red square")
            assert question.options == ("yes", "no") and question.context is items[0].questions["for"].context


def test_the_question_of_nothing_is_the_same_for_all_sentences(config):
    """So it is asked once per candidate that is shown in the same way."""
    seen, settings = shown(2, "card"), settings_of(config, calibrate=True)
    one, two = (about_each(seen, text, settings) for text in ("the red square", "the blue disc"))
    for a, b in zip(one, two, strict=True):
        assert a.questions["free_for"].parts == b.questions["free_for"].parts
        assert a.questions["for"].parts != b.questions["for"].parts


def test_questions_with_one_context_stand_side_by_side(config):
    settings = settings_of(config)
    first, second = shown(2, "card"), shown(3, "card")
    items = [*about_each(first, "a", settings), *about_each(second, "a", settings), *about_each(first, "b", settings)]
    ordered = [id(question.context) for question in flat([item.questions for item in items])]
    assert ordered == [id(first.composition.context)] * 8 + [id(second.composition.context)] * 6


def test_behind_a_context_questions_about_one_candidate_stand_side_by_side(config):
    seen, settings = shown(2, "card"), settings_of(config)
    items = [item for text in ("a", "b", "c") for item in about_each(seen, text, settings)]
    leads = [tuple(map(id, question.asked[:-1])) for question in flat([item.questions for item in items])]
    assert len(leads) == 12 and len(set(leads[:6])) == len(set(leads[6:])) == 1 and leads[0] != leads[6]


# ---------------------------------------------------------------- choices


def test_a_choice_is_one_question_about_all_that_are_shown(config):
    [item] = which_of(shown(3, "numbered"), "the red square", settings_of(config, ask="choose", calibrate=False))
    [(way, question)] = item.questions.items()
    assert way == "choice" and question.options == ("1", "2", "3", NONE) and item.n is None
    assert "1 2 3 or none: the red square" in str(question.asked[-1])


def test_the_odds_of_an_option_are_against_all_others():
    reply = answer(0.6, 0.2, 0.1).reply
    assert reply.odds_of(0) == pytest.approx(math.log(0.6 / 0.3))
    assert reply.odds_of(2) == pytest.approx(math.log(0.1 / 0.8))


def test_a_liking_for_a_number_is_subtracted():
    answers = {"choice": answer(0.5, 0.3, 0.2), "free_choice": answer(0.6, 0.2, 0.2)}
    left = np.array([0.5 / 0.6, 0.3 / 0.2, 1.0])
    assert [calibrated(answers, "choice").odds_of(n) for n in range(3)] == pytest.approx(
        np.log(left / (left.sum() - left))
    )


# ---------------------------------------------------------------- clips


def test_clips_are_pooled_by_logsumexp_without_a_bonus_for_many():
    assert logsumexp([1.0, 2.0, -700.0]) == pytest.approx(math.log(math.e + math.e**2))
    assert pooled([2.0]) == 2.0 and pooled([2.0, 2.0, 2.0]) == pytest.approx(2.0)
    assert pooled([5.0, -5.0]) == pytest.approx(5 - math.log(2), abs=1e-4)  # one clip is enough
    assert pooled([1000.0, -1000.0]) == pytest.approx(1000 - math.log(2))


# ---------------------------------------------------------------- existence


def test_a_no_counts_only_as_far_as_something_contradicts():
    no = {"for": answer(0.1, 0.9)}
    odds = math.log(0.1 / 0.9)
    sure = {**no, "audit": answer(0.9, 0.05, 0.02, 0.02, 0.01)}
    unsure = {**no, "audit": answer(0.1, 0.1, 0.1, 0.1, 0.6)}
    half = {**no, "audit": answer(0.2, 0.1, 0.1, 0.1, 0.5)}
    assert is_no(no) and existence(no) == pytest.approx(odds)
    assert existence(sure) == pytest.approx(odds) and contradiction(sure) == "looks"
    assert existence(unsure) == pytest.approx(math.log(0.6 / 0.4)) and contradiction(unsure) == "nothing"
    assert existence(half) == pytest.approx(0.0)
    yes = {"for": answer(0.8, 0.2)}
    assert not is_no(yes) and existence(yes) == pytest.approx(math.log(4))
    assert len(CONTRADICTIONS) == len(sure["audit"].reply.scores)


# ---------------------------------------------------------------- candidates


def grouping(ious: Sequence[Sequence[float]], same: float = 0.8) -> Grouping:
    grouped = Grouping(Layout.of(load_config(CONFIG), "shapes", "valid_u"), "v", tracks(len(ious)), same)
    grouped.__dict__["ious_MM"] = np.array(ious, np.float32)  # computed once, by stages/tracking/overlap.py
    return grouped


def test_near_duplicates_are_one_candidate_shown_by_the_most_typical():
    ious = np.eye(5)
    for a, b, iou in [(0, 1, 0.9), (1, 2, 0.85), (0, 2, 0.7), (3, 4, 0.5)]:
        ious[a, b] = ious[b, a] = iou
    scores = dict(zip(tracks(5), [1.0, 0.0, 3.0, -1.0, None], strict=True))
    grouped = grouping(ious).candidates(scores)
    assert [candidate.members for candidate in grouped] == [
        tuple(tracks(3)),
        (TrackId("grid", 3),),
        (TrackId("grid", 4),),
    ]
    assert grouped[0].shown == TrackId("grid", 1) and grouped[0].score == 3.0 and grouped[2].score is None
    some = {track: scores[track] for track in [TrackId("grid", 0), TrackId("grid", 2), TrackId("grid", 3)]}
    assert [candidate.shown.track for candidate in grouping(ious).candidates(some)] == [0, 2, 3]
    assert len(grouping(ious, 1.0).candidates(scores)) == 5
    assert grouping(ious).candidates({}) == []


def test_the_best_candidates_keep_their_own_order():
    three = [Candidate(track, (track,), score) for track, score in zip(tracks(4), [0.5, 2.0, 1.0, 2.0], strict=True)]
    assert [c.shown.track for c in best_of(three, 2)] == [1, 3]
    assert [c.shown.track for c in best_of(three, 3)] == [1, 2, 3]
    assert best_of(three, None) == best_of(three, 9) == three


@pytest.mark.parametrize(("n", "lengths"), [(0, []), (1, [1]), (8, [8]), (9, [5, 4]), (16, [8, 8]), (17, [6, 6, 5])])
def test_at_most_eight_are_shown_together(n, lengths):
    lists = contexts_of(candidates(n))
    assert [len(each) for each in lists] == lengths
    assert [candidate for each in lists for candidate in each] == candidates(n)
