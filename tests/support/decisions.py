"""What decisions are tested on: the toy data set of comparisons.py, where one split is fitted to and another is decided,
with evidence of both in the cache."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.comparisons import WITHOUT_DROPOUT, add_prompts, name_kinds, write_frames_record
from support.trainings import SIZE, make_toy, toy_config, toy_job, write_toy_tracks

from stages import gather_evidence, train_selector
from stages.core.config.file import Config
from stages.core.config.loading import merge, parse_config
from stages.core.records import Video
from stages.core.run.cli import Job
from stages.core.state.cache import read_stamp
from stages.core.state.evidence_file import ExpressionEvidence, TrackEvidence, read_evidence, write_evidence
from stages.core.state.graph import BUILD_TRACKS, GATHER_EVIDENCE, GENERATE_PROMPTS, Layout
from stages.core.state.prompt_file import Prompt, read_prompts, write_prompts
from stages.core.state.track_file import read_masks, read_membership
from stages.core.tables import SOURCES
from stages.datasets import open_split

SPLITS = ("train", "valid_u")  # fitted to, decided
DETECTOR = {"kind": "detector", "source": "gdino", "match_iou": 0.5, "pool": "best"}
FITTED: dict[str, Any] = {"fusion": "fitted", "same_iou": 0.8, "rule": {"kind": "relative"}}
LINES = {
    "scores": {"seeds": 2, **FITTED},
    "both": {"evidence": ["detector"], **FITTED},
    "seen": {"variant": "course", "evidence": ["detector"], **FITTED},
    "detector": {"selector": None, "evidence": ["detector"], **FITTED},
    "fixed": {"evidence": ["detector"], "fusion": "fixed", "weights": {"detector": 0.5}},
    "mean": {"selector": None, "evidence": ["twice"], **FITTED},
}
SETTINGS: dict[str, Any] = {
    "evidence": {
        "detector": DETECTOR,
        "again": {"like": "detector", "pool": "mean"},
        "twice": {
            "kind": "average",
            "of": ["detector", "again"],
            "drop_invalid": True,
            "min_mass": 0.5,
            "weights": "equal",
        },
    },
    "rerank": {"evidence": [], "fit_on": "toy/train"},
    "compare": {
        "selectors": ["sola=trained"],
        "thresholds": ["calibrated"],
        "seeds": [0, 1],
        "sources": ["grid+gdino"],
        "variants": {"course": {"inputs": ["course"]}},
        "decisions": LINES,
    },
}


def decidable(folder: Path) -> Config:
    """Trained with seeds 0 (the config's) and 1, and as the variant; the evidence of both splits is gathered."""
    config = toy_config(folder, WITHOUT_DROPOUT, epochs=2, batch_size=4, learning_rate=2e-3)
    make_toy(folder, config)
    raw = config.model_dump(mode="json")
    raw["paths"]["results"] = str(folder / "results")
    raw["datasets"]["toy"]["settings"] = merge(raw["datasets"]["toy"]["settings"], SETTINGS)
    config = parse_config(raw)
    name_kinds(folder / "data/toy/valid_u/meta_expressions.json")
    for split in SPLITS:
        job = toy_job(config, split)
        for video in open_split(config, "toy", split).videos():
            for source in SOURCES if video.id == "v0" else ():
                write_toy_tracks(job.layout, video, source, alike=True)  # no selector can be right about this one
            write_frames_record(job.layout, video)
            add_prompts(job.layout, video)
            add_false_prompts(job.layout, video)
    train_selector.run(toy_job(config))
    train_selector.run(toy_job(config), seed=1)
    train_selector.run(toy_job(config), label="course")
    for split in SPLITS:
        for name in SETTINGS["evidence"]:
            gather_evidence.run(toy_job(config, split), name)
    return config


def add_false_prompts(layout: Layout, video: Video) -> None:
    """Prompts of all other tracks too, as those that other tracks cover: a detector that is right more often than not."""
    path = layout.file(GENERATE_PROMPTS, video.id, "gdino")
    prompts, tracks = read_prompts(path), layout.file(BUILD_TRACKS, video.id, "gdino")
    rles_NT, own = read_masks(tracks, range(3)), read_membership(tracks).expression_tracks
    more = [
        Prompt(
            0, rles_NT[n][0], (0.0, 0.0, 4.0, 4.0), expression=e, box_score=(0.1, 0.6)[(n + e + len(video.frames)) % 2]
        )
        for e in range(len(video.expressions))
        for n in range(3)
        if n not in own[e]
    ]
    write_prompts(path, read_stamp(path, GENERATE_PROMPTS.name), [*prompts, *more], SIZE)


def with_settings(config: Config, over: Mapping[str, Any]) -> Config:
    """The config with other settings of the toy data set."""
    raw = config.model_dump(mode="json")
    raw["datasets"]["toy"]["settings"] = merge(raw["datasets"]["toy"]["settings"], over)
    return parse_config(raw)


def say_who_was_asked(job: Job, name: str, keys: Mapping[str, list[str]]) -> None:
    """Evidence again, as if its numbers of each video's first sentence came from replies of these keys."""
    for video in open_split(job.config, job.dataset, job.split).videos():
        path = job.layout.file(GATHER_EVIDENCE, video.id, name)
        first, *others = read_evidence(path).items()
        told = [{"for": {"key": key, "scores": [0.1, 0.2], "mass": 0.9}} for key in keys[video.id]]
        tracks = tuple(
            TrackEvidence(entry.track, entry.log_odds, {"judged": told[:1]} if n else {"judged": told})
            for n, entry in enumerate(first[1].tracks)
        )
        known = {first[0]: ExpressionEvidence(tracks, None, {"choices": told}), **dict(others)}
        write_evidence(path, read_stamp(path, GATHER_EVIDENCE.name), known, {})


def write_seconds(job: Job, name: str, seconds: float) -> None:
    for video in open_split(job.config, job.dataset, job.split).videos():
        path = job.layout.runtime(GATHER_EVIDENCE, video.id, name)
        path.write_text(json.dumps({"video": video.id, "seconds": seconds}))
