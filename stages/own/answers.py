"""From the decisions of the cache to what the person gets: objects with masks in the time of the source, and a line of words.

Tracks of a sentence that share more than SAME as tubes are one object, whose masks are their union, so that all objects
together are the answer of the decisions. An object of another sentence that shares as much is the same one.

Legend: T processed frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from stages.core.media import masks
from stages.core.records import Rle, TrackId, Video
from stages.core.state.cache import read_json
from stages.core.state.choices import Candidate, read_answers
from stages.core.state.failures import first_failure
from stages.core.state.frames import FrameFolder, open_frames
from stages.core.state.graph import BUILD_TRACKS, RERANK_TRACKS, Layout
from stages.core.state.track_file import read_masks
from stages.delivery.segmented import Object, Segmented, Sentence, Source
from stages.own.request import Asked, Part
from stages.tracking.overlap import group_duplicates, ious_of

SAME = 0.8


@dataclass
class Known:
    """The objects of a video so far, in the order in which sentences named them: their numbers are their places."""

    rles: list[Sequence[Rle]] = field(default_factory=list)

    def number(self, rles_T: Sequence[Rle]) -> int:
        """The number of an object; a new one where nothing that is known shares enough with it."""
        shared = ious_of([*self.rles, rles_T])[-1, :-1]
        if len(shared) and shared.max() > SAME:
            return int(shared.argmax())
        self.rles.append(rles_T)
        return len(self.rles) - 1


def failures(layout: Layout, video: Asked) -> dict[str, str]:
    """Sentence → why there is no answer, of those that failed."""
    found = {name: first_failure(layout, f"{video.id}/{name}") for name in video.sentences}
    return {video.sentences[name]: failure.reason for name, failure in found.items() if failure is not None}


def segmented(layout: Layout, video: Asked, source: Source, part: Part) -> Segmented:
    """The answers to all sentences of a video that did not fail.

    Raises:
        CacheError: decisions are missing or damaged.
    """
    known, sentences = Known(), []
    names = [name for name in video.sentences if first_failure(layout, f"{video.id}/{name}") is None]
    frames = open_frames(layout, f"{video.id}/{names[0]}")
    for name in names:
        sentences.append(_sentence(layout, video.record(name), frames, known))
    indices = indices_of(frames, source)
    return Segmented(source, _span(source, part, indices), indices, tuple(sentences))


def indices_of(frames: FrameFolder, source: Source) -> tuple[int, ...]:
    """(T,) the frame of the source that each processed frame is; each is another one."""
    if frames.timestamps is None:
        return tuple(range(len(frames)))
    times = [time + frames.start - source.start for time in frames.timestamps]
    return tuple(source.index_at(time) for time in times)


def _span(source: Source, part: Part, indices: Sequence[int]) -> range:
    inside = [
        index
        for index in range(len(source))
        if (part.start is None or source.seconds(index) >= part.start)
        and (part.end is None or source.seconds(index) < part.end)
    ]
    return range(min([*inside[:1], indices[0]]), max([*inside[-1:], indices[-1]]) + 1)


def _sentence(layout: Layout, record: Video, frames: FrameFolder, known: Known) -> Sentence:
    (expression,) = record.expressions
    path = layout.file(RERANK_TRACKS, record.id)
    candidates = read_answers(path, record)[expression.id] or []
    chosen = sorted((c for c in candidates if c.chosen), key=lambda c: -_final(c))
    rles = [_masks(layout, record.id, candidate.id) for candidate in chosen]
    objects = []
    groups = group_duplicates(ious_of(rles), SAME).tolist() if rles else []
    for group in dict.fromkeys(groups):
        members = [n for n, own in enumerate(groups) if own == group]
        rles_T = [masks.union([rles[n][t] for n in members], frames.size) for t in range(len(frames))]
        if masks.area(rles_T).any():
            number = known.number(rles_T)
            objects.append(Object(number, f"object {number + 1}", _probability(_final(chosen[members[0]])), rles_T))
    note = "" if objects else _why_nothing(candidates, read_json(path, RERANK_TRACKS.name, RERANK_TRACKS.version))
    return Sentence(expression.raw, _once(objects), note)


def _once(objects: Sequence[Object]) -> tuple[Object, ...]:
    """Two objects of a sentence that are one of another sentence are that one: the surer of them."""
    first: dict[int, Object] = {}
    for found in objects:
        first.setdefault(found.id, found)
    return tuple(first.values())


def _masks(layout: Layout, video: str, track: TrackId) -> list[Rle]:
    return read_masks(layout.file(BUILD_TRACKS, video, track.source), [track.track])[0]


def _final(candidate: Candidate) -> float:
    return candidate.score if candidate.final is None else candidate.final


def _probability(log_odds: float) -> float:
    from scipy.special import expit

    return float(expit(log_odds))


def _why_nothing(candidates: Sequence[Candidate], document: dict[str, object]) -> str:
    if any(candidate.chosen for candidate in candidates):
        return "the chosen object is not visible in any frame"
    if not candidates:
        return "nothing was tracked"
    best, low = max(_probability(_final(c)) for c in candidates), document.get("threshold")
    return f"best score {best:.2f}" + (f", {low:.2f} is needed" if isinstance(low, float) else "")


def described(sentence: Sentence, frames: Sequence[int]) -> str:
    """As `"the dog": 1 object, frames 12–88, score 0.93`.

    Args:
        frames: (T,) index in the source of each processed frame.
    """
    if not sentence.objects:
        return f'"{sentence.text}": nothing ({sentence.note})'
    visible = [t for t in range(len(frames)) if any(_is_there(found, t) for found in sentence.objects)]
    count = f"{len(sentence.objects)} object{'s' if sentence.objects[1:] else ''}"
    scores = ", ".join(f"{found.score:.2f}" for found in sentence.objects)
    return (
        f'"{sentence.text}": {count}, frames {frames[visible[0]]}–{frames[visible[-1]]}, '
        f"score{'s' if sentence.objects[1:] else ''} {scores}"
    )


def _is_there(found: Object, t: int) -> bool:
    rle = found.rles_T[t]
    return rle is not None and bool(masks.area([rle])[0])
