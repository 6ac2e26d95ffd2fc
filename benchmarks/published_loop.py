"""A plain training loop that does what the published code of SOLA does at every step, for comparison.

One expression per step: its video's tracks are read from a JSON and an .npy file each, its words pass the frozen
text encoder, then the selector makes one optimisation step. The selector is this project's: on a batch of one it
computes what the published one does.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.core.config.selector_sections import Selector
from stages.selectors.batch import Sample, TrackFeatures, collate
from stages.selectors.network import Network


def write_files(folder: Path, tokens_NTC: np.ndarray, rles_T: Sequence[Any], iou_NE: np.ndarray) -> None:
    """Writes a JSON (masks, labels) and an .npy (tokens) per track of a video."""
    folder.mkdir(parents=True)
    for n, tokens_TC in enumerate(tokens_NTC):
        np.save(folder / f"{n}.npy", tokens_TC)
        document = {"masks": [dict(rle) for rle in rles_T], "iou": iou_NE[n].tolist()}
        (folder / f"{n}.json").write_text(json.dumps(document), encoding="utf-8")


def plain_steps(
    folders: Sequence[Path],
    captions: Sequence[Sequence[str]],
    encoder: Any,
    model: Network,
    config: Selector,
    device: str = "cpu",
) -> Iterator[float]:
    """Trains forever in random order, one step per expression; yields the loss of each.

    Args:
        encoder, model: on `device`.
    """
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.own.learning_rate, weight_decay=config.training.weight_decay
    )
    pairs = [(video, e) for video, texts in enumerate(captions) for e in range(len(texts))]
    generator = np.random.default_rng(0)
    while True:
        for i in generator.permutation(len(pairs)):
            video, e = pairs[i]
            sample = read(folders[video], e, captions[video][e], encoder, config.training.positive_iou)
            batch = collate([sample]).to(device)
            optimiser.zero_grad()
            loss = model.losses(model(batch), batch, config).total_B.mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.training.clip_norm)
            optimiser.step()
            yield float(loss.detach())


def read(folder: Path, expression: int, caption: str, encoder: Any, positive_iou: float) -> Sample:
    tokens, iou = [], []
    for n in range(len(list(folder.glob("*.json")))):
        iou.append(json.loads((folder / f"{n}.json").read_text(encoding="utf-8"))["iou"][expression])
        tokens.append(np.load(folder / f"{n}.npy"))
    text, iou_N = encoder.encode(caption, caption), np.array(iou, np.float32)
    features = TrackFeatures.of_tokens(np.stack(tokens))
    return Sample(features, np.arange(len(iou_N)), text.words_WD, text.mean_D, iou_N, iou_N > positive_iou)
