"""Training the micro SAM2: batches, forward pass, steps, resume, averaged weights, figures."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sam2.modeling.sam2_base import SAM2Base
from support.kernel import same, train_and_die
from support.sam2 import sam2_model

from stages.core.state.weights import Weights
from stages.micro.training.card import rows_of, write_card
from stages.micro.training.sam2 import __main__ as command
from stages.micro.training.sam2.batches import ImageBatch, VideoBatch, make_batch
from stages.micro.training.sam2.clips import COLOUR_NAMES, SHAPE_NAMES
from stages.micro.training.sam2.forward import MEMORY_FRAMES, encode, follow
from stages.micro.training.sam2.losses import centres
from stages.micro.training.sam2.probes import probe_figures
from stages.micro.training.sam2.recipe import SIDE, Recipe
from stages.micro.training.sam2.tracked import Tracked, held_out_clip, tracking_figures
from stages.micro.training.sam2.training import Sam2Training, save_weights
from stages.tracking.sam2_model import load_sam2
from stages.training import checkpoint, curve
from stages.training.clock import Clock, Length
from stages.training.loop import train

IMAGES = Recipe(images=4, image_share=1.0, quality_from=0.0, warm_up_steps=3)
MIXED = Recipe(images=3, image_share=0.0, object_frames=9, max_frames=4, late_frames=4, warm_up_steps=1)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if dataclasses.is_dataclass(value):
        return [t for field in dataclasses.fields(value) for t in tensors(getattr(value, field.name))]
    return [t for item in value for t in tensors(item)] if isinstance(value, list) else []


@pytest.mark.parametrize("progress", [0.05, 0.5])
def test_batches_depend_on_seed_and_step_alone(progress):
    recipe = dataclasses.replace(MIXED, image_share=0.1)
    first = tensors(make_batch(recipe, 7, 5, progress))
    make_batch(recipe, 7, 6, progress)  # what is made in between must not matter
    again, other, seed = (tensors(make_batch(recipe, s, n, progress)) for s, n in ((7, 5), (7, 6), (8, 5)))
    assert len(first) > 5 and all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[0], seed[0])


def test_prompts_lie_in_their_objects():
    batch = make_batch(dataclasses.replace(IMAGES, images=8), 0, 3, 0.5)
    assert isinstance(batch, ImageBatch)
    kinds = {None if g.points_OP2 is None else g.points_OP2.shape[1]: g for g in batch.groups}
    assert set(kinds) == {1, 2, None}
    clicks = kinds[1]
    for (x, y), mask_SS, colour in zip(
        clicks.points_OP2[:, 0].long(), clicks.targets.masks_TOSS[0], clicks.targets.colour_O
    ):
        assert bool(mask_SS[y, x]) == bool(colour >= 0) == bool(mask_SS.any())
    assert (clicks.targets.colour_O < 0).any(), "no background click: nothing is learned about absence"
    centre_O2, _ = centres(kinds[2].targets.masks_TOSS[0])
    corners_O22 = kinds[2].points_OP2 / (SIDE / 2) - 1
    assert (corners_O22[:, 0] < centre_O2).all() and (centre_O2 < corners_O22[:, 1]).all()


def test_dense_targets_point_at_centres():
    batch = make_batch(IMAGES, 0, 0, 0.0)
    for group in batch.groups:
        for image, mask_SS, shape in zip(group.targets.image_O, group.targets.masks_TOSS[0], group.targets.shape_O):
            map_3ss, classes_2ss = batch.dense_TB3ss[0, image], batch.classes_TB2ss[0, image]
            cells = [(y, x) for y in range(32) for x in range(32) if mask_SS[4 * y + 2, 4 * x + 2]]
            centre_2 = (centres(mask_SS[None])[0][0] + 1) * SIDE / 2
            for y, x in cells:
                pointed_2 = map_3ss[1:, y, x] * 32 + torch.tensor([4.0 * x + 2, 4.0 * y + 2])
                assert map_3ss[0, y, x] == 1 and classes_2ss[1, y, x] == shape
                assert (pointed_2 - centre_2).abs().max() < 3


@torch.no_grad()
def test_forward_equals_the_package_in_inference():
    """Without taught memories, training sees what the package's own track_step gives."""
    state = Sam2Training(MIXED, 0)
    batch = make_batch(MIXED, 0, 1, 0.3)
    assert isinstance(batch, VideoBatch)
    state.model.eval()
    state.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(5.0)  # all present
    batch = dataclasses.replace(batch, teach_TO=torch.zeros_like(batch.teach_TO))
    features = encode(state.model, batch.images_TB3SS.flatten(0, 1))
    found_T = follow(state.model, features, batch)
    images = batch.images_TB3SS.flatten(0, 1)
    _, levels, places, sizes = state.model._prepare_backbone_features(state.model.forward_image(images))
    outputs = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    for t, found in enumerate(found_T):
        image_O = batch.targets.image_O + t * batch.images_TB3SS.shape[1]
        here = [[x[:, image_O] for x in maps] for maps in (levels, places)]
        out = state.model.track_step(
            t, t == 0, *here, sizes, None,
            batch.targets.masks_TOSS[0][:, None] if t == 0 else None, outputs, MEMORY_FRAMES,
        )  # fmt: skip
        outputs["non_cond_frame_outputs" if t else "cond_frame_outputs"][t] = out
        torch.testing.assert_close(found.pointer_OC, out["obj_ptr"])
        if t:
            mine = found.logits_OMss[torch.arange(len(found.chosen_O)), found.chosen_O]
            torch.testing.assert_close(mine, out["pred_masks"][:, 0])
            torch.testing.assert_close(found.score_O1, out["object_score_logits"])
    assert len(found_T) >= 3


def test_some_steps_lower_the_loss():
    training = Sam2Training(IMAGES, 0)
    totals = []
    for step in range(14):
        losses = training.step(Clock(step), 0.01)
        totals.append(sum(v for k, v in losses.items() if k != "norm"))
    assert np.mean(totals[-3:]) < 0.75 * np.mean(totals[:3])


def test_resume_equals_an_uninterrupted_training(tmp_path, monkeypatch):
    monkeypatch.setattr("stages.training.loop.CHECKPOINT_SECONDS", 0.0)
    length = Length(steps=5)
    whole = Sam2Training(MIXED, 3)
    train(whole, length, tmp_path / "whole")
    train_and_die(Sam2Training(MIXED, 3), length, tmp_path / "cut", 2)
    resumed = Sam2Training(MIXED, 3)
    assert checkpoint.read(tmp_path / "cut").clock.step == 2
    train(resumed, length, tmp_path / "cut", resume=True)
    for name in ("model", "heads", "averaged"):
        assert same(dict(whole.parts()[name].state_dict()), dict(resumed.parts()[name].state_dict())), name
    assert not same(dict(Sam2Training(MIXED, 3).model.state_dict()), dict(whole.model.state_dict()))


def test_resume_refuses_another_training_and_damage(tmp_path, capsys):
    train(Sam2Training(MIXED, 3), Length(steps=1), tmp_path)
    with pytest.raises(ValueError, match="another recipe or seed"):
        train(Sam2Training(MIXED, 4), Length(steps=1), tmp_path, resume=True)
    file = tmp_path / checkpoint.FILE
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="start again without --resume"):
        train(Sam2Training(MIXED, 3), Length(steps=1), tmp_path, resume=True)
    assert command.main(["--out", str(tmp_path)]) == 2, "a checkpoint is not overwritten"
    assert "a training is there already" in capsys.readouterr().err


def test_weights_load_strictly_and_have_a_card(tmp_path):
    training = Sam2Training(MIXED, 0)
    save_weights(training.averaged.module, tmp_path / "model.safetensors")
    model = load_sam2(Weights(tmp_path, "x", sam2_model()), "cpu", SAM2Base)
    mine = training.model.state_dict()
    assert all(
        t.dtype == torch.float32 and torch.equal(t, mine[n].half().float()) for n, t in model.state_dict().items()
    )
    template = Path(command.__file__).with_name("card.md")
    write_card(tmp_path, template, training, Clock(7000, 7200.0), rows_of({"box_iou": 0.5}))
    card = (tmp_path / "card.md").read_text()
    assert "| box_iou | 0.5 |" in card and "7000 steps in 120.0 minutes" in card and "clip_norm 0.5" in card


def test_curve_has_means_of_both_kinds(tmp_path):
    training = Sam2Training(MIXED, 0)
    training.log_every = 2
    train(training, Length(steps=2), tmp_path)
    (record,) = [json.loads(line) for line in (tmp_path / curve.FILE).read_text().splitlines()]
    assert record["step"] == 2 and {"image.dice", "video.dice"} <= record.keys()


def test_schedule():
    recipe = Recipe()
    assert recipe.rate(0, 0.0) < recipe.rate(recipe.warm_up_steps, 0.0) == recipe.learning_rate
    assert recipe.rate(10**4, 0.7) == pytest.approx(recipe.final_rate) and recipe.rate(10**4, 1.0) == 0
    assert not any(recipe.is_video(step, recipe.image_share / 2) for step in range(8))
    assert [recipe.is_video(step, 0.5) for step in range(4)] == [False, True, True, True]
    assert recipe.frames(0.2, 0.0) == recipe.min_frames and recipe.frames(0.79, 1.0) == recipe.max_frames
    assert recipe.frames(0.9, 0.1) == recipe.late_frames


def perfect_tracks(n_clips, noise):
    """True masks, and pointers that hold place and looks linearly, with noise."""
    rng = np.random.default_rng(0)
    mixing_KC = rng.normal(size=(5 + len(COLOUR_NAMES) + len(SHAPE_NAMES), 64))
    for index in range(n_clips):
        clip = held_out_clip(index)
        for masks_THW, thing in zip(clip.masks_NTHW, clip.scene.things):
            colour, shape = COLOUR_NAMES.index(thing.colour), SHAPE_NAMES.index(thing.shape)
            track = Tracked(index, masks_THW, masks_THW, np.zeros(0), np.zeros(0), colour, shape)
            centre_T2 = np.nan_to_num(track.centre_T2) / 64
            step_T2 = np.diff(centre_T2, axis=0, prepend=centre_T2[:1])
            looks = np.concatenate([np.eye(len(COLOUR_NAMES))[colour], np.eye(len(SHAPE_NAMES))[shape]])
            known_TK = np.concatenate(
                [centre_T2, 8 * step_T2, np.log1p(track.area_T)[:, None], np.tile(looks, (len(masks_THW), 1))], 1
            )
            pointer_TC = known_TK @ mixing_KC + noise * rng.normal(size=(len(masks_THW), 64))
            score_T = np.where(track.area_T > 0, 5.0, -5.0)
            yield dataclasses.replace(track, pointer_TC=pointer_TC.astype(np.float32), score_T=score_T)


def test_figures_of_perfect_and_of_blind_tracks():
    tracks = list(perfect_tracks(24, 0.01))
    figures = tracking_figures(tracks)
    assert figures["tracking_iou"] == figures["tracking_j"] == figures["absent_told"] == figures["present_told"] == 1
    assert figures["absent_frames"] > 0
    assert 0.8 < figures["logit_grid_iou"] < 0.9, "small objects lose their outline between 32 × 32 values"
    probes = probe_figures(tracks)
    names = ("centre_r2", "log_area_r2", "step_r2", "direction_accuracy", "colour_accuracy", "shape_accuracy")
    assert all(probes[name] > 0.8 for name in names), probes
    blind = [
        dataclasses.replace(
            t,
            tracked_THW=np.zeros_like(t.masks_THW),
            pointer_TC=np.random.default_rng(i).normal(size=t.pointer_TC.shape),
        )
        for i, t in enumerate(tracks)
    ]
    assert tracking_figures(blind)["tracking_iou"] == 0
    assert probe_figures(blind)["centre_r2"] < 0.1 and probe_figures(blind)["direction_accuracy"] < 0.6
