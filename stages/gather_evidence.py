"""Gathers what one name of `evidence` says about the tracks of every video, expression by expression.

Reads:  scores/<video>.json where the evidence's kind uses scores, tracks otherwise; and what the kind needs: frames,
        prompts, weights.
Writes: <cache>/<dataset>/<split>/evidence/<name>/<video>.json: log-odds per expression and track, and where each
        number comes from (stages.core.state.evidence_file); and what each video took, under runtime/.
Why:    gathering may need a GPU and money, deciding takes seconds: rerank_tracks weighs what is gathered here as
        often as needed. Kinds of evidence: stages/evidence/kinds/__init__.py.
"""

import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.core.config.loading import nearest
from stages.core.records import Video
from stages.core.run.cli import Job, execute, parse_job, stage_parser
from stages.core.run.runner import Worker, run_shard
from stages.core.state.cache import Stamp, write_json
from stages.core.state.evidence_file import asked_path, drop_asked, write_evidence
from stages.core.state.graph import GATHER_EVIDENCE
from stages.core.state.weights import weights_ids
from stages.core.tables import EVIDENCE
from stages.datasets import open_split
from stages.evidence.candidates import subject
from stages.evidence.judging.plan import Bill, draw_up


def run(job: Job, name: str) -> None:
    """Brings the evidence files of the job's shard to their finished state.

    Raises:
        ValueError: `evidence` has no such name, or a file that it names is missing.
    """
    job = _named(job, name)
    settings = job.settings.evidence[name]
    _check_files(name, settings)
    kind, of_video = EVIDENCE[settings.kind], _ingredients(job, name)

    def ingredients(video: Video) -> Mapping[str, Any]:
        drop_asked(job.layout.file(GATHER_EVIDENCE, video.id, name))
        return of_video(video)

    def make_worker(device: str) -> Worker:
        gather = kind.load(job, settings, device)

        def work(video: Video, path: Path, stamp: Stamp) -> None:
            start = time.perf_counter()
            write_evidence(path, stamp, gather(video, path, stamp), job.history)
            asked_path(path).unlink(missing_ok=True)
            taken = {"video": video.id, "seconds": round(time.perf_counter() - start, 3)}
            write_json(job.layout.runtime(GATHER_EVIDENCE, video.id, name), taken)

        return work

    run_shard(job, GATHER_EVIDENCE, open_split(job.config, job.dataset, job.split).videos(), ingredients, make_worker)


def dry_run(job: Job, name: str) -> Bill:
    """What `run` would ask, in numbers. Nothing is asked, no model is loaded, no file is written.

    Raises:
        ValueError: `evidence` has no such name.
    """
    job = _named(job, name)
    videos = open_split(job.config, job.dataset, job.split).videos()
    return draw_up(job, videos, lambda video: _ingredients(job, name)(video))


def _named(job: Job, name: str) -> Job:
    if name not in job.settings.evidence:
        raise ValueError(f"no {name!r} in `evidence`{nearest(name, job.settings.evidence)}")
    return replace(job, evidence=name)


def _check_files(name: str, settings: Any) -> None:
    for key, file in EVIDENCE[settings.kind].files(settings).items():
        if not Path(file).is_file():
            raise ValueError(f"{file}: does not exist (evidence.{name}.{key})")


def _ingredients(job: Job, name: str) -> Callable[[Video], Mapping[str, Any]]:
    """What the evidence on a video depends on beside the config."""
    settings = job.settings.evidence[name]
    weights = weights_ids(job.config, job.dataset, GATHER_EVIDENCE, name)
    of_kind = EVIDENCE[settings.kind].ingredients
    return lambda video: {**subject(job, name, video), "weights": weights, **of_kind(job, settings, video)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = stage_parser(__doc__)
    parser.add_argument("--name", required=True, help="what to gather: a name of the config's section `evidence`")
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be asked and what it costs; ask nothing"
    )

    def act(arguments: Namespace) -> None:
        job = parse_job(arguments)
        if not arguments.dry_run:
            run(job, arguments.name)
            return
        print("\n".join(dry_run(job, arguments.name).lines()))

    return execute(parser, argv, act)


if __name__ == "__main__":
    raise SystemExit(main())
