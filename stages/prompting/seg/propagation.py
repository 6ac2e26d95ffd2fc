"""The tuned SAM2's own propagation, as Sa2VA was released: frames with a [SEG] token are conditioning frames of one
object each, and the checkpoint's SAM2, whose mask decoder is the tuned one, follows it through the others.

The sam2 package's `track_step`; the token goes in behind the prompt encoder. Memories are bfloat16, as the stock
predictor keeps them, and only those that can still be read are kept.

Legend: B objects, C = 256 channels of a token, h × w mask logits (stride 4).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from sam2.sam2_video_predictor import SAM2VideoPredictor
from torch import Tensor

from stages.prompting.seg.decoding import ObjectScore

PRESENT = 10.0  # an object score: any above 0 says the same
Output = dict[str, Any]


class Followed(NamedTuple):
    """A frame of the propagation: float32 logits (B, h, w) and the predicted IoU of the chosen masks (B)."""

    frame: int
    logits_Bhw: Tensor
    iou_B: Tensor


class TunedPropagation:
    """Follows B objects through a video.

    Args:
        pixels: index of a frame → (1, 3, S, S), as `decoding.model_pixels` gives.
        n_frames: of the video.
    """

    def __init__(
        self,
        model: SAM2VideoPredictor,
        pixels: Callable[[int], Tensor],
        n_frames: int,
        object_score: ObjectScore,
    ) -> None:
        self.model, self.pixels, self.n_frames, self.object_score = model, pixels, n_frames, object_score
        self.reach = max(model.num_maskmem * model.memory_temporal_stride_for_eval, model.max_obj_ptrs_in_encoder) + 1

    def run(self, tokens: Mapping[int, Tensor]) -> Iterator[Followed]:
        """Every frame once: from the first with a token to the end, then back to the video's first.

        Args:
            tokens: frame → (B, C).
        """
        first = min(tokens)
        bank: dict[str, dict[int, Output]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
        for frame in sorted(tokens):
            bank["cond_frame_outputs"][frame] = self._prompted(frame, tokens[frame])
        for frame in range(first, self.n_frames):
            yield self._follow(frame, bank, len(tokens[first]), reverse=False)
            if frame - self.reach > first + self.reach:  # going back, the first memories are read again
                bank["non_cond_frame_outputs"].pop(frame - self.reach, None)
        for frame in range(first - 1, -1, -1):
            yield self._follow(frame, bank, len(tokens[first]), reverse=True)
            bank["non_cond_frame_outputs"].pop(frame + self.reach, None)

    def _follow(self, frame: int, bank: dict[str, dict[int, Output]], count: int, *, reverse: bool) -> Followed:
        out = bank["cond_frame_outputs"].get(frame)
        if out is None:
            features = self._features(frame, count)
            out = self._kept(self._step(frame, features, bank, reverse=reverse, prompted=False))
            bank["non_cond_frame_outputs"][frame] = out
        return Followed(frame, out["pred_masks"][:, 0].float(), out["iou"])

    def _prompted(self, frame: int, token_BC: Tensor) -> Output:
        """A frame with a token: its mask knows no memory, and its memory is that of the enlarged logits."""
        features, model = self._features(frame, len(token_BC)), self.model
        with appended(model, token_BC):
            out = self._step(frame, features, {}, reverse=False, prompted=True)
        side = (model.image_size, model.image_size)
        memory, position = model._encode_new_memory(
            current_vision_feats=features[0],
            feat_sizes=features[2],
            pred_masks_high_res=F.interpolate(out["pred_masks"], size=side, mode="bilinear", align_corners=False),
            object_score_logits=out["object_score_logits"],
            is_mask_from_pts=True,
        )
        return self._kept({**out, "maskmem_features": memory, "maskmem_pos_enc": position})

    def _step(
        self, frame: int, features: tuple[Any, Any, Any], bank: dict[str, Any], *, reverse: bool, prompted: bool
    ) -> Output:
        with observed(self.model, self.object_score) as ious:
            out: Output = self.model.track_step(
                frame_idx=frame,
                is_init_cond_frame=prompted,
                current_vision_feats=features[0],
                current_vision_pos_embeds=features[1],
                feat_sizes=features[2],
                point_inputs=None,
                mask_inputs=None,
                output_dict=bank,
                num_frames=self.n_frames,
                track_in_reverse=reverse,
                run_mem_encoder=not prompted,
            )
        return {**out, "iou": ious[-1]}

    def _features(self, frame: int, count: int) -> tuple[Any, Any, Any]:
        """Features, positions and sizes of the levels, of one frame for `count` objects."""
        encoded = self.model.forward_image(self.pixels(frame))
        several = {
            name: [level.expand(count, -1, -1, -1) for level in encoded[name]]
            for name in ("backbone_fpn", "vision_pos_enc")
        }
        _, features, positions, sizes = self.model._prepare_backbone_features(several)
        return features, positions, sizes

    def _kept(self, out: Output) -> Output:
        """What later frames read of a frame, and its mask."""
        kept = ("maskmem_pos_enc", "pred_masks", "obj_ptr", "object_score_logits", "iou")
        return {
            **{name: out[name] for name in kept},
            "maskmem_features": out["maskmem_features"].to(torch.bfloat16),
        }


@contextmanager
def appended(model: SAM2VideoPredictor, token_BC: Tensor) -> Iterator[None]:
    """While it is open, the prompt encoder's sparse prompts end with a token."""

    def append(_module: Any, _arguments: Any, prompts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        sparse_BTC, dense = prompts
        return torch.cat([sparse_BTC, token_BC[:, None].to(sparse_BTC.dtype)], 1), dense

    with _hooked(model.sam_prompt_encoder, append):
        yield


@contextmanager
def observed(model: SAM2VideoPredictor, object_score: ObjectScore) -> Iterator[list[Tensor]]:
    """While it is open, collects the predicted IoU of the mask that the model chooses; with "forced" scores the object is
    there whatever the mask decoder says."""
    ious: list[Tensor] = []

    def watch(_module: Any, _arguments: Any, decoded: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        logits, iou_BM, token, score_B1 = decoded
        ious.append(iou_BM.max(-1).values.float())
        forced = torch.full_like(score_B1, PRESENT) if object_score == "forced" else score_B1
        return logits, iou_BM, token, forced

    with _hooked(model.sam_mask_decoder, watch):
        yield ious


@contextmanager
def _hooked(module: torch.nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    with ExitStack() as stack:
        stack.callback(module.register_forward_hook(hook).remove)
        yield
