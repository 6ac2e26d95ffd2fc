"""Looks for concepts in the frames of one video, and chooses the phrase of each thing that sentences name."""

from collections.abc import Iterable, Sequence

from stages.core.run import progress
from stages.core.state.frames import FrameFolder
from stages.prompting.sam3.naming import Namer, Sought
from stages.prompting.sam3.network import Instance, Sam3Network, Words


class Search:
    """What was looked for in a video, and what was found.

    Args:
        chosen: the frames that are searched.
    """

    def __init__(self, network: Sam3Network, frames: FrameFolder, chosen: Sequence[int]) -> None:
        self._network, self._frames, self._chosen = network, frames, chosen
        self.words: dict[str, Words] = {}
        self.instances: dict[str, list[Instance]] = {}

    def phrases(self, phrases: Iterable[str]) -> None:
        """Looks for phrases that were not looked for yet; every frame is read and encoded once for all of them."""
        self.given({phrase: self._network.words(phrase) for phrase in phrases if phrase not in self.words})

    def given(self, concepts: dict[str, Words]) -> None:
        """The same for concepts that are given as vectors, by a name of their own."""
        self.words |= concepts
        self.instances |= {name: [] for name in concepts}
        for frame in progress.steps(self._chosen) if concepts else ():
            found = self._network.find(frame, self._frames.load(frame), list(concepts.values()))
            for name, instances in zip(concepts, found, strict=True):
                self.instances[name] += instances

    def settle(self, sought: Sequence[Sought], namer: Namer, retries: int) -> None:
        """Gives each thing the phrase with the most instances; where none has any, further ones are tried."""
        open_things = list(sought)
        for _ in range(1 + retries):
            proposed = [(thing, phrases) for thing, phrases in self._propose(open_things, namer) if phrases]
            self.phrases(dict.fromkeys(phrase for _, phrases in proposed for phrase in phrases))
            for thing, phrases in proposed:
                thing.tried += phrases
                best = max(phrases, key=lambda phrase: len(self.instances[phrase]))
                thing.kept = best if self.instances[best] else None
            open_things = [thing for thing, _ in proposed if thing.kept is None]

    def _propose(self, sought: Sequence[Sought], namer: Namer) -> list[tuple[Sought, list[str]]]:
        return list(zip(sought, namer.propose(sought, self._frames) if sought else [], strict=True))
