"""Trains the track selector on one split and keeps its best epoch by validation J&F.

One job, not sharded.
Reads:  track and text files of the training split (`selector.sources.train`) and of the split that the data
        set's `selector.validate_on` names (`selector.sources.evaluate`); annotations of both; and the prompt files of
        `selector.detector`, where the network sees its scores.
Writes: <cache>/<dataset>/<split>/selector/: best.safetensors; training.json, the finished marker, with the
        history and the threshold of best J&F; checkpoint.pt, from which a killed training goes on to the same
        bytes; curve.jsonl and tensorboard/. With --name or --seed, the same in selector/<name>-<seed>/: another
        architecture or seed beside the configured one, for stages.tools.compare; with --variant, other settings too, in
        selector/<name>-<label>-<seed>/.
Why:    everything before it is frozen, so training reads tokens and features and opens no frame.

On several devices of one machine: `torchrun --nproc-per-node 4 -m stages.train_selector --dataset … --split …`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from stages.core.config.loading import variant
from stages.core.records import Rle, Source
from stages.core.run.cli import Job, at_least, execute, parse_job, stage_parser
from stages.core.run.runner import stamp_of
from stages.core.state.graph import TRAIN_SELECTOR, Layout
from stages.datasets import open_split
from stages.metrics.boundary import bound_radius
from stages.metrics.clips import from_rles
from stages.metrics.scene import compare
from stages.selectors import trained_detector, training_folder
from stages.training.experiment import require_installed

if TYPE_CHECKING:
    from stages.selectors.session import Part


def run(job: Job, name: str | None = None, seed: int | None = None, label: str | None = None) -> None:
    """Brings the split's selector to its finished state.

    Args:
        name, seed: in place of selector.name and selector.training.seed; the training gets a folder of its own.
        label: one of compare.variants, whose keys of `selector` are changed too.

    Raises:
        ValueError: no ground truth, no track to train on, an upstream file missing, a loss that is not finite.
        CacheError: a training made by another config is there and `run.on_stale` is "stop".
    """
    from stages.selectors.session import Session, join_inputs

    if job.n_pids != 1:
        raise ValueError(f"--n-pids {job.n_pids}: training is one job; leave the flag out")
    require_installed(job.settings.run.experiment_trackers)
    varied = name is not None or seed is not None or label is not None
    if varied:
        job = vary(job, name, seed, label)
    sources = job.settings.selector.sources
    train = open_part(job, f"{job.dataset}/{job.split}", sources.train)
    validation = open_part(job, validation_of(job), sources.evaluate)
    inputs = join_inputs(train, validation)
    stamp = stamp_of(job, TRAIN_SELECTOR, {"inputs": inputs.digest, "weights": dict(inputs.weights)})
    folder = training_folder(job.config, job.dataset, job.split)
    if varied:
        folder = job.layout.variant(job.settings.selector.name, job.settings.selector.training.seed, label)
    Session(job, folder, stamp, inputs).train(train, validation, j_and_f)


def check_overfit(job: Job, n_videos: int) -> int:
    """Trains on a few videos until it overfits them; writes nothing.

    Returns:
        0 where it does, 1 where they cannot be learnt.
    """
    from stages.selectors.overfit import LEARNT, overfit

    part = open_part(job, f"{job.dataset}/{job.split}", job.settings.selector.sources.train)
    stamp = stamp_of(job, TRAIN_SELECTOR, {})
    last = overfit(part, n_videos, job.settings.selector, job.settings.run, stamp, j_and_f)
    return 0 if last["validation"]["f1"] >= LEARNT else 1


def vary(job: Job, name: str | None, seed: int | None, label: str | None = None) -> Job:
    """The job with another selector.name or selector.training.seed, and what a label of compare.variants changes."""
    own = job.settings.selector
    seed = own.training.seed if seed is None else seed
    return replace(job, config=variant(job.config, job.dataset, name or own.name, seed, label))


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
    detector = trained_detector(job.settings.selector)
    return Part(name, reader, Layout.of(job.config, dataset, split), sources, job.limit, detector)


def j_and_f(predicted_T: Sequence[Rle], truth_T: Sequence[Rle], size: tuple[int, int]) -> tuple[float, float]:
    """Official J and F, means over all frames."""
    scores = compare(from_rles(predicted_T, size), from_rles(truth_T, size), range(len(truth_T)), bound_radius(*size))
    return float(scores.j_T.mean()), float(scores.f_T.mean())


def main(argv: Sequence[str] | None = None) -> int:
    parser = stage_parser(__doc__)
    parser.add_argument("--name", help="train this architecture instead of selector.name, in a folder of its own")
    parser.add_argument("--seed", type=int, help="train with this seed instead of the config's, in a folder of its own")
    parser.add_argument(
        "--variant",
        metavar="LABEL",
        help="train with what compare.variants.LABEL changes in `selector`, in a folder of its own",
    )
    parser.add_argument(
        "--overfit",
        type=at_least(1),
        metavar="N",
        help="only check that training can overfit N videos, and write nothing",
    )
    return execute(parser, argv, _train)


def _train(arguments: argparse.Namespace) -> int:
    job = parse_job(arguments)
    if arguments.overfit is not None:
        return check_overfit(vary(job, arguments.name, arguments.seed, arguments.variant), arguments.overfit)
    run(job, arguments.name, arguments.seed, arguments.variant)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
