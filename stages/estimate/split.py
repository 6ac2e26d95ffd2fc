"""What a run on a split will take: models, what an MLLM is asked, and hours of a GPU, from the config and the index alone."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image

from stages.core.config.file import Config, Model, Sam2Model
from stages.core.config.loading import model_of, settings_of
from stages.core.config.sections import Settings
from stages.core.records import Video
from stages.core.state.cache import CacheError
from stages.core.state.frames import open_frames
from stages.core.state.graph import Layout
from stages.core.state.weights import record_path
from stages.core.tables import EVIDENCE, SOURCES
from stages.core.work import CARDS, OBJECT_FRAME, SEEING, Load, encoding, reading, seconds
from stages.datasets import open_split
from stages.datasets.frame_files import frame_files
from stages.evidence.judging.drawn import DrawnSubject
from stages.evidence.judging.plan import Bill, bill_of
from stages.own.models import needed, prompted_by

HERE = "transformers"  # the backend that runs an MLLM on the card itself


@dataclass(frozen=True)
class Estimate:
    """
    Attributes:
        name: <dataset>/<split>.
        unlisted: videos whose frames are not known before they are extracted; nothing of them is counted.
        models: role → model, and whether it is here.
        bills: name of evidence → what is asked, of those that ask.
        phrased: sources that ask an MLLM about every expression besides.
        hours: part → card → hours; in its place why a part was not counted.
    """

    name: str
    preset: str
    videos: int
    unlisted: int
    frames: int
    expressions: int
    candidates: int
    models: Mapping[str, tuple[Model, bool]]
    bills: Mapping[str, Bill]
    phrased: Sequence[str]
    hours: Mapping[str, Mapping[str, float] | str]


def estimate(config: Config, dataset: str, split: str, n_candidates: int) -> Estimate:
    """
    Args:
        n_candidates: of every expression, in what an MLLM is asked.

    Raises:
        ValueError, OSError: the split cannot be read, or none of its videos' frames are known yet.
    """
    settings, preset = settings_of(config, dataset), config.datasets[dataset].models
    layout = Layout.of(config, dataset, split)
    every = [video for video in open_split(config, dataset, split).videos() if not video.defect]
    videos = [listed for video in every if (listed := _listed(layout, video)).frames]
    if not videos:
        raise ValueError(f"{dataset}/{split}: no frames are known yet; run `referee extract-frames` on it first")
    models = {role: model_of(config, preset, role) for role in needed(config, dataset)}
    bills = _bills(settings, videos, _size(layout, videos[0]), n_candidates)

    def has_record(role: str) -> bool:
        return record_path(config, preset, role).is_file()

    return Estimate(
        name=f"{dataset}/{split}",
        preset=preset,
        videos=len(videos),
        unlisted=len(every) - len(videos),
        frames=sum(len(video.frames) for video in videos),
        expressions=sum(len(video.expressions) for video in videos),
        candidates=n_candidates,
        models={role: (model, model.path is not None or has_record(role)) for role, model in models.items()},
        bills=bills,
        phrased=[source for source in _sources(settings) if SOURCES[source].asks_by(settings.prompts[source])],
        hours={part: _hours(loads) for part, loads in _parts(settings, models, videos, bills).items()},
    )


def _bills(settings: Settings, videos: Sequence[Video], size: tuple[int, int], n_candidates: int) -> dict[str, Bill]:
    """What names of `rerank.evidence` ask about drawn candidates, in frames of one size."""
    n_frames = round(sum(len(video.frames) for video in videos) / len(videos))
    bills = {}
    for name in settings.rerank.evidence:
        entry = settings.evidence[name]
        if (plan := EVIDENCE[entry.kind].plan) is not None:
            drawn = DrawnSubject(entry, n_candidates, size, n_frames)
            bills[name] = bill_of(
                entry, ([plan(entry, drawn.of(one), one) for one in _each(video)] for video in videos)
            )
    return bills


def _each(video: Video) -> list[Video]:
    """The video once per expression: detectors give every expression tracks, and so candidates, of its own."""
    return [replace(video, expressions=(expression,)) for expression in video.expressions]


def _listed(layout: Layout, video: Video) -> Video:
    """The video with the names of its frames: those of a file are known once they are extracted."""
    if video.frames:
        return video
    with suppress(CacheError):
        return replace(video, frames=tuple(open_frames(layout, video.id).names))
    return video


def _size(layout: Layout, video: Video) -> tuple[int, int]:
    """(height, width) of its first frame."""
    if not video.location.is_dir():
        return open_frames(layout, video.id).size
    with Image.open(frame_files(video, as_shown=True)[0]) as picture:
        return picture.height, picture.width


def _sources(settings: Settings) -> tuple[str, ...]:
    """The sources whose prompts are made, tracked or not."""
    return tuple(dict.fromkeys((*settings.selector.sources.evaluate, *prompted_by(settings))))


def _parts(
    settings: Settings, models: Mapping[str, Model], videos: Sequence[Video], bills: Mapping[str, Bill]
) -> dict[str, Callable[[], list[Load]]]:
    """Part → what it computes on a GPU; asking raises ValueError where that was never counted."""
    parts: dict[str, Callable[[], list[Load]]] = {
        f"prompts of {source}": partial(_prompting, settings, models, videos, source)
        for source in _sources(settings)
        if SOURCES[source].work is not None
    }
    parts["tracks"] = partial(_tracking, settings, models["sam2"], videos)
    return parts | {
        f"evidence {name}": partial(_reading, models["mllm"], bill)
        for name, bill in bills.items()
        if settings.evidence[name].backend == HERE
    }


def _prompting(settings: Settings, models: Mapping[str, Model], videos: Sequence[Video], source: str) -> list[Load]:
    work, own = SOURCES[source].work, settings.prompts[source]
    assert work is not None
    return [load for video in videos for load in work(own, models, len(video.frames), len(video.expressions))]


def _tracking(settings: Settings, sam2: Model, videos: Sequence[Video]) -> list[Load]:
    """As many tracks as tracks.max_tracks allows; frames are encoded once per source."""
    assert isinstance(sam2, Sam2Model)
    encode, loads = encoding(sam2.config), []
    for source in settings.selector.sources.evaluate:
        most = settings.tracks.max_tracks[source]
        if SOURCES[source].whole(settings.prompts[source]):
            continue
        if most is None:
            raise ValueError(f"tracks.max_tracks.{source} is null, so nothing says how many tracks there can be")
        for video in videos:
            n_tracks = most * (len(video.expressions) if SOURCES[source].asks else 1)
            loads += [Load(encode, len(video.frames)), Load(OBJECT_FRAME, len(video.frames) * n_tracks)]
    return loads


def _reading(model: Model, bill: Bill) -> list[Load]:
    """All that may be asked, with what questions share read once; nearly all tokens are of pictures."""
    return [Load(reading(model), bill.encoded), Load(SEEING, bill.encoded)]


def _hours(loads: Callable[[], list[Load]]) -> Mapping[str, float] | str:
    try:
        done = loads()
    except ValueError as error:
        return str(error)
    return {name: seconds(done, card) / 3600 for name, card in CARDS.items()}
