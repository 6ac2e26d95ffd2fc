"""A small data set of every format, and which of its files say what there is."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from support import tiny_mevis
from support.trees_davis import plant_davis
from support.trees_long_rvos import plant_long_rvos
from support.trees_revos import plant_revos
from support.trees_sentences import write_a2d, write_jhmdb
from support.trees_ytvos import plant_train


@dataclass(frozen=True)
class Tree:
    """A small data set and what of it is damaged.

    Attributes:
        plant: writes it below a folder.
        split: which split is read.
        targets: patterns of the index and mask files.
        optional: patterns of those that may be missing without a word (absent objects, frames not annotated).
        counted: whether the reader holds the number of videos and expressions against a published one.
    """

    plant: Callable[[Path], object]
    split: str
    targets: tuple[str, ...]
    optional: tuple[str, ...] = ()
    counted: bool = True


def plant_folder(root: Path) -> None:
    for name in ("dog", "street/cars"):
        (root / name).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (16, 12)).save(root / name / f"{index}.png")
    index = {"dog": ["the dog", "a  Cat"], "street/cars": {"near": "the white car", "far": "another"}}
    (root / "expressions.json").write_text(json.dumps(index))


def plant_own(root: Path) -> None:
    """As `referee segment` writes it: frames are wherever they are, here below the root."""
    videos = {}
    for name, sentences in (
        ("dog", {"the_dog": "the dog", "a_cat": "a  Cat"}),
        ("cars", {"the_white_car": "the white car"}),
    ):
        (root / name).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (16, 12)).save(root / name / f"{index}.png")
        videos[name] = {"path": str(root / name), "start": None, "end": 4.0, "sentences": sentences}
    (root / "request.json").write_text(json.dumps({"videos": videos}))


TREES: Mapping[str, Tree] = {
    "mevis": Tree(tiny_mevis.write_tree, "valid_u", ("valid_u/*.json",)),
    "own": Tree(plant_own, "all", ("request.json",), counted=False),
    "folder": Tree(plant_folder, "all", ("expressions.json",), counted=False),
    "ytvos": Tree(plant_train, "train", ("meta_expressions/train/*.json", "train/Annotations/*/*.png")),
    "davis17": Tree(
        plant_davis,
        "val",
        ("DAVIS/ImageSets/2017/val.txt", "davis_text_annotations/*.txt", "DAVIS/Ann*/480p/[cd]*/*.png"),
    ),
    "revos": Tree(plant_revos, "valid", ("*.json",), counted=False),
    "long_rvos": Tree(plant_long_rvos, "valid", ("valid/*.json", "valid/Ann*/*/*/*.png"), ("valid/Ann*/*/*/*.png",)),
    "a2d": Tree(
        write_a2d,
        "test",
        ("Release/videoset.csv", "text_annotations/*.txt", "text_annotations/*/[-b]*/*.h5"),
        ("text_annotations/*/-cat1/*.h5",),
    ),
    "jhmdb": Tree(write_jhmdb, "test", ("jhmdb_annotation.txt", "puppet_mask/*/*/*.mat")),
}
