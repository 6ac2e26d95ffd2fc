"""Frames that were chosen for each sentence beforehand: the file of `prompts.seg.chosen_frames`.

The layout is that of Q-Frame's selections as SaSaSa2VA reads them:
{video: {"selected_frames": {expression: [frame, …]}}}; a single number is one frame.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from stages.core.records import Video
from stages.prompting.seg.variants.variant import Chosen


def chosen_frames(file: str | None, video: Video, needed: int) -> dict[str, Chosen]:
    """Expression id → its frames, () where none were chosen.

    Args:
        needed: how many each sentence must have; 0 = any.

    Raises:
        ValueError: the file cannot be read, or has not what is needed; names it, video and expression.
    """
    said = {} if file is None else _document(file).get(video.id, {})
    per_sentence = said.get("selected_frames", {}) if isinstance(said, dict) else None
    if not isinstance(per_sentence, dict):
        raise ValueError(f"{file}: {video.id}: needs {{'selected_frames': {{expression: [frames]}}}}")
    return {e.id: _frames(f"{file}: {video.id}/{e.id}", per_sentence.get(e.id, []), needed) for e in video.expressions}


def _frames(where: str, said: Any, needed: int) -> Chosen:
    frames = [said] if isinstance(said, int) else said
    if not isinstance(frames, list) or not all(type(frame) is int and frame >= 0 for frame in frames):
        raise ValueError(f"{where}: {said!r} is not a list of frame indices")
    if needed and len(frames) != needed:
        raise ValueError(f"{where}: {len(frames)} frames are chosen, and the variant shows {needed}")
    return tuple(frames)


def _document(file: str) -> dict[str, Any]:
    try:
        return _read(file, Path(file).stat().st_mtime_ns)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: cannot be read as JSON ({error}); correct prompts.seg.chosen_frames") from error


@lru_cache(maxsize=2)
def _read(file: str, changed_ns: int) -> dict[str, Any]:
    raw = json.loads(Path(file).read_text("utf-8"))
    if not isinstance(raw, dict):
        raise ValueError("it needs an object of videos")
    return raw
