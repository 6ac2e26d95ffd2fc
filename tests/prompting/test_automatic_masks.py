"""Automatic masks: the same as the sam2 package's, although made in another order of work."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sam2.modeling.sam2_base import SAM2Base
from sam2.utils.amg import batched_mask_to_box, calculate_stability_score
from support.project import CONFIG
from support.sam2 import MICRO_CONFIG, draw_frames
from torch.nn.functional import interpolate

from benchmarks.plain_prompts import StockMasks
from stages.core.config.loading import load_config, settings_of
from stages.core.media import masks
from stages.prompting.grid import logit_masks
from stages.prompting.grid.automatic_masks import AutomaticMasks, without_small_regions
from stages.prompting.grid.point_decoder import PointDecoder
from stages.tracking.sam2_model import build_sam2, image_predictor

GAIN = 40.0  # of mask logits: new ones lie within ±0.5


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> np.ndarray:
    return draw_frames(tmp_path_factory.mktemp("f") / "f", 1, size=(60, 90)).load(0)


@pytest.fixture(scope="module")
def model() -> SAM2Base:
    return random_model()


def random_model(**over) -> SAM2Base:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(3)
        built = build_sam2(MICRO_CONFIG, SAM2Base)
        for name, value in over.items():
            setattr(built.sam_mask_decoder, name, value)
        for parameter in built.sam_mask_decoder.transformer.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)  # new biases are 0
        for network in built.sam_mask_decoder.output_hypernetworks_mlps:
            for parameter in network.layers[-1].parameters():
                parameter.mul_(GAIN)
    return built.eval().requires_grad_(False)


POINTS = 7  # decoded together


def grid(**over):
    published = settings_of(load_config(CONFIG), "mevis").prompts.grid
    return published.model_copy(update={"points_per_side": 5, "precision": "float32", "box_nms_thresh": 1.0, **over})


# ---------------------------------------------------------------- decoder


@pytest.mark.parametrize("over", [{}, {"use_high_res_features": False}, {"pred_obj_scores": False}], ids=str)
def test_the_decoder_gives_the_stock_masks(image, over) -> None:
    model = random_model(**over)
    predictor = image_predictor(model)
    predictor.set_image(image)
    points = torch.rand(9, 2, generator=torch.Generator().manual_seed(0)) * model.image_size
    _, iou, low = predictor._predict(points[:, None], torch.ones(9, 1, dtype=torch.int), return_logits=True)
    decoder = PointDecoder(model)
    with torch.inference_mode():
        found = decoder.decode(decoder.image_side(predictor._features), points, 0.0)
        middle = float(iou.median())
        some = decoder.decode(decoder.image_side(predictor._features), points, middle)
        none = decoder.decode(decoder.image_side(predictor._features), points, 1.0)
    torch.testing.assert_close(found.logits_Shw.clamp(-32, 32), low.flatten(0, 1), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.iou_S, iou.flatten(), rtol=0, atol=1e-6)
    assert low.std() > 1 and (low[0] - low[1]).abs().max() > 0.1  # or equality would say nothing
    assert found.point_S.tolist() == np.repeat(np.arange(9), 3).tolist()
    above = found.iou_S > middle
    torch.testing.assert_close(some.logits_Shw, found.logits_Shw[above], rtol=0, atol=1e-5)
    assert some.point_S.tolist() == found.point_S[above].tolist() and 0 < len(some.iou_S) < 27
    assert none.logits_Shw.shape == (0, *low.shape[-2:])


# ---------------------------------------------------------------- logits to masks


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(2, 12), st.integers(2, 12)),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.sampled_from([0.3, 2.0, 20.0]),
)
def test_masks_are_those_of_enlarged_logits(seed, low_size, size, scale) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, *low_size, generator=generator) * scale
    logits[1] = logits[1].abs() + 2  # full
    logits[2] = -logits[1]  # empty
    large = interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    near = ((large.abs() < 1e-4) | ((large.abs() - 1).abs() < 1e-4)).flatten(1).any(1)
    sure = ~near
    measures = logit_masks.measure(logits, size, 1.0)
    stability = calculate_stability_score(large, 0.0, 1.0)
    torch.testing.assert_close(measures.stability_N[sure].float(), stability[sure].float(), equal_nan=True)
    assert torch.equal(measures.boxes_N4[sure], batched_mask_to_box(large > 0)[sure].long())
    for found, expected, certain in zip(logit_masks.encode(logits, size), (large > 0).numpy(), sure):
        masks.check(found)
        assert not certain or found == masks.encode(expected)


def test_measures_on_an_accelerator_are_the_same() -> None:
    logits = torch.randn(5, 8, 8, generator=torch.Generator().manual_seed(1)) * 3
    ours, enlarged = logit_masks.measure(logits, (33, 21), 1.0), logit_masks._measure_enlarged(logits, (33, 21), 1.0)
    torch.testing.assert_close(ours.stability_N.float(), enlarged.stability_N.float())
    assert torch.equal(ours.boxes_N4, enlarged.boxes_N4)


# ---------------------------------------------------------------- the generator


@pytest.mark.parametrize(
    "over",
    [
        {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0},
        {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.5},
        {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.8, "box_nms_thresh": 0.8},
        {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.3, "min_mask_region_area": 20},
    ],
    ids=str,
)
def test_the_masks_are_the_packages(model, image, over) -> None:
    stock = StockMasks(model, grid(**over), POINTS).generate(image)
    found = AutomaticMasks(model, grid(**over), POINTS).generate(image)
    assert len(found) == len(stock) >= 1
    same = masks.iou_matrix([mask.rle for mask in found], [rle for rle, _, _ in stock])
    assert (same.diagonal() > 0.999).all()
    np.testing.assert_allclose([mask.predicted_iou for mask in found], [iou for _, iou, _ in stock], atol=1e-5)
    np.testing.assert_allclose([mask.stability for mask in found], [s for *_, s in stock], atol=2e-3)


def test_no_mask_that_is_good_enough(model, image) -> None:
    assert AutomaticMasks(model, grid(pred_iou_thresh=1.0), POINTS).generate(image) == []
    assert AutomaticMasks(model, grid(pred_iou_thresh=1.0, min_mask_region_area=9), POINTS).generate(image) == []


def test_batches_change_nothing(model, image) -> None:
    over = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.5}
    one, all_at_once = (AutomaticMasks(model, grid(**over), n).generate(image) for n in (1, 25))
    assert len(one) == len(all_at_once) > 0
    assert (masks.iou_matrix([m.rle for m in one], [m.rle for m in all_at_once]).diagonal() > 0.999).all()


def test_small_regions_by_hand() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[5, 5] = False
    mask[15, 15] = True
    clean = masks.decode(without_small_regions(masks.encode(mask), 5))
    assert clean[5, 5] and not clean[15, 15] and clean.sum() == 100
