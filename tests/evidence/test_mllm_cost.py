"""benchmarks.mllm_cost: what is asked about one expression, counted by hand; and what a split costs."""

from typing import Any

import pytest
from support.project import CONFIG

from benchmarks.mllm_cost import Asked, asked_of, settings_for, table
from stages.core.config.loading import load_config, settings_of
from stages.evidence.judging.settings import JudgeSettings


@pytest.fixture(scope="module")
def judge() -> JudgeSettings:
    return settings_for(settings_of(load_config(CONFIG), "mevis").evidence["judge"], {"frame_side": 256})


@pytest.mark.parametrize(
    ("change", "questions", "images"),
    [
        ({"views": ["numbered"], "frames": {"count": 3}}, 4, 4 * 3),  # two candidates, two polarities
        ({"views": ["numbered"], "frames": {"count": 3}, "both_polarities": False}, 2, 2 * 3),
        ({"views": ["numbered"], "frames": {"count": 3}, "ask": "choose"}, 1, 3),
        ({"views": ["numbered"], "frames": {"count": 3, "mode": "packed"}}, 4, 4 * 6),
        ({"views": ["numbered"], "frames": {"count": 3, "clips": 2, "mode": "clips"}}, 8, 8 * 3),
        ({"views": ["facts"]}, 4, 0),
        ({"views": ["card"]}, 4, 4 * 3),  # both cards, and that of the candidate once more
        ({"views": ["trail"]}, 4, 4),
        ({"views": ["facts"], "calibrate": True}, 8, 0),
    ],
)
def test_questions_and_images_of_an_expression(
    judge: JudgeSettings, change: dict[str, Any], questions: int, images: int
) -> None:
    asked = asked_of(settings_for(judge, change), 2)
    assert (asked.questions, asked.images) == (questions, images)
    assert 0 < asked.encoded <= asked.tokens


def test_pictures_are_most_of_the_tokens_and_shared_ones_count_once(judge: JudgeSettings) -> None:
    asked = asked_of(settings_for(judge, {"views": ["numbered"], "frames": {"count": 3}}), 2)
    pictures = 3 * (2 + 8 * 4)  # 256 × 144 pixels at 32 a side: 144 / 32 is rounded to even, 4
    assert 4 * pictures < asked.tokens < 4 * (pictures + 120)
    assert pictures < asked.encoded < pictures + 4 * 120


def test_more_than_eight_candidates_are_shown_in_several_lists(judge: JudgeSettings) -> None:
    change = {"views": ["numbered"], "frames": {"count": 1}, "ask": "choose"}
    assert asked_of(settings_for(judge, change), 8).questions == 1
    assert asked_of(settings_for(judge, change), 9).questions == 2


def test_a_split_costs_what_its_expressions_do(judge: JudgeSettings) -> None:
    one, price = asked_of(settings_for(judge, {"views": ["facts"]}), 2), (0.2, 0.8)
    assert one.times(10) == Asked(one.questions * 10, 0, one.tokens * 10, one.encoded * 10)
    assert one.times(10).price(price) == pytest.approx((one.tokens * 10 * 0.2 + 40 * 0.8) / 1e6)
    assert f"| facts | {4 * 2236:,} | 0 | " in table(judge, 2, 2236, price)
