"""A small tree in MeViS v2 layout, drawn by hand: squares that move, one sentence without a target."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from stages.core.media import masks

SIZE = (48, 64)
COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230)}


def write_tree(root: Path, train: int = 2, valid_u: int = 3, valid: int = 1) -> None:
    """<root>/{train,valid_u,valid}: JPEGImages, meta_expressions.json, mask_dict.json (none for valid)."""
    for split, n in (("train", train), ("valid_u", valid_u), ("valid", valid)):
        write_split(root / split, n, truth=split != "valid", first=1000 * len(split))


def write_split(folder: Path, n: int, *, truth: bool, first: int) -> None:
    videos, mask_dict = {}, {}
    for v in range(n):
        random = np.random.default_rng(first + v)
        # MeViS frames do not always begin at 00000
        frames = [f"{5 * t + 10 * v:05d}" for t in range(4 + v % 3)]
        squares = draw(folder / "JPEGImages" / f"video{v}", frames, random)
        keys = [str(first + 10 * v + i) for i in range(len(squares))]
        expressions = {}
        for i, colour in enumerate(list(COLOURS)[: len(squares)]):
            expressions[str(i)] = {"exp": f"the {colour}  square", "obj_id": [i], "anno_id": [int(keys[i])]}
        expressions[str(len(squares))] = {"exp": "all squares", "obj_id": [0, 1], "anno_id": [int(k) for k in keys]}
        expressions[str(len(squares) + 1)] = {"exp": "a flying circle", "obj_id": [], "anno_id": []}
        if not truth:
            expressions = {e: {"exp": entry["exp"]} for e, entry in expressions.items()}
        videos[f"video{v}"] = {"frames": frames, "expressions": expressions}
        for key, rles in zip(keys, squares, strict=True):
            mask_dict[key] = rles
    (folder / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    if truth:
        (folder / "mask_dict.json").write_text(json.dumps(mask_dict))


def draw(folder: Path, frames: list[str], random: np.random.Generator) -> list[list[dict[str, object] | None]]:
    """Writes the frames; returns for both squares an RLE a frame, null where it has left the picture."""
    folder.mkdir(parents=True)
    rles: list[list[dict[str, object] | None]] = [[], []]
    starts = [(8, 4), (26, 40)]
    for t, name in enumerate(frames):
        image = np.full((*SIZE, 3), 110, np.uint8) + random.integers(0, 20, (*SIZE, 1), dtype=np.uint8)
        for i, (row, column) in enumerate(starts):
            left = column + (9 * t if i == 0 else 10 * t)
            mask = np.zeros(SIZE, bool)
            mask[row : row + 14, left : left + 14] = True
            image[mask] = list(COLOURS.values())[i]
            rles[i].append(dict(masks.encode(mask)) if mask.any() else None)
        Image.fromarray(image).save(folder / f"{name}.jpg", quality=95)
    return rles
