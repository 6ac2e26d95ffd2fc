"""Where every mask of a submission is stored: one layout per server or evaluator, chosen by `Split.protocol`.

| layout | files | pixels |
|---|---|---|
| mevis, revos, long_rvos, none | <video>/<expression>/<frame>.png | L, 0 or 255 |
| a2d, jhmdb | the same, for annotated frames only | L, 0 or 255 |
| ytvos | Annotations/<video>/<expression>/<frame>.png | L, 0 or 255 |
| davis17_annotators | anno_<a>/<video>/<index:05d>.png | P, DAVIS palette: the object's number |
| davis17_per_expression | <video>/<expression>/<frame>.png | L, 0 or 255 |

Sources: the servers' and evaluators' own code (MeViS, Ref-YouTube-VOS, ReferFormer and SOC for the
annotators of Ref-DAVIS17, VISA for its single expressions and for ReVOS, Long-RVOS).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stages.core.records import Video
from stages.exchange.png import WHITE

N_ANNOTATORS = 4
SUBMISSION = "submission.zip"


@dataclass(frozen=True, slots=True)
class Entry:
    """One PNG of a submission.

    Attributes:
        path: inside the zip, with "/".
        frame: index of the frame it belongs to.
        labels: pixel value → the expression it answers.
    """

    path: str
    frame: int
    labels: Mapping[int, str]


@dataclass(frozen=True)
class PerExpression:
    """A binary mask per frame and expression, below `top` ("" = the zip's root).

    Where single annotated frames are scored instead of videos (`scored_only`), only those are included.
    """

    name: str
    zip_name: str = SUBMISSION
    top: str = ""
    scored_only: bool = False
    mode = "L"

    @property
    def pattern(self) -> str:
        return f"{self.top}/<video>/<expression>/<frame>.png".lstrip("/")

    def entries(self, video: Video, names: Sequence[str], scored: Sequence[int] | None) -> Iterator[Entry]:
        """All PNGs of a video whose frames are called `names`, in order; `scored` = `Split.scored_frames`."""
        indices = range(len(names)) if scored is None or not self.scored_only else scored
        top = f"{self.top}/" if self.top else ""
        for expression in video.expressions:
            labels = {WHITE: expression.id}
            for index in indices:
                yield Entry(f"{top}{video.id}/{expression.id}/{names[index]}.png", index, labels)


@dataclass(frozen=True)
class PerAnnotator:
    """Ref-DAVIS17, protocol A: a label map per frame and annotator.

    Expression 4k + a is what annotator a said of object k + 1, which is its number in the map.
    """

    name: str
    zip_name: str = SUBMISSION
    top = ""
    mode = "P"
    pattern = "anno_<a>/<video>/<index:05d>.png"

    def entries(self, video: Video, names: Sequence[str], scored: Sequence[int] | None) -> Iterator[Entry]:
        """All PNGs of a video, in order: every frame, scored or not.

        Raises:
            ValueError: an expression's id is not a number, so that its annotator and object are unknown.
        """
        labels: list[dict[int, str]] = [{} for _ in range(N_ANNOTATORS)]
        for expression in video.expressions:
            if not (expression.id.isascii() and expression.id.isdecimal()):
                raise ValueError(
                    f"video {video.id!r}: expression id {expression.id!r} is not a number; ids of Ref-DAVIS17 are "
                    f"{N_ANNOTATORS}·object + annotator: convert the data set again"
                )
            row, annotator = divmod(int(expression.id), N_ANNOTATORS)
            labels[annotator][row + 1] = expression.id
        for annotator, objects in enumerate(labels):
            for index in range(len(names)):
                yield Entry(f"anno_{annotator}/{video.id}/{index:05d}.png", index, dict(sorted(objects.items())))


ZipLayout = PerExpression | PerAnnotator

_AT_ROOT = ("mevis", "revos", "long_rvos", "none")
LAYOUTS: Mapping[str, tuple[ZipLayout, ...]] = {
    **{protocol: (PerExpression(protocol),) for protocol in _AT_ROOT},
    **{protocol: (PerExpression(protocol, scored_only=True),) for protocol in ("a2d", "jhmdb")},
    "ytvos": (PerExpression("ytvos", top="Annotations"),),
    "davis17": (
        PerAnnotator("davis17_annotators"),
        PerExpression("davis17_per_expression", zip_name="submission_per_expression.zip"),
    ),
}


def layouts_of(protocol: str) -> tuple[ZipLayout, ...]:
    """The layouts of a protocol, the usual one first; raises ValueError where it is unknown."""
    if protocol not in LAYOUTS:
        raise ValueError(f"no submission layout for protocol {protocol!r}; known: {', '.join(LAYOUTS)}")
    return LAYOUTS[protocol]


def layout_named(protocol: str, name: str | None) -> ZipLayout | None:
    """The protocol's layout of that name; None for None."""
    if name is None:
        return None
    for layout in layouts_of(protocol):
        if layout.name == name:
            return layout
    known = ", ".join(layout.name for layout in layouts_of(protocol))
    raise ValueError(f"this data set has no layout {name!r}; it has: {known}")
