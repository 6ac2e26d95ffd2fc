"""Gathers what one name of `evidence` says about the tracks of every video, expression by expression.

Reads:  scores/<video>.json where the evidence's kind uses scores, tracks otherwise; and what the kind needs: frames,
        prompts, weights.
Writes: <cache>/<dataset>/<split>/evidence/<name>/<video>.json: log-odds per expression and track, and where each
        number comes from (stages.core.state.evidence_file).
Why:    gathering may need a GPU and money, deciding takes seconds: rerank_tracks weighs what is gathered here as
        often as needed. Kinds of evidence: stages/evidence/kinds/__init__.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stages.core.config.loading import nearest
from stages.core.records import Video
from stages.core.run.cli import Job, execute, parse_job, stage_parser
from stages.core.run.runner import Worker, run_shard
from stages.core.state.cache import Stamp
from stages.core.state.evidence_file import asked_path, drop_asked, write_evidence
from stages.core.state.graph import GATHER_EVIDENCE
from stages.core.state.weights import weights_ids
from stages.core.tables import EVIDENCE
from stages.datasets import open_split
from stages.evidence.candidates import subject


def run(job: Job, name: str) -> None:
    """Brings the evidence files of the job's shard to their finished state.

    Raises:
        ValueError: `evidence` has no such name.
    """
    if name not in job.settings.evidence:
        raise ValueError(f"no {name!r} in `evidence`{nearest(name, job.settings.evidence)}")
    job = replace(job, evidence=name)
    settings = job.settings.evidence[name]
    kind = EVIDENCE[settings.kind]
    weights = weights_ids(job.config, job.dataset, GATHER_EVIDENCE, name)

    def ingredients(video: Video) -> Mapping[str, Any]:
        drop_asked(job.layout.file(GATHER_EVIDENCE, video.id, name))
        return {**subject(job, name, video), "weights": weights, **kind.ingredients(job, settings, video)}

    def make_worker(device: str) -> Worker:
        gather = kind.load(job, settings, device)

        def work(video: Video, path: Path, stamp: Stamp) -> None:
            write_evidence(path, stamp, gather(video, path, stamp), job.history)
            asked_path(path).unlink(missing_ok=True)

        return work

    run_shard(job, GATHER_EVIDENCE, open_split(job.config, job.dataset, job.split).videos(), ingredients, make_worker)


def main(argv: Sequence[str] | None = None) -> int:
    parser = stage_parser(__doc__)
    parser.add_argument("--name", required=True, help="what to gather: a name of the config's section `evidence`")
    return execute(parser, argv, lambda arguments: run(parse_job(arguments), arguments.name))


if __name__ == "__main__":
    raise SystemExit(main())
