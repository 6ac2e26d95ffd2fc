"""The same data set in other forms: byte order marks, UTF-16, another Unicode form, runs as lists, other frame names."""

import codecs
import hashlib
import json
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny_mevis import write_tree
from support.trees import TREES

from stages.core.media import masks
from stages.core.records import Split
from stages.core.tables import FORMATS
from stages.datasets.check import check_split
from stages.datasets.frame_files import frame_files
from stages.datasets.mevis import open_split

# A video of each format's tree, by which no sentence goes.
NAMES = {
    "mevis": "video1",
    "folder": "cars",
    "ytvos": "0788b4033d",
    "davis17": "classic-car",
    "revos": "2E4T5NCywcE",
    "long_rvos": "long",
    "a2d": "bird3",
    "jhmdb": "short_run_l",
}
TEXTS = (".json", ".txt", ".csv")


def plant(format: str, root: Path) -> tuple[Path, Callable[[], Split]]:
    tree = TREES[format]
    tree.plant(root)
    return root, lambda: FORMATS[format].open_split(root, tree.split, None, False)


def errors(open_it: Callable[[], Split]) -> list[str]:
    return [finding.message for finding in check_split(open_it).findings if finding.level == "error"]


def contents(split: Split, *, captions: bool = True) -> str:
    """A digest of what a split says, without names of videos."""
    said: list[Any] = []
    for video in split.videos():
        truth = (split.annotations(video), split.void(video), split.foreground(video), split.scored_frames(video))
        said.append((video.frames, video.expressions if captions else len(video.expressions), truth))
    return hashlib.sha256(repr(said).encode()).hexdigest()


def coded(path: Path) -> str:
    """The encoding of a file: DAVIS' second annotator wrote Latin-1."""
    return "latin-1" if "annot2" in path.name else "utf-8"


def texts_of(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.suffix in TEXTS and path.is_file()]


@pytest.mark.parametrize("format", TREES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_is_read_over(format: str, encoding: str, tmp_path: Path) -> None:
    root, open_it = plant(format, tmp_path / "set")
    before = contents(open_it())
    mark = {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}[encoding]
    for path in texts_of(root):
        path.write_bytes(mark + path.read_text(encoding=coded(path)).encode(encoding))
    assert not errors(open_it) and contents(open_it()) == before


@pytest.mark.parametrize("format", NAMES)  # all but own: its paths are written as the file system has them
@pytest.mark.parametrize("indexed", ["NFC", "NFD"])
def test_names_of_another_unicode_form_are_found(format: str, indexed: str, tmp_path: Path) -> None:
    root, open_it = plant(format, tmp_path / "set")
    before, old, new = contents(open_it(), captions=False), NAMES[format], f"é{NAMES[format]}"
    stored = unicodedata.normalize("NFD" if indexed == "NFC" else "NFC", new)
    renamed = 0
    for path in sorted(root.rglob("*"), reverse=True):  # what is deep comes first
        if path.stem == old or path.name == old:
            path.rename(path.with_name(path.name.replace(old, stored)))
            renamed += 1
    for path in texts_of(root):
        text = path.read_text(encoding=coded(path)).replace("clasic-car", "classic-car")
        name = unicodedata.normalize("NFC" if coded(path) == "latin-1" else indexed, new)  # Latin-1 has but the one
        path.write_text(text.replace(old, name), encoding=coded(path))
    assert renamed and not errors(open_it) and contents(open_it(), captions=False) == before
    for video in open_it().videos():
        assert not video.frames or len(frame_files(video, as_shown=False)) == len(video.frames)


def test_every_format_with_names_of_its_own_is_among_them() -> None:
    assert set(TREES) - set(NAMES) == {"own"}


def test_frames_of_another_unicode_form_are_found(tmp_path: Path) -> None:
    write_tree(tmp_path, valid_u=1)
    index = tmp_path / "valid_u/meta_expressions.json"
    document = json.loads(index.read_text())
    frames = document["videos"]["video0"]["frames"]
    document["videos"]["video0"]["frames"] = [unicodedata.normalize("NFC", f"é{name}") for name in frames]
    index.write_text(json.dumps(document))
    for name in frames:
        path = tmp_path / f"valid_u/JPEGImages/video0/{name}.jpg"
        path.rename(path.with_name(unicodedata.normalize("NFD", f"é{name}.jpg")))
    assert not errors(lambda: open_split(tmp_path, "valid_u", None, False))


@pytest.mark.parametrize(
    "spell", [lambda name: f"{name}.jpg", int, lambda name: str(int(name)), lambda name: f"{name}.JPG"]
)
def test_frames_may_be_file_names_or_numbers(spell: Callable[[str], object], tmp_path: Path) -> None:
    write_tree(tmp_path, valid_u=2)
    before = [video.frames for video in open_split(tmp_path, "valid_u", None, False).videos()]
    index = tmp_path / "valid_u/meta_expressions.json"
    document = json.loads(index.read_text())
    for entry in document["videos"].values():
        entry["frames"] = [spell(name) for name in entry["frames"]]
    index.write_text(json.dumps(document))
    videos = open_split(tmp_path, "valid_u", None, False).videos()
    assert [video.frames for video in videos] == before  # the submission has the names of the files
    assert not errors(lambda: open_split(tmp_path, "valid_u", None, False))


def test_frames_that_are_numbers_stay_so_where_files_are(tmp_path: Path) -> None:
    write_tree(tmp_path, valid_u=1)
    folder = tmp_path / "valid_u/JPEGImages/video0"
    for path in list(folder.iterdir()):
        path.rename(path.with_name(f"{int(path.stem)}.jpg"))
    index = tmp_path / "valid_u/meta_expressions.json"
    document = json.loads(index.read_text())
    document["videos"]["video0"]["frames"] = [0, 5, 10, 15]
    index.write_text(json.dumps(document))
    (video,) = open_split(tmp_path, "valid_u", None, False).videos()
    assert video.frames == ("0", "5", "10", "15") and len(frame_files(video, as_shown=False)) == 4


def runs_of(rle: dict[str, Any]) -> dict[str, Any]:
    """The same mask with its runs as a list, counted by plain means."""
    runs, value = [0], False
    for pixel in masks.decode({"size": tuple(rle["size"]), "counts": rle["counts"]}).ravel(order="F").tolist():  # type: ignore[typeddict-item]
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return {"size": list(rle["size"]), "counts": runs}


@pytest.mark.parametrize("format", ["mevis", "revos"])
def test_uncompressed_masks_are_the_same_masks(format: str, tmp_path: Path) -> None:
    root, open_it = plant(format, tmp_path / "set")
    before = contents(open_it())
    changed = 0
    for path in root.rglob("mask_dict*.json"):
        document = json.loads(path.read_text())
        for key, value in document.items():
            rles: list[Any] = value if isinstance(value, list) else value["masks_rle"]
            rles[:] = [None if rle is None else runs_of(rle) for rle in rles]
            changed += sum(rle is not None for rle in rles)
            document[key] = value
        path.write_text(json.dumps(document))
    assert changed and not errors(open_it) and contents(open_it()) == before


def grow(runs: Sequence[int]) -> masks.Bool:
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape((3, 4), order="F")


@pytest.mark.parametrize("runs", [[12], [0, 12], [5, 0, 7], [1, 2, 3, 6], [0, 1, 0, 11], [12, 0]])
def test_lists_of_runs_give_the_rle_of_their_mask(runs: list[int]) -> None:
    assert masks.read_rle({"size": [3, 4], "counts": runs}) == masks.encode(grow(runs))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "is not"),
        ({"size": [3], "counts": [12]}, "is not"),
        ({"size": [3, 4], "counts": [11]}, "11 pixels instead of 12"),
        ({"size": [3, 4], "counts": [13, -1]}, "something else than whole numbers"),
        ({"size": [3, 4], "counts": [12.0]}, "something else than whole numbers"),
        ({"size": [3, 4], "counts": [True, 11]}, "something else than whole numbers"),
        ({"size": [1 << 40, 1], "counts": [1 << 40]}, "integers from 1"),
        ({"size": [3, True], "counts": [3]}, "two positive integers"),
    ],
)
def test_other_runs_are_refused(raw: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        masks.read_rle(raw)
