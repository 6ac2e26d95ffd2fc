"""An architecture may train in other ways than `selector.training` says; and the rate that falls straight to zero."""

from pathlib import Path
from typing import Any

import pytest
from support.project import make_config
from support.trainings import make_toy, toy_config, toy_job

from stages import train_selector
from stages.core.config.file import Config
from stages.core.config.loading import ConfigError, settings_of, variant
from stages.core.state.cache import read_json
from stages.core.state.graph import TRAIN_SELECTOR, Layout
from stages.selectors import MARKER
from stages.selectors.training import LEAST_SHARE, WARM_UP, linear_share


def configured(folder: Path, own: dict[str, Any]) -> Config:
    settings = {"selector": {"course": {"training": own}}}
    return make_config(folder, {"presets": {"micro": {"settings": settings}}})


def test_the_chosen_architecture_trains_in_its_own_way(tmp_path: Path) -> None:
    config = configured(tmp_path, {"epochs": 3, "statements": 5})
    plain = settings_of(variant(config, "shapes", "soc", 4), "shapes").selector.training
    course = settings_of(variant(config, "shapes", "course", 4), "shapes").selector.training
    assert (course.epochs, course.statements, course.seed) == (3, 5, 4)
    assert plain == settings_of(config, "shapes").selector.training.model_copy(update={"seed": 4})
    assert course.positive_iou == plain.positive_iou, "everything else is as selector.training says"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"epoch": 3}, "selector.course.training:.*epoch: unknown key; did you mean 'epochs'"),
        ({"epochs": 0}, "selector.course.training:.*epochs"),
        ({"seed": 1}, "selector.course.training.seed: the seed is given in selector.training"),
    ],
)
def test_what_it_says_is_checked(tmp_path: Path, own: dict[str, Any], words: str) -> None:
    config = configured(tmp_path, own)
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        variant(config, "shapes", "course", 0)


def test_the_rate_warms_up_stays_and_falls_straight_to_almost_nothing() -> None:
    assert linear_share(0, 0.0) == 1 / WARM_UP and linear_share(WARM_UP // 2 - 1, 0.1) == 0.5
    assert linear_share(WARM_UP, 0.3) == linear_share(WARM_UP, 0.5) == 1.0
    assert linear_share(10_000, 0.75) == pytest.approx(0.5) and linear_share(10_000, 1.0) == LEAST_SHARE


@pytest.mark.parametrize("schedule", ["plateau", "linear"])
def test_a_training_follows_its_schedule(tmp_path: Path, schedule: str) -> None:
    config = toy_config(tmp_path, name="soc", schedule=schedule, epochs=3, batch_size=1)
    make_toy(tmp_path, config)
    train_selector.run(toy_job(config))
    marker = Layout.of(config, "toy", "train").folder(TRAIN_SELECTOR) / MARKER
    history = read_json(marker, TRAIN_SELECTOR.name, TRAIN_SELECTOR.version)["history"]
    rates = [entry["learning_rate"] for entry in history]
    if schedule == "plateau":
        assert len(set(rates)) == 1, "three epochs are no plateau"
    else:
        assert rates[-1] < 0.05 * 3e-3 < rates[0] and rates[1] > rates[2]
