"""A small Ref-YouTube-VOS: gaps, a late start, a single frame, a repeated text, hidden test videos."""

import json
from pathlib import Path
from typing import Any

from support.trees_pngs import labels, write_frames, write_labels

LEFT, RIGHT = slice(0, 4), slice(8, 14)
ROWS = slice(2, 8)
TRAIN: dict[str, Any] = {
    "0788b4033d": {
        "frames": ["00150", "00155", "00165"],  # starts late, and 00160 is missing
        "expressions": {
            "0": {"exp": " A dog  on the Left", "obj_id": "1"},
            "1": {"exp": "a cat", "obj_id": "2"},
            "10": {"exp": "a cat", "obj_id": "2"},  # the text of expression 1 again
            "2": {"exp": "never seen", "obj_id": "3"},
        },
    },
    "single": {"frames": ["00000"], "expressions": {"0": {"exp": "a bird", "obj_id": "1"}}},
}


def plant_train(root: Path) -> Path:
    write_index(root, "train", TRAIN)
    folder = root / "train"
    for video, entry in TRAIN.items():
        write_frames(folder / "JPEGImages" / video, entry["frames"])
    maps = folder / "Annotations" / "0788b4033d"
    write_labels(maps / "00150.png", labels((1, ROWS, LEFT), (2, ROWS, RIGHT)))
    write_labels(maps / "00155.png", labels((2, ROWS, RIGHT)))
    write_labels(maps / "00165.png", labels())
    write_labels(folder / "Annotations/single/00000.png", labels((1, ROWS, LEFT)))
    return root


def plant_valid(root: Path) -> Path:
    """valid lists test's videos too; neither says obj_id. YouTube-VOS' first-frame masks lie beside the frames."""
    entry = {"frames": ["00005", "00015"], "expressions": {"0": {"exp": "x "}, "1": {"exp": "x"}}}
    write_index(root, "valid", {"1335b16cf9": entry, "hidden": entry, "8d803e87f7": entry})
    write_index(root, "test", {"hidden": entry})
    write_frames(root / "valid/JPEGImages/1335b16cf9", entry["frames"])
    write_labels(root / "valid/Annotations/1335b16cf9/00005.png", labels((1, ROWS, LEFT)))
    return root


def write_index(root: Path, split: str, videos: dict[str, Any]) -> None:
    path = root / "meta_expressions" / split / "meta_expressions.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"videos": videos}))
