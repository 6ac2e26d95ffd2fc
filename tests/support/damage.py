"""Damages files for the fuzz test of the readers. Everything is drawn from one generator: a seed says it all."""

import io
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

Damage = tuple[str, bytes | None]  # what was done, and the file's new content; None = it is gone

WRONG_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 10**30, -(10**30), 1e308, float("nan"), "", " ", "x", "\x00", "é" * 40),
    *("../../etc/passwd", "/etc/passwd", "..", ".hidden", "a/../b", "a\\b", "9" * 400, "\ud800"),
    *([], [[]], [None], {}, {"": ""}, {"size": [4, 4]}, [{}]),
]
WRONG_CELLS = ["", "-1", "9" * 5000, "../up", "/abs", "a/b", "1.5", "nan", "\x00", '"', "é", "²", "0x1", "1e9", "True"]


def damage_bytes(random: Random, content: bytes) -> Damage:
    """Cuts, flips, repeats: what transport and disks do."""
    at = random.randrange(max(1, len(content)))
    end = min(len(content), at + random.randrange(1, 65))
    junk = random.randbytes(random.randrange(1, 33))
    kind = random.choice(["cut", "flip", "byte", "zero", "drop", "repeat", "insert", "empty", "append", "reverse"])
    after: dict[str, Callable[[], bytes]] = {
        "cut": lambda: content[:at],
        "flip": lambda: content[:at] + bytes([content[at] ^ (1 << random.randrange(8))]) + content[at + 1 :],
        "byte": lambda: content[:at] + random.randbytes(1) + content[at + 1 :],
        "zero": lambda: content[:at] + bytes(end - at) + content[end:],
        "drop": lambda: content[:at] + content[end:],
        "repeat": lambda: content[:end] + content[at:],
        "insert": lambda: content[:at] + junk + content[at:],
        "empty": lambda: b"",
        "append": lambda: content + junk,
        "reverse": lambda: content[:at] + content[at:end][::-1] + content[end:],
    }
    return f"{kind} at {at}", after[kind]()


def damage_json(random: Random, content: bytes) -> Damage:
    """Another value, a lost, renamed or repeated key, a broken RLE, somewhere in the document."""
    document = json.loads(content)
    nodes = list(_nodes(document))
    parent, key = random.choice(nodes)
    rles = [node for node in nodes if isinstance(_get(node), dict) and "counts" in _get(node)]
    kind = random.choice(["value", "value", "value", "lose", "rename", "repeat", "borrow", *["rle"] * (3 * bool(rles))])
    if kind == "value":
        parent[key] = random.choice(WRONG_VALUES)
    elif kind == "lose":
        del parent[key]
    elif kind == "borrow":
        parent[key] = deepcopy(_get(random.choice(nodes)))
    elif kind == "rle":
        parent, key = random.choice(rles)
        parent[key] = _broken_rle(random, parent[key])
    elif isinstance(parent, dict) and kind == "rename":
        parent[random.choice([value for value in WRONG_VALUES if isinstance(value, str)])] = parent.pop(key)
    elif isinstance(parent, dict):
        parent[f"{key}\x01"] = parent[key]
    else:
        parent.append(parent[key])
    text = json.dumps(document).replace('\\u0001"', '"')
    return f"{kind} {key!r} {str(parent)[:60]}", text.encode("utf-8")


def _broken_rle(random: Random, rle: dict[str, Any]) -> Any:
    counts, (height, width) = rle["counts"], rle["size"]
    at = random.randrange(len(counts))
    new_counts = random.choice(
        [
            *(counts[:at], counts + "0", counts + "o", counts[:at] + chr(random.randrange(32, 127)) + counts[at + 1 :]),
            *(counts[::-1], "", "o" * 20, "4", "é", [3, 4], list(range(5)), None, 7, counts + "\x00", f"P{counts}"),
        ]
    )
    new_size = random.choice(
        [
            *(
                [-height, -width],
                [0, width],
                [width, height],
                [height, width + 1],
                [height],
                [10**9, 10**9],
                [2**31, 2],
            ),
            *([str(height), width], [True, width], [float(height), width], None, [65536, 4], [height, width, 1], {}),
        ]
    )
    return (
        {"size": new_size, "counts": counts} if random.random() < 0.5 else {"size": rle["size"], "counts": new_counts}
    )


def damage_table(random: Random, content: bytes) -> Damage:
    """Another cell, a lost, repeated, swapped or widened line."""
    lines = content.decode("latin-1").split("\n")
    row, other = random.randrange(len(lines)), random.randrange(len(lines))
    kind = random.choice(["cell", "cell", "lose", "repeat", "swap", "widen", "quote", "blank"])
    if kind == "cell":
        separator = "," if "," in lines[row] else " "
        cells = lines[row].split(separator)
        cells[random.randrange(len(cells))] = random.choice(WRONG_CELLS)
        lines[row] = separator.join(cells)
    elif kind == "lose":
        del lines[row]
    elif kind == "repeat":
        lines.insert(other, lines[row])
    elif kind == "swap":
        lines[row], lines[other] = lines[other], lines[row]
    else:
        lines[row] = {"widen": lines[row] + ",1", "quote": lines[row] + '"', "blank": " "}[kind]
    return f"{kind} line {row}", "\n".join(lines).encode("utf-8", "replace")


def damage_image(random: Random, content: bytes) -> Damage:
    """Another size, mode or label: a sound image that is the wrong one."""
    with Image.open(io.BytesIO(content)) as image:
        labels_HW = np.asarray(image).copy()
        kind = random.choice(["rgb", "size", "deep", "gray", "label", "jpeg"])
        if kind == "rgb":
            changed = image.convert("RGB")
        elif kind == "size":
            changed = image.resize((image.width + random.randrange(-3, 4) or 1, image.height))
        elif kind == "deep":
            changed = Image.fromarray(labels_HW.astype(np.uint16) * 257)
        else:
            labels_HW[random.randrange(labels_HW.shape[0])] = random.randrange(256)
            changed = Image.fromarray(labels_HW)
    if kind == "gray":
        changed = changed.convert("LA")
    out = io.BytesIO()
    changed.convert("RGB" if kind == "jpeg" else changed.mode).save(out, "JPEG" if kind == "jpeg" else "PNG")
    return kind, out.getvalue()


def damages(random: Random, path: Path, *, may_go: bool) -> Iterator[Damage]:
    """Endless damages of a file; every kind that suits it."""
    content = path.read_bytes()
    suits = {".json": damage_json, ".csv": damage_table, ".txt": damage_table, ".png": damage_image}
    special = suits.get(path.suffix)
    while True:
        if not may_go and random.random() < 0.05:
            yield "delete", None
        elif special is not None and random.random() < 0.6:
            yield special(random, content)
        else:
            yield damage_bytes(random, content)


def _nodes(document: Any) -> Iterator[tuple[Any, Any]]:
    """(parent, key) of every value below the root."""
    keys = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in keys:
        yield document, key
        if isinstance(value, (dict, list)):
            yield from _nodes(value)


def _get(node: tuple[Any, Any]) -> Any:
    return node[0][node[1]]
