"""The index that most data sets share: videos → frames and expressions, in one JSON file.

    {"videos": {video: {"frames": ["00000", …], "expressions": {expression: {"exp": text, …}}}}}

What is wrong with the index as a whole raises, ids that cannot be paths included; what is wrong with one
video becomes its `defect`, so that the others go on. Sets differ in what an expression says beside its text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.records import Expression, Video, check_id, clean_caption
from stages.datasets.index_file import load_index

Entry = Mapping[str, Any]


def load_videos(index: Path) -> dict[str, Any]:
    """The entries of an index, by video, as they stand.

    Raises:
        ValueError: the index is missing, is not JSON, or has no mapping of videos.
    """
    raw = load_index(index).get("videos")
    if not isinstance(raw, dict):
        raise ValueError(f"{index}: no mapping of videos under the key 'videos'; is this the index of a data set?")
    return raw


def expressions_of(entry: Any) -> dict[str, Any]:
    """The expressions of a video's entry, none where it is malformed."""
    return member(entry, "expressions", dict) or {}


def count_expressions(raw: Mapping[str, Any]) -> int:
    return sum(len(expressions_of(entry)) for entry in raw.values())


@dataclass(frozen=True)
class IndexReader:
    """Turns entries of the index into records.

    Attributes:
        index: the file, for messages.
        images: a video's frames lie in <images>/<video>.
        referred: an expression's entry → `Expression.annotations`; raises ValueError where it is malformed.
        group: an expression's id and entry → `Expression.group`; raises ValueError likewise.
        sort_frames: where masks go by the frames' names, their order in the index means nothing.
    """

    index: Path
    images: Path
    referred: Callable[[Entry], tuple[str, ...] | None]
    group: Callable[[str, Entry], str] = lambda name, entry: ""
    sort_frames: bool = False

    def video(self, name: str, entry: Any) -> Video:
        """One video; what is wrong with it is its `defect`. Raises ValueError where an id cannot be a path."""
        self._check_id(name, "video id", f"{self.index}")
        where = f"{self.index}: video {name!r}"
        frames, expressions = member(entry, "frames", list), member(entry, "expressions", dict)
        defects = []
        if frames is None or expressions is None:
            defects.append(f"{where}: needs a list 'frames' and a mapping 'expressions'; mend the index")
        names = self._frames(frames or [], where)
        if frames is not None:
            defects.append(_frames_defect(names, where))
        found, wrong = self._expressions(expressions or {}, where)
        return Video(
            id=name,
            frames=tuple(dict.fromkeys(names)),
            location=self.images / name,
            expressions=tuple(found),
            cost=len(names),
            defect="; ".join(filter(None, [*defects, *wrong])),
        )

    def _frames(self, frames: list[Any], where: str) -> list[str]:
        names = [str(frame) for frame in frames]
        for name in names:
            self._check_id(name, "frame name", where)
        return sorted(names) if self.sort_frames else names

    def _expressions(self, entries: Mapping[str, Any], where: str) -> tuple[list[Expression], list[str]]:
        """The sound expressions, and what is wrong with the others."""
        found, defects = [], []
        for name, entry in entries.items():
            self._check_id(name, "expression id", where, flat=True)
            here = f"{where}, expression {name!r}"
            try:
                found.append(self._expression(name, entry))
            except ValueError as error:
                defects.append(f"{here}: {error}")
        return found, defects

    def _expression(self, name: str, entry: Any) -> Expression:
        raw = member(entry, "exp", str)
        if raw is None or not raw.strip():
            raise ValueError("has no caption; give 'exp' a text or delete the expression")
        return Expression(name, clean_caption(raw), self.referred(entry), raw, self.group(name, entry))

    def _check_id(self, identifier: str, what: str, where: str, *, flat: bool = False) -> None:
        try:
            check_id(identifier, what)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        if flat and "/" in identifier:
            raise ValueError(f"{where}: {what} {identifier!r} holds a '/'; it names one folder of the submission")


def member(entry: Any, key: str, kind: type) -> Any:
    """entry[key] where it is of the kind, else None."""
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, kind) else None


def annotation_ids(entry: Entry) -> tuple[str, ...]:
    """The list `anno_id` of an expression in a split with ground truth; () where nothing is referred to.

    Raises:
        ValueError: it is no list of ids, or is empty although `obj_id` names objects.
    """
    ids = entry.get("anno_id") or []
    if not isinstance(ids, list) or not all(isinstance(i, (int, str)) for i in ids):
        raise ValueError(f"anno_id is {ids!r}; it must be a list of annotation ids")
    if not ids and entry.get("obj_id"):
        raise ValueError(f"has obj_id {entry['obj_id']!r} but no anno_id; restore the index")
    return tuple(dict.fromkeys(map(str, ids)))


def object_id(entry: Entry) -> str:
    """The single `obj_id` of an expression, "1" or 1, as text without leading zeros.

    Raises:
        ValueError: it is absent, or no positive number.
    """
    value = entry.get("obj_id")
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):
        found = "has no obj_id" if value is None else f"obj_id is {value!r}"
        raise ValueError(f'{found}; it must be one object\'s number, as "1"')
    return str(int(text))


def _frames_defect(names: list[str], where: str) -> str:
    if not names:
        return f"{where}: lists no frames; mend the index"
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        return f"{where}: frames {', '.join(repeated[:5])} are listed more than once; mend the index"
    numbered = all(name.isdecimal() and len(name) < 20 for name in names)
    order: list[Any] = [int(name) for name in names] if numbered else names
    late = next((n for n, a, b in zip(names[1:], order, order[1:]) if a > b), None)
    return f"{where}: frame {late} is out of order; sort the frames of the index" if late else ""
