"""Prompts from SAM3: the instances of what each sentence names, as masks on some frames or as whole tracks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stages.core.records import Expression, Video
from stages.core.state.frames import FrameFolder
from stages.core.state.prompt_file import Prompt
from stages.prompting.ground_truth import mask_box
from stages.prompting.sam3.chunks import Track
from stages.prompting.sam3.naming import Namer
from stages.prompting.sam3.network import Sam3Network
from stages.prompting.sam3.own_tracks import OwnTracker
from stages.prompting.sam3.search import Search
from stages.prompting.sam3.settings import Sam3Prompts
from stages.prompting.sam3.vectors import read_vectors

GIVEN = "\0"  # begins the name of a concept that has no phrase


class Sam3Prompter:
    """SAM3, and who names concepts.

    Args:
        own: a Sam3VideoModel that follows instances itself; None = build_tracks follows them.
    """

    def __init__(self, network: Sam3Network, namer: Namer, settings: Sam3Prompts, own: Any) -> None:
        self._network, self._namer, self._settings = network, namer, settings
        self._own = None if own is None else OwnTracker(own, network)

    def prompts(self, video: Video, frames: FrameFolder) -> list[Prompt]:
        """Frame by frame and expression by expression, the surest first; whole tracks expression by expression.

        Equal sentences are asked once, and one without a word never.
        """
        search = Search(self._network, frames, self._settings.frames.select(len(frames)))
        named = self._names(video, frames, search)
        if self._own is None:
            return _instances(video.expressions, named, search)
        kept = {name: search.words[name] for names in named.values() for name in names}
        return _tracks(video.expressions, named, self._own.tracks(frames, kept))

    def _names(self, video: Video, frames: FrameFolder, search: Search) -> dict[str, list[str]]:
        """Expression id → names of the concepts whose instances are its candidates."""
        vectors = read_vectors(self._settings.embeddings, video, self._network.width)
        search.given({GIVEN + e: self._network.given(tensor) for e, tensor in vectors.items()})
        asked = [e for e in video.expressions if e.has_word and e.id not in vectors]
        sought = {text: self._namer.sought_in(text) for text in dict.fromkeys(e.text for e in asked)}
        search.settle([thing for things in sought.values() for thing in things], self._namer, self._settings.retries)
        named = {e.id: [thing.kept for thing in sought[e.text] if thing.kept is not None] for e in asked}
        return {e: list(dict.fromkeys(names)) for e, names in named.items()} | {e: [GIVEN + e] for e in vectors}


def _instances(expressions: Sequence[Expression], named: Mapping[str, Sequence[str]], search: Search) -> list[Prompt]:
    prompts = [
        Prompt(found.frame, found.rle, found.box, e, box_score=found.score, phrase=_said(name))
        for e, expression in enumerate(expressions)
        for name in named.get(expression.id, ())
        for found in search.instances[name]
    ]
    return sorted(prompts, key=lambda prompt: (prompt.frame, prompt.expression, -prompt.box_score))


def _tracks(
    expressions: Sequence[Expression], named: Mapping[str, Sequence[str]], tracks: Mapping[str, Sequence[Track]]
) -> list[Prompt]:
    """A prompt per mask; `annotation` says which of an expression's tracks it is of."""

    def of(expression: Expression) -> Iterator[tuple[str, Track]]:
        return ((name, track) for name in named.get(expression.id, ()) for track in tracks[name])

    return [
        Prompt(frame, rle, mask_box(rle), e, annotation=str(n), box_score=track.score, phrase=_said(name))
        for e, expression in enumerate(expressions)
        for n, (name, track) in enumerate(of(expression))
        for frame, rle in track.masks.items()
    ]


def _said(name: str) -> str:
    return "" if name.startswith(GIVEN) else name
