"""The texts of Ref-DAVIS17 (Khoreva et al., ACCV 2018): four files with lines `video obj_id "text"`.

Two annotators described every object twice: after the first frame alone, and after the whole video. The
files also cover videos of other DAVIS splits. Three names are misspelt; the second annotator wrote Latin-1.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from stages.core.records import Expression, clean_caption
from stages.core.spelling import nfc
from stages.core.text_files import read_text

# In the order of the annotators 0 … 3 of the published conversion (ReferFormer): file, encoding.
TEXTS = (
    ("Davis17_annot1.txt", "utf-8"),
    ("Davis17_annot1_full_video.txt", "utf-8"),
    ("Davis17_annot2.txt", "latin-1"),
    ("Davis17_annot2_full_video.txt", "latin-1"),
)
FOLDERS = ("davis_text_annotations", "text_annotations", "")
RENAMED = {"clasic-car": "classic-car", "dog-scale": "dogs-scale", "motor-bike": "motorbike"}

_LINE = re.compile(r'(\S+)\s+(\d{1,3})\s+"?(.*?)"?')


@dataclass
class Texts:
    """One annotator's sentences.

    Attributes:
        by_video: video → object → sentence as written.
        defects: video → what is wrong with its lines, naming file and line.
    """

    file: Path
    by_video: dict[str, dict[int, str]] = field(default_factory=dict)
    defects: dict[str, list[str]] = field(default_factory=dict)


def read_texts(root: Path) -> list[Texts]:
    """The four annotators' sentences.

    Raises:
        ValueError: a file is missing or not in its encoding.
    """
    folders = [root / folder for folder in FOLDERS]
    folder = next((path for path in folders if (path / TEXTS[0][0]).is_file()), folders[0])
    return [_read(folder / name, encoding) for name, encoding in TEXTS]


def expressions(texts: list[Texts], video: str) -> tuple[list[Expression], list[str]]:
    """A video's expressions and what is wrong with its texts.

    The k-th object (from 0) has the ids 4·k + a for the annotators a = 0 … 3, and the label k + 1.
    """
    defects = [defect for text in texts for defect in text.defects.get(video, [])]
    described = [text.by_video.get(video, {}) for text in texts]
    objects = sorted(set().union(*described))
    if objects != list(range(1, len(objects) + 1)) or not objects:
        defects.append(
            f"{texts[0].file.parent}: video {video!r}: describes objects {objects}, not 1 … n; restore the texts"
        )
    described_by = []
    for a, sentences in enumerate(described):
        absent = [number for number in objects if number not in sentences]
        if absent:
            defects.append(f"{texts[a].file}: video {video!r}: has no sentence for objects {absent}; restore the file")
        described_by += [_expression(number, a, raw) for number, raw in sentences.items() if number > 0]
    return sorted(described_by, key=lambda expression: int(expression.id)), defects


def _expression(number: int, annotator: int, raw: str) -> Expression:
    return Expression(str(4 * (number - 1) + annotator), clean_caption(raw), (str(number),), raw, group=str(annotator))


def _read(file: Path, encoding: str) -> Texts:
    texts = Texts(file)
    for number, line in enumerate(_lines(file, encoding), start=1):
        if line.strip():
            _take(texts, line.strip(), f"{file}:{number}")
    return texts


def _lines(file: Path, encoding: str) -> list[str]:
    return read_text(file, "text file of Ref-DAVIS17", encoding).split("\n")


def _take(texts: Texts, line: str, where: str) -> None:
    """Adds a line's sentence, or what is wrong with it."""
    name = nfc(line.split()[0])
    video = RENAMED.get(name, name)
    match = _LINE.fullmatch(line)
    sentences = texts.by_video.setdefault(video, {})
    reason = ""
    if match is None or not match[3].strip():
        reason = 'is not of the form: video obj_id "text"'
    elif int(match[2]) in sentences:
        reason = f"describes object {int(match[2])} again"
    else:
        sentences[int(match[2])] = match[3]
    if reason:
        texts.defects.setdefault(video, []).append(f"{where}: video {video!r}: {reason}; fix that line")
