"""Short device memory in the middle of prompting and judging: batches halve, the results stay, the file says so."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from support.detectors import prompts, weights
from support.project import make_config
from support.sam2 import draw_frames, micro_weights

from stages.core.config.loading import settings_of
from stages.core.run.batches import Batches
from stages.core.run.cli import Job
from stages.evidence.backends.transformers import load_judge
from stages.evidence.questions import Picture, Question
from stages.micro.grounding_dino import build_random_grounding_dino
from stages.micro.mllm import build_random_mllm
from stages.prompting.grid.automatic_masks import AutomaticMasks
from stages.prompting.grounding_dino.detector import load_detector
from stages.prompting.grounding_dino.prompter import BOXES_PER_CALL, BoxMasker
from stages.tracking.sam2_model import load_image_model

NO_HANDLE = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


def short_of_memory(size: Callable[[Any, Any], int], most: int) -> Callable[..., None]:
    """A forward pre-hook: as on a device that has memory for `most` items."""

    def refuse(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        if size(args, kwargs) > most:
            raise RuntimeError(NO_HANDLE)

    return refuse


@pytest.fixture(scope="module")
def sam2(tmp_path_factory: pytest.TempPathFactory) -> SAM2Base:
    return load_image_model(micro_weights(tmp_path_factory.mktemp("sam2")), "cpu")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return draw_frames(tmp_path_factory.mktemp("f") / "f", 1, size=(60, 90)).load(0)


def test_the_detector_reads_fewer_pairs(tmp_path: Path, image: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    build_random_grounding_dino(tmp_path, 0)
    detector = load_detector(weights(tmp_path), prompts("transformers"), "cpu", 8)
    captions = ["a red circle", "a dog", "two zebras"]
    whole = detector.detect([image, image[::-1].copy()], captions)
    forward = detector.network.forward

    def refuse(images: Any, texts: Any) -> Any:
        if len(texts) > 2:
            raise RuntimeError(NO_HANDLE)
        return forward(images, texts)

    detector.network.forward = refuse  # type: ignore[method-assign]
    halved = detector.detect([image, image[::-1].copy()], captions)
    assert detector.batches.limit == 1 and "with 6 pairs at once: going on with 3" in caplog.text
    for one, other in zip(chain(*whole), chain(*halved), strict=True):
        np.testing.assert_allclose(one.scores_N, other.scores_N, atol=1e-5)
        np.testing.assert_allclose(np.sort(one.boxes_N4, 0), np.sort(other.boxes_N4, 0), atol=1e-2)


def test_the_grid_decodes_fewer_points(sam2: SAM2Base, image: np.ndarray, tmp_path: Path) -> None:
    published = settings_of(make_config(tmp_path), "shapes").prompts.grid
    over = {"points_per_side": 4, "precision": "float32", "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    generator = AutomaticMasks(sam2, published.model_copy(update=over), 8)
    whole = generator.generate(image)
    hook = short_of_memory(lambda args, kwargs: len(kwargs["points"][0]), 2)
    handle = sam2.sam_prompt_encoder.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        halved = generator.generate(image)
    finally:
        handle.remove()
    assert generator.batches.limit == 2 and whole
    assert [mask.rle for mask in halved] == [mask.rle for mask in whole]


def test_boxes_are_masked_fewer_at_once(sam2: SAM2Base, image: np.ndarray) -> None:
    masker = BoxMasker(sam2, "float32")
    starts_N2 = np.random.default_rng(0).uniform(0, 40, (20, 2)).astype(np.float32)
    boxes_N4 = np.concatenate([starts_N2, starts_N2 + 18], axis=1)
    whole = masker.masks(image, boxes_N4)
    hook = short_of_memory(lambda args, kwargs: len(kwargs["sparse_prompt_embeddings"]), 5)
    handle = sam2.sam_mask_decoder.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        halved = masker.masks(image, boxes_N4)
    finally:
        handle.remove()
    assert masker._batches.limit == BOXES_PER_CALL // 4 and len(whole) == 20
    assert [mask.rle for mask in halved] == [mask.rle for mask in whole]


def test_the_judge_answers_fewer_questions(tmp_path: Path) -> None:
    judge = load_judge(build_random_mllm(tmp_path / "mllm", 0), "cpu", "float32", Batches(8, "questions"))
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    questions = [Question((Picture(pixels),), (f"is it number {i}?",)) for i in range(5)]
    whole = judge.answer(questions)
    hook = short_of_memory(lambda args, kwargs: len(kwargs["input_ids"]), 2)
    judge.model.register_forward_pre_hook(hook, with_kwargs=True)
    np.testing.assert_allclose(
        [reply.log_odds for reply in judge.answer(questions)], [reply.log_odds for reply in whole], atol=1e-4
    )
    assert judge.batches.limit == 2


def test_the_history_of_a_file_says_what_was_effective(tmp_path: Path) -> None:
    job = Job(make_config(tmp_path), "shapes", "val", "gdino", 0, 1, False, None)
    asked = job.history["batches"]
    job.batches["pairs"] = batches = Batches(asked["pairs"], "pairs")
    assert job.history == {"batches": asked}
    batches.limit = 1
    assert job.history == {"batches": {**asked, "pairs": 1}}
