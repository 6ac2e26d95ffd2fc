"""The submission zips of a split, in the layouts of its protocol: equal predictions give equal bytes."""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from stages.core.records import Split, Video
from stages.core.state.cache import atomic_path
from stages.core.state.frames import open_frames
from stages.core.state.graph import Layout
from stages.exchange.layouts import PerAnnotator, ZipLayout, layouts_of
from stages.exchange.png import label_map, label_png, mask_png, objects_png
from stages.exchange.predictions import read_predictions

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: real times would change the bytes

# Path inside a zip or folder, and the file's bytes.
Item = tuple[str, bytes]


def write_submissions(
    layout: Layout, split: Split, videos: Sequence[Video], predictions: Path, folder: Path
) -> dict[str, int]:
    """Writes every zip that the split's protocol has into `folder`, from rendered PNGs and from the cache.

    Args:
        layout: of the split's cache: frames, decisions and tracks.
        predictions: holds <video>/<expression>/<frame>.png, as render_predictions makes them.

    Returns:
        The zips' names and how many PNGs each holds.

    Raises:
        ValueError: the protocol is unknown, or a rendered PNG is missing.
    """
    counts = {}
    for zip_layout in layouts_of(split.protocol):
        if isinstance(zip_layout, PerAnnotator):
            items = cached_items(layout, zip_layout, split, videos)
        else:
            items = rendered_items(layout, zip_layout, split, videos, predictions)
        counts[zip_layout.zip_name] = write_zip(folder / zip_layout.zip_name, items)
    return counts


def rendered_items(
    layout: Layout, zip_layout: ZipLayout, split: Split, videos: Iterable[Video], predictions: Path
) -> Iterator[Item]:
    """The PNGs that were rendered, under their names in the submission."""
    for video in videos:
        names = open_frames(layout, video.id).names
        for entry in zip_layout.entries(video, names, split.scored_frames(video)):
            (expression,) = entry.labels.values()
            path = predictions / video.id / expression / f"{names[entry.frame]}.png"
            try:
                yield entry.path, path.read_bytes()
            except FileNotFoundError as error:
                raise ValueError(
                    f"{path}: was not rendered; run `python -m stages.render_predictions` again"
                ) from error


def cached_items(
    layout: Layout, zip_layout: ZipLayout, split: Split, videos: Iterable[Video], *, palette: bool = False
) -> Iterator[Item]:
    """The same from the decisions of the cache; `palette` gives binary masks a palette, the object as number 1."""
    for video in videos:
        frames = open_frames(layout, video.id)
        prediction_of = {prediction.expression: prediction for prediction in read_predictions(layout, video, frames)}
        for entry in zip_layout.entries(video, frames.names, split.scored_frames(video)):
            rles = {number: prediction_of[e].rles_T[entry.frame] for number, e in entry.labels.items()}
            scores = {number: prediction_of[e].score for number, e in entry.labels.items()}
            if isinstance(zip_layout, PerAnnotator):
                yield entry.path, label_png(label_map(rles, scores, frames.size))
            else:
                (rle,) = rles.values()
                yield entry.path, objects_png([rle], frames.size) if palette else mask_png(rle["size"], rle["counts"])


def write_zip(target: Path, items: Iterable[Item]) -> int:
    """Writes the items as they come; PNGs are compressed already and are stored as they are.

    Returns:
        How many items.
    """
    count = 0
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, data in items:
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
            count += 1
    return count


def write_folder(target: Path, items: Iterable[Item]) -> int:
    """Writes the items as files below a new or empty folder.

    Raises:
        ValueError: the folder holds something: old and new predictions would mix.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{target}: exists and is not an empty folder; remove it or give another --out")
    target.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, data in items:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        count += 1
    return count
