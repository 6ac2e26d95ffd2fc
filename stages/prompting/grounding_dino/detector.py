"""GroundingDINO (Liu et al., arXiv 2303.05499): boxes in a frame for a caption, through either of two backends.

Legend: N boxes, Q queries, T caption tokens, B pairs of a frame and a caption.

`transformers` (transformers_backend.py) and `groundingdino`, the authors' package (package_backend.py), run the
same weights; frames, captions, scores and phrases are handled here, so both give the same detections.

A caption is normalised as the published inference code does: lower case, stripped, ended with ".".
"." and "?" are the model's separators: words attend to each other only between two of them, so a
caption with dots inside is read as several independent phrases, and a box may match
words of any of them. A caption longer than the text limit loses its end, not its last "."; one without a
word is an error. The published code scores a box by its best token, [CLS], [SEP], "." and "?" included;
here these are never scored, in either backend: training gives them no box.

Pairs of a frame and a caption share what can be: the image backbone, which does not see the caption, runs once per
frame. The `transformers` backend also reads pairs together, up to `run.batches.pairs`. A result then
depends on the rest of its batch, but only in the last bits (1e-5); equal calls give equal bytes.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.core.run.batches import Batches
from stages.core.state.weights import Weights
from stages.prompting.grounding_dino.network import Caption, Network
from stages.prompting.grounding_dino.settings import GroundingDinoPrompts

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Detections:
    """What one caption matched in one frame, best first.

    Attributes:
        boxes_N4: float32, x0 y0 x1 y1 in pixels, clipped to the image.
        scores_N: float32 in 0..1, falling; the largest of a box's token scores.
        token_scores: of each box, the score of each caption token (words and pieces of words).
        phrases: of each box, its tokens above the text threshold, as text; "" where there is none.
    """

    boxes_N4: NDArray[np.float32]
    scores_N: NDArray[np.float32]
    token_scores: list[tuple[float, ...]]
    phrases: list[str]


class Detector(Protocol):
    def detect(self, frames: Sequence[NDArray[np.uint8]], captions: Sequence[str]) -> list[list[Detections]]:
        """Looks for every caption in every frame.

        Args:
            frames: uint8, height × width × 3, RGB.
            captions: sentences; one longer than the model's text length is cut, with a warning.

        Returns:
            One list per frame, with one `Detections` per caption.

        Raises:
            ValueError: a frame is not such an image, or a caption has no word.
        """
        ...


def load_detector(weights: Weights, settings: GroundingDinoPrompts, device: str, pairs: int) -> "GroundingDino":
    """Loads the detector with the backend of the settings; nothing is downloaded.

    Args:
        weights: a folder in the layout of the hub: config.json, preprocessor_config.json, a tokenizer, and
            model.safetensors or a published .pth file; either backend loads either.
        pairs: number of pairs of a frame and a caption read together (transformers backend).

    Raises:
        ValueError: the folder holds another kind of model, weights are missing or damaged, or the backend
            is not installed in a version it knows.
    """
    if settings.backend == "groundingdino":
        from stages.prompting.grounding_dino.package_backend import load_network as load_package

        network: Network = load_package(weights.path, device)
    else:
        from stages.prompting.grounding_dino.transformers_backend import load_network

        network = load_network(weights.path, device)
    _check_separators(weights, network.tokenizer)
    return GroundingDino(network, settings, pairs)


class GroundingDino:
    """The `Detector` over a network of either backend."""

    def __init__(self, network: Network, settings: GroundingDinoPrompts, pairs: int) -> None:
        self.network, self.settings, self.batches = network, settings, Batches(pairs, "pairs")
        self.tokenizer, self.max_tokens, self.device = network.tokenizer, network.max_tokens, network.device

    def detect(self, frames: Sequence[NDArray[np.uint8]], captions: Sequence[str]) -> list[list[Detections]]:
        texts = [self.encode(caption) for caption in captions]
        for frame in frames:
            _check_frame(frame)
        order = sorted(range(len(texts)), key=lambda c: len(texts[c].words_T))  # similar lengths need little padding
        detections: dict[tuple[int, int], Detections] = {}
        for start, size in _equal_sizes(frames):
            pairs = [(f, c) for f in range(size) for c in order]
            for (f, c), scored in self._in_batches(frames[start : start + size], texts, pairs):
                detections[start + f, c] = self._detections(*scored, texts[c], frames[start + f].shape[:2])
        return [[detections[f, c] for c in range(len(texts))] for f in range(len(frames))]

    def _in_batches(
        self, frames: Sequence[NDArray[np.uint8]], texts: Sequence[Caption], pairs: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[tuple[int, int], tuple["torch.Tensor", "torch.Tensor"]]]:
        """Each pair of a frame and a caption, with what `_scored` gives for it; the frames have one size."""
        images = [self.network.prepare(frame) for frame in frames]

        def compute(part: Sequence[tuple[int, int]]) -> list[tuple["torch.Tensor", "torch.Tensor"]]:
            return self._scored([images[f] for f, _ in part], [texts[c] for _, c in part])

        for part, scored in self.batches.run(pairs, compute):
            yield from zip(part, scored, strict=True)

    def encode(self, caption: str) -> Caption:
        """Normalises and tokenises a caption; raises ValueError where it has no word."""
        encoding = self.tokenizer(normalise(caption), add_special_tokens=True, verbose=False)
        ids = list(encoding["input_ids"])
        if len(ids) > self.max_tokens:
            log.warning(
                "caption %r has %d tokens; the detector reads %d: its end is cut", caption, len(ids), self.max_tokens
            )
            ids = ids[: self.max_tokens - 2] + ids[-2:]  # the closing "." and [SEP] stay
        separators = _separators()
        words_T = [i for i, token in enumerate(ids) if token not in separators]
        if not words_T:
            raise ValueError(f"caption {caption!r} has no word to look for: fix it in the data set's index")
        return Caption(_as_inputs(ids, self.device), words_T, [ids[i] for i in words_T])

    def _scored(self, images: Sequence[Any], texts: Sequence[Caption]) -> list[tuple["torch.Tensor", "torch.Tensor"]]:
        """Scores (Q, T) and boxes (Q, 4; cx cy w h in 0..1) of each pair, float32 on the CPU."""
        import torch

        half = self.device.startswith("cuda") and self.settings.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=half):
            logits_BQT, boxes_BQ4 = self.network.forward(images, texts)
        longest = max(text.words_T[-1] for text in texts) + 1
        scores_BQT, boxes_BQ4 = logits_BQT[..., :longest].float().sigmoid().cpu(), boxes_BQ4.float().cpu()
        pairs = [(scores_QT[:, text.words_T], b) for scores_QT, b, text in zip(scores_BQT, boxes_BQ4, texts)]
        if not all(scores_QT.isfinite().all() and boxes_Q4.isfinite().all() for scores_QT, boxes_Q4 in pairs):
            raise FloatingPointError("GroundingDINO gave scores or boxes that are not finite: are its weights damaged?")
        return pairs

    def _detections(
        self, scores_QT: "torch.Tensor", boxes_Q4: "torch.Tensor", text: Caption, size: tuple[int, int]
    ) -> Detections:
        scores_Q, order_Q = scores_QT.amax(1).sort(descending=True, stable=True)
        kept_N = order_Q[scores_Q > self.settings.box_threshold][: self.settings.max_boxes]
        token_scores = [tuple(row) for row in scores_QT[kept_N].tolist()]
        return Detections(
            boxes_N4=to_pixels(boxes_Q4[kept_N].numpy(), size),
            scores_N=scores_QT.amax(1)[kept_N].numpy(),
            token_scores=token_scores,
            phrases=[self._phrase(text, scores_T) for scores_T in token_scores],
        )

    def _phrase(self, text: Caption, scores_T: Sequence[float]) -> str:
        ids = [token for token, score in zip(text.ids_T, scores_T) if score > self.settings.text_threshold]
        return str(self.tokenizer.decode(ids)).strip() if ids else ""


def _check_frame(frame: NDArray[np.uint8]) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"a frame is uint8, height × width × 3; found {frame.dtype}, {frame.shape}")


def _equal_sizes(frames: Sequence[NDArray[np.uint8]]) -> list[tuple[int, int]]:
    """Start and length of each run of frames of one size."""
    ends = [i for i in range(1, len(frames) + 1) if i == len(frames) or frames[i].shape != frames[i - 1].shape]
    return [(start, end - start) for start, end in zip([0, *ends], ends)]


def normalise(caption: str) -> str:
    """Lower case, stripped, ended with "." (`preprocess_caption` of the published code)."""
    caption = caption.lower().strip()
    return caption if caption.endswith(".") else caption + "."


def to_pixels(boxes_N4: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """cx cy w h in 0..1 → x0 y0 x1 y1 in pixels, clipped to an image of `size` = (height, width)."""
    height, width = size
    centre_N2, half_N2 = boxes_N4[:, :2], boxes_N4[:, 2:] / 2
    corners_N4 = np.concatenate([centre_N2 - half_N2, centre_N2 + half_N2], axis=1)
    limit_4 = np.array([width, height, width, height], np.float32)
    return np.clip(corners_N4 * limit_4, 0, limit_4).astype(np.float32)


def _separators() -> list[int]:
    """Ids of [CLS], [SEP], "." and "?", which the model's code names by number."""
    from transformers.models.grounding_dino.modeling_grounding_dino import SPECIAL_TOKENS

    return list(SPECIAL_TOKENS)


def _check_separators(weights: Weights, tokenizer: Any) -> None:
    ids = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]", ".", "?"])
    if ids != _separators():
        raise ValueError(
            f"{weights.path}: its tokenizer has the ids {ids} for [CLS] [SEP] . ?, the model's code wants "
            f"{_separators()}: fetch the tokenizer that belongs to the weights"
        )


def _as_inputs(ids: list[int], device: str) -> dict[str, "torch.Tensor"]:
    import torch

    input_ids = torch.tensor([ids], device=device)
    return {
        "input_ids": input_ids,
        "token_type_ids": torch.zeros_like(input_ids),
        "attention_mask": torch.ones_like(input_ids),
    }
