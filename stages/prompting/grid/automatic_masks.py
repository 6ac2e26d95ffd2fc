"""Segment Anything's automatic masks (arXiv 2304.02643, appendix B) with SAM2: a grid of points over one image.

The same masks as the sam2 package's generator, computed in another order: a mask is dropped as soon as possible, by
predicted IoU before it is decoded, by stability and box before it is enlarged, and only what non-maximum
suppression keeps is encoded, straight from low resolution.

Legend: P points, S remaining masks, h × w low resolution, H × W the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from sam2.modeling.sam2_base import SAM2Base
from sam2.utils.amg import build_point_grid, remove_small_regions
from torchvision.ops import nms

from stages.core.media import masks
from stages.core.records import Rle
from stages.core.run.batches import Batches
from stages.prompting.grid.logit_masks import encode, measure
from stages.prompting.grid.point_decoder import ImageSide, PointDecoder
from stages.prompting.grid.settings import GridPrompts
from stages.tracking.sam2_model import autocast, cast_weights, image_predictor

# More points at once do not fit a processor's caches; fewer of small images make its products slow.
CPU_POINTS, CPU_PIXELS = 8, 8 * 16 * 16


@dataclass(frozen=True)
class AutomaticMask:
    """A mask at the size of the image, its predicted IoU and its stability (nan where it is undefined)."""

    rle: Rle
    predicted_iou: float
    stability: float


@dataclass(frozen=True)
class _Candidates:
    logits_Shw: torch.Tensor
    iou_S: torch.Tensor
    stability_S: torch.Tensor
    boxes_S4: torch.Tensor

    def __getitem__(self, kept: torch.Tensor) -> "_Candidates":
        return _Candidates(*(value[kept] for value in vars(self).values()))


class AutomaticMasks:
    """The generator, for any image size; small regions are cleaned on every machine.

    The package cleans with a CUDA extension and, where that is not built, silently does not; its older method
    (OpenCV, then non-maximum suppression again) runs everywhere.

    Args:
        model: is taken over: its weights are in the precision of the settings afterwards.
        points: number of a frame's points decoded together (`run.batches.points`).
    """

    def __init__(self, model: SAM2Base, settings: GridPrompts, points: int) -> None:
        self._predictor, self._decoder = image_predictor(model), PointDecoder(model)
        cast_weights(model, settings.precision)
        self._settings = settings
        self._device = self._predictor.device
        rows, columns = model.sam_prompt_encoder.image_embedding_size
        most = max(CPU_POINTS, CPU_PIXELS // (rows * columns))
        self.batches = Batches(min(points, most) if self._device.type == "cpu" else points, "points")

    @torch.inference_mode()
    def generate(self, image_HW3: NDArray[np.uint8]) -> list[AutomaticMask]:
        """The masks of an image (uint8, RGB) by falling predicted IoU; an empty one may be among them."""
        size = (image_HW3.shape[0], image_HW3.shape[1])
        with autocast(self._device.type, self._settings.precision):
            self._predictor.set_image(image_HW3)
            image = self._decoder.image_side(self._predictor._features)
            points_P2 = self._points(size)

            def compute(part: Sequence[int]) -> _Candidates:
                return self._candidates(image, points_P2[part[0] : part[-1] + 1], size)

            parts = [candidates for _, candidates in self.batches.run(range(len(points_P2)), compute)]
        self._predictor.reset_predictor()
        merged = _Candidates(*(torch.cat(values) for values in zip(*(vars(part).values() for part in parts))))
        merged = merged[nms(merged.boxes_S4.float(), merged.iou_S, self._settings.box_nms_thresh)]
        rles = encode(merged.logits_Shw, size)
        generated = [AutomaticMask(*mask) for mask in zip(rles, merged.iou_S.tolist(), merged.stability_S.tolist())]
        return self._cleaned(generated) if self._settings.min_mask_region_area > 0 else generated

    def _points(self, size: tuple[int, int]) -> torch.Tensor:
        """The grid, row by row, as (P, 2) x y in pixels of the model's input."""
        grid_P2 = build_point_grid(self._settings.points_per_side) * np.array(size)[::-1]
        points_P2 = torch.as_tensor(grid_P2, dtype=torch.float32, device=self._device)
        scaled_P2: torch.Tensor = self._predictor._transforms.transform_coords(points_P2, normalize=True, orig_hw=size)
        return scaled_P2

    def _candidates(self, image: ImageSide, points_P2: torch.Tensor, size: tuple[int, int]) -> _Candidates:
        """Masks of some points that pass the thresholds, before suppression."""
        decoded = self._decoder.decode(image, points_P2, self._settings.pred_iou_thresh)
        measures = measure(decoded.logits_Shw, size, self._settings.stability_score_offset)
        candidates = _Candidates(decoded.logits_Shw, decoded.iou_S, measures.stability_N, measures.boxes_N4)
        least = self._settings.stability_score_thresh
        return candidates[candidates.stability_S >= least] if least > 0 else candidates

    def _cleaned(self, generated: list[AutomaticMask]) -> list[AutomaticMask]:
        """Small holes filled, small islands removed and duplicates suppressed again, preferring unchanged masks."""
        rles = [without_small_regions(mask.rle, self._settings.min_mask_region_area) for mask in generated]
        unchanged = torch.tensor([float(rle == mask.rle) for rle, mask in zip(rles, generated)])
        edges_S4 = masks.boxes(rles).astype(np.float32)
        edges_S4[:, 2:] = np.maximum(edges_S4[:, 2:] - 1, 0)  # inclusive, as the package's
        kept = nms(torch.from_numpy(edges_S4), unchanged, self._settings.box_nms_thresh)
        return [replace(generated[i], rle=rles[i]) for i in kept.tolist()]


def without_small_regions(rle: Rle, area: int) -> Rle:
    """The mask without holes and islands below `area` pixels; of a mask of small islands the largest stays."""
    mask_HW = masks.decode(rle)
    for what in ("holes", "islands"):
        mask_HW, _ = remove_small_regions(mask_HW, area, what)
    return masks.encode(mask_HW)
