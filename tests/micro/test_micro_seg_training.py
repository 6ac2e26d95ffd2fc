"""The embedded [SEG] model's training: its batches, its arithmetic against the pipeline's, exact resume, its folder."""

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.kernel import same, train_and_die
from torch import nn

from stages.micro.training.seg import evaluate
from stages.micro.training.seg.batches import VARIANT, Batch, Batches, Requests, squashed
from stages.micro.training.seg.cells import UNCLEAR, centres_of, middle_of, shares_of, shown_objects
from stages.micro.training.seg.forward import Reader, decode_many
from stages.micro.training.seg.phrases import fits, looks_of, noun_phrases
from stages.micro.training.seg.recipe import Recipe
from stages.micro.training.seg.scenes import Scene, endless_scene
from stages.micro.training.seg.store import save_seg_model
from stages.micro.training.seg.training import (
    SegTraining,
    attentions_of,
    click_loss,
    frozen_sam2,
    places,
    quality_loss,
    untrained,
)
from stages.prompting.seg.checkpoint.loading import text_hidden_fcs
from stages.prompting.seg.checkpoint.sam2_inside import ATTENTION, is_cross_attention
from stages.prompting.seg.decoding import decode, frame_features, model_pixels
from stages.training.checkpoint import read
from stages.training.clock import Clock, Length
from stages.training.loop import train
from stages.worlds.shapes.meaning import Looks

SMALL = replace(Recipe(), frames=4, videos=(1, 1), sentences=(2, 3), points=32, window=4, fresh=0.0)
ANSWER = "Clip_1 [SEG], Clip_2 [SEG], Clip_3 [SEG], Clip_4 [SEG]."


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose scenes are made once."""
    folder = tmp_path_factory.mktemp("seg_scenes")
    batches = Batches(SMALL, 0, folder)
    for index in range(SMALL.window):
        batches.draws.scenes.make_sure(index)
    return folder


# ---------------------------------------------------------------- what a step learns from


def test_a_scene_is_kept_as_it_is(scenes: Path) -> None:
    made, kept = endless_scene(0, 1), Scene.load(scenes / "scenes" / "000001.npz")
    assert np.array_equal(made.frames_THW3, kept.frames_THW3) and np.array_equal(made.labels_THW, kept.labels_THW)
    assert np.array_equal(made.looks_O4, kept.looks_O4) and made.said == kept.said
    assert any(one.statement for one in made.said) and any(not one.statement for one in made.said)
    assert int(made.labels_THW.max()) == len(made.looks_O4)


def test_cells_of_a_hand_drawn_frame() -> None:
    labels = np.zeros((1, 32, 48), np.uint8)
    labels[0, :16, :8] = 2  # half of the first cell
    labels[0, 16:18, 16:19] = 1  # 6 of 256 pixels
    labels[0, 16:24, 32:34] = 1  # 16 of 256
    assert shown_objects(labels, 2).tolist() == [2, 0, 0, 0, 0, UNCLEAR]
    assert shares_of(labels == 2)[0].tolist() == [[0.5, 0, 0], [0, 0, 0]]
    [[x, y, side]] = centres_of(labels == 2).tolist()
    assert (x, y, side) == pytest.approx((4 / 48, 8 / 32, (128 / (32 * 48)) ** 0.5))
    assert np.isnan(centres_of(labels == 3)).all()
    ring = np.ones((3, 5), bool)
    ring[1, 1:4] = False
    assert middle_of(ring).tolist() == pytest.approx([2.5 / 5, 0.5 / 3])


def test_noun_phrases_refer_to_all_that_they_fit(scenes: Path) -> None:
    scene = Scene.load(scenes / "scenes" / "000000.npz")
    phrases = noun_phrases(np.random.default_rng(0), scene, range(len(scene.looks_O4)), 20)
    assert all(one.referred for one in phrases) and len({one.text for one in phrases}) > 5
    assert sum(len(one.referred) == 1 for one in phrases) >= 8  # others of this scene look alike
    whole = [looks_of(own) for own in scene.looks_O4]
    assert all(fits(own, looks) for own, looks in zip(scene.looks_O4, whole, strict=True))
    assert not fits(scene.looks_O4[0], Looks(colour="red" if whole[0].colour != "red" else "blue"))


@pytest.mark.parametrize("progress", [0.0, 0.2, 0.4, 0.9])
def test_a_batch_depends_on_seed_step_and_progress_alone(scenes: Path, progress: float) -> None:
    one, again = (Batches(SMALL, 0, scenes)(3, progress) for _ in range(2))
    other = Batches(SMALL, 0, scenes)(4, progress)

    def state(batch: Batch) -> dict[str, Any]:
        return {
            name: value.nan_to_num() if isinstance(value, torch.Tensor) else value
            for name, value in vars(batch).items()
        }

    assert same(state(one), state(again)) and not same(state(one), state(other))
    shown = one.shown_VK.unflatten(1, (one.images_VIHW3.shape[1], -1))
    for v, i, j in (shown > 0).nonzero().tolist():
        x, y = one.middles_VIO2[v, i, shown[v, i, j] - 1].tolist()
        assert 0 < x < 1 and 0 < y < 1
    assert one.shown_VK.shape[1] * 256 == one.images_VIHW3[0, ..., 0].numel()


def test_a_batch_asks_and_points_at_what_is_there(scenes: Path) -> None:
    batch = Batches(SMALL, 0, scenes)(0, 0.9)
    requests = Requests()
    assert batch.seg_RN.shape == (3, 4)
    assert bool((batch.ids_RL.gather(1, batch.seg_RN) == requests.seg_id).all())
    for m in range(len(batch.row_D)):
        row_K = batch.pointed_DK[m]
        assert float(row_K.sum()) == pytest.approx(1.0, abs=1e-5) or not row_K.any()
        cells = len(row_K) // 4
        seg = int(batch.seg_D[m])
        assert not row_K[: seg * cells].any() and not row_K[(seg + 1) * cells :].any()
        assert bool(row_K.any()) == bool((~batch.places_D3[m].isnan()).any()) == bool(batch.truth_DHW[m].any())
        shows_K = batch.shows_RK[batch.row_D[m]]
        assert set(shows_K.tolist()) <= {-1, 0, 1} and bool(
            (row_K[shows_K == 1] > 0).sum() == ((shows_K == 1) & (row_K > 0)).sum()
        )


# ---------------------------------------------------------------- the same as the pipeline


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    """An untrained model with weights that float16 holds, and its folder."""
    folder = tmp_path_factory.mktemp("seg")
    mllm, processor = untrained(0)
    torch.manual_seed(0)
    head = text_hidden_fcs(128, 256)
    for parameter in [*mllm.parameters(), *head.parameters()]:
        parameter.data = parameter.data.half().float()
    attentions = attentions_of(frozen_sam2().sam_mask_decoder)
    for parameter in nn.ModuleList(attentions.values()).parameters():
        parameter.data = parameter.data / 2
    save_seg_model(mllm, head, attentions, processor, folder)
    return mllm, processor.tokenizer, folder


@pytest.mark.parametrize("size", [(128, 128), (128, 160)])
@torch.no_grad()
def test_many_videos_at_once_are_as_the_pipeline_has_them(stored: tuple[Any, Any, Path], size: tuple[int, int]) -> None:
    mllm, tokenizer, folder = stored
    model = evaluate.load_model(folder)
    images = np.random.default_rng(0).integers(0, 256, (2, 4, *size, 3), dtype=np.uint8)
    texts = ["the red star that moves to the left", "two circles"]
    requests = Requests()
    rows = [requests.whole(text, 4, *size) for text in texts] * 2
    width = max(len(row) for row, _, _ in rows)
    ids = torch.tensor([row + [requests.pad_id] * (width - len(row)) for row, _, _ in rows])
    places = (ids == requests.seg_id).nonzero()[:, 1].view(-1, 4)
    begins = torch.tensor([begin for _, begin, _ in rows])
    read_all = Reader(mllm, tokenizer).read(torch.from_numpy(images), ids, begins)
    mine = read_all.state_RLD[torch.arange(4)[:, None], places]
    for v in range(2):
        theirs = model.states(model.encode(list(images[v])), [VARIANT.request(text) for text in texts], [ANSWER] * 2)
        assert float((torch.stack(theirs) - mine[2 * v : 2 * v + 2]).abs().max()) <= 1e-5
    tokens = torch.randn(2, 256, generator=torch.Generator().manual_seed(0))
    frames = torch.from_numpy(np.stack([squashed(image) for image in images[0, :3]]))
    many = decode_many(model.sam2, frames, torch.tensor([2, 0]), tokens)
    for m, frame in enumerate((2, 0)):
        features = frame_features(model.sam2, model_pixels(images[0, frame], model.sam2))
        alone = decode(model.sam2, features, tokens[m : m + 1], "forced")
        assert float((alone.logits_Bhw[0] - many.logits_Mhw[m]).abs().max()) <= 1e-4


def test_a_checkpoint_holds_the_decoders_cross_attention_alone(stored: tuple[Any, Any, Path], tmp_path: Path) -> None:
    """The rest of the mask decoder is SAM2's own; one missing tensor is not."""
    model = evaluate.load_model(stored[2])
    own, tuned = frozen_sam2().sam_mask_decoder.state_dict(), model.sam2.sam_mask_decoder.state_dict()
    assert all(torch.equal(tensor, own[name]) or is_cross_attention(name) for name, tensor in tuned.items())
    assert any(is_cross_attention(name) and not torch.equal(tensor, own[name]) for name, tensor in tuned.items())
    folder = shutil.copytree(stored[2], tmp_path / "partial")
    tensors = load_file(folder / "model.safetensors")
    lost = next(name for name in tensors if name.startswith("sam_mask_decoder_attention.transformer.layers.1."))
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=re.escape(lost)):
        evaluate.load_model(folder)


def test_figures_of_a_stored_model(stored: tuple[Any, Any, Path]) -> None:
    figures = evaluate.measure(stored[2], 1, None, "dev", None, 0.0)["scenes"]
    assert (
        figures["sentences"] > 5
        and 0 <= figures["iou"] <= 1
        and 0 < figures["any_object"] < figures["everything"] + 0.5
        and 0 <= figures["given"] <= 1
    )
    surer = evaluate.measure(stored[2], 1, None, "dev", None, 1e9)["scenes"]
    assert surer["iou"] == 0.0, "no logit is above it"


def test_a_candidate_is_all_that_is_left_of_a_frame() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), dtype=np.uint8)
    candidate = np.zeros((2, 20, 30), bool)
    candidate[0, 8:10, 0:2] = True
    shown = evaluate.with_candidate(frames, candidate)
    assert np.array_equal(shown[0, 5:13, :5], frames[0, 5:13, :5])
    assert (
        len(np.unique(shown[0, :, 5:].reshape(-1, 3), axis=0)) == len(np.unique(shown[1].reshape(-1, 3), axis=0)) == 1
    )


def test_quality_is_compared_with_the_truth() -> None:
    from stages.micro.training.seg.forward import Masks

    truth = torch.zeros(2, 8, 8, dtype=torch.bool)
    truth[0, :4] = True
    logits = torch.full((2, 4, 4), -9.0)
    logits[0, :2] = 9.0
    error, iou = quality_loss(Masks(logits, torch.tensor([0.5, 1.0]), torch.tensor([50.0, -50.0])), truth)
    assert float(iou) == 1.0 and float(error) == pytest.approx(0.25)


def test_places_begin_as_clicks_on_them() -> None:
    """From the channels that are left, distances between places are those between SAM2's clicks."""
    sam2 = frozen_sam2()
    few_PD = places(sam2, 20, 128)[[0, 10 * 20 + 10, 19]]
    share_P2 = (torch.tensor([[0.0, 0.0], [10.0, 10.0], [19.0, 0.0]]) + 0.5) / 20
    whole_PC = sam2.sam_prompt_encoder.pe_layer._pe_encoding(share_P2)
    few, whole = torch.pdist(few_PD), torch.pdist(whole_PC)
    assert torch.allclose(few / few[0], whole / whole[0], rtol=0.01)


def test_a_click_is_what_the_prompt_encoder_makes_of_it() -> None:
    sam2 = frozen_sam2()
    points = (torch.tensor([[[31.5, 63.5]]]), torch.ones(1, 1, dtype=torch.int32))
    wanted, _ = sam2.sam_prompt_encoder(points=points, boxes=None, masks=None)
    click = torch.tensor([[0.25, 0.5], [float("nan"), 0.5]])
    tokens = torch.cat([wanted[:, 0], torch.full((1, 256), 7.0)])
    assert float(click_loss(sam2, tokens, click)) == pytest.approx(0.0, abs=1e-6)
    assert float(click_loss(sam2, tokens + 2.0, click)) == pytest.approx(1.5, abs=1e-5)


# ---------------------------------------------------------------- the training


@pytest.mark.parametrize("tunes", [True, False])
def test_a_step_trains_the_mllm_and_the_decoder_alone(scenes: Path, tunes: bool) -> None:
    training = SegTraining(SMALL, 0, scenes, tunes_decoder=tunes)
    before = {name: tensor.clone() for name, tensor in training.sam2.state_dict().items()}
    values = training.step(Clock(100), 0.9)
    changed = {name for name, tensor in training.sam2.state_dict().items() if not torch.equal(tensor, before[name])}
    assert bool(changed) == tunes and all("_attn_" in name for name in changed)
    assert values["all.mask"] > 0 and np.isfinite(list(values.values())).all()
    assert all(p.grad is None for p in training.sam2.image_encoder.parameters())


def test_a_training_goes_on_from_a_stored_model(scenes: Path, stored: tuple[Any, Any, Path]) -> None:
    mllm, _, folder = stored
    training = SegTraining(replace(SMALL, heads_first=2), 1, scenes, start=folder)
    assert same(dict(training.model["mllm"].state_dict()), dict(mllm.state_dict()))
    in_file = load_file(folder / "model.safetensors")
    for name, tensor in training.model["head"].state_dict().items():
        assert torch.equal(tensor, in_file[f"text_hidden_fcs.{name}"].float())
    attentions = training.attentions(training.model)
    assert attentions is not None
    for where, module in attentions.items():
        assert torch.equal(module.q_proj.weight, in_file[f"{ATTENTION}.{where}.q_proj.weight"].float())
    before = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    training.step(Clock(0), 0.9)  # what is discarded afterwards learns first
    assert same(dict(training.model.state_dict()), before)
    training.step(Clock(2), 0.9)
    assert not same(dict(training.model.state_dict()), before)
    assert training.identity()["starts"].keys() == {"sam2", "model"}


@pytest.mark.parametrize("content", [None, {"x": torch.zeros(1)}])
def test_nothing_to_go_on_from(scenes: Path, tmp_path: Path, content: dict[str, torch.Tensor] | None) -> None:
    if content:
        save_file(content, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        SegTraining(SMALL, 0, scenes, start=tmp_path)


def test_a_killed_training_ends_in_the_same_bytes(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.training.loop.CHECKPOINT_SECONDS", 0.0)
    recipe, length = replace(SMALL, vision_until=0.2, find_until=0.4, nouns_until=0.6), Length(steps=4)
    train(SegTraining(recipe, 0, scenes), length, tmp_path / "whole")
    train_and_die(SegTraining(recipe, 0, scenes), length, tmp_path / "parts", step=2)
    train(SegTraining(recipe, 0, scenes, length=length, workers=1), length, tmp_path / "parts", resume=True)
    whole, parts = read(tmp_path / "whole"), read(tmp_path / "parts")
    assert whole is not None and parts is not None and whole.clock.step == parts.clock.step == 4
    assert same(dict(whole.parts), dict(parts.parts))
