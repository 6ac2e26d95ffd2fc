"""Long videos of the same world, in the layout of Long-RVOS (see `stages.datasets.long_rvos`).

    <root>/<split>/JPEGImages/<video>/*.jpg
    <root>/<split>/Annotations/<video>/<obj_id>/*.png   255 = object; no file where nothing of it is visible
    <root>/<split>/meta_expressions.json                also "kind" and "motion" of every expression
    <root>/<split>/scenes.json                          what was drawn

A long video is a scene of 40 frames that takes its time: frames are put between its own, so that what is said of it stays
true and nothing is decided before late. In each, something that a sentence refers to is out of the picture for a sixth of the
video or more, and comes back. Every sentence refers to one object, as in Long-RVOS.

Legend: T frames, K frames of the scene before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.core.run.progress import Progress, steps
from stages.worlds.shapes.clip import draw_clip
from stages.worlds.shapes.facts import facts_of
from stages.worlds.shapes.grammar import Sentence, sample_sentences
from stages.worlds.shapes.meaning import Looks
from stages.worlds.shapes.sample import sample_scene
from stages.worlds.shapes.scene import Float, Scene, rounded
from stages.worlds.shapes.write import (
    FEWEST_SENTENCES,
    SIZES,
    Parameters,
    mapped,
    scene_record,
    stream,
    write_frames,
    write_json,
)

DRAWN_FROM = 40  # frames of the scene that is stretched
SENTENCES = (7, 10)  # of which those of one object are kept
AWAY = 1 / 6  # of the video


@dataclass(frozen=True)
class LongParameters(Parameters):
    """Also how many frames the videos of a split have; after the last length the first comes again."""

    frames: tuple[int, ...]

    def write(self, folder: Path, split: str, count: int, n_jobs: int) -> None:
        make = partial(_make_video, folder, split, self.seed, self.frames)
        with Progress(f"make_shapes {split}", count) as progress, progress.item(count):
            videos = list(steps(mapped(make, count, n_jobs), count))
        write_json(folder / "meta_expressions.json", {"videos": {name: entry for name, entry, _ in videos}}, indent=1)
        write_json(folder / "scenes.json", {name: record for name, _, record in videos})


def make_long_scene(seed: int, video: str, n_frames: int) -> tuple[Scene, list[Sentence]]:
    """The scene of a long video, and sentences about one object each."""
    rng = stream(seed, video)
    while True:
        scene = sample_scene(rng, DRAWN_FROM, SIZES[int(rng.integers(len(SIZES)))])
        back = {i for i, found in enumerate(facts_of(scene).objects) if comes_back(found.gone_T)}
        if not back:
            continue
        sentences = [s for s in sample_sentences(rng, scene, SENTENCES) if len(s.referred) == 1]
        if len(sentences) >= FEWEST_SENTENCES and any(s.referred[0] in back for s in sentences):
            return stretched(scene, n_frames), sentences


def comes_back(gone_T: NDArray[np.bool_]) -> bool:
    """Whether something is out of the picture for long, and is in it before and after."""
    spans = [(gone, len(list(span))) for gone, span in groupby(gone_T.tolist())]
    return any(gone and length >= AWAY * len(gone_T) for gone, length in spans[1:-1])


def stretched(scene: Scene, n_frames: int) -> Scene:
    """The same in more frames: what moves goes straight from one of its places to the next."""
    at_T = np.linspace(0, scene.n_frames - 1, n_frames)

    def between(values_K: Float) -> Float:
        return np.interp(at_T, np.arange(scene.n_frames), values_K)

    def path(path_K2: Float) -> Float:
        return rounded(np.stack([between(path_K2[:, axis]) for axis in (0, 1)], 1))

    things = tuple(
        replace(
            thing,
            path_T2=path(thing.path_T2),
            radius_T=rounded(between(thing.radius_T)),
            angle_T=between(thing.angle_T),
        )
        for thing in scene.things
    )
    return replace(scene, things=things, camera_T2=path(scene.camera_T2))


def _make_video(
    folder: Path, split: str, seed: int, lengths: Sequence[int], number: int
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Writes frames and masks of a video; its name, and its entries in the two files of the split."""
    video = f"{split}_{number:04d}"
    scene, sentences = make_long_scene(seed, video, lengths[number % len(lengths)])
    clip = draw_clip(stream(seed, f"{video}/pixels"), scene)
    write_frames(folder / "JPEGImages" / video, clip.frames_THW3)
    for i in sorted({sentence.referred[0] for sentence in sentences}):
        _write_masks(folder / "Annotations" / video / object_id(i), clip.masks_NTHW[i])
    frames = [f"{t:05d}" for t in range(scene.n_frames)]
    expressions = {str(i): _said(sentence) for i, sentence in enumerate(sentences)}
    return video, {"frames": frames, "expressions": expressions}, scene_record(clip, sentences)


def object_id(thing: int) -> str:
    """Numbers of objects begin at 1."""
    return str(thing + 1)


def _write_masks(folder: Path, masks_THW: NDArray[np.bool_]) -> None:
    folder.mkdir(parents=True)
    for t, mask_HW in enumerate(masks_THW):
        if mask_HW.any():
            Image.fromarray(mask_HW.astype(np.uint8) * 255).save(folder / f"{t:05d}.png")


def _said(sentence: Sentence) -> dict[str, Any]:
    """Long-RVOS tells sentences of looks (static), of motion (dynamic) and of both apart."""
    looks = any(part.looks != Looks(shape=part.looks.shape) for part in sentence.parts)
    kind = "static" if not sentence.motion else "hybrid" if looks else "dynamic"
    entry = {"exp": sentence.text, "obj_id": object_id(sentence.referred[0]), "type": kind}
    return {**entry, "kind": sentence.kind, "motion": sentence.motion}
