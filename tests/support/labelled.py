"""Splits of known truth with tracks, scores and detections in the cache: what a fusion is fitted to, without any model.

Every video has two squares and four tracks of them: two of the first that are near-duplicates, one of the second, and
one that shows nothing. Sentences ask for either square, for both, or for nothing. Scores say which is meant with much
noise, detections with little.
"""

import json
from pathlib import Path

import numpy as np
from support.drawn_tracks import tracks_of
from support.evidence import make_config

from stages.core.media import masks
from stages.core.records import TrackId
from stages.core.state.cache import Stamp
from stages.core.state.choices import Candidate, write_choices
from stages.core.state.graph import BUILD_TRACKS, GENERATE_PROMPTS, SCORE_TRACKS, Layout
from stages.core.state.prompt_file import Prompt, write_prompts
from stages.core.state.track_file import Labels, write_tracks

SIZE, N_FRAMES, N_TRACKS = (48, 64), 4, 4
SENTENCES = {"0": ("the upper square", (0,)), "1": ("the lower square", (1,)), "2": ("the two squares", (0, 1))}
SENTENCES |= {"3": ("a circle", ()), "4": ("the square that moves down", (1,))}
SHOWS = (0, 0, 1, None)  # the square that each track shows


def write_labelled(root: Path, split: str, n_videos: int, *, selector: str = "s", seed: int = 0) -> None:
    rng = np.random.default_rng([seed, *split.encode()])
    layout = Layout.of(make_config(root), "shapes", split)
    videos, truth = {}, {}
    for v in range(n_videos):
        video, keys = f"{split}{v}", [str(10 * v), str(10 * v + 1)]
        squares = [square(4, 4 + v % 3), square(28, 6)]
        truth |= dict(zip(keys, squares, strict=True))
        write_video_tracks(layout, video, keys, squares)
        write_scores_and_prompts(layout, video, squares, selector, rng)
        expressions = {
            e: {"exp": text, "anno_id": [int(keys[k]) for k in meant], "obj_id": list(meant)}
            for e, (text, meant) in SENTENCES.items()
        }
        videos[video] = {"frames": [f"{t:05d}" for t in range(N_FRAMES)], "expressions": expressions}
    folder = root / "data" / split
    (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": videos}), encoding="utf-8")
    (folder / "mask_dict.json").write_text(json.dumps(truth), encoding="utf-8")


def square(top: int, left: int) -> list[masks.Rle]:
    masks_THW = np.zeros((N_FRAMES, *SIZE), bool)
    for t in range(N_FRAMES):
        masks_THW[t, top : top + 16, left + 6 * t : left + 6 * t + 16] = True
    return masks.encode_all(masks_THW)


def write_video_tracks(layout: Layout, video: str, keys: list[str], squares: list[list[masks.Rle]]) -> None:
    nothing = [masks.empty(SIZE)] * N_FRAMES
    rles_NT = [nothing if k is None else squares[k] for k in SHOWS]
    iou_NA = np.array([[float(k == a) for a in range(2)] for k in SHOWS], np.float32)
    labels = Labels(tuple(keys), iou_NA, iou_NA, iou_NA)
    tracks = tracks_of(SIZE, rles_NT, len(SENTENCES), N_FRAMES, labels=labels)
    stamp = Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {})
    write_tracks(layout.file(BUILD_TRACKS, video, "grid"), stamp, tracks, rles_NT)


def write_scores_and_prompts(
    layout: Layout, video: str, squares: list[list[masks.Rle]], selector: str, rng: np.random.Generator
) -> None:
    def noisy(e: str, k: int | None, noise: float) -> float:
        return float((2.0 if k in SENTENCES[e][1] else -2.0) + noise * rng.normal())

    scores = {e: [Candidate(*TrackId("grid", n), noisy(e, k, 3.0)) for n, k in enumerate(SHOWS)] for e in SENTENCES}
    made = Stamp(SCORE_TRACKS.name, SCORE_TRACKS.version, {"selector": selector})
    write_choices(layout.file(SCORE_TRACKS, video), made, scores, threshold=0.5)
    prompts = [
        Prompt(0, squares[k][0], (0.0, 0.0, 1.0, 1.0), int(e), box_score=1 / (1 + np.exp(-noisy(e, k, 1.0))))
        for e in SENTENCES
        for k in range(2)
    ]
    made = Stamp(GENERATE_PROMPTS.name, GENERATE_PROMPTS.version, {})
    write_prompts(layout.file(GENERATE_PROMPTS, video, "gdino"), made, prompts, SIZE)
