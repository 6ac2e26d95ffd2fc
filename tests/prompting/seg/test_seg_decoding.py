"""From [SEG] tokens to masks: the sam2 package with one more sparse token; aggregation by hand; the tuned propagation."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from sam2.modeling.sam2_base import NO_OBJ_SCORE
from sam2.sam2_video_predictor import SAM2VideoPredictor
from support.sam2 import draw_frames, micro_weights

from stages.prompting.seg.aggregation import aggregate, keyframe
from stages.prompting.seg.decoding import at_frame_size, decode, frame_features, model_pixels
from stages.prompting.seg.propagation import PRESENT, TunedPropagation
from stages.prompting.seg.tokens import fitted
from stages.tracking.sam2_model import load_sam2

CHANNELS = 256


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_sam2(micro_weights(tmp_path_factory.mktemp("sam2")), "cpu", SAM2VideoPredictor)


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return draw_frames(tmp_path_factory.mktemp("frames") / "f", 6)


def tokens_of(count, seed=0):
    return torch.randn(count, CHANNELS, generator=torch.Generator().manual_seed(seed))


class AppendingEncoder(torch.nn.Module):
    """The package's prompt encoder, whose sparse prompts end with a token."""

    def __init__(self, encoder, token_BC):
        super().__init__()
        self.encoder, self.token_BC = encoder, token_BC

    def forward(self, points, boxes, masks):
        sparse, dense = self.encoder(points=points, boxes=boxes, masks=masks)
        return torch.cat([sparse, self.token_BC[:, None]], 1), dense

    def get_dense_pe(self):
        return self.encoder.get_dense_pe()

    @property
    def mask_input_size(self):
        return self.encoder.mask_input_size


class PresentDecoder(torch.nn.Module):
    """The package's mask decoder, which always sees an object."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, *arguments, **named):
        logits, ious, tokens, score = self.decoder(*arguments, **named)
        return logits, ious, tokens, torch.full_like(score, PRESENT)


def package_heads(model, monkeypatch, pixels, token_BC, *, forced):
    """The package's own way to a first frame's mask: low-resolution logits of the best of three, and predicted IoUs."""
    with monkeypatch.context() as patched:
        patched.setitem(model._modules, "sam_prompt_encoder", AppendingEncoder(model.sam_prompt_encoder, token_BC))
        if forced:
            patched.setitem(model._modules, "sam_mask_decoder", PresentDecoder(model.sam_mask_decoder))
        encoded = model.forward_image(pixels) if not forced else _forward_image(model, pixels)
        n = len(token_BC)
        several = {k: [x.expand(n, -1, -1, -1) for x in encoded[k]] for k in ("backbone_fpn", "vision_pos_enc")}
        _, feats, positions, sizes = model._prepare_backbone_features(several)
        _, outputs, _, _ = model._track_step(0, True, feats, positions, sizes, None, None, {}, 1, False, None)
    _, _, ious, low_res, high_res, _, _ = outputs
    return low_res[:, 0], ious.max(-1).values, high_res[:, 0]


def _forward_image(model, pixels):
    """forward_image of a model whose mask decoder is wrapped."""
    out = model.image_encoder(pixels)
    decoder = model.sam_mask_decoder.decoder
    out["backbone_fpn"][0] = decoder.conv_s0(out["backbone_fpn"][0])
    out["backbone_fpn"][1] = decoder.conv_s1(out["backbone_fpn"][1])
    return out


@torch.inference_mode()
@pytest.mark.parametrize("object_score", ["forced", "predicted"])
def test_a_token_decodes_as_the_package_does_with_one_more_sparse_token(model, frames, monkeypatch, object_score):
    pixels, token_BC = model_pixels(frames.load(2), model), 3 * tokens_of(5)
    decoded = decode(model, frame_features(model, pixels), token_BC, object_score)
    logits, ious, square = package_heads(model, monkeypatch, pixels, token_BC, forced=object_score == "forced")
    assert (decoded.logits_Bhw - logits).abs().max() <= 1e-6
    assert (decoded.iou_B - ious).abs().max() <= 1e-6
    assert decoded.logits_Bhw.std() > 0.01 and len(torch.unique(decoded.iou_B)) > 1  # the token moves the mask
    same_size = at_frame_size(model, decoded.logits_Bhw, (model.image_size, model.image_size))
    assert (same_size - square).abs().max() <= 1e-5
    one = decode(model, frame_features(model, pixels), token_BC[3:4], object_score)
    assert (one.logits_Bhw[0] - decoded.logits_Bhw[3]).abs().max() <= 1e-4


@torch.inference_mode()
def test_where_no_object_is_seen_the_entry_says_what_remains(model, frames, monkeypatch):
    features = frame_features(model, model_pixels(frames.load(0), model))
    token_BC = tokens_of(2)

    def absent(_module, _arguments, out):
        return (*out[:3], torch.tensor([[-1.0], [2.0]]))

    handle = model.sam_mask_decoder.register_forward_hook(absent)
    try:
        kept, gone = (decode(model, features, token_BC, which) for which in ("forced", "predicted"))
    finally:
        handle.remove()
    assert (gone.logits_Bhw[0] == NO_OBJ_SCORE).all() and torch.equal(gone.logits_Bhw[1], kept.logits_Bhw[1])
    assert kept.logits_Bhw.min() > NO_OBJ_SCORE and kept.score_B.tolist() == [-1.0, 2.0]


def test_frames_are_squashed_by_pillow_with_rounded_statistics(model, frames):
    image = frames.load(1)
    squashed = np.array(Image.fromarray(image).resize((128, 128), Image.BICUBIC), np.float32) / 255
    mean = [float(torch.tensor(v, dtype=torch.bfloat16)) for v in (0.485, 0.456, 0.406)]
    deviation = [float(torch.tensor(v, dtype=torch.bfloat16)) for v in (0.229, 0.224, 0.225)]
    expected = ((squashed - mean) / deviation).transpose(2, 0, 1)
    np.testing.assert_allclose(model_pixels(image, model)[0].numpy(), expected, atol=1e-5)
    assert mean[0] == 0.484375  # and not .485


def test_frames_may_keep_their_aspect_and_masks_go_back_the_same_way(model):
    """As VRS-HQ has it: Segment Anything's longest side, zeros to the right and below."""
    image = np.random.default_rng(0).integers(0, 256, (33, 100, 3), dtype=np.uint8)
    resized = np.array(Image.fromarray(image).resize((128, 42), Image.BILINEAR), np.float32)  # 33 · 1.28 + .5 = 42.7
    mean, deviation = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    expected = np.zeros((3, 128, 128))
    expected[:, :42] = ((resized - mean) / deviation).transpose(2, 0, 1)
    np.testing.assert_allclose(model_pixels(image, model, "padded")[0].numpy(), expected, atol=1e-5)
    logits = torch.full((1, 32, 32), -1.0)
    logits[:, :5, 16:] = 1.0  # rows up to 20 of 42, the right half
    mask_HW = at_frame_size(model, logits, (33, 100), "padded")[0] > 0
    rows, columns = np.nonzero(mask_HW.numpy())
    assert (rows.min(), columns.min(), columns.max()) == (0, 50, 99) and rows.max() in (14, 15, 16)


def test_gradients_reach_the_token_and_the_decoder(model, frames):
    with torch.no_grad():
        features = frame_features(model, model_pixels(frames.load(0), model))
    token_BC = tokens_of(1).requires_grad_()
    decode(model, features, token_BC, "forced").logits_Bhw.mean().backward()
    assert token_BC.grad.abs().sum() > 0


def test_aggregation_by_hand():
    tak = torch.tensor([3.0, 4.0])
    seg = torch.tensor([[3.0, 4.0], [4.0, -3.0], [-6.0, -8.0]])  # cosines 1, 0, −1
    merged, weight = aggregate(seg, tak, 0.1)
    power = [math.e, 1.0, 1 / math.e]
    expected = [p / sum(power) for p in power]
    assert weight.tolist() == pytest.approx(expected, abs=1e-6)
    x = 3 + 0.1 * (3 * expected[0] + 4 * expected[1] - 6 * expected[2])
    y = 4 + 0.1 * (4 * expected[0] - 3 * expected[1] - 8 * expected[2])
    assert merged.tolist() == pytest.approx([x, y], abs=1e-6)
    assert torch.equal(aggregate(seg, tak, 0.0)[0], tak)


def test_keyframe_by_hand():
    score = torch.tensor([0.0, math.log(3.0), 0.0])  # softmax .2, .6, .2
    assert keyframe(score, torch.tensor([0.5, 0.2, 0.3])) == 1  # .7, .8, .5
    assert keyframe(score, torch.tensor([0.7, 0.2, 0.1])) == 0  # .9, .8, .3
    assert keyframe(torch.zeros(3), torch.full((3,), 1 / 3)) == 0


def test_the_last_token_serves_the_clips_that_are_left():
    token = torch.arange(3.0)[:, None]
    assert fitted(token, 5)[:, 0].tolist() == [0, 1, 2, 2, 2]
    assert fitted(token, 2)[:, 0].tolist() == [0, 1]


@torch.inference_mode()
@pytest.mark.parametrize("prompted", [(0, 1), (2, 4)])
@pytest.mark.parametrize("object_score", ["forced", "predicted"])
def test_tuned_propagation_is_the_stock_loop_with_a_token(model, frames, monkeypatch, prompted, object_score):
    tokens = {frame: 3 * tokens_of(2, seed=frame) for frame in prompted}
    followed = list(
        TunedPropagation(model, lambda t: model_pixels(frames.load(t), model), len(frames), object_score).run(tokens)
    )
    assert sorted(f.frame for f in followed) == list(range(len(frames)))
    for b in range(2):
        single = {frame: token[b : b + 1] for frame, token in tokens.items()}
        logits = stock_loop(model, frames, single, forced=object_score == "forced")
        for mine in followed:
            assert (mine.logits_Bhw[b] - logits[mine.frame]).abs().max() <= 2e-3
            assert ((mine.logits_Bhw[b] > 0) == (logits[mine.frame] > 0)).float().mean() > 0.999
    first = {f.frame: f for f in followed}[prompted[0]]
    alone = decode(model, frame_features(model, model_pixels(frames.load(prompted[0]), model)), tokens[prompted[0]],
                   object_score)  # fmt: skip
    assert (first.logits_Bhw - alone.logits_Bhw).abs().max() <= 1e-5
    assert (first.iou_B - alone.iou_B).abs().max() <= 1e-6


def stock_loop(model, frames, tokens, *, forced):
    """The package's video predictor with its own state, preflight and sweeps; the token is added on prompted frames."""
    state = {
        "images": [model_pixels(frames.load(t), model)[0] for t in range(len(frames))],
        "num_frames": len(frames), "video_height": 32, "video_width": 32, "offload_video_to_cpu": False,
        "offload_state_to_cpu": False, "device": model.device, "storage_device": model.device, "cached_features": {},
        "constants": {}, "point_inputs_per_obj": {}, "mask_inputs_per_obj": {}, "obj_id_to_idx": {}, "obj_ids": [],
        "obj_idx_to_id": {}, "output_dict_per_obj": {}, "temp_output_dict_per_obj": {}, "frames_tracked_per_obj": {},
    }  # fmt: skip
    from collections import OrderedDict

    for name in ("obj_id_to_idx", "obj_idx_to_id"):
        state[name] = OrderedDict()
    index = model._obj_id_to_idx(state, 1)
    handles = []
    if forced:
        handles.append(
            model.sam_mask_decoder.register_forward_hook(lambda _m, _a, o: (*o[:3], torch.full_like(o[3], PRESENT)))
        )
    for frame, token in tokens.items():
        hook = model.sam_prompt_encoder.register_forward_hook(
            lambda _m, _a, out, token=token: (torch.cat([out[0], token[:, None]], 1), out[1])
        )
        out, _ = model._run_single_frame_inference(
            state, state["output_dict_per_obj"][index], frame, 1, True, None, None, False, run_mem_encoder=False
        )
        hook.remove()
        state["temp_output_dict_per_obj"][index]["cond_frame_outputs"][frame] = out
    start = min(tokens)
    for reverse in (False, True):
        for _ in model.propagate_in_video(state, start, reverse=reverse):
            pass
    for handle in handles:
        handle.remove()
    outputs = state["output_dict_per_obj"][index]
    merged = {**outputs["non_cond_frame_outputs"], **outputs["cond_frame_outputs"]}
    return {frame: out["pred_masks"][0, 0].float() for frame, out in merged.items()}
