"""What views draw from: a video and its candidates, wherever they come from: a cache or a generated clip.

Legend: N candidates, T frames, H height, W width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Scene:
    """A video and the candidates in it, in the order of their numbers.

    Attributes:
        size: (height, width) of the frames in pixels.
        names: of the frames, in order of time.
        boxes_NT4: float32 x0 y0 x1 y1 in pixels, x1 and y1 exclusive; 0 where a candidate is absent.
        visible_NT: where a candidate can be seen.
        area_NT: mask areas in pixels.
        object_NT: object-score logits.
        frame: t → (H, W, 3) RGB uint8.
        mask: (n, t) → (H, W) bool.
    """

    size: tuple[int, int]
    names: Sequence[str]
    boxes_NT4: NDArray[np.float32]
    visible_NT: Bool
    area_NT: NDArray[np.integer]
    object_NT: NDArray[np.floating]
    frame: Callable[[int], Image]
    mask: Callable[[int, int], Bool]

    def __len__(self) -> int:
        return len(self.boxes_NT4)

    @property
    def n_frames(self) -> int:
        return len(self.names)

    @cached_property
    def centre_NT2(self) -> NDArray[np.float32]:
        """Centres of the boxes in pixels."""
        centre_NT2: NDArray[np.float32] = (self.boxes_NT4[..., :2] + self.boxes_NT4[..., 2:]) * np.float32(0.5)
        return centre_NT2

    @cached_property
    def extent_NT2(self) -> NDArray[np.float32]:
        """Width and height of the boxes in pixels."""
        return self.boxes_NT4[..., 2:] - self.boxes_NT4[..., :2]

    def only(self, candidates: Sequence[int]) -> "Scene":
        """The same video with some of its candidates, in the order given."""
        rows = np.asarray(candidates, np.intp)
        of = {name: getattr(self, name)[rows] for name in ("boxes_NT4", "visible_NT", "area_NT", "object_NT")}
        return replace(self, **of, mask=lambda n, t: self.mask(int(rows[n]), t))
