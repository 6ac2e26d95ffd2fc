"""What decisions are made from on one split: each video's evidence, overlaps and labels, read once for all lines.

Legend: N tracks of an expression.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stages.comparison.contenders import Cost
from stages.comparison.video import View
from stages.core.config.sections import Settings
from stages.core.records import Video
from stages.core.run.cli import Job
from stages.core.state.choices import Candidate
from stages.core.state.evidence_file import VideoEvidence, read_evidence
from stages.core.state.graph import GATHER_EVIDENCE
from stages.core.tables import EVIDENCE
from stages.evidence.asked import keys_in
from stages.evidence.candidates import current_evidence
from stages.evidence.fusion.reading import sentences_of
from stages.evidence.fusion.table import NAN, Sentence

GATHERED = f"{GATHER_EVIDENCE.name}-"


def made_from(settings: Settings, names: Sequence[str]) -> list[str]:
    """The names, and those of the evidence that theirs is made from (kind average), each once."""
    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = None
            entry = settings.evidence[name]
            tasks = EVIDENCE[entry.kind].tasks(entry)
            waiting += [task.removeprefix(GATHERED) for task in tasks if task.startswith(GATHERED)]
    return list(found)


def refuse_scored(settings: Settings, names: Sequence[str], line: str) -> None:
    """Raises ValueError where evidence is about the candidates of one selector's scores: lines have several selectors."""
    for name in made_from(settings, names):
        entry = settings.evidence[name]
        if EVIDENCE[entry.kind].uses_scores(entry):
            raise ValueError(
                f"compare.decisions: {line}: evidence {name!r} was gathered for the scores of one selector; set "
                f"evidence.{name}.max_candidates to null, so that it is about all tracks"
            )


class Known:
    """A split's sentences with everything that is known of their tracks but scores.

    Args:
        job: of the split.
        names: of evidence.
        overlaps: whether near-duplicates are asked for; then masks are read.
        keep: whether all videos are kept, and not the last one alone.
    """

    def __init__(self, job: Job, names: Sequence[str], *, overlaps: bool, keep: bool = False) -> None:
        self.job, self.overlaps, self.keep = job, overlaps, keep
        self.names = made_from(job.settings, names)
        self._kept: dict[str, list[Sentence]] = {}  # by video
        self._questions: dict[str, dict[str, int]] = {name: {} for name in self.names}  # name → video → how many
        self._seconds: dict[str, dict[str, float | None]] = {name: {} for name in self.names}

    def sentences(self, view: View) -> list[Sentence]:
        """The video's sentences, in its order; scores are NaN.

        Raises:
            CacheError: evidence is missing, damaged, or about other tracks than there are now.
        """
        if view.video.id not in self._kept:
            if not self.keep:
                self._kept.clear()
            self._kept[view.video.id] = self._read(view)
        return self._kept[view.video.id]

    def cost(self, names: Sequence[str]) -> Cost:
        """What the evidence of these names took per video, over the videos so far."""
        own = made_from(self.job.settings, names)
        counts = [n for name in own for n in self._questions[name].values()]
        seconds = [s for name in own for s in self._seconds[name].values()]
        n_videos = max((len(self._questions[name]) for name in own), default=0)
        known = [s for s in seconds if s is not None]
        total = sum(known) / max(n_videos, 1) if len(known) == len(seconds) else None
        return Cost(sum(counts) / max(n_videos, 1), total)

    def _read(self, view: View) -> list[Sentence]:
        video, layout = view.video, self.job.layout
        gathered = {name: self._evidence(name, video) for name in self.names}
        choices = {
            expression.id: [Candidate(*track, NAN) for track in view.candidates(e)]
            for e, expression in enumerate(video.expressions)
        }
        return sentences_of(layout, video, choices, gathered, overlaps=self.overlaps)

    def _evidence(self, name: str, video: Video) -> VideoEvidence:
        current_evidence(self.job, name, video)
        evidence = read_evidence(self.job.layout.file(GATHER_EVIDENCE, video.id, name))
        self._questions[name][video.id] = len(keys_in(evidence))
        self._seconds[name][video.id] = self._taken(name, video)
        return evidence

    def _taken(self, name: str, video: Video) -> float | None:
        path = self.job.layout.runtime(GATHER_EVIDENCE, video.id, name)
        try:
            return float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def decided_by(
    sentence: Sentence, names: Sequence[str], score_N: NDArray[np.float64] | None, *, overlaps: bool
) -> Sentence:
    """The sentence as a line sees it.

    Args:
        names: of its evidence.
        score_N: the selector's logits; None = it has no selector.
        overlaps: whether near-duplicates count once.
    """

    return replace(
        sentence,
        score_N=sentence.score_N if score_N is None else score_N,
        evidence={name: sentence.evidence[name] for name in names},
        existence={name: sentence.existence[name] for name in names},
        ious_NN=sentence.ious_NN if overlaps else None,
    )
