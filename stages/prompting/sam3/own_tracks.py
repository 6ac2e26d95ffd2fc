"""SAM3's own tracks of a video, for several concepts at once, in chunks whose memory ends with them.

Each concept has a session of its own, since tracks of several in one session never associate; all sessions see a frame
before the next one is read, and share its features. Suppression is ours (suppression.py), and holes are left as they are:
transformers would download and run compiled code for either, and without it does neither.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from stages.core.media import masks
from stages.core.run import progress
from stages.core.state.frames import FrameFolder
from stages.prompting.sam3.chunks import Track, chunks_of, join, without_doubles
from stages.prompting.sam3.network import Sam3Network, Words
from stages.prompting.sam3.suppression import kept_masks

K = TypeVar("K")
ONLY = 0  # id of a session's one concept


class OwnTracker:
    """A Sam3VideoModel around a network.

    Args:
        model: it is changed: thresholds are the config's, and what several sessions compute alike is shared.
    """

    def __init__(self, model: Any, network: Sam3Network) -> None:
        self.model, self.network, self.settings = model, network, network.settings
        model.score_threshold_detection = self.settings.score_threshold
        model.new_det_thresh = self.settings.own.new_threshold
        model.det_nms_thresh, model.fill_hole_area = 0.0, 0
        detect = model.run_detection
        model.run_detection = lambda *arguments, **named: self.suppress(detect(*arguments, **named))
        self._features = OncePerFrame(model.detector_model.get_vision_features)
        self._memories = OncePerFrame(model.get_vision_features_for_tracker)
        model.detector_model.get_vision_features = self._features
        model.get_vision_features_for_tracker = self._memories

    @torch.inference_mode()
    def tracks(self, frames: FrameFolder, concepts: Mapping[K, Words]) -> dict[K, list[Track]]:
        """The tracks of each concept through the video, in the order in which they begin."""
        tracks: dict[K, list[Track]] = {key: [] for key in concepts}
        own, end = self.settings.own, 0
        for chunk in progress.steps(chunks_of(len(frames), own.chunk, own.overlap) if concepts else []):
            for key, found in self._chunk(frames, chunk, concepts).items():
                tracks[key] = join(tracks[key], found, range(chunk.start, end), own.join_iou)
            end = chunk.stop
        return {key: without_doubles(of_concept, own.join_iou) for key, of_concept in tracks.items()}

    def _chunk(self, frames: FrameFolder, chunk: range, concepts: Mapping[K, Words]) -> dict[K, list[Track]]:
        shown = Shown(len(chunk))
        sessions = {key: Session(self, words, shown, frames.size) for key, words in concepts.items()}
        for at, frame in enumerate(chunk):
            shown.show(at, self.network.pixels(frames.load(frame))[0])
            self._features.forget()
            self._memories.forget()
            for session in sessions.values():
                session.step(at)
        self._features.forget()
        self._memories.forget()
        return {key: session.finish(chunk.start) for key, session in sessions.items()}

    def suppress(self, detections: dict[int, dict[str, torch.Tensor]]) -> dict[int, dict[str, torch.Tensor]]:
        """What transformers detects in a frame, by concept, without doubles."""
        for found in detections.values():
            chosen = kept_masks(found["mask"] > 0, found["scores"], self.settings.nms_iou)
            rows = torch.tensor(sorted(chosen[: self.settings.max_instances]), dtype=torch.long)
            for name, values in found.items():
                found[name] = values[rows.to(values.device)]
        return detections


class Session:
    """One concept's session of one chunk; what it remembers goes with it."""

    def __init__(self, tracker: OwnTracker, words: Words, shown: "Shown", size: tuple[int, int]) -> None:
        from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

        self._tracker, model = tracker, tracker.model
        self._state = Sam3VideoInferenceSession(
            video_height=size[0],
            video_width=size[1],
            inference_device=model.device,
            inference_state_device=model.device,
            video_storage_device=model.device,
            dtype=model.dtype,
        )
        self._state.processed_frames = shown
        self._prompt(words)
        self._waiting: deque[Any] = deque()
        self._tracks: dict[int, Track] = {}

    def _prompt(self, words: Words) -> None:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        assert self._state.add_prompt("") == ONLY
        self._state.prompt_embeddings[ONLY] = BaseModelOutputWithPooling(pooler_output=words.vectors_LC[None])
        self._state.prompt_attention_masks[ONLY] = words.valid_L[None].long()

    def step(self, at: int) -> None:
        """Follows into the next frame. A track that soon proves wrong is never given out: masks wait for that long."""
        output = self._tracker.model(inference_session=self._state, frame_idx=at)
        self._trim(at)
        self._state.hotstart_removed_obj_ids.update(output.removed_obj_ids)
        self._waiting.append(output)
        if len(self._waiting) > max(0, self._tracker.model.hotstart_delay - 1):
            self._take(self._waiting.popleft())

    def _trim(self, at: int) -> None:
        """Drops masks at the model's input size, the most of what it keeps: none of them is read after its frame."""
        for outputs in self._state.output_dict_per_obj.values():
            for stored in outputs.values():
                stored.get(at, {}).pop("high_res_masks", None)

    def finish(self, start: int) -> list[Track]:
        """The chunk's tracks, in frames of the video."""
        while self._waiting:
            self._take(self._waiting.popleft())
        removed = self._state.hotstart_removed_obj_ids
        kept = [track for identity, track in sorted(self._tracks.items()) if identity not in removed]
        for track in kept:
            track.masks = {start + at: rle for at, rle in track.masks.items()}
        return kept

    def _take(self, output: Any) -> None:
        found = self._tracker.network.processor.postprocess_outputs(self._state, output)
        rles = masks.encode_all(_bool(found["masks"]))
        seen = masks.area(rles) > 0  # where tracks overlap, one of them has the pixels: some have none left
        for n in np.flatnonzero(seen).tolist():
            track = self._tracks.setdefault(int(found["object_ids"][n]), Track())
            track.masks[output.frame_idx] = rles[n]
            track.score = max(track.score, float(found["scores"][n]))


class Shown:
    """The frames of a chunk as a session asks for them: one at a time."""

    def __init__(self, length: int) -> None:
        self._length, self._at = length, -1
        self._pixels: torch.Tensor | None = None

    def show(self, at: int, pixels_3SS: torch.Tensor) -> None:
        self._at, self._pixels = at, pixels_3SS

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, at: int) -> torch.Tensor:
        assert at == self._at and self._pixels is not None, "sessions see a frame together"
        return self._pixels


class OncePerFrame:
    """A method whose result is the same for every session of a frame."""

    def __init__(self, compute: Any) -> None:
        self._compute, self._known = compute, None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self._known is None:
            self._known = self._compute(*arguments, **named)
        return self._known

    def forget(self) -> None:
        self._known = None


def _bool(masks_NHW: torch.Tensor) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = masks_NHW.cpu().numpy().astype(bool)
    return found
