"""What runs and their mean score, by the code that scores the pipeline's own answers, kept per run and video."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from stages.core.records import Expression, Split, Video
from stages.core.state.cache import Stamp, State, inspect, read_json, write_json
from stages.core.state.fingerprints import truth_facts
from stages.core.state.frames import FrameFolder
from stages.exchange.ensemble.mean import confidence_of
from stages.exchange.ensemble.runs import Run, facts_of
from stages.exchange.ensemble.votes import STAGE, VERSION
from stages.metrics import clips
from stages.metrics.protocols import protocol_of
from stages.metrics.report import Evaluation, summarise
from stages.metrics.scene import Answer, Comparison, Scene
from stages.metrics.scoring import open_scene, score_answer

Scored = tuple[dict[str, Any], Answer, Comparison | None]


@dataclass(frozen=True)
class Scorer:
    """
    Attributes:
        split: with ground truth.
        ratio: `evaluate.boundary_ratio`.
        threads: that score sentences side by side.
    """

    split: Split
    ratio: float
    threads: int

    def rows(self, path: Path, run: Run, video: Video, frames: FrameFolder) -> dict[str, Any]:
        """A video's rows and what its protocol needs of it beside them; from the file at `path` where it is of the same
        predictions and truth.

        Raises:
            ValueError: a prediction cannot be used, or the truth does not fit the frames.
        """
        given = {"run": facts_of(run, video), "frames": frames.digest, "ratio": self.ratio}
        stamp = Stamp(STAGE, VERSION, {**given, **truth_facts(self.split, video)})
        if inspect(path, stamp)[0] is not State.COMPLETE:
            write_json(path, self._score(run, video, frames), stamp)
        document = read_json(path, STAGE, VERSION)
        return {"rows": document["rows"], "extra": document["extra"]}

    def _score(self, run: Run, video: Video, frames: FrameFolder) -> dict[str, Any]:
        protocol = protocol_of(self.split.protocol)
        scene = open_scene(self.split, video, frames.size, len(frames))
        with ThreadPoolExecutor(self.threads) as pool:
            scored = list(pool.map(partial(self._row, run, video, frames, scene), video.expressions))
        compared = [(answer, comparison) for _, answer, comparison in scored if comparison is not None]
        extra = protocol.extra(scene, compared, self.ratio) if protocol.extra is not None else None
        return {"rows": [row for row, _, _ in scored], "extra": extra}

    def _row(self, run: Run, video: Video, frames: FrameFolder, scene: Scene, expression: Expression) -> Scored:
        given = run.answers(video, frames).get(expression.id)
        shown = clips.empty(len(frames), frames.size) if given is None else clips.from_rles(given.rles_T, frames.size)
        answer = Answer(expression, shown, confidence_of(given), given is None)
        n_tracks = int(given is not None and bool(shown.area.any()))
        row, comparison = score_answer(protocol_of(self.split.protocol), scene, answer, self.ratio, n_tracks)
        named = {"video": video.id, "caption": expression.text, "group": expression.group}
        return {**named, **row}, answer, comparison


def figures(split: Split, dataset: str, documents: Sequence[dict[str, Any]], videos: Sequence[Video]) -> dict[str, Any]:
    """A run's figures from what `rows` gave for each video; as metrics.json has them."""
    rows = [row for document in documents for row in document["rows"]]
    extras = {video.id: document["extra"] for video, document in zip(videos, documents, strict=True)}
    columns = dict.fromkeys(name for row in rows for name in row)
    evaluation = Evaluation(split.protocol, [{column: row.get(column) for column in columns} for row in rows], extras)
    return summarise(evaluation, dataset, split.name)
