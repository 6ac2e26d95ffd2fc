"""View `plain`: whole frames as they are, shared by all candidates."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.evidence.questions import Parts, Picture
from stages.evidence.views.display import display_size, resize_frame
from stages.evidence.views.scene import Scene

EXPLANATION = " the {n} images are frames of one video, in order of time."


@dataclass(frozen=True)
class Plain:
    """The settings of the view: the longest side of its pictures in pixels."""

    side: int
    in_context: bool = True

    def shared(self, scene: Scene, frames: Sequence[int]) -> Parts:
        size = display_size(scene.size, self.side)
        return (*(Picture(resize_frame(scene.frame(t), size)) for t in frames), EXPLANATION.format(n=len(frames)))

    def block(self, scene: Scene, n: int, number: int, frames: Sequence[int]) -> Parts:
        return ()
