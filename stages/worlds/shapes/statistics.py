"""Counts what a generated data set holds, from its files: videos, objects, sentences by kind, absence.

Legend: T frames.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages.worlds.shapes.grammar import KINDS

LOOKS = ("size", "colour", "texture", "shape")


def statistics(root: Path) -> str:
    """A printable table of every split that has ground truth.

    Raises:
        ValueError: no data set of this generator is there.
    """
    splits = [folder.parent for folder in sorted(root.glob("*/scenes.json"))]
    if not splits:
        raise ValueError(f"{root}: holds no data set with scenes.json; run `python -m stages.make_shapes` first")
    columns = {folder.name: _of_split(folder) for folder in splits}
    width = max(len(row) for row in next(iter(columns.values())))
    lines = [f"{'':{width}}" + "".join(f"{name:>12}" for name in columns)]
    for row in next(iter(columns.values())):
        lines.append(f"{row:{width}}" + "".join(f"{column[row]:>12}" for column in columns.values()))
    return "\n".join(lines)


def _of_split(folder: Path) -> dict[str, str]:
    videos = json.loads((folder / "meta_expressions.json").read_text(encoding="utf-8"))["videos"]
    scenes = json.loads((folder / "scenes.json").read_text(encoding="utf-8"))
    objects = [one for scene in scenes.values() for one in scene["objects"]]
    expressions = [(scenes[name], e) for name, video in videos.items() for e in video["expressions"].values()]
    statements = [one for video in videos.values() for one in video.get("statements", {}).values()]
    targeted = [(scene, e) for scene, e in expressions if e["obj_id"]]
    kinds = Counter(e["kind"] for _, e in expressions)
    frames = [len(video["frames"]) for video in videos.values()]
    return {
        "videos": str(len(videos)),
        "frames per video (mean, range)": f"{np.mean(frames):.1f}, {min(frames)}-{max(frames)}",
        "objects per video (mean, range)": _spread([len(scene["objects"]) for scene in scenes.values()]),
        "objects with a double": _share(_has_double(scene, i) for scene in scenes.values() for i in _each(scene)),
        "objects absent for a time": _share(min(one["visible_area"]) == 0 for one in objects),
        "  that are seen before": _share(_vanishes(one["visible_area"]) for one in objects),
        "expressions": str(len(expressions)),
        "different texts": str(len({e["exp"] for _, e in expressions})),
        "words per expression": f"{np.mean([len(e['exp'].split()) for _, e in expressions]):.1f}",
        **{f"  {kind}": f"{kinds[kind] / len(expressions):.1%}" for kind in KINDS},
        "of those with target: motion or time": _share(e["motion"] for _, e in targeted),
        "  and a double is not meant": _share(e["motion"] and _excludes_a_double(scene, e) for scene, e in targeted),
        "  several objects": _share(len(e["obj_id"]) > 1 for _, e in targeted),
        "statements": str(len(statements)),
        "  true of something": _share(bool(one["obj_id"]) for one in statements) if statements else "-",
    }


def _each(scene: Mapping[str, Any]) -> range:
    return range(len(scene["objects"]))


def _looks(one: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(one[aspect] for aspect in LOOKS)


def _has_double(scene: Mapping[str, Any], i: int) -> bool:
    """Whether another object looks the same."""
    looks = [_looks(one) for one in scene["objects"]]
    return looks.count(looks[i]) > 1


def _excludes_a_double(scene: Mapping[str, Any], expression: Mapping[str, Any]) -> bool:
    """Whether an object that looks like a referred one is not referred to: looks alone cannot tell."""
    looks = [_looks(one) for one in scene["objects"]]
    meant = {looks[i] for i in expression["obj_id"]}
    return any(one in meant for i, one in enumerate(looks) if i not in expression["obj_id"])


def _vanishes(area_T: list[int]) -> bool:
    seen = next((t for t, area in enumerate(area_T) if area), len(area_T))
    return 0 in area_T[seen:]


def _share(flags: Iterable[bool]) -> str:
    return f"{np.mean([bool(flag) for flag in flags]):.1%}"


def _spread(counts: list[int]) -> str:
    return f"{np.mean(counts):.1f}, {min(counts)}-{max(counts)}"
