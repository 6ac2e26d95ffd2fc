"""The card that lies beside the weights: data, recipe, command, time, scores beside those of the untrained encoder."""

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path

from stages.core.state.cache import atomic_path
from stages.micro.training.text.probes import QUESTIONS
from stages.micro.training.text.training import State

CARD = """# Micro text encoder

RobertaModel of {parameters:.2f} M parameters with its own byte-level BPE, float16 safetensors, trained from
scratch. It knows nothing but the grammar of `shapes`.

- **Data**: endless sentences of the grammar (`stages.micro.training.sentences`), each with what it says; no file
  is read.
- **Command**: `python -m stages.micro.training.text --out DIR --seed {seed} --steps {steps}`
- **Training**: {steps} steps in {minutes:.1f} minutes of one CPU core, finished on {date}.
- **Recipe**: {recipe}

## What a linear probe reads on held-out sentences

Accuracy, printed by `python -m stages.micro.training.text --evaluate DIR`; "untrained" is the same model before
its first step. "mean" reads the mean of a sentence's word vectors, "words" the word vectors one by one.

| question | commonest answer | untrained mean | trained mean | untrained words | trained words |
|---|---|---|---|---|---|
{rows}

Whether a sentence has a target cannot be read from the sentence: what is above the commonest answer is habit of
the generator.
"""


def write_card(file: Path, state: State, figures: Mapping[str, float], untrained: Mapping[str, float]) -> None:
    """Markdown, written whole or not at all."""
    rows = "\n".join(
        f"| {q} | {figures[f'most_common_{q}']} | "
        + " | ".join(str(found[f"{kind}_{q}"]) for kind in ("mean", "words") for found in (untrained, figures))
        + " |"
        for q in QUESTIONS
    )
    text = CARD.format(
        parameters=sum(p.numel() for p in state.model.parameters()) / 1e6,
        seed=state.seed,
        steps=state.step,
        minutes=state.seconds / 60,
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        recipe=", ".join(f"{name} {value}" for name, value in dataclasses.asdict(state.recipe).items()),
        rows=rows,
    )
    with atomic_path(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
