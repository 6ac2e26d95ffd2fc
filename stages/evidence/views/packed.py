"""View `numbered` with packed frames: the anchors at full size, each with a picture of the frames around it.

Outlines and numbers are drawn before the frames are tiled, so much larger that they are as clear as on the anchor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.evidence.frames.packing import PackedPicture, pack, tiles_of
from stages.evidence.questions import Parts, Picture
from stages.evidence.views.numbered import draw_outlined, masks_at
from stages.evidence.views.scene import Scene

WIDER = 3  # outlines on frames that are tiled, at least
EXPLANATION = (
    " the images show one video in {n} parts, in order of time. of each part there is one whole frame, and then an image"
    " of {grid} rows with {grid} smaller frames each, in order of time from left to right and from top to bottom. objects"
    " are outlined, and each carries its number wherever it is seen."
)


@dataclass(frozen=True)
class Packed:
    """The settings of the view.

    Attributes:
        side: longest side of its pictures in pixels.
        clips: stretches of time, each with one anchor at most.
        grid: rows and columns of smaller frames.
    """

    side: int
    clips: int
    grid: int
    in_context: bool = True

    def shared(self, scene: Scene, frames: Sequence[int]) -> Parts:
        """The pictures of the anchors `frames`."""
        pictures = [picture for anchor in frames for picture in self.pictures(scene, anchor)]
        return (*pictures, EXPLANATION.format(n=len(frames), grid=self.grid))

    def block(self, scene: Scene, n: int, number: int, frames: Sequence[int]) -> Parts:
        return ()

    def pictures(self, scene: Scene, anchor: int) -> list[Picture]:
        """The anchor, and the frames around it where there are any."""
        whole = Picture(draw_outlined(scene.frame(anchor), masks_at(scene, anchor), self.side))
        tiles = tiles_of(anchor, scene.n_frames, self.clips, self.grid)
        return [whole, self.packed(scene, tiles)] if tiles else [whole]

    def packed(self, scene: Scene, tiles: Sequence[int]) -> PackedPicture:
        width = max(WIDER, self.grid)
        return pack(
            lambda t: draw_outlined(scene.frame(t), masks_at(scene, t), self.side, width, badge=self.grid),
            tiles,
            scene.size,
            self.side,
            self.grid,
        )
