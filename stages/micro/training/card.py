"""The card that is stored next to a model's weights: data, recipe, command, time, scores."""

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from pathlib import Path

from stages.core.state.cache import atomic_path
from stages.training.clock import Clock
from stages.training.descent import Descent


def write_card(folder: Path, template: Path, training: Descent, clock: Clock, rows: Iterable[str]) -> None:
    """Fills a package's card.md and writes it into `folder`, whole or not at all; `rows` are the rows of its table."""
    recipe = dataclasses.asdict(training.recipe)
    text = template.read_text(encoding="utf-8").format(
        parameters=f"{sum(p.numel() for p in training.model.parameters()) / 1e6:.2f}",
        seed=training.seed,
        steps=clock.step,
        minutes=f"{clock.seconds / 60:.1f}",
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        recipe=training.recipe,
        training=training,
        numbers=", ".join(f"{name} {value}" for name, value in recipe.items()),
        rows="\n".join(rows),
    )
    with atomic_path(folder / "card.md") as temporary:
        temporary.write_text(text, encoding="utf-8")


def rows_of(figures: Mapping[str, float]) -> list[str]:
    """A table of two columns."""
    return [f"| {name} | {value} |" for name, value in figures.items()]
