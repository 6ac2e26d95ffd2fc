"""Prints how many times faster than the published loop a selector can train, from what must be computed per expression.

    python -m benchmarks.selector_bound

Operations are counted (torch's FlopCounterMode) in the training of the published `sola`: 16 tracks of 64 frames, sentences of
nine words, the text encoder RoBERTa-large. What a second expression of the same video adds must see words and tracks
together; everything else can be shared by the expressions of a video, or computed once for all epochs. Reading files and what
the processor does between operations is not counted, so real factors can be higher or lower.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.run import markdown
from benchmarks.selector_training import EPOCHS, EXPRESSIONS, FRAMES, TRACKS, C, new_model, selector
from stages.selectors.batch import Sample, TrackFeatures, collate

TEXT_DIM, N_WORDS = 1024, 11  # nine words, and the special tokens
GROUP = 8  # expressions of a video in a step of ours


def main(argv: Sequence[str] | None = None) -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    one, two = (training_gflop(n) for n in (1, 2))
    print(report(text_gflop(), shared=2 * one - two, joint=two - one))
    return 0


def report(text: float, shared: float, joint: float) -> str:
    """GFLOP per expression of each way to train, and the factors to the published one.

    Args:
        text: of encoding a sentence.
        shared: of what a video's expressions can share, backward pass included.
        joint: of what must be computed for each.
    """
    published = text + shared + joint
    ways = {
        "published: one expression per step, its text encoded each time": published,
        "texts encoded once": text / EPOCHS + shared + joint,
        f"and {GROUP} expressions of a video per step (ours)": text / EPOCHS + shared / GROUP + joint,
        f"and all {EXPRESSIONS} of them": text / EPOCHS + shared / EXPRESSIONS + joint,
        "bound: nothing but what sees words and tracks together": joint,
    }
    rows = [(way, f"{gflop:.1f}", f"{published / gflop:.1f}") for way, gflop in ways.items()]
    head = f"text {text:.1f}, shared {shared:.1f}, words and tracks together {joint:.1f} GFLOP: "
    head += f"{joint / published:.0%} of the published step cannot be shared\n\n"
    return head + markdown(("per expression", "GFLOP", "times fewer"), rows)


def training_gflop(n_expressions: int) -> float:
    """Of one step, forward and back, over expressions of one video."""
    config, model = selector("large"), new_model("large", TEXT_DIM).train()
    batch = collate(drawn(n_expressions))
    with FlopCounterMode(display=False) as counter:
        model.losses(model(batch), batch, config).total_B.mean().backward()
    return counter.get_total_flops() / 1e9


def text_gflop() -> float:
    from transformers import RobertaConfig, RobertaModel

    from benchmarks.model_sizes import ROBERTA_LARGE

    with torch.device("meta"):
        model: Any = RobertaModel(RobertaConfig(**ROBERTA_LARGE)).eval()
        ids_1W = torch.ones(1, N_WORDS, dtype=torch.long)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(input_ids=ids_1W, position_ids=ids_1W)
    return counter.get_total_flops() / 1e9


def drawn(n_expressions: int) -> list[Sample]:
    rng = np.random.default_rng(0)
    tracks = TrackFeatures.of_tokens(rng.normal(size=(TRACKS, FRAMES, C)).astype(np.float32))
    words_WD = rng.normal(size=(N_WORDS, TEXT_DIM)).astype(np.float32)
    iou_N = rng.random(TRACKS).astype(np.float32)
    sample = Sample(tracks, np.arange(TRACKS), words_WD, words_WD.mean(0), iou_N, iou_N > 0.7)
    return [sample] * n_expressions


if __name__ == "__main__":
    raise SystemExit(main())
