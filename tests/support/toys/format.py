"""A format: one folder of frames per video, and sentences.txt with lines of the form <video>: <sentence>."""

from pathlib import Path

from stages.core.records import Expression, Video, clean_caption
from stages.core.tables import Format
from stages.datasets.split import SplitDefaults


def open_split(root: Path, split: str, limit: int | None, published: bool = True) -> SplitDefaults:
    said: dict[str, list[str]] = {}
    for line in (root / split / "sentences.txt").read_text(encoding="utf-8").splitlines():
        name, _, sentence = line.partition(":")
        said.setdefault(name, []).append(sentence)
    videos = [video(root / split / name, sentences) for name, sentences in said.items()]
    return SplitDefaults(split, videos[:limit])


def video(folder: Path, sentences: list[str]) -> Video:
    frames = tuple(sorted(file.stem for file in folder.glob("*.jpg")))
    expressions = tuple(Expression(str(i), clean_caption(s), None, s) for i, s in enumerate(sentences))
    return Video(folder.name, frames, folder, expressions, cost=len(frames))


FORMAT = Format(name="lines", open_split=open_split, index_files=("{split}/sentences.txt",), split_folders=True)
