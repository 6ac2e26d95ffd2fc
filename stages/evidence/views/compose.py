"""Several views of the same candidates put together: what all questions share, and what is about one candidate.

    context    what each view shares, then "object 1:" and its blocks, "object 2:" and its blocks, …
    about(n)   "object n:" and all of its blocks once more, right before the question: a small model does not have to look up a number

Legend: N candidates.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stages.evidence.questions import Part, Parts
from stages.evidence.views.scene import Scene
from stages.evidence.views.view import View


@dataclass(frozen=True, eq=False)
class Composition:
    """The parts of the questions about a scene.

    Attributes:
        context: shared by all questions; a backend encodes it once.
        blocks: of each candidate, in the order of the scene.
    """

    context: Parts
    blocks: tuple[Parts, ...]

    def about(self, n: int) -> Parts:
        """What a question shows of candidate `n` itself."""
        return self.blocks[n]


def compose(views: Sequence[View], scene: Scene, frames: Sequence[int], first: int = 1) -> Composition:
    """All views of all candidates.

    Args:
        frames: indices of the frames that views with whole frames show.
        first: the number of the scene's first candidate; the others count on from it.
    """
    numbers = range(first, first + len(scene))
    blocks = [[view.block(scene, n, number, frames) for view in views] for n, number in enumerate(numbers)]
    context = [part for view in views for part in view.shared(scene, frames)]
    for number, of_views in zip(numbers, blocks, strict=True):
        in_context = [part for view, block in zip(views, of_views, strict=True) if view.in_context for part in block]
        if in_context:
            context += _titled(number, in_context)
    return Composition(
        joined(context), tuple(joined(_titled(k, sum(of, ())) if any(of) else ()) for k, of in zip(numbers, blocks))
    )


def _titled(number: int, block: Iterable[Part]) -> list[Part]:
    """The number stands before and after its block: what is read last knows whose it was."""
    return [f" object {number}:", *block, f" is {number}."]


def joined(parts: Iterable[Part]) -> Parts:
    """The same parts with neighbouring words as one."""
    merged: list[Part] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(before := merged[-1], str):
            merged[-1] = before + part
        elif part != "":
            merged.append(part)
    return tuple(merged)
