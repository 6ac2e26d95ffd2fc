"""The card that lies beside a weights file: data, recipe, command, time, scores."""

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path

from stages.core.state.cache import atomic_path
from stages.micro.training.sam2.checkpoint import CONFIG, State

CARD = """# Micro SAM2

The classes of sam2 1.1.0 at 128 px (`{config}`), {parameters:.1f} M parameters, float16 safetensors,
trained from scratch. It knows nothing but the generated world of `shapes`.

- **Data**: endless clips of `stages.worlds.shapes.sample_clip`, mirrored, cropped, reversed, in other light;
  no file is read. Held-out clips come from seeds that training cannot draw.
- **Command**: `python -m stages.micro.training.sam2 --out DIR --seed {seed}` (`--steps {steps}` for this length)
- **Training**: {steps} steps in {minutes:.0f} minutes of one CPU session, finished on {date}.
- **Recipe**: {recipe}

## Scores on held-out clips

Printed by `python -m stages.micro.training.sam2 --evaluate model.safetensors`:

| figure | value |
|---|---|
{rows}
"""


def write_card(file: Path, state: State, figures: Mapping[str, float]) -> None:
    """Markdown, written whole or not at all."""
    recipe = ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(state.recipe).items())
    text = CARD.format(
        config=CONFIG,
        parameters=sum(p.numel() for p in state.model.parameters()) / 1e6,
        seed=state.seed,
        steps=state.step,
        minutes=state.seconds / 60,
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        recipe=recipe,
        rows="\n".join(f"| {name} | {value} |" for name, value in figures.items()),
    )
    with atomic_path(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
