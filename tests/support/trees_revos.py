"""A small ReVOS: ids with "/", overlapping masks, null and all-null masks, a single frame, three kinds of sentences."""

import json
from pathlib import Path
from typing import Any

from support.trees_pngs import SIZE, labels, write_frames

from stages.core.media import masks

ROWS = slice(2, 8)
UVO = "UVO/all/2E4T5NCywcE"
VALID: dict[str, Any] = {
    UVO: {
        "vid_id": 4,
        "height": SIZE[0],
        "width": SIZE[1],
        "frames": ["00003", "00004", "00009"],
        "expressions": {
            "0": {"exp": "the dog", "obj_id": [0], "anno_id": [7], "type_id": 0},
            "1": {"exp": "What could bite?", "obj_id": [0, 1], "anno_id": [7, 8], "type_id": 1},
            "2": {"exp": "the flying pig", "obj_id": [], "anno_id": [], "type_id": 2},
            "3": {"exp": "the dog", "obj_id": [2], "anno_id": [9], "type_id": 0},
        },
    },
    "UVO/all/single": {
        "frames": ["00000"],
        "expressions": {"0": {"exp": "a bird", "obj_id": [0], "anno_id": [10], "type_id": 0}},
    },
}


def rle(start: int, stop: int) -> dict[str, Any]:
    """A box over the given columns."""
    return dict(masks.encode(labels((1, ROWS, slice(start, stop)))))


MASKS: dict[str, Any] = {
    "7": [rle(0, 6), None, rle(1, 7)],
    "8": [rle(4, 9), None, None],  # overlaps 7
    "9": [None, None, None],
    "10": [rle(0, 3)],
}
FOREGROUND: dict[str, Any] = {
    UVO: {"masks_rle": [rle(0, 9), None, rle(1, 7)], "foreground_ratio": [0.3, 0.0, 0.2]},
    "UVO/all/single": {"masks_rle": [rle(0, 3)]},
}


def plant_revos(
    root: Path, videos: Any = None, masks_: Any = None, foreground: Any = None, *, split: str = "valid"
) -> Path:
    root.mkdir(exist_ok=True)
    (root / f"meta_expressions_{split}_.json").write_text(json.dumps({"videos": VALID if videos is None else videos}))
    (root / "mask_dict.json").write_text(json.dumps(MASKS if masks_ is None else masks_))
    (root / "mask_dict_foreground.json").write_text(json.dumps(FOREGROUND if foreground is None else foreground))
    for video, entry in VALID.items():
        write_frames(root / "JPEGImages" / video, entry["frames"])
    return root
