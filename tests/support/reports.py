"""A small run to report on, without a model: frames, tracks, scores and a judge's replies, drawn and written by hand; decided,
scored, rendered and assembled by the stages themselves. Questions are those that the judge would really be asked.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from support.drawn_tracks import tracks_of
from support.jobs import make_job
from support.project import ROOT, config_document
from support.tiny_mevis import write_split

from stages import assemble, evaluate, extract_frames, render_predictions, rerank_tracks
from stages.core.config.loading import merge, parse_config, read_yaml
from stages.core.media import masks
from stages.core.records import Video
from stages.core.run.cli import Job
from stages.core.state.cache import Stamp
from stages.core.state.choices import Candidate, write_choices
from stages.core.state.evidence_file import write_evidence
from stages.core.state.frames import open_frames
from stages.core.state.graph import BUILD_TRACKS, GATHER_EVIDENCE, SCORE_TRACKS
from stages.core.state.track_file import write_tracks
from stages.datasets import open_split
from stages.evidence.asked import Answer, key_of
from stages.evidence.backends.loading import identity_by_ids
from stages.evidence.candidates import subject
from stages.evidence.judging.asker import Subject
from stages.evidence.judging.model import how_asked
from stages.evidence.kinds import agent
from stages.evidence.kinds.agent import looked_at
from stages.evidence.kinds.judge import evidence_of, items_of
from stages.evidence.questions import Question, Reply, Said, Written

NASTY = '</script><script>window.broken = 1</script> the "red" square & it moves'
REPLIES = {"for": Reply((-0.2, -1.8), 0.98), "against": Reply((-1.8, -0.2), 0.98)}
SETTINGS: Mapping[str, Any] = {
    "selector": {"sources": {"evaluate": ["grid"]}, "threshold": 0.5},
    "evidence": {
        "judge": {"views": ["numbered"], "frames": {"count": 2}, "max_candidates": None, "same_iou": 0.8},
        "agent": {"verdicts": "json", "views": ["numbered"], "frames": {"count": 2}, "frame_side": 96},
    },
    "rerank": {
        "evidence": ["judge", "agent"],
        "fusion": "fixed",
        "fusion_file": None,
        "weights": {"judge": 0.5, "agent": 0.1},
        "same_iou": 0.8,
    },
    "render": {"overlays": False},
}


def make_run(folder: Path) -> Path:
    """Makes the run of tiny/valid_u and of tiny/valid, which has no truth; returns its config."""
    for split in ("valid_u", "valid"):
        write_split(folder / "data/tiny" / split, 3, truth=split == "valid_u", first=1000 * len(split))
    index = folder / "data/tiny/valid_u/meta_expressions.json"
    document = json.loads(index.read_text())
    document["videos"]["video0"]["expressions"]["0"]["exp"] = NASTY
    index.write_text(json.dumps(document))
    tiny = read_yaml(ROOT / "tests/configs/tiny.yaml")
    own = {
        "root": str(folder / "data/tiny"),
        "settings": {**SETTINGS, "rerank": SETTINGS["rerank"] | {"rule": {"kind": "threshold"}}},
    }
    raw = merge(merge(config_document(folder), tiny), {"datasets": {"tiny": own}})
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    for split in ("valid_u", "valid"):
        finish(make_job(parse_config(raw), "tiny", split))
    return path


def finish(job: Job) -> None:
    extract_frames.run(job)
    for video in open_split(job.config, job.dataset, job.split).videos():
        write_upstream(job, video)
    for stage in (rerank_tracks, evaluate, render_predictions, assemble):
        stage.run(job)


def write_upstream(job: Job, video: Video) -> None:
    """Tracks that fit, one of them twice; scores that are right about the first square alone; and a judge of the same mind."""
    frames = open_frames(job.layout, video.id)
    squares = [_square(frames.size, 8 + 18 * i, 4 + 36 * i, 9 + i, len(frames)) for i in range(2)]
    rles = [[masks.encode(mask_HW) for mask_HW in track] for track in (squares[0], squares[0], squares[1])]
    path = job.layout.file(BUILD_TRACKS, video.id, "grid")
    tracks = tracks_of(frames.size, rles, len(video.expressions), len(frames))
    write_tracks(path, Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {}), tracks, rles)
    scores = {e.id: [Candidate("grid", n, (2.0, 1.0, -1.0)[n]) for n in range(3)] for e in video.expressions}
    write_choices(
        job.layout.file(SCORE_TRACKS, video.id), Stamp(SCORE_TRACKS.name, SCORE_TRACKS.version, {}), scores, 0.5
    )
    write_judged(job, video, frames.names)
    write_looked_at(job, video)


class Scripted:
    """Answers the questions of an agent; implements `stages.evidence.agent.voices.Voice`. Its first answer cannot be used."""

    def __init__(self, who: Mapping[str, Any]) -> None:
        self.who = who

    def key(self, question: Question) -> str:
        return key_of(question, self.who)

    def admit(self, questions: Sequence[Question]) -> str:
        return ""

    def why(self, question: Question) -> str:
        raise AssertionError("every question has an answer")

    def ask(self, questions: Sequence[Question]) -> Mapping[str, Said]:
        return {self.key(question): Written(self._text(str(question.asked[-1]))) for question in questions}

    def _text(self, words: str) -> str:
        if "it cannot be used" in words:
            entries = [(1, "it looks so", "accept"), (2, "too small", "uncertain")]
        elif "not shown any more" in words:
            entries = [(1, "another colour", "reject")]
        else:
            return "The first one, I think."
        return json.dumps({"verdicts": [{"object": n, "reason": why, "verdict": said} for n, why, said in entries]})


def write_looked_at(job: Job, video: Video) -> None:
    """What an agent would say of the tracks."""
    settings: Any = job.settings.evidence["agent"]
    voice = Scripted({**identity_by_ids(settings, {}), **how_asked()})
    dialogues = looked_at(settings, Subject.of(job, settings, video), video, voice)
    ingredients = {**subject(job, "agent", video), "weights": {}}
    stamp = Stamp(GATHER_EVIDENCE.name, GATHER_EVIDENCE.version, ingredients)
    known = {dialogue.expression: agent.evidence_of(dialogue) for dialogue in dialogues}
    write_evidence(job.layout.file(GATHER_EVIDENCE, video.id, "agent"), stamp, known, {})


def write_judged(job: Job, video: Video, names: tuple[str, ...]) -> None:
    """Replies under the keys of the questions that would be asked."""
    settings: Any = job.settings.evidence["judge"]
    who = {**identity_by_ids(settings, {}), **how_asked()}
    asked, evidence = Subject.of(job, settings, video), {}
    for expression, items in items_of(settings, asked, video).items():
        answered = [
            (item, {way: Answer(key_of(q, who), REPLIES[way]) for way, q in item.questions.items()}) for item in items
        ]
        evidence[expression] = evidence_of(asked.candidates[expression], answered, names)
    ingredients = {**subject(job, "judge", video), "weights": {}}
    stamp = Stamp(GATHER_EVIDENCE.name, GATHER_EVIDENCE.version, ingredients)
    write_evidence(job.layout.file(GATHER_EVIDENCE, video.id, "judge"), stamp, evidence, {})


def _square(size: tuple[int, int], row: int, column: int, speed: int, n_frames: int) -> list[np.ndarray]:
    """As tiny_mevis draws it."""
    track = []
    for t in range(n_frames):
        mask_HW = np.zeros(size, bool)
        mask_HW[row : row + 14, column + speed * t : column + speed * t + 14] = True
        track.append(mask_HW)
    return track
