"""The card that lies beside the weights: data, recipe, command, time, scores."""

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path

from stages.core.state.cache import atomic_path
from stages.micro.training.grounding_dino.training import State

CARD = """# Micro GroundingDINO

GroundingDinoForObjectDetection of transformers (Swin of three stages, BERT of two layers, own WordPiece words,
d_model 128, 30 queries), {parameters:.2f} M parameters, float16 safetensors, trained from scratch. It knows nothing
but the generated world of `shapes`; what moves how it does not see, and boxes all objects that look as said,
landmarks included.

- **Data**: endless frames of `stages.worlds.shapes.sample_clip`, mirrored, in other light, with captions of its
  grammar (`stages.micro.training.grounding_dino.captions`); no file is read. Held-out clips come from seeds that
  training cannot draw.
- **Command**: `python -m stages.micro.training.grounding_dino --out DIR --seed {seed}` (`--steps {steps}` for this
  length)
- **Training**: {steps} steps of {images} frames in {minutes:.0f} minutes of one CPU session, finished on {date}.
- **Recipe**: {recipe}

## Scores on held-out clips

Printed by `python -m stages.micro.training.grounding_dino --evaluate DIR`, through the pipeline's detector. Figures
are explained in `stages/micro/training/grounding_dino/evaluate.py`.

| figure | value |
|---|---|
{rows}
"""


def write_card(file: Path, state: State, figures: Mapping[str, float]) -> None:
    """Markdown, written whole or not at all."""
    text = CARD.format(
        parameters=sum(p.numel() for p in state.model.parameters()) / 1e6,
        images=state.recipe.images,
        seed=state.seed,
        steps=state.step,
        minutes=state.seconds / 60,
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        recipe=", ".join(f"{name} {value}" for name, value in dataclasses.asdict(state.recipe).items()),
        rows="\n".join(f"| {name} | {value} |" for name, value in figures.items()),
    )
    with atomic_path(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
