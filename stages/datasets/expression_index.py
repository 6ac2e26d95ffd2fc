"""The index that most data sets share: videos → frames and expressions, in one JSON file.

    {"videos": {video: {"frames": ["00000", …], "expressions": {expression: {"exp": text, …}}}}}

What is wrong with the index as a whole raises; what is wrong with one video becomes its `defect`, and what is wrong
with one expression is the expression's, so that the others go on. An id that cannot be a path is left out alone.
Sets differ in what an expression says beside its text.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.records import PLAIN, Expression, Video, caption_defect, check_id, clean_caption
from stages.core.spelling import stored_path
from stages.datasets.folder_listing import FRAME_SUFFIXES
from stages.datasets.index_file import load_index

PLAIN_LINES = re.compile(rf"(?:{PLAIN.pattern}\n)+")

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
        images: a video's frames are stored in <images>/<video>.
        referred: an expression's entry → `Expression.annotations`; raises ValueError where it is malformed.
        group: an expression's id and entry → `Expression.group`; raises ValueError likewise.
        sort_frames: where masks go by the frames' names, their order in the index means nothing.
        statements: an entry may hold more sentences under the key "statements", in the form of "expressions".
    """

    index: Path
    images: Path
    referred: Callable[[Entry], tuple[str, ...] | None]
    group: Callable[[str, Entry], str] = lambda name, entry: ""
    sort_frames: bool = False
    statements: bool = False

    def videos(self, raw: Mapping[str, Any]) -> tuple[list[Video], list[str]]:
        """All videos of an index, and why names of it are left out: they cannot be paths.

        Raises:
            ValueError: the index lists no video, or none whose name can be one.
        """
        if not raw:
            raise ValueError(f"{self.index}: 'videos' lists no video; restore the index")
        videos: list[Video] = []
        left_out: list[str] = []
        for name, entry in raw.items():
            if wrong := _id_defect(name, "video id"):
                left_out.append(f"{self.index}: {wrong}")
            else:
                video, wrong_ids = self._video(name, entry)
                videos.append(video)
                left_out += wrong_ids
        if not videos:
            raise ValueError(left_out[0])
        return videos, left_out

    def _video(self, name: str, entry: Any) -> tuple[Video, list[str]]:
        """One video, and why ids of its expressions are left out; what is wrong with it is its `defect`."""
        where, location = f"{self.index}: video {name!r}", stored_path(self.images, name)
        frames, entries = member(entry, "frames", list), member(entry, "expressions", dict)
        defects = []
        if frames is None or entries is None:
            defects.append(f"{where}: {_lacking(entry)}; fix the index")
        names, wrong = frame_names(frames or [], location)
        names = sorted(names) if self.sort_frames else names
        if frames is not None:
            defects.append(f"{where}: {wrong}" if wrong else _frames_defect(names, where))
        ids = {identifier: _id_defect(identifier, "expression id", flat=True) for identifier in entries or {}}
        expressions = [self._sentence(where, each, entries[each]) for each, wrong in ids.items() if not wrong]
        statements, unusable = self._statements(where, entry, expressions)
        video = Video(
            id=name,
            frames=tuple(dict.fromkeys(names)),
            location=location,
            expressions=tuple(expressions),
            cost=len(names),
            defect="; ".join(filter(None, defects)),
            statements=tuple(statements),
        )
        return video, [f"{where}: {wrong}" for wrong in ids.values() if wrong] + unusable

    def _statements(
        self, where: str, entry: Any, expressions: Sequence[Expression]
    ) -> tuple[list[Expression], list[str]]:
        """The sound statements of a video, and why the others are left out: nothing is lost but something to learn."""
        raw = entry.get("statements") if self.statements and isinstance(entry, dict) else None
        if not isinstance(raw, dict):
            wrong = f'{where}: its statements are not a mapping; write {{"s0": {{"exp": "the dog"}}}}'
            return [], [] if raw is None else [wrong]
        taken = {expression.id for expression in expressions}
        annotated = {key for expression in expressions for key in expression.annotations or ()}
        sound, left_out = [], []
        for name, one in raw.items():
            if wrong := _id_defect(name, "statement id", flat=True):
                left_out.append(f"{where}: {wrong}")
                continue
            statement = self._sentence(where, name, one, "statement")
            if statement.defect:
                left_out.append(statement.defect)
            elif wrong := _statement_defect(statement, taken, annotated):
                left_out.append(f"{where}, statement {name!r}: {wrong}")
            else:
                sound.append(statement)
        return sound, left_out

    def _sentence(self, where: str, name: str, entry: Any, what: str = "expression") -> Expression:
        """An expression; without a sound caption it has no text, without a sound truth and group none of these."""
        where = f"{where}, {what} {name!r}"
        if not isinstance(entry, dict):
            kind = (
                f'a text, {entry[:40]!r}, where an object belongs; write {{"exp": …}}' if isinstance(entry, str) else ""
            )
            return Expression(name, "", None, "", defect=f"{where}: is {kind or f'not an object but {entry!r}'[:80]}")
        raw = entry.get("exp")
        defect = "has no caption; give 'exp' a text or delete the expression" if raw is None else caption_defect(raw)
        text = clean_caption(raw) if isinstance(raw, str) and (not defect or _is_text(raw)) else ""
        referred, group = None, ""
        try:
            referred, group = self.referred(entry), self.group(name, entry)
        except ValueError as error:
            so = " (it is answered, but not scored)" if what == "expression" else ""
            defect = "; ".join(filter(None, [defect, f"{error}{so}"]))
            referred = None
        return Expression(name, text, referred, str(raw) if text else "", group, f"{where}: {defect}" if defect else "")


def member(entry: Any, key: str, kind: type) -> Any:
    """entry[key] where it is of the kind, else None."""
    value = entry.get(key) if isinstance(entry, dict) else None
    return value if isinstance(value, kind) else None


def annotation_ids(entry: Entry) -> tuple[str, ...]:
    """The list `anno_id` of an expression in a split with ground truth; () where nothing is referred to.

    Raises:
        ValueError: it is not a list of ids, or is empty although `obj_id` names objects.
    """
    ids = entry.get("anno_id")
    ids = [] if ids is None else ids
    if not isinstance(ids, list) or not all(isinstance(i, (int, str)) and not isinstance(i, bool) for i in ids):
        raise ValueError(f"anno_id is {ids!r}; it must be a list of annotation ids")
    if not ids and names_something(entry.get("obj_id")):
        raise ValueError(f"has obj_id {entry['obj_id']!r} but no anno_id; restore the index")
    return tuple(dict.fromkeys(map(str, ids)))


def names_something(ids: Any) -> bool:
    """Whether a value of obj_id or anno_id refers to something: 0 does, None and [] do not."""
    return ids is not None and ids != []


def object_id(entry: Entry) -> str:
    """The single `obj_id` of an expression, "1" or 1, as text without leading zeros.

    Raises:
        ValueError: it is absent, or not a positive number.
    """
    value = entry.get("obj_id")
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):
        problem = "has no obj_id" if value is None else f"obj_id is {value!r}"
        raise ValueError(f'{problem}; it must be one object\'s number, as "1"')
    return str(int(text))


def frame_names(frames: Sequence[Any], location: Path) -> tuple[list[str], str]:
    """Frames of an index as names without extension, and what is wrong with them ("" where nothing is).

    An index may give file names, or numbers without leading zeros ("frames": [0, 1]); numbers are looked up in the
    folder `location`.
    """
    plain = _are_plain(frames)
    wrong = [] if plain else [f for f in frames if not isinstance(f, (str, int)) or isinstance(f, bool)]
    if wrong:
        return [], f"frame {wrong[0]!r} is not a name; fix the index"
    names = list(frames) if plain else [_without_suffix(str(frame)) for frame in frames]
    if names and all(name.isascii() and name.isdecimal() and name == str(int(name)) for name in names):
        names = _as_stored(names, location)
    return names, "" if plain else next(filter(None, (_id_defect(name, "frame name") for name in names)), "")


def _are_plain(frames: Sequence[Any]) -> bool:
    """Whether all are names that are sound at first sight. A set has millions of frames: one look for those of a video."""
    try:
        lines = "\n".join((*frames, ""))
    except TypeError:
        return False
    return lines.count("\n") == len(frames) and PLAIN_LINES.fullmatch(lines) is not None


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and dot + suffix.lower() in FRAME_SUFFIXES else name


def _as_stored(numbers: list[str], location: Path) -> list[str]:
    """Numbers as the names of files that are these numbers; as they are where there is no such file, or several."""
    if not location.is_dir():
        return numbers
    stems: dict[int, set[str]] = {}
    for path in location.iterdir():
        if path.suffix.lower() in FRAME_SUFFIXES and path.stem.isascii() and path.stem.isdecimal():
            stems.setdefault(int(path.stem), set()).add(path.stem)
    return [next(iter(s)) if len(s := stems.get(int(name), {name})) == 1 else name for name in numbers]


def _is_text(raw: str) -> bool:
    """Whether a caption can be kept as it is, though it holds no word."""
    return bool(clean_caption(raw)) and not any("\ud800" <= character <= "\udfff" for character in raw)


def _lacking(entry: Any) -> str:
    """What an entry of a video should be, and is not."""
    needed = "needs a list 'frames' and a mapping 'expressions'"
    expressions = entry.get("expressions") if isinstance(entry, dict) else None
    if isinstance(expressions, (str, list)):
        kind = "text" if isinstance(expressions, str) else "list"
        return f'{needed}; its expressions are a {kind}: write {{"0": {{"exp": "the dog"}}}}'
    return needed


def _id_defect(identifier: str, what: str, *, flat: bool = False) -> str:
    try:
        check_id(identifier, what)
    except ValueError as error:
        return str(error)
    return (
        f"{what} {identifier!r} holds a '/'; it names one folder of the submission"
        if flat and "/" in identifier
        else ""
    )


def _statement_defect(statement: Expression, taken: Collection[str], annotated: Collection[str]) -> str:
    """Why a statement that is sound in itself cannot be trained on; "" where it can."""
    if statement.id in taken:
        return "an expression of the video has the same id; give it another"
    if statement.annotations is None:
        return "what it refers to is not known: delete the statements of a split without ground truth"
    others = [key for key in statement.annotations if key not in annotated]
    return f"refers to {', '.join(others)}, to which no expression of the video refers; delete it" if others else ""


def _frames_defect(names: list[str], where: str) -> str:
    if not names:
        return f"{where}: lists no frames; fix the index"
    if len(set(map(len, names))) == 1 and names == sorted(set(names)) and "".join(names).isascii():
        return ""  # of one length, so that the order of numbers is that of their digits
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        return f"{where}: frames {', '.join(repeated[:5])} are listed more than once; fix the index"
    numbered = all(name.isdecimal() and len(name) < 20 for name in names)
    order: list[Any] = [int(name) for name in names] if numbered else names
    late = next((n for n, a, b in zip(names[1:], order, order[1:]) if a > b), None)
    return f"{where}: frame {late} is out of order; sort the frames of the index" if late else ""
