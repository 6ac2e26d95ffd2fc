"""What an index or mask file says to the reader of its format, read by plain means (see test_fuzz_readers)."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

from stages.datasets.mat_file import read_masks


def load(path: Path) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        assert len(found) == len(pairs)
        return found

    document = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    assert isinstance(document, dict)
    return document


def index(path: Path, *keys: str) -> Any:
    """Videos, their frames, and of their expressions the keys that are used."""
    videos = {}
    for video, entry in load(path)["videos"].items():
        if not isinstance(entry, dict) or not isinstance(entry.get("expressions"), dict):
            videos[video] = repr(entry)
            continue
        expressions = {
            name: {key: _plain(key, said.get(key, "absent")) for key in keys} if isinstance(said, dict) else repr(said)
            for name, said in entry["expressions"].items()
        }
        frames = entry.get("frames")
        videos[video] = repr([str(f) for f in frames] if isinstance(frames, list) else frames), repr(expressions)
    return list(videos.items())


def _plain(key: str, value: Any) -> Any:
    """Spellings that mean the same."""
    if key == "anno_id":
        value = [] if value == "absent" else value or []
        return list(dict.fromkeys(map(str, value))) if isinstance(value, list) else value
    return str(value) if key == "obj_id" else value


def rles(value: Any) -> str:
    if isinstance(value, list):
        return repr([(one.get("size"), one.get("counts")) if isinstance(one, dict) else one for one in value])
    return repr(value)


def mevis(path: Path) -> Any:
    if path.name == "mask_dict.json":
        used = {str(key) for video in _videos(path.with_name("meta_expressions.json")) for key in video}
        return {key: rles(value) for key, value in load(path).items() if key in used}
    return index(path, "exp", "anno_id")


def _videos(path: Path) -> list[list[int]]:
    return [e["anno_id"] for video in load(path)["videos"].values() for e in video["expressions"].values()]


def revos(path: Path) -> Any:
    videos = path.with_name("meta_expressions_valid_.json")
    if path.name == "mask_dict.json":
        used = {str(key) for ids in _videos(videos) for key in ids}
        return {key: rles(value) for key, value in load(path).items() if key in used}
    if path.name == "mask_dict_foreground.json":
        said = load(path)
        return {
            key: rles(said[key]["masks_rle"]) if isinstance(said.get(key), dict) else repr(said.get(key))
            for key in load(videos)["videos"]
        }
    return index(path, "exp", "anno_id", "type_id")


def own(path: Path) -> Any:
    found = []
    for name, entry in load(path)["videos"].items():
        assert set(entry) == {"path", "start", "end", "sentences"}
        times = (entry["start"], entry["end"])
        assert all(time is None or (type(time) in (int, float) and 0 <= time < float("inf")) for time in times)
        assert entry["sentences"] and all(isinstance(text, str) for text in entry["sentences"].values())
        found.append((name, str(Path(entry["path"])), *times, list(entry["sentences"].items())))
    return found


def folder(path: Path) -> Any:
    return [(name, list(said.items()) if isinstance(said, dict) else said) for name, said in load(path).items()]


def labels(path: Path, *used: int) -> Any:
    with Image.open(path) as image:
        assert image.format == "PNG" and image.mode in ("P", "L", "1")
        labels_HW = np.asarray(image)
    return labels_HW.shape, [np.flatnonzero(labels_HW == label).tolist() for label in used]


def ytvos(path: Path) -> Any:
    return labels(path, 1, 2, 3) if path.suffix == ".png" else index(path, "exp", "obj_id")


def long_rvos(path: Path) -> Any:
    if path.suffix == ".png":
        return labels(path, 255)
    return index(path, "exp", "obj_id", "type")


def davis17(path: Path) -> Any:
    if path.suffix == ".png":
        return labels(path, *range(1, 256))
    if path.name == "val.txt":
        return list(dict.fromkeys(path.read_text(encoding="utf-8").split()))
    text = path.read_bytes().decode("latin-1" if "annot2" in path.name else "utf-8-sig")
    said = []
    for line in text.split("\n"):
        words = line.split(None, 2)
        if words and words[0] in ("classic-car", "clasic-car", "dogs-scale", "dog-scale"):
            video = words[0].replace("clasic", "classic").replace("dog-", "dogs-")
            sentence = words[2].strip().removeprefix('"').removesuffix('"') if len(words) == 3 else ""
            said.append((video, words[1:2], sentence))
    return sorted(said)


def a2d(path: Path) -> Any:
    if path.suffix == ".h5":
        with h5py.File(path, "r") as file:
            masks = file["reMask"][()] != 0
            masks_NWH = masks if masks.ndim == 3 else masks[None]
            pairs = zip(file["instance"][()].ravel().tolist(), masks_NWH)
            return masks_NWH.shape[1:], sorted((key, np.flatnonzero(mask).tolist()) for key, mask in pairs)
    if path.name == "a2d_missed_videos.txt":
        return {line.strip() for line in path.read_text(encoding="utf-8").splitlines()} & {"-cat1", "bird3"}
    rows = [row for row in table(path) if any(row)]
    if path.name == "videoset.csv":
        assert all(len(row) == 9 for row in rows)
        return [row[0] for row in rows if row[-1] == "1" and row[0] in ("-cat1", "bird3")]
    assert all(len(row) == 3 for row in rows)
    said = [row for row in rows if row[0] in ("-cat1", "bird3") and row[1] != "1 (copy)"]
    return sorted(said, key=lambda row: row[0])  # the order of videos is that of videoset.csv


def table(path: Path) -> list[list[str]]:
    text = path.read_text(encoding="utf-8-sig")
    return [[cell.strip() for cell in row] for row in csv.reader(text.splitlines(keepends=True), strict=True)]


def jhmdb(path: Path) -> Any:
    if path.suffix == ".mat":
        masks_THW = read_masks(path)  # held against scipy in test_jhmdb; scipy crashes on damaged files
        return masks_THW.shape, np.flatnonzero(masks_THW).tolist()
    rows = [row for row in table(path) if any(row)]
    assert all(len(row) == 2 for row in rows)
    return rows[1:]


MEANINGS: Mapping[str, Callable[[Path], Any]] = {
    "mevis": mevis,
    "own": own,
    "folder": folder,
    "ytvos": ytvos,
    "davis17": davis17,
    "revos": revos,
    "long_rvos": long_rvos,
    "a2d": a2d,
    "jhmdb": jhmdb,
}
