"""Trains the [SEG] model of source `seg`, in the variant of `prompts.seg`, on splits with ground truth.

One job, not sharded.
Reads:  frames of the training split, of `seg_training.also` and of `seg_training.validate_on`; their annotations; the
        weights of roles seg and sam2.
Writes: <cache>/<dataset>/<split>/seg/: model/, the trained model as a checkpoint of its family in safetensors, adapters
        merged, with use.yaml, a second --config with which source `seg` takes it; training.json, the finished marker
        with the validation of every epoch; checkpoint.pt, from which a killed training goes on to the same bytes;
        curve.jsonl and tensorboard/.
Why:    a small LoRA on the videos that are asked about costs little and can gain more than a larger model.

On several devices of one machine: `torchrun --nproc-per-node 4 -m stages.train_seg --dataset … --split …`.
"""

from collections.abc import Sequence

from stages.core.digests import digest
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import stamp_of
from stages.core.state.fingerprints import annotations_digest, expressions_digest
from stages.core.state.frames import open_frames
from stages.core.state.graph import TRAIN_SEG, Layout
from stages.core.state.weights import weights_ids
from stages.datasets import open_split
from stages.prompting.seg.training.data import Part
from stages.training.experiment import require_installed


def run(job: Job) -> None:
    """Brings the training to its finished state.

    Raises:
        ValueError: no ground truth, no sentence to learn from, frames or weights missing, a loss that is not finite.
        CacheError: a training made by another config is there and `run.on_stale` is "stop".
    """
    from stages.prompting.seg.training.session import Session

    if job.n_pids != 1:
        raise ValueError(f"--n-pids {job.n_pids}: training is one job; leave the flag out")
    require_installed(job.settings.run.experiment_trackers)
    own = job.settings.seg_training
    train = [open_part(job, name) for name in dict.fromkeys([f"{job.dataset}/{job.split}", *own.also])]
    validation = None if own.validate_on is None else open_part(job, own.validate_on)
    read = [*train, *([validation] if validation else [])]
    ingredients = {
        "weights": weights_ids(job.config, job.dataset, TRAIN_SEG),
        "inputs": {part.name: part_digest(part) for part in read},
    }
    stamp = stamp_of(job, TRAIN_SEG, ingredients)
    Session(job, job.layout.folder(TRAIN_SEG), stamp).train(train, validation)


def open_part(job: Job, name: str) -> Part:
    dataset, split = name.split("/")
    return Part(name, open_split(job.config, dataset, split), Layout.of(job.config, dataset, split), job.limit)


def part_digest(part: Part) -> str:
    """Of the frames, the sentences and what they refer to."""
    return digest(
        [
            [
                video.id,
                open_frames(part.layout, video.id).digest,
                expressions_digest(video),
                annotations_digest(video, part.split.annotations(video)),
            ]
            for video in part.videos
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
