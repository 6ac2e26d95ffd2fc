"""Lays Ref-DAVIS17 out as Ref-YouTube-VOS, by links, as the field's other code expects it.

Reads:  the raw files below datasets.<dataset>.root (stages.datasets.ref_davis17), and DAVIS/davis_semantics.json
        if it exists (for the categories in meta.json).
Writes: <target>/{train,valid}/{JPEGImages,Annotations}/<video>, links to the raw folders;
        <target>/meta_expressions/{train,valid}/meta_expressions.json; <target>/{train,valid}/meta.json. All
        appear at once; a folder that exists already is left alone.

Why: this pipeline reads the raw files itself. Published inference and evaluation code reads the conversion,
whose own script moves the frames away.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.core.config.loading import dataset_of
from stages.core.records import Video
from stages.core.run.cli import add_config_flag, add_dataset_flag, build_parser, config_of, execute
from stages.core.state.folders import replaced_folder
from stages.datasets.index_file import load_index
from stages.datasets.ref_davis17 import CONVERTED, read_raw


def run(root: Path, target: Path) -> None:
    """Converts both splits.

    Raises:
        ValueError: the target exists, or a video of either split has a defect (all are named).
    """
    if target.exists() or target.is_symlink():
        raise ValueError(f"{target}: exists already; delete it, or give another --target")
    splits = {CONVERTED[split]: read_raw(root, split) for split in ("train", "val")}
    defects = [video.defect for videos, _ in splits.values() for video in videos if video.defect]
    defects += [_unlabelled(video, masks) for videos, masks in splits.values() for video in videos]
    if any(defects):
        raise ValueError("cannot convert:\n" + "\n".join(f"  {defect}" for defect in defects if defect))
    categories = _categories(root)
    with replaced_folder(target, record=target.with_name(f".{target.name}.record")) as folder:
        for split, (videos, annotations) in splits.items():
            _write_split(folder, split, videos, annotations, categories)


def _write_split(folder: Path, split: str, videos: list[Video], annotations: Path, categories: Any) -> None:
    for video in videos:
        _link(folder / split / "JPEGImages" / video.id, video.location)
        _link(folder / split / "Annotations" / video.id, annotations / video.id)
    _write(folder / "meta_expressions" / split / "meta_expressions.json", {v.id: _entry(v) for v in videos})
    if categories is not None:
        objects = {video.id: {"objects": _objects(categories.get(video.id, {}))} for video in videos}
        _write(folder / split / "meta.json", objects)


def _entry(video: Video) -> dict[str, Any]:
    expressions = {e.id: {"exp": e.raw, "obj_id": (e.annotations or ("",))[0]} for e in video.expressions}
    return {"expressions": expressions, "frames": list(video.frames)}


def _objects(categories: Any) -> dict[str, dict[str, str]]:
    return {str(number): {"category": str(name)} for number, name in dict(categories).items()}


def _categories(root: Path) -> dict[str, Any] | None:
    """DAVIS-2017_semantics: video → object → category; None if there is no such file."""
    places = [root / "DAVIS" / "davis_semantics.json", root / "davis_semantics.json"]
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        return None
    categories = load_index(path)
    wrong = [video for video, objects in categories.items() if not isinstance(objects, dict)]
    if wrong:
        raise ValueError(f"{path}: video {wrong[0]!r}: is no mapping of objects; restore the file")
    return categories


def _unlabelled(video: Video, annotations: Path) -> str:
    """What is wrong if the folder of label images does not exist; "" if it does."""
    folder = annotations / video.id
    return "" if folder.is_dir() else f"{folder}: video {video.id!r}: its folder of label images does not exist"


def _link(link: Path, folder: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(folder.resolve(), target_is_directory=True)


def _write(path: Path, videos: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"videos": videos}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__)
    add_config_flag(parser)
    add_dataset_flag(parser, "ref_davis17", " of format davis17")
    parser.add_argument("--target", type=Path, required=True, metavar="FOLDER", help="the folder to make")
    return execute(parser, argv, _convert)


def _convert(arguments: argparse.Namespace) -> None:
    entry = dataset_of(config_of(arguments), arguments.dataset)
    if entry.format != "davis17":
        raise ValueError(f"datasets.{arguments.dataset}.format is {entry.format!r}; only davis17 is converted")
    run(Path(entry.root), arguments.target)
    print(arguments.target)


if __name__ == "__main__":
    raise SystemExit(main())
