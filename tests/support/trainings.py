"""A small data set whose tracks can be told apart: a MeViS tree, and the real cache files upstream of training.

Every object is of one kind; its tokens are the kind's vector plus noise, and an expression's words are the
vectors of the kind it names. So a selector can learn it, and what it learns is known.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support.drawn_tracks import tracks_of
from support.jobs import make_job
from support.project import CONFIG, make_config

from stages.core.config.file import Config
from stages.core.config.loading import merge, read_yaml
from stages.core.config.model import settings_model
from stages.core.config.selector_sections import Selector, SelectorTraining
from stages.core.media import masks
from stages.core.records import Source, Video
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp
from stages.core.state.graph import BUILD_TRACKS, ENCODE_TEXT, GENERATE_PROMPTS, Layout
from stages.core.state.prompt_file import Prompt, write_prompts
from stages.core.state.text_file import TextFeatures, write_text
from stages.core.state.track_file import Labels, write_tracks
from stages.core.tables import SOURCES
from stages.datasets import open_split

SIZE, C, D, KINDS = (24, 32), 16, 32, 4
SAM2, TEXT, DETECTOR = "5a2" * 5 + "0", "7e87" * 4, "d1d0" * 4
MODEL = {"hidden_dim": 32, "n_heads": 4, "n_negatives": 4}
SOC = {"dim": 32, "ffn_dim": 64, "n_heads": 4, "n_proxies": 4, "n_slots": 3, "dropout": 0.0, "attention_dropout": 0.0}
COURSE = {"dim": 32, "n_layers": 2, "n_text_layers": 0, "n_times": 6, "dropout": 0.0, "place_noise": 0.001}
COURSE |= {"size_noise": 0.0, "missed": 0.0, "detector": False}


def toy_config(
    folder: Path, model: dict[str, Any] | None = None, name: str = "sola", inputs: Sequence[str] = (), **training: Any
) -> Config:
    rate = training.pop("learning_rate", 3e-3)
    schedule = {"epochs": 3, "patience": None, "batch_size": 3, "expressions_per_video": 8, "plateau_patience": 3}
    values = {**schedule, **training}
    toy = {
        "format": "mevis",
        "root": str(folder / "data" / "toy"),
        "generate": False,
        "models": "micro",
        "selector": {"weights": None, "train": "toy/train", "validate_on": "toy/valid_u"},
        "splits": {name: {"role": "train", "limit": None} for name in ("train", "valid_u", "valid")},
        "settings": {
            "run": {"device": "cpu", "threads": 1},
            "selector": {
                "name": name,
                "inputs": list(inputs),
                "sola": {**MODEL, **(model or {}), "learning_rate": rate},
                "soc": {**SOC, "learning_rate": rate},
                "course": {
                    **COURSE,
                    "learning_rate": rate,
                    "training": {"schedule": "plateau", "statements": 0, "weight_decay": 0.01, **values},
                },
                "training": values,
            },
        },
    }
    return make_config(folder, {"datasets": {"toy": toy}})


def training_section(**change: Any) -> SelectorTraining:
    """`selector.training` of the project's config."""
    return SelectorTraining.model_validate({**read_yaml(CONFIG)["selector"]["training"], **change})


def selector_section(name: str, own: dict[str, Any] | None = None, **training: Any) -> Selector:
    """The section `selector` of the project's config, with changes to the architecture's own section and to training."""
    section = read_yaml(CONFIG)["selector"]
    over = {"name": name, name: own or {}, "training": training}
    selector: type[Selector] = settings_model().model_fields["selector"].annotation  # type: ignore[assignment]
    return selector.model_validate(merge(section, over))


def toy_job(config: Config, split: str = "train", **change: Any) -> Job:
    return make_job(config, "toy", split, **change)


def make_toy(folder: Path, config: Config, *, statements: bool = False) -> None:
    """The tree, and text and track files of both splits."""
    for seed, (split, n) in enumerate((("train", 6), ("valid_u", 3))):
        write_split(folder / "data" / "toy" / split, n, seed, statements=statements)
        write_cache(config, split)


def kinds_of(video: int, seed: int) -> list[int]:
    return np.random.default_rng([seed, video]).permutation(KINDS)[:3].tolist()


def write_split(folder: Path, n: int, seed: int, *, truth: bool = True, statements: bool = False) -> None:
    """Three objects a video, of different kinds; each is named, one pair is, and one kind that is not there.

    Args:
        statements: as many again, about pairs and about nothing.
    """
    (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
    videos, mask_dict = {}, {}
    for v in range(n):
        frames = [f"{t:05d}" for t in range(1 + (7 * v) % 20)]
        kinds = kinds_of(v, seed)
        keys = [100 * v + i for i in range(3)]
        absent = next(k for k in range(KINDS) if k not in kinds)
        entries = [(f"kind {k}", [key]) for k, key in zip(kinds, keys, strict=True)]
        entries += [(f"kind {kinds[0]} and {kinds[2]}", [keys[0], keys[2]]), (f"kind {absent}", [])]
        expressions = {str(e): {"exp": t, "anno_id": a} if truth else {"exp": t} for e, (t, a) in enumerate(entries)}
        videos[f"v{v}"] = {"frames": frames, "expressions": expressions}
        if statements:
            pairs = [(f"kind {kinds[i]} or {kinds[j]}", [keys[i], keys[j]]) for i, j in ((0, 1), (0, 2), (1, 2))]
            more = [*pairs, (f"no kind {absent}", []), (f"only {absent}", [])]
            videos[f"v{v}"]["statements"] = {f"s{i}": {"exp": t, "anno_id": a} for i, (t, a) in enumerate(more)}
        for i, key in enumerate(keys):
            mask_dict[str(key)] = [dict(masks.encode(square(i, t))) for t in range(len(frames))]
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    if truth:
        (folder / "mask_dict.json").write_text(json.dumps(mask_dict))


def square(place: int, t: int) -> NDArray[np.bool_]:
    mask_HW = np.zeros(SIZE, bool)
    mask_HW[2 + 7 * place : 8 + 7 * place, t % 20 : t % 20 + 8] = True
    return mask_HW


def write_cache(config: Config, split: str, *, sam2: str = SAM2, seed: int = 0) -> None:
    layout = Layout.of(config, "toy", split)
    for video in open_split(config, "toy", split).videos():
        stamp = Stamp(ENCODE_TEXT.name, ENCODE_TEXT.version, {"weights": {"text": TEXT}})
        write_text(layout.file(ENCODE_TEXT, video.id), stamp, video, [features(e.text) for e in video.sentences])
        for source in SOURCES:
            write_toy_tracks(layout, video, source, sam2=sam2, seed=seed)


def vectors(width: int) -> NDArray[np.float32]:
    return np.random.default_rng(width).normal(size=(KINDS, width)).astype(np.float32)


def features(text: str) -> TextFeatures:
    """Two words that are the same in all captions around the vectors of the kinds named."""
    named = [int(word) for word in text.split() if word.isdigit()]
    words_WD = np.stack([np.full(D, 0.1), *(vectors(D)[k] for k in named), np.full(D, -0.1)]).astype(np.float32)
    return TextFeatures(words_WD, words_WD.mean(0))


def write_toy_tracks(
    layout: Layout,
    video: Video,
    source: Source,
    *,
    sam2: str = SAM2,
    seed: int = 0,
    empty: bool = False,
    alike: bool = False,
) -> None:
    """One track an object: for every expression, but of `gdino` for the expressions that name its kind only.

    With `alike`, tokens are noise: they do not tell what kind an object is of.
    """
    split_seed = 0 if layout.split == "train" else 1
    kinds = [] if empty else kinds_of(int(video.id[1:]), split_seed)
    n, t = len(kinds), len(video.frames)
    rng = np.random.default_rng([seed, split_seed, int(video.id[1:]), list(SOURCES).index(source)])
    tokens_NTC = (not alike) * vectors(C)[kinds][:, None] + 0.05 * rng.normal(size=(n, t, C))
    own = [
        np.array([i for i in range(n) if source != "gdino" or str(kinds[i]) in e.text], np.int32)
        for e in video.expressions
    ]
    keys = sorted({a for e in video.expressions for a in e.annotations or ()}, key=int)
    iou_NA = np.array([[float(int(key) % 100 == i) for key in keys] for i in range(n)], np.float32).reshape(
        n, len(keys)
    )
    rles_NT = [[masks.encode(square(i, f)) for f in range(t)] for i in range(n)]
    tracks = tracks_of(
        SIZE,
        rles_NT,
        len(video.expressions),
        t,
        tokens_NTC=tokens_NTC.reshape(n, t, C).astype(np.float16 if source == "gdino" else np.float32),
        expression_tracks=tuple(own),
        labels=Labels(tuple(keys), iou_NA, iou_NA, iou_NA) if keys else None,
    )
    stamp = Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {"weights": {"sam2": sam2}, "seed": seed})
    write_tracks(layout.file(BUILD_TRACKS, video.id, source), stamp, tracks, rles_NT)


def write_toy_prompts(layout: Layout, video: Video, *, detector: str = DETECTOR, seed: int = 0) -> None:
    """What a detector found for each expression: the objects of the kinds it names, and less surely the first object."""
    kinds = kinds_of(int(video.id[1:]), 0 if layout.split == "train" else 1)
    prompts = []
    for e, expression in enumerate(video.expressions):
        for i, kind in enumerate(kinds):
            if i == 0 or str(kind) in expression.text:
                score = 0.9 if str(kind) in expression.text else 0.3
                prompts.append(Prompt(0, masks.encode(square(i, 0)), (0, 0, 1, 1), e, box_score=score))
    ingredients = {"weights": {"sam2": SAM2, "grounding_dino": detector}, "seed": seed}
    stamp = Stamp(GENERATE_PROMPTS.name, GENERATE_PROMPTS.version, ingredients)
    write_prompts(layout.file(GENERATE_PROMPTS, video.id, "gdino"), stamp, prompts, SIZE)
