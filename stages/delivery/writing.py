"""Writes outputs: all formats in one pass over the frames, each under a temporary name, then moved into its place."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from stages.core.config.sections import Render
from stages.core.digests import digest
from stages.core.run import progress
from stages.core.state.temporary import disk_full, remove, remove_leftovers, temporary_beside
from stages.delivery.format import FORMATS, Format, Order
from stages.delivery.ledger import Ledger
from stages.delivery.names import joined, slugs
from stages.delivery.segmented import Segmented
from stages.delivery.shots import shots


class Output(NamedTuple):
    """One file or folder to write.

    Attributes:
        made_of: digest of all that its bytes depend on.
    """

    format: Format
    order: Order
    path: Path
    made_of: str


def write(segmented: Segmented, formats: Sequence[str], out: Path, render: Render) -> list[Path]:
    """Writes what is asked for and returns where it is, in the order of the formats, then of the sentences.

    An output that is there already, made of the same and unchanged, is left as it is.

    Args:
        segmented: a video and its answered sentences; at least one.
        formats: names of `stages.delivery.format.FORMATS`.
        out: a folder for the outputs of this video; it is made if need be.
        render: how overlays look; `captions` puts the sentence and scores into the picture.

    Raises:
        UnknownName: there is no such format; it is a ValueError, and names the nearest one.
        ValueError: something that Referee did not make is in an output's place, or a frame cannot be read.
        DiskFull: there is no room.
    """
    outputs = plan(segmented, formats, out, render)
    ledger = Ledger(out)
    for output in outputs:
        ledger.check(output.path)
    wanted = [output for output in outputs if not ledger.is_current(output.path, output.made_of)]
    if wanted:
        with _disk_is_full(wanted[0].path):
            out.mkdir(parents=True, exist_ok=True)
            _write_all(segmented, wanted, ledger)
    return [output.path for output in outputs]


def plan(segmented: Segmented, formats: Sequence[str], out: Path, render: Render) -> list[Output]:
    """The outputs that `write` would write; raises UnknownName for a format that is not there."""
    sentences = segmented.sentences
    names = slugs([sentence.text for sentence in sentences])
    outputs = []
    for kind in [FORMATS[name] for name in dict.fromkeys(formats)]:
        if kind.together:
            groups = [(joined([sentence.text for sentence in sentences]), sentences)]
        else:
            groups = [(name, (sentence,)) for name, sentence in zip(names, sentences, strict=True)]
        for name, group in groups:
            order = Order(segmented, group, render)
            outputs.append(Output(kind, order, out / f"{name}{kind.ending}", _made_of(kind, order)))
    return outputs


def _write_all(segmented: Segmented, outputs: Sequence[Output], ledger: Ledger) -> None:
    temporaries = [temporary_beside(output.path) for output in outputs]
    with ExitStack() as cleaning:
        for output, temporary in zip(outputs, temporaries, strict=True):
            remove_leftovers(output.path)
            cleaning.callback(remove, temporary)
            if output.format.folder:
                temporary.mkdir()
        with ExitStack() as opened:
            takers = [
                opened.enter_context(output.format.open(temporary, output.order))
                for output, temporary in zip(outputs, temporaries, strict=True)
            ]
            frames = shots(segmented, pixels=any(output.format.pixels for output in outputs))
            for shot in progress.steps(frames, len(segmented.span)):
                for take in takers:
                    take(shot)
        for output, temporary in zip(outputs, temporaries, strict=True):
            ledger.put(temporary, output.path, output.made_of)


@contextmanager
def _disk_is_full(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if full := disk_full(error, path):
            raise full from error
        raise


def _made_of(kind: Format, order: Order) -> str:
    segmented = order.segmented
    source = segmented.source
    facts: dict[str, Any] = {
        "format": [kind.name, kind.version],
        "files": [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in source.pictures or (source.path,)],
        "times": [source.ticks, source.end, str(source.time_base), source.start, source.size],
        "frames": [segmented.span.start, segmented.span.stop, segmented.frames],
        "sentences": [
            [s.text, s.note, [[o.id, o.name, o.score, list(o.rles_T)] for o in s.objects]] for s in order.sentences
        ],
        "render": order.render.model_dump(mode="json"),
    }
    return digest(facts)
