"""The micro GroundingDINO's training: frames and captions, forward and losses, resuming, figures, the pipeline's loader."""

import dataclasses
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from support.kernel import same, train_and_die
from torchvision.ops import box_convert, generalized_box_iou

from stages.core.config.file import Model
from stages.core.state.weights import Weights
from stages.micro.training.card import rows_of, write_card
from stages.micro.training.grounding_dino import __main__ as command
from stages.micro.training.grounding_dino.batches import make_batch
from stages.micro.training.grounding_dino.captions import random_caption, tokenize
from stages.micro.training.grounding_dino.evaluate import BEST, evaluate, figures_of, held_out_clip, settings
from stages.micro.training.grounding_dino.forward import detect
from stages.micro.training.grounding_dino.losses import _box_loss, _focal, detection_losses, match
from stages.micro.training.grounding_dino.recipe import Recipe
from stages.micro.training.grounding_dino.scenes import VISIBLE, draw_frames, fits, frame_of, training_clip
from stages.micro.training.grounding_dino.training import GroundingDinoTraining, save_model
from stages.micro.training.sentences import put_in_words
from stages.prompting.grounding_dino.checkpoint import read_config
from stages.prompting.grounding_dino.detector import Detections, load_detector, normalise
from stages.prompting.grounding_dino.transformers_backend import load_model
from stages.training import checkpoint, curve
from stages.training.clock import Clock, Length
from stages.training.loop import train
from stages.worlds.shapes.meaning import Description, Looks

SMALL = Recipe(images=2, rois=4, warm_up_steps=1, precision="float32")
STAR, BAR = Looks("small", "red", "plain", "star"), Looks("large", "blue", "plain", "bar")


@lru_cache
def tokenizer():
    return GroundingDinoTraining(SMALL, 0).processor.tokenizer


def test_boxes_hold_what_is_visible():
    clip = training_clip(0, 1)
    frame = frame_of(clip, 5)
    height, width = frame.image_HW3.shape[:2]
    assert (height, width) == (128, 160) and len(frame.looks) == len(frame.boxes_N4) == len(frame.things) > 0
    for n, (thing, box_4) in enumerate(zip(frame.things, frame.boxes_N4)):
        mask_HW = clip.masks_NTHW[thing, 5]
        assert np.array_equal(frame.owner_HW == n, mask_HW) and mask_HW.sum() >= VISIBLE
        cx, cy, w, h = box_4 * [width, height, width, height]
        y, x = np.nonzero(mask_HW)
        assert np.allclose(
            [x.min(), x.max() + 1, y.min(), y.max() + 1], [cx - w / 2, cx + w / 2, cy - h / 2, cy + h / 2]
        )
        assert frame.looks[n].colour == clip.scene.things[thing].colour


def test_views_move_boxes_and_pixels_together():
    frames = [f for step in range(4) for f in draw_frames(np.random.default_rng(step), 0, step, 3)]
    assert {f.image_HW3.shape for f in frames} == {(128, 128, 3), (128, 160, 3)}
    for frame in frames:
        height, width = frame.owner_HW.shape
        for n, (cx, cy, _, _) in enumerate(frame.boxes_N4):
            y, x = np.nonzero(frame.owner_HW == n)
            assert abs((x.min() + x.max() + 1) / 2 - cx * width) < 1e-3
            assert abs((y.min() + y.max() + 1) / 2 - cy * height) < 1e-3


def test_tokens_of_a_noun_phrase_name_what_it_fits():
    worded = put_in_words(
        np.random.default_rng(0), [Description(Looks(colour="red"), "left of", Looks(shape="bar"))], 1
    )
    caption = tokenize(tokenizer(), worded.text, worded.nouns, [STAR, BAR, STAR])
    words = tokenizer().convert_ids_to_tokens(caption.ids_W)
    named = [{w for w, yes in zip(words, row) if yes} for row in caption.positive_NW]
    assert named[0] == named[2] and named[0] & {"object", "thing"} and named[0] - {"object", "thing"} == {"red"}
    assert named[1] == {"bar"}
    assert caption.ids_W == tokenizer()(normalise(worded.text))["input_ids"], "not as the detector reads it"


def test_captions_are_words_of_the_vocabulary_and_name_who_is_there():
    rng = np.random.default_rng(0)
    named = words = 0
    for _ in range(60):
        caption = random_caption(rng, tokenizer(), [STAR, BAR])
        assert tokenizer().unk_token_id not in caption.ids_W
        assert not any(t.startswith("##") for t in tokenizer().convert_ids_to_tokens(caption.ids_W)), "a word in pieces"
        named, words = named + int(caption.positive_NW.any(1).sum()), words + len(caption.ids_W)
    assert 60 < named < 120 and words > 300
    assert fits(Looks(colour="red"), STAR) and not fits(Looks("large", "red"), STAR) and fits(Looks(), BAR)


def test_batches_depend_on_seed_and_step_alone():
    first = make_batch(SMALL, tokenizer(), 7, 5)
    make_batch(SMALL, tokenizer(), 7, 6)
    again, other = make_batch(SMALL, tokenizer(), 7, 5), make_batch(SMALL, tokenizer(), 8, 5)
    for field in ("images_B3HW", "ids_BW", "rois_BR4", "classes_B4yx"):
        assert torch.equal(getattr(first, field), getattr(again, field))
    assert not torch.equal(first.images_B3HW, other.images_B3HW)
    for b, of_R in enumerate(first.roi_of_BR):
        rois_R4, boxes_R4 = (box_convert(x, "cxcywh", "xyxy") for x in (first.rois_BR4[b], first.boxes[b][of_R]))
        assert (generalized_box_iou(rois_R4, boxes_R4).diagonal() > 0.1).all()


@torch.no_grad()
def test_forward_is_the_models_own():
    """The model's queries see nothing of those at true boxes: they give what the model gives alone."""
    state = GroundingDinoTraining(SMALL, 0)
    batch = make_batch(SMALL, tokenizer(), 0, 1)
    state.model.eval()
    found = detect(state.model, batch)
    alone = state.model(pixel_values=batch.images_B3HW, input_ids=batch.ids_BW, attention_mask=batch.mask_BW)
    n_words = batch.ids_BW.shape[1]
    n_own = state.model.config.num_queries
    seen = batch.mask_BW[:, None].expand(-1, n_own, -1) > 0
    torch.testing.assert_close(found.boxes_LBQ4[-1, :, :n_own], alone.pred_boxes, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        found.logits_LBQW[-1, :, :n_own][seen], alone.logits[..., :n_words][seen], atol=1e-3, rtol=1e-3
    )
    assert found.boxes_LBQ4.shape[2] == n_own + SMALL.rois
    assert state.model.model.decoder.config.num_queries == n_own, "the model is left as it was"


def test_matching_finds_a_permutation():
    generator = torch.Generator().manual_seed(0)
    truth_N4 = torch.rand(5, 4, generator=generator) * 0.3 + 0.2
    positive_NW = torch.eye(5, 8)
    order = torch.randperm(5, generator=generator)
    boxes_Q4 = torch.cat([torch.full((4, 4), 0.9), truth_N4[order] + 0.005])
    logits_QW = torch.cat([torch.full((4, 8), -4.0), 8 * positive_NW[order] - 4])
    queries, objects = match(logits_QW, boxes_Q4, truth_N4, positive_NW)
    assert {int(q): int(n) for q, n in zip(queries, objects)} == {4 + i: int(n) for i, n in enumerate(order)}
    assert len(match(logits_QW, boxes_Q4, truth_N4[:0], positive_NW[:0])[0]) == 0


def test_losses_by_hand():
    a, b = torch.tensor([[0.5, 0.5, 0.4, 0.4]]), torch.tensor([[0.7, 0.5, 0.4, 0.4]])
    away = torch.tensor([[0.5, 0.9, 0.4, 0.2]])
    assert _box_loss(a, a).item() == pytest.approx(0, abs=1e-6)
    assert _box_loss(a, b).item() == pytest.approx(5 * 0.2 + 2 * (1 - 0.08 / 0.24))  # the hull is the union
    assert _box_loss(a, away).item() == pytest.approx(5 * 0.6 + 2 * (1 + (0.28 - 0.24) / 0.28))
    assert _box_loss(a[:0], b[:0]).item() == 0
    logit, target = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 0.0])
    assert _focal(logit, target).tolist() == pytest.approx([0.4 * 0.25 * np.log(2), 0.6 * 0.25 * np.log(2)])


def test_true_boxes_and_names_cost_nothing():
    state = GroundingDinoTraining(SMALL, 0)
    batch = make_batch(SMALL, tokenizer(), 0, 1)
    with torch.no_grad():
        found = detect(state.model, batch)
    logits, boxes = found.logits_LBQW.clone(), found.boxes_LBQ4.clone()
    before = detection_losses(found, batch)
    for b, (boxes_N4, positive_NW, of_R) in enumerate(zip(batch.boxes, batch.positive, batch.roi_of_BR)):
        n_own = state.model.config.num_queries
        which = torch.cat([torch.arange(len(boxes_N4)), of_R])
        queries = torch.cat([torch.arange(len(boxes_N4)), n_own + torch.arange(len(of_R))])
        logits[:, b] = -12.0
        logits[:, b, queries] = 24 * positive_NW[which] - 12
        boxes[:, b, queries] = boxes_N4[which]
    after = detection_losses(dataclasses.replace(found, logits_LBQW=logits, boxes_LBQ4=boxes), batch)
    assert all(after[name] < 1e-3 < before[name] for name in ("class", "box", "roi_class", "roi_box"))


def test_steps_lower_the_loss():
    training = GroundingDinoTraining(SMALL, 0)
    totals = []
    for step in range(12):
        losses = training.step(Clock(step), 0.0)
        totals.append(sum(v for k, v in losses.items() if k != "norm"))
    assert np.mean(totals[-3:]) < 0.85 * np.mean(totals[:3])


def test_resume_equals_an_uninterrupted_training(tmp_path, monkeypatch):
    monkeypatch.setattr("stages.training.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(GroundingDinoTraining, "log_every", 2)
    recipe, length = dataclasses.replace(SMALL, precision="bfloat16"), Length(steps=4)
    whole = GroundingDinoTraining(recipe, 3)
    train(whole, length, tmp_path / "whole")
    train_and_die(GroundingDinoTraining(recipe, 3), length, tmp_path / "cut", 2)
    resumed = GroundingDinoTraining(recipe, 3)
    assert checkpoint.read(tmp_path / "cut").clock.step == 2
    train(resumed, length, tmp_path / "cut", resume=True)
    for name in ("model", "heads", "averaged"):
        assert same(dict(whole.parts()[name].state_dict()), dict(resumed.parts()[name].state_dict())), name
    assert not same(dict(GroundingDinoTraining(recipe, 3).model.state_dict()), dict(whole.model.state_dict()))
    records = [json.loads(line) for line in (tmp_path / "whole" / curve.FILE).read_text().splitlines()]
    assert [r["step"] for r in records] == [2, 4]
    assert {"class", "box", "roi_box", "cell_class", "dense_image"} <= records[0].keys()
    assert command.main(["--out", str(tmp_path / "whole"), "--steps", "1"]) == 2, "a training is not overwritten"


def test_the_pipeline_loads_what_was_trained(tmp_path):
    training = GroundingDinoTraining(SMALL, 0)
    training.step(Clock(), 0.0)
    save_model(training, tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 8e6
    model = Model(hub=None, revision=None, files=[], seed=0, path=None, license=None)
    detector = load_detector(Weights(tmp_path, "x", model), settings(), "cpu", 8)
    mine = {n: t.half().float() for n, t in training.averaged.module.state_dict().items()}
    loaded = load_model(tmp_path / "model.safetensors", read_config(tmp_path)).state_dict()
    assert loaded.keys() == mine.keys() and all(torch.equal(loaded[name], mine[name]) for name in mine)
    frame = frame_of(held_out_clip(0)[1], 3)
    (found,) = detector.detect([frame.image_HW3], ["a red star . a blue bar ."])[0]
    assert found.boxes_N4.shape == (BEST, 4) and len(found.token_scores[0]) == 6, "a word in pieces"
    figures = evaluate(tmp_path, 1)
    assert all(0 <= figures[name] <= 1 for name in ("recall_referred", "recall_named", "phrase_right_of_all"))
    template = Path(command.__file__).with_name("card.md")
    write_card(tmp_path, template, training, Clock(), rows_of(figures))
    assert f"| recall_referred | {figures['recall_referred']} |" in (tmp_path / "card.md").read_text()
    with pytest.raises(ValueError, match="d_model 128"):
        evaluate(tmp_path, 1, "groundingdino")  # the authors' package is written for 256


class Knowing:
    """A detector that finds every object of the held-out frames, or boxes their corners."""

    def __init__(self, n_clips: int, *, blind: bool) -> None:
        self.blind = blind
        self.frames = {}
        for index in range(n_clips):
            clip = held_out_clip(index)[1]
            for t in range(len(clip.frames_THW3)):
                self.frames[clip.frames_THW3[t].tobytes()] = frame_of(clip, t)

    def detect(self, frames, captions):
        return [[self.detections(self.frames[image.tobytes()], caption) for caption in captions] for image in frames]

    def detections(self, frame, caption):
        height, width = frame.image_HW3.shape[:2]
        size_4 = np.array([width, height, width, height], np.float32)
        middle, half = frame.boxes_N4[:, :2], frame.boxes_N4[:, 2:] / 2
        boxes_N4 = np.concatenate([middle - half, middle + half], 1) * size_4
        words = normalise(caption).replace(".", " ").split()
        scores = [[self.score(words, i, one) for i in range(len(words))] for one in frame.looks]
        if self.blind:
            boxes_N4, scores = np.zeros_like(boxes_N4), [[0.01] * len(words) for _ in scores]
        scores_N = np.array([max(row) for row in scores], np.float32)
        order = np.argsort(-scores_N, kind="stable")
        return Detections(boxes_N4[order], scores_N[order], [tuple(scores[i]) for i in order], [""] * len(order))

    def score(self, words, i, looks):
        around = words[max(0, i - 1) : i + 2]
        return (
            0.9
            if looks.colour in around and looks.shape in around
            else 0.6
            if words[i] in (looks.colour, looks.shape)
            else 0.1
        )


def test_figures_of_a_perfect_and_of_a_blind_detector():
    figures = figures_of(Knowing(2, blind=False), 2)
    assert figures["recall_referred"] == figures["recall_named"] == figures["mean_iou"] == 1
    assert figures["phrase_right"] == figures["phrase_right_of_all"] == 1 and figures["phrase_objects"] > 8
    assert figures["recall_0.05"] == 1 > figures["recall_0.70"] and figures["referred_objects"] > 5
    blind = figures_of(Knowing(2, blind=True), 2)
    assert blind["recall_referred"] == blind["phrase_right_of_all"] == blind["precision_0.05"] == 0


def test_schedule():
    recipe = Recipe()
    assert recipe.rate(0, 0.0) < recipe.rate(recipe.warm_up_steps, 0.0) == recipe.learning_rate
    assert recipe.rate(10**4, 1 - recipe.decay_share / 2) == pytest.approx(recipe.learning_rate / 2)
    assert recipe.rate(10**4, 1.0) == 0
