"""A full-size MeViS valid without its pixels: the published counts and lengths, drawn objects, drawn answers.

140 videos, 2,236 expressions, 8,784 frames, 15 to 292 per video (20 videos above 100), 2 to 69 expressions per video,
in such a combination that a full submission has the published 138,719 PNGs. One video in five is
1080 × 1920, the others are 720 × 1280; frames are grey JPEGs of true size. Objects are blobs that move and wobble;
the answers' tracks are the same blobs, outlined less well, and some answers choose a wrong one or none.

Legend: T frames, X columns.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from stages.core.media import masks
from stages.core.records import Rle
from stages.core.state.cache import Stamp
from stages.core.state.choices import Candidate, write_choices
from stages.core.state.graph import BUILD_TRACKS, RERANK_TRACKS, Layout
from stages.core.state.track_file import Tracks, write_tracks

VIDEOS, EXPRESSIONS, FRAMES, PNGS = 140, 2236, 8784, 138719
LONG = 20
Sequenced = list[Rle]
STAMP = {"made_by": "benchmarks.mevis_valid"}


@dataclass(frozen=True)
class Plan:
    """What a video will hold."""

    name: str
    size: tuple[int, int]
    n_frames: int
    n_expressions: int
    seed: int


def plans() -> list[Plan]:
    """All videos, the published counts exactly."""
    rng = np.random.default_rng(0)
    lengths = np.concatenate([rng.integers(105, 290, LONG), rng.integers(16, 99, VIDEOS - LONG)])
    lengths[0], lengths[-1] = 292, 15
    spread(lengths, FRAMES, [(101, 292)] * LONG + [(15, 100)] * (VIDEOS - LONG), rng)
    counts = np.clip(rng.gamma(2.0, 8.0, VIDEOS).astype(int), 3, 60)
    counts[:2] = 2, 69
    spread(counts, EXPRESSIONS, [(2, 69)] * VIDEOS, rng)
    pair(counts, lengths, rng)
    sizes = [(1080, 1920) if i % 5 == 0 else (720, 1280) for i in range(VIDEOS)]
    return [Plan(f"{i:012x}", sizes[i], int(lengths[i]), int(counts[i]), i) for i in range(VIDEOS)]


def spread(values: NDArray[np.int64], total: int, ranges: Sequence[tuple[int, int]], rng: np.random.Generator) -> None:
    """Moves values by one, within their ranges and never the first two or the last, until they sum to `total`."""
    while values.sum() != total:
        step = int(np.sign(total - values.sum()))
        i = int(rng.integers(2, len(values) - 1))
        low, high = ranges[i]
        values[i] += step if low <= values[i] + step <= high else 0


def pair(counts: NDArray[np.int64], lengths: NDArray[np.int64], rng: np.random.Generator) -> None:
    """Moves single expressions between videos until Σ frames · expressions is the published number of PNGs."""
    while (missing := PNGS - int(counts @ lengths)) != 0:
        i, j = (int(n) for n in rng.integers(2, len(counts), 2))
        gain = int(lengths[j] - lengths[i])
        if counts[i] > 2 and counts[j] < 69 and abs(missing - gain) < abs(missing):
            counts[i], counts[j] = counts[i] - 1, counts[j] + 1


def write_dataset(root: Path, made: Sequence[Plan]) -> None:
    """<root>/valid in MeViS layout, with a mask_dict.json: the real split keeps its own on the server."""
    split = root / "valid"
    index: dict[str, object] = {}
    annotations: dict[str, list[Rle]] = {}
    for plan in made:
        names = [f"{t:05d}" for t in range(plan.n_frames)]
        write_frames(split / "JPEGImages" / plan.name, names, plan)
        objects = list(tracks_of(plan, error=0))
        first = 100 * plan.seed
        annotations |= {str(first + i): track for i, track in enumerate(objects)}
        expressions = {
            str(e): {"exp": f"the {word} object moving", "obj_id": referred, "anno_id": [first + i for i in referred]}
            for e, (word, referred) in enumerate(referred_of(plan))
        }
        index[plan.name] = {"vid_id": plan.seed, "frames": names, "expressions": expressions}
    (split / "meta_expressions.json").write_text(json.dumps({"videos": index}))
    (split / "mask_dict.json").write_text(json.dumps(annotations))


def write_answers(layout: Layout, made: Sequence[Plan]) -> None:
    """Tracks and decisions, as build_tracks and rerank_tracks write them."""
    for plan in made:
        rng = np.random.default_rng([plan.seed, 3])
        tracks = list(tracks_of(plan, error=0.006))
        path = layout.file(BUILD_TRACKS, plan.name, "grid")
        write_tracks(path, Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, STAMP), record(plan, tracks), tracks)
        decisions = {}
        for e, (_, referred) in enumerate(referred_of(plan)):
            luck = rng.random()
            chosen = [] if luck < 0.03 else referred if luck < 0.85 else [int(rng.integers(len(tracks)))]
            scores = rng.normal(0, 1, len(tracks))
            decisions[str(e)] = [
                Candidate("grid", i, float(s), final=float(s) + 3 * (i in chosen), chosen=i in chosen)
                for i, s in enumerate(scores)
            ]
        stamp = Stamp(RERANK_TRACKS.name, RERANK_TRACKS.version, STAMP)
        write_choices(layout.file(RERANK_TRACKS, plan.name), stamp, decisions)


def write_frames(folder: Path, names: Sequence[str], plan: Plan) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    height, width = plan.size
    Image.new("RGB", (width, height), (90 + plan.seed, 110, 120)).save(folder / "first.jpg", quality=90)
    content = (folder / "first.jpg").read_bytes()
    (folder / "first.jpg").unlink()
    for name in names:
        (folder / f"{name}.jpg").write_bytes(content)


def referred_of(plan: Plan) -> Iterator[tuple[str, list[int]]]:
    """A word, and the objects that an expression refers to: mostly one, sometimes two."""
    rng = np.random.default_rng([plan.seed, 2])
    for e in range(plan.n_expressions):
        n = 2 if rng.random() < 0.3 else 1
        yield f"{e}th", sorted(int(i) for i in rng.choice(n_objects(plan), n, replace=False))


def n_objects(plan: Plan) -> int:
    return 3 + plan.seed % 6


def tracks_of(plan: Plan, error: float) -> Iterator[Sequenced]:
    """One mask per frame of every object; `error` roughens outlines, as a share of the height."""
    for i in range(n_objects(plan)):
        rng, noise = np.random.default_rng([plan.seed, 1, i]), np.random.default_rng([plan.seed, 4, i])
        start, speed = rng.uniform(0.2, 0.8, 2), rng.normal(0, 0.006, 2)
        half_width, half_height = rng.uniform(0.03, 0.16), rng.uniform(0.06, 0.28)
        phase = rng.uniform(0, 6.3, 4)
        away = set(range(*sorted(int(n) for n in rng.integers(0, plan.n_frames, 2)))) if i % 4 == 3 else set()
        track = []
        for t in range(plan.n_frames):
            centre = 1 - np.abs(1 - (start + t * speed) % 2)  # bounces off the border
            outline = None if t in away else (centre, half_width, half_height, phase + 0.05 * t)
            track.append(blob(plan.size, outline, error, noise))
        yield track


def blob(
    size: tuple[int, int],
    outline: tuple[NDArray, float, float, NDArray] | None,
    error: float,
    noise: np.random.Generator,
) -> Rle:  # type: ignore[type-arg]
    """A mask of one run per column, made as run lengths: drawing and encoding full images would take an hour."""
    if outline is None:
        return masks.empty(size)
    height, width = size
    (x, y), half_width, half_height, phase = outline
    columns_X = np.arange(max(int((x - half_width) * width), 0), min(int((x + half_width) * width), width))
    u_X = (columns_X / width - x) / half_width
    arch_X = half_height * np.sqrt(np.clip(1 - u_X * u_X, 0, 1))
    edges = []
    for sign, shift in ((-1, 0), (1, 2)):
        wave_X = 1 + 0.15 * np.sin(9 * u_X + phase[shift]) + 0.05 * np.sin(31 * u_X + phase[shift + 1])
        rough_X = (
            error * np.interp(columns_X, columns_X[::6], noise.normal(0, 1, len(columns_X[::6])))
            if error and len(columns_X)
            else 0
        )
        edges.append(np.clip(((y + sign * arch_X * wave_X + rough_X) * height).astype(int), 0, height))
    kept_X = edges[1] > edges[0]
    ends = np.stack([columns_X * height + edge for edge in edges], 1)[kept_X].reshape(-1)
    counts = np.diff(np.concatenate([[0], ends, [height * width]]))
    rle = coco.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
    return {"size": size, "counts": rle["counts"].decode()}


def record(plan: Plan, tracks: Sequence[Sequenced]) -> Tracks:
    n, t = len(tracks), plan.n_frames
    return Tracks(
        size=plan.size,
        tokens_NTC=np.zeros((n, t, 256), np.float16),
        score_NT=np.zeros((n, t), np.float16),
        iou_NT=np.zeros((n, t), np.float16),
        area_NT=np.array([masks.area(track) for track in tracks], np.uint32),
        bbox_NT4=np.array([masks.boxes(track) for track in tracks], np.uint16),
        prompt_frame_N=np.zeros(n, np.int16),
        prompt_id_N=np.arange(n, dtype=np.int32),
        expression_tracks=tuple(np.arange(n, dtype=np.int32) for _ in range(plan.n_expressions)),
        labels=None,
    )
