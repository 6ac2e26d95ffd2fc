"""Writes the data set in the layout of MeViS v2 (see `stages.datasets.mevis`), with a few more keys.

    <root>/shapes.json                         what it was made with; it exists when all else does
    <root>/<split>/JPEGImages/<video>/*.jpg
    <root>/<split>/meta_expressions.json       also "kind" and "motion" of every expression, and "statements" of train
    <root>/<split>/mask_dict.json              not of valid, nor the next
    <root>/<split>/scenes.json                 what was drawn: for probes and training, never for evaluation

A video depends only on the seed and on its id, so a larger data set begins with the smaller one.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.core.digests import canonical_json
from stages.core.media import masks
from stages.core.run.progress import Progress, steps
from stages.worlds.shapes.clip import Clip, draw_clip
from stages.worlds.shapes.grammar import Sentence, sample_sentences
from stages.worlds.shapes.sample import sample_scene
from stages.worlds.shapes.scene import Float, Generator, Scene, Size
from stages.worlds.shapes.statements import sample_statements

log = logging.getLogger(__name__)

VERSION = 4  # of the generator: raise it when the same parameters give other clips
STAMP = "shapes.json"
TWIN = ".shapes.json"  # a copy: Snakemake deletes the first, a declared output, before it calls us
WITH_STATEMENTS = ("train",)
WITHOUT_TRUTH = ("valid",)  # as in MeViS, whose ground truth of this split is kept on a server
SIZES: tuple[Size, ...] = ((128, 128), (128, 160))
FRAMES = (16, 40)
JPEG_QUALITY = 92
MASKS_PER_VIDEO = 10  # annotation ids of a video start at its number times this
FEWEST_SENTENCES = 4
SENTENCES = (4, 7)  # per video
TRAIN_SENTENCES = (14, 20)  # as many as in MeViS: they need no more tracks, and a selector learns from every one


@dataclass(frozen=True)
class Parameters:
    """What decides every byte: the seed and the number of videos of each split."""

    seed: int
    counts: Mapping[str, int]

    def stamp(self) -> dict[str, Any]:
        """As it is read from a file."""
        return dict(json.loads(json.dumps({"generator": VERSION, **asdict(self)})))

    def write(self, folder: Path, split: str, count: int, n_jobs: int) -> None:
        """Writes one split."""
        write_split(folder, split, count, self.seed, n_jobs)


@dataclass(frozen=True)
class Made:
    """What a worker returns for a video: its entries in the three files of a split."""

    video: str
    entry: dict[str, Any]
    masks: dict[str, Any]
    scene: dict[str, Any]


def make_data_set(root: Path, parameters: Parameters, n_jobs: int = 1) -> bool:
    """Makes the data set in `root`, completely or not at all.

    Args:
        n_jobs: number of processes; it does not change what is drawn.

    Returns:
        Whether it was made; False = it was there already, made with the same parameters.

    Raises:
        ValueError: the folder holds something that this generator did not make.
    """
    root = root.resolve()
    stamp = read_stamp(root)
    if stamp == parameters.stamp():
        if not (root / STAMP).exists():
            write_json(root / STAMP, stamp, indent=1)
        return False
    if stamp is None and root.exists() and any(root.iterdir()):
        raise ValueError(f"{root}: holds files that make_shapes did not make; move them, or set another root")
    temporary, old = (root.with_name(f".{root.name}.{os.getpid()}.{kind}") for kind in ("new", "old"))
    try:
        for split, count in parameters.counts.items():
            parameters.write(temporary / split, split, count, n_jobs)
        for name in (STAMP, TWIN):
            write_json(temporary / name, parameters.stamp(), indent=1)
        if root.exists():
            if stamp is not None:
                log.info("%s: was made with other parameters (%s), and is replaced", root, stamp)
            root.rename(old)
        temporary.rename(root)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return True


def write_split(folder: Path, split: str, count: int, seed: int, n_jobs: int = 1) -> None:
    """Writes one split: frames and index, and masks and scenes where it has ground truth."""
    with_truth = split not in WITHOUT_TRUTH
    make = partial(_make_video, folder / "JPEGImages", split, seed)
    with Progress(f"make_shapes {split}", count) as progress, progress.item(count):
        videos = list(steps(mapped(make, count, n_jobs), count))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "meta_expressions.json", {"videos": {one.video: one.entry for one in videos}}, indent=1)
    if with_truth:
        write_json(folder / "mask_dict.json", {key: rles for one in videos for key, rles in one.masks.items()})
        write_json(folder / "scenes.json", {one.video: one.scene for one in videos})


def mapped(make: Any, count: int, n_jobs: int) -> Iterator[Any]:
    """In order, by several processes if `n_jobs` > 1."""
    with ExitStack() as stack:
        if n_jobs == 1:
            yield from map(make, range(count))
        else:  # never forked: libraries that the parent has loaded may hold threads and locks
            pool = stack.enter_context(ProcessPoolExecutor(n_jobs, mp_context=get_context("spawn")))
            yield from pool.map(make, range(count), chunksize=4)


def _make_video(images: Path, split: str, seed: int, number: int) -> Made:
    video = f"{split}_{number:04d}"
    scene, sentences = make_scene(seed, video)
    statements = make_statements(seed, video, scene, sentences) if split in WITH_STATEMENTS else []
    clip = draw_clip(stream(seed, f"{video}/pixels"), scene)
    write_frames(images / video, clip.frames_THW3)
    first, with_truth = number * MASKS_PER_VIDEO, split not in WITHOUT_TRUTH
    rles = {str(first + i): [_rle(mask) for mask in masks_THW] for i, masks_THW in enumerate(clip.masks_NTHW)}
    entry = _entry(number, scene, sentences, statements, first if with_truth else None)
    return Made(video, entry, rles, scene_record(clip, sentences))


def make_scene(seed: int, video: str) -> tuple[Scene, list[Sentence]]:
    """The scene of a video and the sentences about it, more of them in training splits."""
    rng = stream(seed, video)
    number = TRAIN_SENTENCES if video.startswith("train_") else SENTENCES
    while True:
        scene = sample_scene(rng, _n_frames(rng), SIZES[int(rng.integers(len(SIZES)))])
        sentences = sample_sentences(rng, scene, number)
        if len(sentences) >= FEWEST_SENTENCES:
            return scene, sentences


def make_statements(seed: int, video: str, scene: Scene, sentences: list[Sentence]) -> list[Sentence]:
    """Statements about a video, true ones of what its sentences refer to: tracks are labelled by nothing else."""
    rng = stream(seed, f"{video}/statements")
    elsewhere = sample_scene(rng, _n_frames(rng), SIZES[int(rng.integers(len(SIZES)))])
    about = {i for sentence in sentences for i in sentence.referred}
    return sample_statements(rng, scene, elsewhere, about=about)


def _n_frames(rng: Generator) -> int:
    """16 to 40, on average 22: long clips are rarer."""
    low, high = FRAMES
    return min(high, low + int(rng.exponential(6.5)))


def content_digest(folder: Path) -> str:
    """16 hex digits over the index and the masks of a split: what is equal on every machine."""
    files = [folder / "meta_expressions.json", folder / "mask_dict.json"]
    content = [json.loads(file.read_text(encoding="utf-8")) if file.exists() else None for file in files]
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:16]


def scene_record(clip: Clip, sentences: list[Sentence]) -> dict[str, Any]:
    """What was drawn, as JSON: objects in the order of obj_id, pixels of the image, one value per frame."""
    areas_NT = np.count_nonzero(clip.masks_NTHW, axis=(2, 3))
    objects = [
        {
            "size": thing.size,
            "colour": thing.colour,
            "texture": thing.texture,
            "shape": thing.shape,
            "motion": thing.motion,
            "centre": _listed(clip.scene.seen_path(thing)),
            "radius": _listed(thing.radius_T),
            "angle": _listed(thing.angle_T),
            "visible_area": areas_T.tolist(),
        }
        for thing, areas_T in zip(clip.scene.things, areas_NT)
    ]
    meanings = [[asdict(part) for part in sentence.parts] for sentence in sentences]
    walls = [asdict(wall) for wall in clip.scene.walls]
    return {"objects": objects, "walls": walls, "camera": _listed(clip.scene.camera_T2), "meanings": meanings}


def _entry(
    number: int, scene: Scene, sentences: list[Sentence], statements: list[Sentence], first: int | None
) -> dict[str, Any]:
    """A video's entry in the index; `first` is the annotation id of its first object, None without truth."""
    frames = [f"{t:05d}" for t in range(scene.n_frames)]
    expressions = {str(i): _said(sentence, first) for i, sentence in enumerate(sentences)}
    entry = {"vid_id": number, "frames": frames, "expressions": expressions}
    if statements:
        entry["statements"] = {f"s{i}": _said(statement, first) for i, statement in enumerate(statements)}
    return entry


def _said(sentence: Sentence, first: int | None) -> dict[str, Any]:
    if first is None:
        return {"exp": sentence.text}
    referred = {"obj_id": [*sentence.referred], "anno_id": [first + i for i in sentence.referred]}
    return {"exp": sentence.text, **referred, "kind": sentence.kind, "motion": sentence.motion}


def _rle(mask_HW: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any] | None:
    if not mask_HW.any():
        return None
    rle = masks.encode(mask_HW)
    return {"size": list(rle["size"]), "counts": rle["counts"]}


def write_frames(folder: Path, frames_THW3: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for t, frame_HW3 in enumerate(frames_THW3):
        Image.fromarray(frame_HW3).save(folder / f"{t:05d}.jpg", quality=JPEG_QUALITY, subsampling=0)


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    path.write_text(json.dumps(content, indent=indent), encoding="utf-8")


def _listed(values: Float) -> Any:
    return np.round(values, 4).tolist()


def stream(seed: int, name: str) -> Generator:
    """A random stream of its own for every name."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16]))


def read_stamp(root: Path) -> dict[str, Any] | None:
    """What the data set at `root` was made with; None = none is there."""
    path = root / TWIN if (root / TWIN).exists() else root / STAMP
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: damaged ({error}); delete the folder to make it again") from error
