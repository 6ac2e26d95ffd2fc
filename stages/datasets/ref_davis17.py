"""Reader of Ref-DAVIS17 (Khoreva et al., ACCV 2018), from the raw files or from a conversion of them.

    <root>/DAVIS/JPEGImages/480p/<video>/00000.jpg …                DAVIS-2017-Unsupervised-trainval-480p
    <root>/DAVIS/Annotations_unsupervised/480p/<video>/00000.png …  palette images: index = object, 255 = void
    <root>/DAVIS/ImageSets/2017/{train,val}.txt                     the videos of a split
    <root>/davis_text_annotations/Davis17_annot{1,2}{,_full_video}.txt   see stages.datasets.davis_text

"DAVIS/" may be left out. A conversion (`python -m stages.tools.convert_davis`, or ReferFormer's) is laid out as
Ref-YouTube-VOS, with "valid" for "val": <root>/meta_expressions/{train,valid}/meta_expressions.json,
<root>/{train,valid}/{JPEGImages,Annotations}; it is read where it is there. Both give the same records.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stages.core.records import MaskSequence, Video, check_id
from stages.core.spelling import nfc, stored_path
from stages.core.tables import Counts, Format
from stages.core.text_files import read_text
from stages.datasets.checks import warn_of_counts
from stages.datasets.davis_text import Texts, expressions, read_texts
from stages.datasets.expression_index import Entry, IndexReader, load_videos
from stages.datasets.label_split import LabelSplit
from stages.datasets.ref_youtube_vos import annotations_folder, index_path, one_object

VOID = 255
N_ANNOTATORS = 4
CONVERTED = {"train": "train", "val": "valid", "valid": "valid"}  # split → its folder in a conversion
LISTS = {"train": "train", "val": "val", "valid": "val"}  # split → its list in ImageSets/2017
# Split → (videos, expressions): 144 and 61 objects, four sentences each.
PUBLISHED: Counts = {"train": ((60, 576),), "val": ((30, 244),), "valid": ((30, 244),)}


class DavisSplit(LabelSplit):
    """One split of Ref-DAVIS17."""

    protocol = "davis17"

    def annotations(self, video: Video) -> Mapping[str, MaskSequence]:
        """Label → one RLE (or None) per frame, for **all** objects of the video, in the order of their numbers.

        DAVIS' unsupervised protocol counts objects that no sentence describes, too, and every number up to the
        largest label, whether a frame shows it or not (then all None).

        Raises:
            ValueError: as `LabelSplit.annotations`.
        """
        referred = dict(super().annotations(video))
        shown = {label: masks for label, masks in self._labels(video).items() if label != VOID}
        for label in range(1, max(shown, default=0) + 1):
            referred[str(label)] = shown.get(label, [None] * len(video.frames))
        return {key: referred[key] for key in sorted(referred, key=int)}

    def void(self, video: Video) -> MaskSequence | None:
        """The pixels labelled 255, None in frames without; ValueError as `annotations`."""
        return self._labels(video).get(VOID, [None] * len(video.frames))


def open_split(root: Path, split: str, limit: int | None, published: bool = True) -> DavisSplit:
    """Reads a split of the conversion at `root`, or else of the raw files.

    Args:
        split: train, val, or valid (the same as val).
        limit: only the first videos of the list; None = all.
        published: it is the published set, whose counts are known: counts that differ give a warning.

    Raises:
        ValueError: a list, an index, a text file or the folder of annotations is missing or unusable as a
            whole, or an id cannot be a path.
    """
    if split not in CONVERTED:
        raise ValueError(f"{root}: Ref-DAVIS17 has the splits train and val, not {split!r}")
    converted = index_path(root, CONVERTED[split])
    if converted.is_file():
        videos, annotations, left_out = _read_converted(root, CONVERTED[split], converted)
    else:
        left_out = []
        videos, annotations = read_raw(root, split)
    count = sum(len(video.expressions) for video in videos)
    warn_of_counts(root, len(videos), count, PUBLISHED[split] if published else ())
    return DavisSplit(split, videos[:limit], annotations, left_out)


def read_raw(root: Path, split: str) -> tuple[list[Video], Path]:
    """The videos of a split of the raw files, and the folder of their annotations.

    Raises:
        ValueError: as `open_split`.
    """
    davis = root / "DAVIS" if (root / "DAVIS").is_dir() else root
    names = _listed(davis / "ImageSets" / "2017" / f"{LISTS[split]}.txt")
    annotations = davis / "Annotations_unsupervised" / "480p"
    if not annotations.is_dir():
        raise ValueError(f"{annotations}: does not exist; put DAVIS-2017-Unsupervised-trainval-480p there")
    texts = read_texts(root)
    return [_raw_video(stored_path(davis / "JPEGImages" / "480p", name), name, texts) for name in names], annotations


def _listed(file: Path) -> list[str]:
    names = nfc(read_text(file, "list of DAVIS-2017-Unsupervised-trainval-480p")).split()
    for name in names:
        try:
            check_id(name, "video id")
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        if "/" in name:
            raise ValueError(f"{file}: video id {name!r} holds a '/'; DAVIS has one folder per video")
    return list(dict.fromkeys(names))


def _raw_video(folder: Path, name: str, texts: list[Texts]) -> Video:
    sentences, defects = expressions(texts, name)
    stems = sorted(p.stem for p in folder.glob("*.jpg") if p.name[0] != ".") if folder.is_dir() else []
    if not stems:
        defects.append(f"{folder}: video {name!r}: no frame (.jpg) is there; restore the folder")
    return Video(name, tuple(stems), folder, tuple(sentences), len(stems), "; ".join(defects))


def _read_converted(root: Path, split: str, index: Path) -> tuple[list[Video], Path, list[str]]:
    raw = load_videos(index)
    annotations = annotations_folder(root / split, raw, index)
    if annotations is None:
        raise ValueError(f"{index}: refers to no object; convert the data set again")
    reader = IndexReader(index, root / split / "JPEGImages", one_object, _annotator)
    videos, left_out = reader.videos(raw)
    return [_complete(video, index) for video in videos], annotations, left_out


def _complete(video: Video, index: Path) -> Video:
    """With a defect where not every annotator describes every object, which the protocol needs."""
    unscored = [expression.defect for expression in video.expressions if expression.annotations is None]
    if unscored:
        return replace(video, defect="; ".join(filter(None, [video.defect, *unscored])))
    numbers = {int(expression.id) for expression in video.expressions}
    n = N_ANNOTATORS * -(-(max(numbers, default=0) + 1) // N_ANNOTATORS)
    absent = [str(number) for number in range(n) if number not in numbers]
    if video.defect or not absent:
        return video
    some = ", ".join(absent[:8])
    return replace(video, defect=f"{index}: video {video.id!r}: lacks expressions {some}; convert the data set again")


def _annotator(name: str, entry: Entry) -> str:
    """Expression 4·k + a is of annotator a and of object k + 1."""
    if not (name.isascii() and name.isdecimal() and len(name) < 4):
        raise ValueError("its id must be a number, 4·k + annotator; convert the data set again")
    if one_object(entry) != (str(int(name) // N_ANNOTATORS + 1),):
        raise ValueError(
            f"obj_id is {entry.get('obj_id')!r}, but expression {name} is of object {int(name) // N_ANNOTATORS + 1}; "
            "convert the data set again"
        )
    return str(int(name) % N_ANNOTATORS)


FORMAT = Format(
    name="davis17",
    open_split=open_split,
    index_files=(
        "meta_expressions/*/*.json",
        *("ImageSets/2017/*.txt", "DAVIS/ImageSets/2017/*.txt"),
        *("*.txt", "davis_text_annotations/*.txt", "text_annotations/*.txt"),
    ),
    counts=PUBLISHED,
)
