"""Scoring with a trained selector."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.core.config.selector_sections import Detector
from stages.core.state.choices import Candidate
from stages.selectors.batch import Sample, TrackFeatures, chunks, collate
from stages.selectors.checkpoint import load_model
from stages.selectors.network import Network
from stages.selectors.samples import VideoTracks
from stages.selectors.selector import Array, Selector


class TrainedSelector:
    """A trained network of any architecture. Legend: N tracks, T frames, C channels, W words, D text width."""

    def __init__(self, path: Path, device: str, weights: Mapping[str, str], where: str) -> None:
        model, self.header = load_model(path)
        self.header.check_weights(weights, path, where)
        self.path, self.device, self.model = path, device, model.to(device)

    @property
    def threshold(self) -> float:
        return self.header.threshold

    @property
    def detector(self) -> Detector | None:
        return self.header.seen_detector

    def score(self, tokens_NTC: Array, words_WD: Array) -> Array:
        tokens, words = (as_float32(array) for array in (tokens_NTC, words_WD))
        sample = Sample(TrackFeatures.of_tokens(tokens), np.arange(len(tokens)), words, words.mean(0))
        logits_N = self.score_all([sample], tokens_per_pass=1)[0]  # one sample is never cut
        return torch.from_numpy(logits_N).to(tokens_NTC.device) if isinstance(tokens_NTC, Tensor) else logits_N

    def score_all(self, samples: Sequence[Sample], tokens_per_pass: int) -> list[NDArray[np.float32]]:
        """
        Raises:
            ValueError: tokens or words are not of the widths it was trained on.
        """
        logits = [np.zeros(0, np.float32) for _ in samples]
        # A model never gets a sample without tracks.
        full = [i for i, sample in enumerate(samples) if len(sample)]
        for i in full:
            self._check(samples[i])
        scored = logits_of(self.model, [samples[i] for i in full], self.device, tokens_per_pass)
        for i, scores_N in zip(full, scored, strict=True):
            logits[i] = scores_N
        return logits

    def _check(self, sample: Sample) -> None:
        expected = (self.header.token_dim, self.header.text_dim)
        widths = (sample.tracks.tokens_MTC.shape[-1], sample.words_WD.shape[-1])
        if widths != expected:
            raise ValueError(f"{self.path}: made for object tokens and words of widths {expected}; got {widths}")


def as_float32(array: NDArray[Any] | Tensor) -> NDArray[np.float32]:
    """As numpy, on the CPU; numpy arrays are returned as they are."""
    return array.detach().float().cpu().numpy() if isinstance(array, Tensor) else array


@torch.inference_mode()
def logits_of(
    model: Network, samples: Sequence[Sample], device: str, tokens_per_pass: int
) -> list[NDArray[np.float32]]:
    """(N,) logits of every sample, in padded batches of bounded size; the model is in evaluation mode."""
    assert not model.training
    logits: list[NDArray[np.float32]] = []
    for indices in chunks([(1, len(sample), sample.tracks.n_frames) for sample in samples], tokens_per_pass):
        logits_BN = model(collate([samples[i] for i in indices]).to(device)).logits_BN.float().cpu().numpy()
        logits += [logits_BN[row, : len(samples[i])] for row, i in enumerate(indices)]
    return logits


def score_video(selector: Selector, tracks: VideoTracks, tokens_per_pass: int) -> dict[str, list[Candidate]]:
    """Expression id → its candidates, in the order of the sources and then of the tracks."""
    expressions = tracks.video.expressions
    tracks = replace(tracks, detector=selector.detector)
    samples = tracks.samples(range(len(expressions)), positive_iou=None)
    return {
        expression.id: [_candidate(tracks, row, score) for row, score in zip(sample.rows_N, scores_N, strict=True)]
        for expression, sample, scores_N in zip(
            expressions, samples, selector.score_all(samples, tokens_per_pass), strict=True
        )
    }


def _candidate(tracks: VideoTracks, row: int, score: float) -> Candidate:
    return Candidate(*tracks.ids[row], float(score))
