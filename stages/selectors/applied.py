"""A selector's file applied to the tracks of a split: what its scores depend on, and the scores.

score_tracks and evidence of kind `selector` share it, so that one file gives the same logits in both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.records import Video
from stages.core.run.cli import Job
from stages.core.state.choices import Candidate
from stages.selectors.selector import Selector

if TYPE_CHECKING:
    from stages.selectors.checkpoint import Header


@dataclass(frozen=True)
class SelectorFile:
    """A selector's file, read but for its tensors.

    Attributes:
        id: of the whole file's bytes.
    """

    path: Path
    header: "Header"
    id: str

    @classmethod
    def read(cls, path: Path) -> "SelectorFile":
        """Raises ValueError where the file is missing, damaged or not a selector of this project."""
        from stages.selectors.checkpoint import read_header, selector_id

        return cls(path, read_header(path), selector_id(path))

    def ingredients(self, job: Job, video: Video) -> Mapping[str, Any]:
        """What a video's scores depend on beside the config.

        Raises:
            CacheError: tracks, text features, or the prompts of a detector that it sees are missing.
            ValueError: they were made by other weights than it was trained on.
        """
        from stages.selectors.inputs import read_inputs

        inputs = read_inputs(job.layout, [video], job.settings.selector.sources.evaluate, self.header.seen_detector)
        self.header.check_weights(inputs.weights, self.path, f"{job.dataset}/{job.split}, video {video.id}")
        seen = {} if self.header.detector is None else {"detector": dict(self.header.detector)}
        return {"selector": self.id, "inputs": dict(inputs.fingerprints), **seen}


# A video → expression id → its candidates, in the order of the sources and then of the tracks.
ScoresOf = Callable[[Video], Mapping[str, list[Candidate]]]


def load_scorer(job: Job, path: Path, device: str) -> tuple[Selector, ScoresOf]:
    """The selector of a file on a device, and what scores a video of the job with it.

    Raises:
        ValueError: as `stages.selectors.load`.
    """
    from stages.selectors import load
    from stages.selectors.samples import open_video
    from stages.selectors.scoring import score_video

    selector = load(path, device)
    sources = job.settings.selector.sources.evaluate

    def scores_of(video: Video) -> Mapping[str, list[Candidate]]:
        return score_video(selector, open_video(job.layout, video, sources), job.settings.run.batches.tokens)

    return selector, scores_of
