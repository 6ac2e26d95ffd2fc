"""A small Long-RVOS: a mask file for each object and frame it is seen in, overlapping objects, unsorted frames."""

import json
from pathlib import Path
from typing import Any

from PIL import Image
from support.trees_pngs import labels, write_frames

ROWS = slice(2, 8)
VALID: dict[str, Any] = {
    "long": {
        "frames": ["00010", "00000", "00005"],
        "expressions": {
            "0": {"exp": "The red car", "obj_id": "1", "type": "static"},
            "1": {"exp": "the car that turns", "obj_id": 1, "type": "dynamic"},
            "2": {"exp": "the man who leaves", "obj_id": "12", "type": "hybrid"},
            "3": {"exp": "somebody hidden", "obj_id": "3", "type": "static"},
        },
    },
    "single": {"frames": ["00000"], "expressions": {"0": {"exp": "a bird", "obj_id": "1", "type": "static"}}},
}


def write_mask(path: Path, start: int, stop: int, value: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels((value, ROWS, slice(start, stop))), "L").save(path)


def plant_long_rvos(root: Path, videos: Any = None, split: str = "valid") -> Path:
    folder = root / split
    for video, entry in VALID.items():
        write_frames(folder / "JPEGImages" / video, entry["frames"])
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": VALID if videos is None else videos}))
    maps = folder / "Annotations"
    write_mask(maps / "long/1/00000.png", 0, 6)
    write_mask(maps / "long/1/00010.png", 2, 8)
    write_mask(maps / "long/12/00000.png", 4, 9)  # overlaps object 1
    (maps / "long/3").mkdir()  # never seen
    write_mask(maps / "single/1/00000.png", 0, 3)
    return root
