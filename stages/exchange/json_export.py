"""Predictions as JSON: YouTube-VIS results (an entry per expression) and COCO results (an entry per frame).

Both are the lists that their evaluation tools load (`COCO.loadRes`, YTVIS `loadRes`), with the sentence as
an extra key: `expression_id` names it, and every object is of category 1.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.media import masks
from stages.core.records import Rle, Split, Video
from stages.core.state.cache import atomic_path
from stages.core.state.frames import open_frames
from stages.core.state.graph import Layout
from stages.exchange.predictions import read_predictions

CATEGORY = 1
# Protocols that score samples of one frame each instead of videos.
FRAME_SAMPLES: Mapping[str, str] = {"a2d": "v_{video}_f_{frame}_i_{instance}", "jhmdb": "v_{video}_f_{frame}"}

Document = Mapping[str, Any]


def ytvis_results(layout: Layout, split: Split, videos: Iterable[Video]) -> Iterator[Document]:
    """An entry per expression: `segmentations` holds an RLE per frame, null where it is empty."""
    for video in videos:
        for prediction in read_predictions(layout, video, open_frames(layout, video.id)):
            yield {
                "video_id": video.id,
                "expression_id": prediction.expression,
                "category_id": CATEGORY,
                "score": prediction.score,
                "segmentations": [_rle_or_none(rle) for rle in prediction.rles_T],
            }


def coco_results(layout: Layout, split: Split, videos: Iterable[Video]) -> Iterator[Document]:
    """An entry per frame and expression where the object is visible; `image_id` is the name the set's evaluators use.

    A frame without the object has no entry. For sets that score single frames, only those frames are given.
    """
    for video in videos:
        frames = open_frames(layout, video.id)
        samples = _samples(split, video)
        for prediction in read_predictions(layout, video, frames):
            indices = samples.get(prediction.expression, range(len(frames)))
            for index in indices:
                segmentation = _rle_or_none(prediction.rles_T[index])
                if segmentation is not None:
                    yield {
                        "image_id": image_id(split.protocol, video.id, prediction.expression, index, frames.names),
                        "video_id": video.id,
                        "expression_id": prediction.expression,
                        "frame": frames.names[index],
                        "category_id": CATEGORY,
                        "score": prediction.score,
                        "segmentation": segmentation,
                    }


def _samples(split: Split, video: Video) -> dict[str, list[int]]:
    """Expression → its scored frames, for sets of frame samples: those in which the annotators saw the object."""
    if split.protocol not in FRAME_SAMPLES:
        return {}
    annotations, scored = split.annotations(video), split.scored_frames(video)
    samples = {}
    for expression in video.expressions:
        masks_T = annotations[expression.annotations[0]] if expression.annotations else ()
        frames = range(len(masks_T)) if scored is None else scored
        samples[expression.id] = [index for index in frames if masks_T and masks_T[index] is not None]
    return samples


def image_id(protocol: str, video: str, expression: str, index: int, names: Sequence[str]) -> str:
    """The name of one sample: the published ones of A2D and JHMDB, which count frames from 1, else
    <video>/<expression>/<frame>. An expression of A2D goes by its instance's id."""
    if protocol in FRAME_SAMPLES:
        return FRAME_SAMPLES[protocol].format(video=video, frame=index + 1, instance=expression)
    return f"{video}/{expression}/{names[index]}"


def write_results(target: Path, entries: Iterable[Document]) -> int:
    """Writes entries into a JSON list as they come, one per line; returns how many."""
    count = 0
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("[")
        for entry in entries:
            file.write(",\n" if count else "\n")
            file.write(json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
            count += 1
        file.write("\n]\n")
    return count


RESULTS: Mapping[str, Callable[[Layout, Split, Iterable[Video]], Iterator[Document]]] = {
    "coco": coco_results,
    "ytvis": ytvis_results,
}


def _rle_or_none(rle: Rle) -> dict[str, Any] | None:
    if not masks.area([rle])[0]:
        return None
    return {"size": list(rle["size"]), "counts": rle["counts"]}
