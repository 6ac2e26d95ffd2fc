"""Both selectors: one file is all that scoring needs, a video's tracks are computed once, bfloat16 stays a number."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.samples import MODELS, C, D, sample, tracks
from support.trainings import selector_section

from stages.core.config.selector_sections import Tda
from stages.selectors import load
from stages.selectors.architectures import Architecture
from stages.selectors.batch import Batch, Sample, collate
from stages.selectors.checkpoint import Header, read_header, save_selector
from stages.selectors.network import Network
from stages.selectors.training import accumulate

WEIGHTS = {"sam2": "a" * 16, "text": "b" * 16}
NAMES = pytest.mark.parametrize("name", list(MODELS))


def network(name: str, alpha: float = 0.0) -> tuple[Network, Architecture]:
    drawn = {"dropout", "attention_dropout", "place_noise", "size_noise", "missed", "detector_missed"}
    without = dict.fromkeys(drawn & type(MODELS[name]).model_fields.keys(), 0.0)
    architecture = Architecture(name, MODELS[name].model_copy(update=without), Tda(alpha=alpha, temperature=1.0))
    return architecture.build(C, D, seed=2), architecture


def questions() -> list[Sample]:
    """Four expressions over the same five tracks of a video, one of them over three of them, and another video."""
    shared = tracks(5, 20)
    samples = [sample(5, 20, w, seed=w, of=shared) for w in (3, 6, 4)]
    some = sample(3, 20, 5, of=shared)
    rows = np.array([0, 2, 4])
    return [*samples, Sample(shared, rows, some.words_WD, some.mean_D, some.iou_N, some.labels_N, some.seen_NT),
            sample(2, 7, 3)]  # fmt: skip


@NAMES
def test_the_file_alone_scores_the_same_elsewhere(name: str, tmp_path: Path) -> None:
    model, architecture = network(name, alpha=0.2)
    header = Header.of(architecture, C, D, WEIGHTS, 0.35, "c" * 16)
    path = tmp_path / "here" / "best.safetensors"
    save_selector(path, model, header)
    elsewhere = tmp_path / "another machine.safetensors"
    shutil.move(path, elsewhere)
    assert read_header(elsewhere) == header
    selector = load(elsewhere, weights=WEIGHTS)
    assert selector.threshold == 0.35
    samples = questions()
    found = selector.score_all(samples, tokens_per_pass=10_000)
    with torch.no_grad():
        expected_BN = model.eval()(collate(samples)).logits_BN
    for i, found_N in enumerate(found):
        np.testing.assert_array_equal(found_N, expected_BN[i, : len(found_N)].numpy())
    with pytest.raises(ValueError, match=r"trained on features of sam2 weights a{16}, but the cache holds .* d{16}"):
        load(elsewhere, weights={"sam2": "d" * 16})


def test_tracks_are_held_once_and_scenes_too() -> None:
    batch = collate(questions())
    assert batch.tokens_MTC.shape[:2] == (7, 20), "five of one video, two of the other"
    assert batch.tracks_VN.tolist() == [[0, 1, 2, 3, 4], [0, 2, 4, 0, 0], [5, 6, 0, 0, 0]]
    assert batch.scene_B.tolist() == [0, 0, 0, 1, 2]
    assert batch.track_mask_BN.sum(1).tolist() == [5, 5, 5, 3, 2]


@NAMES
def test_sharing_gives_the_gradients_of_each_expression_alone(name: str) -> None:
    """What is computed once for a video learns from all of its expressions."""
    model, _ = network(name)
    config = selector_section(
        name, {"contrastive_weight": 0.0} if name == "soc" else {}
    )  # the contrast over expressions is meant to see them together
    together = gradients(model, [collate(questions())], config)
    apart = gradients(model, [collate([sample]) for sample in questions()], config)
    for key, found in together.items():
        torch.testing.assert_close(found, apart[key], atol=1e-4, rtol=1e-3, msg=key)


@NAMES
def test_accumulated_gradients_are_those_of_one_pass(name: str) -> None:
    """A step that is cut between videos, as `run.batches.tokens` does, is the same step."""
    model, _ = network(name)
    *video, other = questions()

    def step(*passes: list[Sample]) -> list[torch.Tensor]:
        model.zero_grad()
        sums = accumulate(model, [collate(samples) for samples in passes], 5, selector_section(name), "cpu")
        return [*(p.grad.clone() for p in model.parameters() if p.grad is not None), sums]

    for found, expected in zip(step(video, [other]), step([*video, other]), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


def gradients(model: Network, batches: list[Batch], config) -> dict[str, torch.Tensor]:
    model.zero_grad()
    for batch in batches:
        model.losses(model(batch), batch, config).total_B.sum().backward()
    return {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}


@NAMES
def test_bfloat16_gives_float32_scores_near_those_of_float32(name: str) -> None:
    model, _ = network(name, alpha=0.1)
    batch = collate(questions())
    with torch.autocast("cpu", torch.bfloat16):
        rough = model.eval()(batch)
    losses = model.losses(rough, batch, selector_section(name))
    assert rough.logits_BN.dtype == losses.total_B.dtype == torch.float32
    losses.total_B.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    exact_BN = model(batch).logits_BN
    assert (rough.logits_BN - exact_BN).abs().max() < 0.1 * exact_BN.abs().max()
