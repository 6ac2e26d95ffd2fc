"""Trains the track selector on one split and keeps its best epoch by validation J&F. One job, not sharded.

Reads:  track and text files of the training split (`selector.sources.train`) and of the split that the data
        set's `selector.validate_on` names (`selector.sources.evaluate`); annotations of both.
Writes: <cache>/<dataset>/<split>/selector/: best.safetensors; training.json, the finished marker, with the
        history and the threshold of best F1; last.pt, from which a killed training goes on to the same
        bytes; tensorboard/.
Why:    everything before it is frozen, so training reads tokens and features and opens no frame.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stages.core.cli import Job, execute
from stages.core.graph import TRAIN_SELECTOR, Layout
from stages.core.records import Source
from stages.core.runner import stamp_of
from stages.datasets import open_split
from stages.metrics import boundary_f, jaccard

if TYPE_CHECKING:
    from stages.selectors.session import Part


def run(job: Job) -> None:
    """Brings the split's selector to its finished state.

    Raises:
        ValueError: no ground truth, no track to train on, an upstream file missing, a loss that is no number.
        CacheError: a training made by another config lies there and `run.on_stale` is "stop".
    """
    from stages.selectors.session import Session, join_inputs

    if job.n_pids != 1:
        raise ValueError(f"--n-pids {job.n_pids}: training is one job; leave the flag out")
    sources = job.settings.selector.sources
    train = open_part(job, f"{job.dataset}/{job.split}", sources.train)
    validation = open_part(job, validation_of(job), sources.evaluate)
    inputs = join_inputs(train, validation)
    stamp = stamp_of(job, TRAIN_SELECTOR, {"inputs": inputs.digest, "weights": dict(inputs.weights)})
    session = Session(job, stamp, inputs)
    if session.must_run():
        session.train(train, validation, jaccard, boundary_f)


def validation_of(job: Job) -> str:
    """<dataset>/<split> that chooses the best epoch."""
    reference = job.config.datasets[job.dataset].selector.validate_on
    if reference is None:
        raise ValueError(f"datasets.{job.dataset}.selector.validate_on is null: name the split to validate on")
    return reference


def open_part(job: Job, name: str, sources: Sequence[Source]) -> "Part":
    from stages.selectors.session import Part

    dataset, split = name.split("/")
    reader = open_split(job.config, dataset, split)
    return Part(name, reader, Layout.of(job.config, dataset, split), sources, job.limit)


def main(argv: Sequence[str] | None = None) -> int:
    return execute(run, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
