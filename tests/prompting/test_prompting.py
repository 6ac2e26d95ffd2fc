"""Prompts: from annotations, from SAM2's automatic masks, from boxes."""

import copy

import numpy as np
import pytest
from sam2.modeling.sam2_base import SAM2Base
from support.project import CONFIG
from support.sam2 import box_mask, draw_frames, micro_weights

from benchmarks.plain_prompts import StockMasks
from stages.core.config.loading import load_config, settings_of
from stages.core.media import masks
from stages.core.records import Expression, Video
from stages.prompting.frame_choice import FrameChoice
from stages.prompting.grid.automatic_masks import AutomaticMasks
from stages.prompting.grid.prompter import GridPrompter, without_parts
from stages.prompting.ground_truth import GroundTruthPrompter, prompt_frame
from stages.prompting.grounding_dino.detector import Detections
from stages.prompting.grounding_dino.prompter import BOXES_PER_CALL, BoxMask, BoxMasker, GroundingDinoPrompter
from stages.tracking.sam2_model import image_predictor, load_sam2

SIZE = (48, 64)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_sam2(micro_weights(tmp_path_factory.mktemp("sam2")), "cpu", SAM2Base)


@pytest.fixture(scope="module")
def prompts_settings():
    return settings_of(load_config(CONFIG), "shapes").prompts


def video_of(frames, *captions):
    expressions = tuple(Expression(str(i), text, (), text) for i, text in enumerate(captions))
    return Video("v", frames.names, frames.directory, expressions, len(frames))


def rle_of(*box):
    return masks.encode(box_mask(SIZE, *box))


# ---------------------------------------------------------------- ground truth


class Truth:
    name, has_truth = "train", True

    def __init__(self, annotations):
        self._annotations = annotations

    def videos(self):
        return []

    def annotations(self, video):
        return self._annotations


def test_ground_truth_prompts_on_first_or_largest_frame(tmp_path, prompts_settings):
    frames = draw_frames(tmp_path / "f", 4)
    small, large, none = rle_of(1, 2, 5, 6), rle_of(0, 0, 9, 9), masks.empty(SIZE)
    truth = Truth({"7": [none, small, large, large], "8": [None] * 4, "9": [None, None, None, small]})
    for which, expected in (("first", [(1, small), (3, small)]), ("largest", [(2, large), (3, small)])):
        prompter = GroundTruthPrompter(truth, prompts_settings.gt.model_copy(update={"frame": which}))
        found = prompter.prompts(video_of(frames, "a"), frames)
        assert [(p.frame, p.mask) for p in found] == expected
        assert [(p.annotation, p.expression) for p in found] == [("7", -1), ("9", -1)]
    assert found[1].box == (1, 2, 5, 6)
    assert prompt_frame([none, None], "first") is None


def test_ground_truth_must_exist_and_fit(tmp_path, prompts_settings):
    frames = draw_frames(tmp_path / "f", 2)
    hidden = Truth({})
    hidden.has_truth, hidden.name = False, "valid"
    with pytest.raises(ValueError, match="split 'valid' has no ground truth"):
        GroundTruthPrompter(hidden, prompts_settings.gt)
    for annotation in ([rle_of(0, 0, 2, 2)], [masks.encode(np.ones((9, 9))), None]):
        with pytest.raises(ValueError, match="annotation 'bad'"):
            GroundTruthPrompter(Truth({"bad": annotation}), prompts_settings.gt).prompts(video_of(frames), frames)


# ---------------------------------------------------------------- grid


def test_parts_are_removed_by_hand():
    whole = rle_of(0, 0, 20, 20)
    inside = rle_of(2, 2, 10, 10)
    quarter = rle_of(15, 14, 35, 18)  # 80 px, 20 of them inside `whole`
    mostly = rle_of(12, 0, 22, 10)  # 100 px, 80 inside
    apart = rle_of(40, 30, 60, 45)
    part_of_a_part = rle_of(18, 0, 22, 4)  # half in `whole`, all in `mostly`, which is dropped
    rles = [inside, whole, quarter, mostly, apart, part_of_a_part]
    assert without_parts(rles, 0.7) == [1, 4, 2, 5]
    assert without_parts(rles, 0.8) == [1, 4, 3, 2]  # exactly .8 is not more than .8
    assert without_parts([whole, whole], 0.7) == [0]
    assert without_parts([masks.empty(SIZE), whole], 0.7) == [1, 0]
    assert without_parts([], 0.7) == []


def test_grid_prompts_are_the_generators_masks_on_the_roles_frames(model, tmp_path, prompts_settings):
    frames = draw_frames(tmp_path / "f", 6)
    every_fourth = FrameChoice(step=4, count=None)
    over = {"frames_train": every_fourth, "points_per_side": 3, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.2}
    settings = prompts_settings.grid.model_copy(update=over)
    stock = StockMasks(model, settings, 64)
    expected = {t: stock.generate(frames.load(t)) for t in (0, 3, 4)}
    for role, chosen in (("train", {0, 4}), ("evaluate", {0, 3})):
        found = GridPrompter(model, settings, role, 64).prompts(video_of(frames, "a"), frames)
        assert {p.frame for p in found} == chosen
        for frame in chosen:
            rles = [rle for rle, _, _ in expected[frame]]
            kept = [rles[i] for i in without_parts(rles, 0.7) if masks.area([rles[i]])[0]]
            mine = [p for p in found if p.frame == frame]
            assert [p.mask for p in mine] == kept
            assert len(kept) >= 1
            first = expected[frame][rles.index(mine[0].mask)]
            np.testing.assert_allclose((mine[0].mask_score, mine[0].stability), first[1:], atol=1e-5)
            assert mine[0].expression == -1 and mine[0].box == tuple(masks.boxes([mine[0].mask])[0])
    assert found == GridPrompter(model, settings, "evaluate", 64).prompts(video_of(frames, "a"), frames)
    rounded = settings.model_copy(update={"precision": "bfloat16"})
    near = GridPrompter(copy.deepcopy(model), rounded, "evaluate", 64).prompts(video_of(frames, "a"), frames)
    assert near and [p.mask for p in near] != [p.mask for p in found]


def test_grid_cleans_small_regions_without_an_extension(model, tmp_path, prompts_settings):
    image = draw_frames(tmp_path / "f", 1).load(0)
    settings = prompts_settings.grid.model_copy(update={"points_per_side": 2})

    def smallest_region(area):
        import cv2

        found = AutomaticMasks(model, settings.model_copy(update={"min_mask_region_area": area}), 64).generate(image)
        assert found
        regions = []
        for mask in found:
            pixels = masks.decode(mask.rle).astype(np.uint8)
            for side in (pixels, 1 - pixels):
                regions += cv2.connectedComponentsWithStats(side, connectivity=8)[2][1:, -1].tolist()
        return min(regions)

    assert smallest_region(0) < 30 <= smallest_region(30)


# ---------------------------------------------------------------- GroundingDINO's boxes


BOXES = np.array([[4, 4, 30, 26], [30, 20, 60, 46], [2, 30, 20, 44]], np.float32)


class HandPlacedBoxes:
    """A detector whose answer is written down: caption → rows of BOXES and their scores."""

    def __init__(self, answer):
        self.answer, self.calls = answer, []

    def detect(self, frames, captions):
        self.calls.append((len(frames), list(captions)))
        return [[self._one(caption) for caption in captions] for _ in frames]

    def _one(self, caption):
        rows, scores = self.answer[caption]
        phrases = [f"{caption}-{row}" for row in rows]
        return Detections(BOXES[rows].reshape(-1, 4), np.array(scores, np.float32), [(s, 0.5) for s in scores], phrases)


def test_box_masks_equal_the_stock_predictor_one_by_one(model, tmp_path):
    image = draw_frames(tmp_path / "f", 1).load(0)
    boxes = np.concatenate([BOXES] * 6)
    assert len(boxes) > BOXES_PER_CALL
    found = BoxMasker(model, "float32").masks(image, boxes)
    predictor = image_predictor(model)
    predictor.set_image(image)
    for box, mask in zip(boxes, found):
        logits, score, _ = predictor.predict(box=box, multimask_output=False, return_logits=True)
        assert mask.score == pytest.approx(score.item(), abs=1e-5)
        assert masks.iou_matrix([mask.rle], [masks.encode(logits[0] > 0)])[0, 0] > 0.999
        assert mask.stability == pytest.approx((logits > 1).sum() / (logits > -1).sum(), abs=1e-3)
    (single,) = BoxMasker(model, "float32").masks(image, BOXES[:1])
    assert masks.iou_matrix([single.rle], [found[0].rle])[0, 0] > 0.999
    assert BoxMasker(model, "float32").masks(image, BOXES[:0]) == []


def test_gdino_prompts_hold_what_was_detected(model, tmp_path, prompts_settings):
    frames = draw_frames(tmp_path / "f", 9)
    detector = HandPlacedBoxes({"a cat": ([0, 1, 2], [0.3, 0.9, 0.3]), "none": ([], []), "a dog": ([2], [0.4])})
    settings = prompts_settings.gdino.model_copy(update={"max_boxes": 2, "stability_min": 0.0})
    video = video_of(frames, "a cat", "a dog", "none", "a cat")
    found = GroundingDinoPrompter(detector, model, settings).prompts(video, frames)
    assert detector.calls == [(3, ["a cat", "a dog", "none"])]  # frames 0, 4 and 8; equal captions once
    one_frame = [(0, "a cat-1"), (0, "a cat-0"), (1, "a dog-2"), (3, "a cat-1"), (3, "a cat-0")]
    assert [(p.frame, p.expression, p.phrase) for p in found] == [(t, *e) for t in (0, 4, 8) for e in one_frame]
    assert found[0].box == (30, 20, 60, 46) and found[0].box_score == pytest.approx(0.9)
    assert found[2].token_scores == (0.4, 0.5)
    assert found[0].mask == found[3].mask != found[1].mask
    masker = BoxMasker(model, "float32").masks(frames.load(4), BOXES[[1, 0, 2]])
    assert [p.mask for p in found[5:8]] == [mask.rle for mask in masker]
    assert GroundingDinoPrompter(detector, model, settings).prompts(video_of(frames), frames) == []


def test_a_caption_without_a_word_is_not_looked_for(model, tmp_path, prompts_settings):
    frames = draw_frames(tmp_path / "f", 1)
    detector = HandPlacedBoxes({"a cat": ([0], [0.9])})
    settings = prompts_settings.gdino.model_copy(update={"stability_min": 0.0})
    video = video_of(frames, "???", "a cat", "\u200b")
    found = GroundingDinoPrompter(detector, model, settings).prompts(video, frames)
    assert detector.calls == [(1, ["a cat"])] and {prompt.expression for prompt in found} == {1}


def test_unstable_and_empty_masks_are_dropped(model, tmp_path, prompts_settings):
    full, empty = rle_of(0, 0, 3, 3), masks.empty(SIZE)
    assert BoxMask(full, 0.5, 0.85).usable(0.85)
    assert not BoxMask(full, 0.5, 0.84).usable(0.85)
    assert not BoxMask(empty, 0.5, 1.0).usable(0.0)
    frames = draw_frames(tmp_path / "f", 1)
    made = BoxMasker(model, "float32").masks(frames.load(0), BOXES)
    least = sorted(mask.stability for mask in made)[1]
    settings = prompts_settings.gdino.model_copy(update={"stability_min": least})
    detector = HandPlacedBoxes({"a cat": ([0, 1, 2], [0.9, 0.8, 0.7])})
    found = GroundingDinoPrompter(detector, model, settings).prompts(video_of(frames, "a cat"), frames)
    assert [p.mask for p in found] == [mask.rle for mask in made if mask.stability >= least]
