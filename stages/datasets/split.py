"""What splits have in common: a list of videos, and the answers to what only some sets know."""

from collections.abc import Mapping, Sequence

from stages.core.records import MaskSequence, Video


class SplitDefaults:
    """Base of the readers' splits (see `stages.core.records.Split`): no ground truth, every pixel and frame scored."""

    protocol = "none"

    def __init__(self, name: str, videos: Sequence[Video], *, has_truth: bool = False) -> None:
        self.name, self.has_truth = name, has_truth
        self._videos = list(videos)

    def videos(self) -> list[Video]:
        """All videos, in the order of the index."""
        return list(self._videos)

    def annotations(self, video: Video) -> Mapping[str, MaskSequence]:
        """Empty: nobody has drawn the truth."""
        return {}

    def void(self, video: Video) -> MaskSequence | None:
        """None: every pixel is scored."""
        return None

    def scored_frames(self, video: Video) -> Sequence[int] | None:
        """None: every frame is scored."""
        return None

    def foreground(self, video: Video) -> MaskSequence | None:
        """None: the set has no masks of everything in a frame."""
        return None
