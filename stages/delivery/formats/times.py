"""When each frame is shown, as a table."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.delivery.format import Format, Order, Take
from stages.delivery.shots import Shot

COLUMNS = ("frame", "picture", "seconds", "tick", "ticks_per_second", "processed", "masks_of_frame")


@contextmanager
def write_times(path: Path, order: Order) -> Iterator[Take]:
    """A CSV with one row per frame of the span, and a column per sentence: how many of its objects are visible.

    frame: index in the source, from 0; picture: its name in outputs that are pictures; seconds, tick: when it is shown
    after the source's first frame; processed: 1 or 0; masks_of_frame: the processed frame whose masks it shows.
    """
    segmented = order.segmented
    source = segmented.source
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([*COLUMNS, *(sentence.text for sentence in order.sentences)])

        def take(shot: Shot) -> None:
            seconds, tick, shown = source.seconds(shot.index), source.ticks[shot.index], segmented.frames[shot.row]
            visible = [sum(bool(shot.mask(found).any()) for found in s.objects) for s in order.sentences]
            facts = [shot.index, source.names[shot.index], f"{seconds:.6f}", tick, 1 / source.time_base]
            rows.writerow([*facts, int(shot.processed), shown, *visible])

        yield take


TIMES = Format(
    "times", "table of frames and times, CSV (spreadsheets)", ".times.csv", write_times, together=True, pixels=False
)
