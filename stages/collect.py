"""Verifies that a task is complete for every video of a split, and records with what.

Reads the stamps of a stage's per-video files. Writes <cache>/<dataset>/<split>/done/<task>.json: video →
fingerprint. The workflow's later stages depend on this file; it names no shard, so another number of
shards changes nothing. Every missing or damaged file is listed.
"""

import logging
from collections.abc import Iterable, Sequence

from stages.core.config.loading import nearest
from stages.core.config.sections import Settings
from stages.core.run.cli import Job, execute, parse_job, split_parser
from stages.core.state.cache import CacheError, read_stamp, write_json
from stages.core.state.failures import first_failure
from stages.core.state.graph import STAGES, Stage
from stages.core.state.temporary import remove_leftovers
from stages.core.tables import SOURCES
from stages.datasets import open_split

log = logging.getLogger(__name__)


def run(job: Job, task: str) -> None:
    """Collects `task`: a stage's name, followed by "-<branch>" where it has branches."""
    stage, branch = parse_task(task, job.settings)
    fingerprints: dict[str, str] = {}
    missing: list[str] = []
    failed: dict[str, str] = {}
    for video in open_split(job.config, job.dataset, job.split).videos()[: job.limit]:
        try:
            fingerprints[video.id] = read_stamp(job.layout.file(stage, video.id, branch), stage.name).fingerprint
        except CacheError as error:
            failure = first_failure(job.layout, video.id) if job.settings.run.on_failure == "leave_out" else None
            if failure is None:
                missing.append(str(error))
            else:
                failed[video.id] = f"{failure.task}: {failure.reason}"
    if missing:
        raise CacheError(f"{task} is incomplete for {len(missing)} videos:\n  " + "\n  ".join(missing))
    verified = job.layout.verified(stage, branch)
    remove_leftovers(verified)
    write_json(verified, {"task": task, "videos": fingerprints, "failed": failed})
    words = f"; left out: {', '.join(failed)}" if failed else ""
    log.info("%s %s/%s: complete for %d videos%s", task, job.dataset, job.split, len(fingerprints), words)


def parse_task(task: str, settings: Settings) -> tuple[Stage, str | None]:
    """ "build_tracks-grid" → the stage and its branch; raises ValueError where there is no such task."""
    name, _, branch = task.partition("-")
    if name not in STAGES:
        raise ValueError(f"no stage {name!r}{nearest(name, STAGES)}")
    stage = STAGES[name]
    known: dict[str | None, Iterable[str]] = {"source": SOURCES, "evidence": settings.evidence, None: ()}
    branches = list(known[stage.per])
    if branch not in (branches or [""]):
        raise ValueError(f"task {task!r}: {name} comes as {', '.join(f'{name}-{b}' for b in branches) or name}")
    return stage, branch or None


def main(argv: Sequence[str] | None = None) -> int:
    parser = split_parser(__doc__)
    parser.add_argument("--task", required=True, metavar="STAGE[-SOURCE]", help="what to verify, as build_tracks-grid")
    return execute(parser, argv, lambda arguments: run(parse_job(arguments), arguments.task))


if __name__ == "__main__":
    raise SystemExit(main())
