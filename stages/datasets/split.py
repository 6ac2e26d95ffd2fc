"""What splits have in common: a list of videos, and the answers to what only some sets know."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from stages.core.records import MaskSequence, Video, caption_defect


class SplitDefaults:
    """Base of the readers' splits (see `stages.core.records.Split`): no ground truth, every pixel and frame scored."""

    protocol = "none"
    as_shown = False

    def __init__(
        self, name: str, videos: Sequence[Video], *, has_truth: bool = False, left_out: Sequence[str] = ()
    ) -> None:
        self.name, self.has_truth = name, has_truth
        self._left_out = tuple(left_out)
        self._videos = list(videos)

    @property
    def left_out(self) -> Sequence[str]:
        """What the reader could not use, then the defects of expressions, in the order of the videos."""
        return (*self._left_out, *(defect for video in self._videos for defect in expression_defects(video)))

    def videos(self) -> list[Video]:
        """All videos, in the order of the index."""
        return list(self._videos)

    def annotations(self, video: Video) -> Mapping[str, MaskSequence]:
        """Empty: there is no ground truth."""
        return {}

    def void(self, video: Video) -> MaskSequence | None:
        """None: every pixel is scored."""
        return None

    def scored_frames(self, video: Video) -> Sequence[int] | None:
        """None: every frame is scored."""
        return None

    def sources(self, video: Video) -> Sequence[Path]:
        """None: the ground truth is in the index files, or nowhere."""
        return ()

    def foreground(self, video: Video) -> MaskSequence | None:
        """None: the set has no masks of everything in a frame."""
        return None


def expression_defects(video: Video) -> list[str]:
    """What is wrong with single expressions, also where a reader has not looked at their captions."""
    where = f"{video.location}: video {video.id!r}, expression"
    reasons = [(e, e.defect or caption_defect(e.text)) for e in video.expressions]
    return [reason if e.defect else f"{where} {e.id!r} {reason}" for e, reason in reasons if reason]
