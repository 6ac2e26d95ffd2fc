"""Writes the data set in the layout of MeViS v2 (see `stages.datasets.mevis`).

A video depends on the seed and on its own id alone, so that a larger data set begins with the smaller one.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from stages.core import masks
from stages.core.cache import canonical_json
from stages.datasets.shapes.draw import draw_frames, visible_masks
from stages.datasets.shapes.grammar import Sentence, sample_sentences
from stages.datasets.shapes.motion import Generator
from stages.datasets.shapes.sample import sample_scene
from stages.datasets.shapes.scene import Scene

log = logging.getLogger(__name__)

VERSION = 1  # of the generator: raise it when the same parameters give other clips
STAMP = "shapes.json"
WITHOUT_TRUTH = ("valid",)  # as in MeViS, whose ground truth of this split lies on a server
JPEG_QUALITY = 95
MASKS_A_VIDEO = 10  # annotation ids of a video start at its number times this


@dataclass(frozen=True)
class Parameters:
    """What decides every byte: the seed and the number of videos of each split."""

    seed: int
    counts: Mapping[str, int]

    def stamp(self) -> dict[str, Any]:
        return {"generator": VERSION, **asdict(self)}


def make_data_set(root: Path, parameters: Parameters) -> bool:
    """Brings `root` to hold the data set; it is complete or untouched, never in between.

    Returns:
        Whether it was made; False = it was there already, made with the same parameters.

    Raises:
        ValueError: the folder holds something that this generator did not make.
    """
    root = root.resolve()
    found = _read_stamp(root)
    if found == parameters.stamp():
        return False
    if found is None and root.exists() and any(root.iterdir()):
        raise ValueError(f"{root}: holds files that make_shapes did not make; move them, or set another root")
    temporary, old = (root.with_name(f".{root.name}.{os.getpid()}.{kind}") for kind in ("new", "old"))
    try:
        for split, count in parameters.counts.items():
            write_split(temporary / split, split, count, parameters.seed)
        (temporary / STAMP).write_text(json.dumps(parameters.stamp(), indent=1) + "\n", encoding="utf-8")
        if root.exists():
            log.info("%s: made with other parameters, replaced: %s", root, found)
            root.rename(old)
        temporary.rename(root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return True


def write_split(folder: Path, split: str, count: int, seed: int) -> None:
    """Writes one split: frames, meta_expressions.json and, where it has ground truth, mask_dict.json."""
    with_truth = split not in WITHOUT_TRUTH
    index: dict[str, Any] = {}
    annotations: dict[str, Any] = {}
    for number in tqdm(range(count), desc=f"make_shapes {split}", unit="video"):
        video = f"{split}_{number:04d}"
        scene, sentences = make_clip(seed, video)
        first = number * MASKS_A_VIDEO
        masks_NTHW, _ = visible_masks(scene.things)
        index[video] = _entry(number, scene, sentences, first if with_truth else None)
        annotations |= {str(first + i): [_rle(mask) for mask in masks_THW] for i, masks_THW in enumerate(masks_NTHW)}
        frames_THW3 = draw_frames(_stream(seed, f"{video}/texture"), scene.things, masks_NTHW)
        _write_frames(folder / "JPEGImages" / video, frames_THW3)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": index}, indent=1), encoding="utf-8")
    if with_truth:
        (folder / "mask_dict.json").write_text(json.dumps(annotations), encoding="utf-8")


def make_clip(seed: int, video: str) -> tuple[Scene, list[Sentence]]:
    """The scene of a video and 3 to 5 sentences about it."""
    rng = _stream(seed, video)
    while True:
        scene = sample_scene(rng)
        sentences = sample_sentences(rng, scene)
        if len(sentences) >= 3:
            return scene, sentences


def content_digest(folder: Path) -> str:
    """16 hex digits over the index and the masks of a split: what is the same on every machine."""
    files = [folder / "meta_expressions.json", folder / "mask_dict.json"]
    content = [json.loads(file.read_text(encoding="utf-8")) if file.exists() else None for file in files]
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


def _entry(number: int, scene: Scene, sentences: list[Sentence], first: int | None) -> dict[str, Any]:
    """A video's entry in the index; `first` is the annotation id of its first object, None without truth."""
    expressions: dict[str, dict[str, Any]] = {str(i): {"exp": sentence.text} for i, sentence in enumerate(sentences)}
    if first is not None:
        for expression, sentence in zip(expressions.values(), sentences):
            expression |= {"obj_id": [*sentence.referred], "anno_id": [first + i for i in sentence.referred]}
    frames = [f"{t:05d}" for t in range(scene.n_frames)]
    return {"vid_id": number, "frames": frames, "expressions": expressions}


def _rle(mask_HW: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any] | None:
    if not mask_HW.any():
        return None
    rle = masks.encode(mask_HW)
    return {"size": list(rle["size"]), "counts": rle["counts"]}


def _write_frames(folder: Path, frames_THW3: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for t, frame_HW3 in enumerate(frames_THW3):
        Image.fromarray(frame_HW3).save(folder / f"{t:05d}.jpg", quality=JPEG_QUALITY, subsampling=0)


def _stream(seed: int, name: str) -> Generator:
    """A random stream of its own for every name."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16]))


def _read_stamp(root: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads((root / STAMP).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{root / STAMP}: damaged ({error}); delete the folder to make it again") from error
