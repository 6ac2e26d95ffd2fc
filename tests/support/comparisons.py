"""What comparisons are tested on: the toy data set of trainings.py, with frames, prompts and kinds of sentences."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from support.trainings import SAM2, SIZE, make_toy, toy_config, toy_job

from stages.core.config.file import Config
from stages.core.records import Video
from stages.core.state.cache import Stamp, write_json
from stages.core.state.graph import BUILD_TRACKS, EXTRACT_FRAMES, GENERATE_PROMPTS, Layout
from stages.core.state.prompt_file import Prompt, write_prompts
from stages.core.state.track_file import History, read_masks, read_tracks, write_tracks
from stages.datasets import open_split

WITHOUT_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0}


def comparable(folder: Path, **training: Any) -> Config:
    """Every file that selectors, baselines and evaluate read, of both splits."""
    config = toy_config(folder, WITHOUT_DROPOUT, **training)
    make_toy(folder, config)
    name_kinds(folder / "data/toy/valid_u/meta_expressions.json")
    for video in videos_of(config):
        write_frames_record(toy_job(config, "valid_u").layout, video)
        add_prompts(toy_job(config, "valid_u").layout, video)
    return config


def videos_of(config: Config) -> list[Video]:
    return open_split(config, "toy", "valid_u").videos()


def name_kinds(index: Path) -> None:
    """Sentences of one object, of several, of none."""
    document = json.loads(index.read_text())
    for video in document["videos"].values():
        for expression in video["expressions"].values():
            expression["kind"] = ("none", "one", "several")[len(expression["anno_id"])]
    index.write_text(json.dumps(document))


def write_frames_record(layout: Layout, video: Video) -> None:
    record = {"frames": list(video.frames), "suffix": ".jpg", "size": list(SIZE), "timestamps": None, "digest": "d"}
    write_json(layout.file(EXTRACT_FRAMES, video.id), record, Stamp("extract_frames", EXTRACT_FRAMES.version, {}))


def score_of(expression: int, track: int) -> float:
    """GroundingDINO's score of a toy video's track for an expression: another one for each."""
    return (0.3, 0.8, 0.5)[(track + expression) % 3]


def add_prompts(layout: Layout, video: Video) -> None:
    """A prompt file under the gdino tracks, and the tracks again as made from it.

    A prompt an expression and track; those of one track come with the last expression first, which began it.
    """
    path = layout.file(BUILD_TRACKS, video.id, "gdino")
    tracks = read_tracks(path)
    rles_NT = read_masks(path, range(len(tracks)))
    pairs = [(e, int(n)) for e, own in enumerate(tracks.expression_tracks) for n in own][::-1]
    prompts = [Prompt(0, rles_NT[n][0], (0.0, 0.0, 4.0, 4.0), expression=e, box_score=score_of(e, n)) for e, n in pairs]
    stamp = Stamp(GENERATE_PROMPTS.name, GENERATE_PROMPTS.version, {"weights": {"sam2": SAM2}})
    write_prompts(layout.file(GENERATE_PROMPTS, video.id, "gdino"), stamp, prompts, SIZE)
    first = {n: row for row, (_, n) in reversed(list(enumerate(pairs)))}
    merged = [(row, first[n]) for row, (_, n) in enumerate(pairs) if first[n] != row]
    tracks = replace(tracks, prompt_id_N=np.array([first[n] for n in range(len(tracks))], np.int32))
    made = {"weights": {"sam2": SAM2}, "prompts": stamp.fingerprint}
    write_tracks(path, Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, made), tracks, rles_NT, History({}, merged))
