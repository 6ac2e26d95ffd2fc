"""Encodes every sentence of a split with the frozen text encoder, once.

Reads:  expressions and statements of the data set's index; weights of the role "text".
Writes: <cache>/<dataset>/<split>/text/<video>.h5: word features and their mean (stages.core.state.text_file).
Why:    the encoder is frozen: training and scoring read features instead of running it at every step.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.records import Video
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import Worker, run_shard
from stages.core.state.cache import Stamp
from stages.core.state.fingerprints import expressions_digest, statements_digest
from stages.core.state.graph import ENCODE_TEXT
from stages.core.state.weights import find_weights, weights_ids
from stages.datasets import open_split

if TYPE_CHECKING:
    from stages.core.state.text_file import TextFeatures
    from stages.selectors.text_encoder import TextEncoder


def run(job: Job) -> None:
    split = open_split(job.config, job.dataset, job.split)
    weights = weights_ids(job.config, job.dataset, ENCODE_TEXT, None)

    def ingredients(video: Video) -> Mapping[str, Any]:
        asked = {"expressions": expressions_digest(video), "weights": weights}
        return {**asked, "statements": statements_digest(video)} if video.statements else asked

    run_shard(job, ENCODE_TEXT, split.videos(), ingredients, lambda device: make_worker(job, device))


def make_worker(job: Job, device: str) -> Worker:
    """Loads the encoder; one call per video after that."""
    from stages.core.state.text_file import write_text
    from stages.selectors.text_encoder import TransformersTextEncoder

    folder = find_weights(job.config, job.dataset, "text").path
    encoder = TransformersTextEncoder(folder, job.settings.text.max_tokens, device)

    def work(video: Video, path: Path, stamp: Stamp) -> None:
        write_text(path, stamp, video, encode_all(encoder, video))

    return work


def encode_all(encoder: "TextEncoder", video: Video) -> list["TextFeatures"]:
    """Features of a video's sentences in their order; a text that repeats is encoded once."""
    features = {}
    for sentence in video.sentences:
        if sentence.text not in features:
            features[sentence.text] = encoder.encode(sentence.text, f"{video.id}, expression {sentence.id}")
    return [features[sentence.text] for sentence in video.sentences]


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
