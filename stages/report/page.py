"""One video of a report as JSON values: its masks, its expressions, their candidates, and what is known of them.

Legend: T frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.core.media import masks
from stages.core.records import Expression, Rle, Split, TrackId, Video
from stages.core.run.cli import Job
from stages.core.state.cache import CacheError, read_json
from stages.core.state.choices import Candidate, read_answers
from stages.core.state.evidence_file import VideoEvidence, read_evidence
from stages.core.state.frames import FrameFolder
from stages.core.state.graph import BUILD_TRACKS, GATHER_EVIDENCE, RERANK_TRACKS
from stages.core.state.track_file import read_masks
from stages.report.entries import Entry
from stages.report.other import OtherRun
from stages.report.small import counts_of, joined, shrink_mask, small_size
from stages.report.weighing import objects_of, open_sentences, terms_of

BEST = 8  # candidates of an expression whose masks a page holds, beside the chosen ones
Masks = Sequence[Rle | None]


@dataclass
class VideoPage:
    """A video while its page is made.

    Attributes:
        answers: expression id → its candidates; None = not predicted.
        why: how they were decided; None = by another system.
        gathered: name of evidence → what is known.
        tracks, truth: masks at the size of the page, by track and by annotation; truth is None where there is none.
        others: expression id → the other run's prediction.
    """

    video: Video
    frames: FrameFolder
    answers: Mapping[str, Sequence[Candidate] | None]
    why: Mapping[str, Any] | None
    gathered: Mapping[str, VideoEvidence]
    tracks: Mapping[TrackId, Masks]
    truth: Mapping[str, Masks] | None
    others: Mapping[str, Masks] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        return small_size(self.frames.size)

    def prediction(self, expression: Expression) -> list[Rle | None]:
        """(T,) the answer."""
        chosen = [self.tracks[c.id] for c in self.answers[expression.id] or () if c.chosen]
        return joined(chosen, self.size, len(self.frames))

    def target(self, expression: Expression) -> list[Rle | None] | None:
        """(T,) what the expression refers to; None = unknown."""
        if self.truth is None or expression.annotations is None:
            return None
        return joined([self.truth[key] for key in expression.annotations], self.size, len(self.frames))


def open_page(job: Job, split: Split, video: Video, frames: FrameFolder, other: OtherRun | None) -> VideoPage:
    """Reads what there is of a video.

    Raises:
        CacheError: it is not decided, or a file is damaged.
        ValueError: masks do not fit its frames.
    """
    path = job.layout.file(RERANK_TRACKS, video.id)
    answers = read_answers(path, video)
    why = read_json(path, RERANK_TRACKS.name, RERANK_TRACKS.version).get("why")
    found = {e.id: other.masks_of(video, e, frames.names) for e in video.expressions} if other else {}
    return VideoPage(
        video=video,
        frames=frames,
        answers=answers,
        why=why,
        gathered=_gathered(job, video, answers),
        tracks=_tracks(job, video, frames, shown_tracks(answers)),
        truth=_truth(split, video, frames) if split.has_truth else None,
        others={expression: masks_T for expression, masks_T in found.items() if masks_T is not None},
    )


def shown_tracks(answers: Mapping[str, Sequence[Candidate] | None]) -> list[TrackId]:
    """The tracks whose masks a page holds: chosen ones, and the best of each expression."""
    kept: dict[TrackId, None] = {}
    for candidates in answers.values():
        ranked = sorted(candidates or (), key=lambda c: (not c.chosen, -final_of(c)))
        n_chosen = sum(c.chosen for c in ranked)
        kept |= dict.fromkeys(c.id for c in ranked[: n_chosen + BEST])
    return sorted(kept)


def final_of(candidate: Candidate) -> float:
    return candidate.score if candidate.final is None else candidate.final


def page_data(job: Job, page: VideoPage, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """The page's data, without its media and questions."""
    index = {track: i for i, track in enumerate(page.tracks)}
    sentences = open_sentences(job.layout, page.video, page.answers, page.gathered, page.why)
    listed = []
    for expression in page.video.expressions:
        sentence = sentences.get(expression.id)
        known = page.why is not None and sentence is not None
        terms = terms_of(sentence, page.why) if known and sentence and page.why else None
        objects = objects_of(sentence, page.why) if known and sentence and page.why else None
        listed.append(
            {
                **_about(page, expression, entries[expression.id]),
                "candidates": _candidates(page, expression, index, terms, objects),
                "evidence": _evidence(page, expression),
            }
        )
    return {
        "id": page.video.id,
        "size": list(page.size),
        "frames": list(page.frames.names),
        "tracks": [{"name": f"{t.source} {t.track}", "masks": counts_of(m)} for t, m in page.tracks.items()],
        "truth": None if page.truth is None else {key: counts_of(m) for key, m in page.truth.items()},
        "fusion": _fusion(page),
        "expressions": listed,
    }


def _about(page: VideoPage, expression: Expression, entry: Entry) -> dict[str, Any]:
    about = (page.why or {}).get("expressions", {}).get(expression.id, {})
    return {
        "id": expression.id,
        "sentence": expression.raw,
        "group": expression.group,
        "outcome": entry.outcome,
        "jf": rounded(entry.jf),
        "oracle": rounded(entry.oracle),
        "other": rounded(entry.other_jf),
        "otherMasks": counts_of(page.others[expression.id]) if expression.id in page.others else None,
        "truth": None if page.truth is None or expression.annotations is None else list(expression.annotations),
        "number": about.get("number"),
        "defect": expression.defect,
        "missing": page.answers[expression.id] is None,
    }


def _candidates(
    page: VideoPage,
    expression: Expression,
    index: Mapping[TrackId, int],
    terms: Sequence[Sequence[float]] | None,
    objects: Sequence[int] | None,
) -> list[dict[str, Any]]:
    """By final score, best first; ties in the order of the tracks."""
    candidates = list(page.answers[expression.id] or ())
    listed = [
        {
            "name": f"{c.source} {c.track}",
            "track": index.get(c.id),
            "score": rounded(c.score),
            "final": rounded(final_of(c)),
            "chosen": c.chosen,
            "evidence": {name: rounded(value) for name, value in c.evidence.items()},
            "terms": terms[n] if terms else None,
            "object": objects[n] if objects else None,
        }
        for n, c in enumerate(candidates)
    ]
    order = sorted(range(len(candidates)), key=lambda n: -final_of(candidates[n]))
    return [listed[n] for n in order]


def _evidence(page: VideoPage, expression: Expression) -> dict[str, Any]:
    """Name → existence, provenance, and per track where its number comes from."""
    known = {name: evidence[expression.id] for name, evidence in page.gathered.items() if expression.id in evidence}
    return {
        name: {
            "existence": rounded(about.existence),
            "provenance": rounded(about.provenance),
            "tracks": {
                f"{e.track.source} {e.track.track}": rounded(e.provenance) for e in about.tracks if e.provenance
            },
        }
        for name, about in known.items()
    }


def _fusion(page: VideoPage) -> dict[str, Any] | None:
    if page.why is None:
        return None
    keys = ("fitted_on", "rule", "bias", "weights", "same_iou")
    return {key: rounded(page.why[key]) for key in keys if key in page.why}


def rounded(value: Any) -> Any:
    """JSON values with numbers to four places."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value


def _gathered(job: Job, video: Video, answers: Mapping[str, Any]) -> dict[str, VideoEvidence]:
    """The evidence that decided, and that there is: what is missing shows as missing."""
    names = {name for candidates in answers.values() for c in candidates or () for name in c.evidence}
    gathered: dict[str, VideoEvidence] = {}
    for name in sorted(names | set(job.settings.rerank.evidence)):
        try:
            gathered[name] = read_evidence(job.layout.file(GATHER_EVIDENCE, video.id, name))
        except CacheError:
            continue
    return gathered


def _tracks(job: Job, video: Video, frames: FrameFolder, wanted: Sequence[TrackId]) -> dict[TrackId, Masks]:
    shrunk: dict[TrackId, Masks] = {}
    for source in dict.fromkeys(track.source for track in wanted):
        rows = [track.track for track in wanted if track.source == source]
        path = job.layout.file(BUILD_TRACKS, video.id, source)
        for row, rles_T in zip(rows, read_masks(path, rows), strict=True):
            shrunk[TrackId(source, row)] = [shrink_mask(rle, frames.size) for rle in rles_T]
    return shrunk


def _truth(split: Split, video: Video, frames: FrameFolder) -> dict[str, Masks]:
    used = {key for expression in video.expressions for key in expression.annotations or ()}
    annotations = split.annotations(video)
    return {key: [_fitting(rle, frames) for rle in annotations[key]] for key in sorted(used)}


def _fitting(rle: Rle | None, frames: FrameFolder) -> Rle | None:
    """A mask of the truth at the size of the page; a data set may have drawn it at another size than its frames."""
    if rle is None:
        return None
    if tuple(rle["size"]) != frames.size:
        raise ValueError(f"a mask of the ground truth is {rle['size']}, the frames are {frames.size}")
    return shrink_mask(masks.check(rle), frames.size)
