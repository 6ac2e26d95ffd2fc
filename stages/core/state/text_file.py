"""The text file: frozen features of every sentence of one video (written by encode_text).

The sentences are the video's expressions, then its statements (`Video.sentences`).

Legend: E sentences, W words (tokens) of one sentence, D text width.

| dataset | dtype, shape | meaning |
|---|---|---|
| /words/values | f4 (ΣW,D) | last hidden state, special tokens included, sentence by sentence |
| /words/offset | i8 (E+1) | where each sentence begins |
| /mean | f4 (E,D) | mean over a sentence's tokens |
| /expressions | str (E) | ids of the sentences, in the order of the index |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.core.records import Video
from stages.core.state.cache import CacheError, Stamp, create_h5, open_h5, remedy
from stages.core.state.graph import ENCODE_TEXT
from stages.core.state.h5_arrays import parts_of, read_strings, write_array, write_strings


@dataclass(frozen=True)
class TextFeatures:
    """Features of one caption: words (W, D) of the last hidden state, and their mean (D), both float32."""

    words_WD: NDArray[np.float32]
    mean_D: NDArray[np.float32]

    def __post_init__(self) -> None:
        assert self.words_WD.ndim == 2 and len(self.words_WD) > 0
        assert self.mean_D.shape == self.words_WD.shape[1:]


def write_text(path: Path, stamp: Stamp, video: Video, features: Sequence[TextFeatures]) -> None:
    """Writes a text file; `features` go with `video.sentences`. Without a sentence it is finished too."""
    assert len(features) == len(video.sentences)
    width = features[0].words_WD.shape[1] if features else 0
    values = np.concatenate([np.zeros((0, width), np.float32), *(f.words_WD for f in features)])
    with create_h5(path, stamp) as file:
        words = file.create_group("words")
        write_array(words, "values", values.astype(np.float32), 64)
        write_array(words, "offset", np.cumsum([0, *(len(f.words_WD) for f in features)], dtype=np.int64))
        write_array(file, "mean", np.array([f.mean_D for f in features], np.float32).reshape(len(features), width))
        write_strings(file, "expressions", [sentence.id for sentence in video.sentences])


def read_text(path: Path, video: Video) -> list[TextFeatures]:
    """Features of the video's expressions, then of its statements, each in their order.

    Raises:
        CacheError: the file cannot be used, or was made for other sentences.
    """
    with open_h5(path, ENCODE_TEXT.name, ENCODE_TEXT.version) as file:
        identifiers, mean_ED = read_strings(file, "expressions"), file["mean"][:]
        words = parts_of(file["words/values"][:], file["words/offset"][:], len(identifiers))
        if len(mean_ED) != len(words) or any(part.shape[1:] != mean_ED.shape[1:] or not len(part) for part in words):
            raise ValueError("its words and means do not go together")
        if any(array.dtype != np.float32 for array in (mean_ED, *words)):
            raise ValueError("its features are no float32")
    if identifiers != [sentence.id for sentence in video.sentences]:
        raise CacheError(f"{path}: holds other sentences than the index; {remedy(ENCODE_TEXT.name)}")
    return [TextFeatures(words_WD, mean_D) for words_WD, mean_D in zip(words, mean_ED, strict=True)]
