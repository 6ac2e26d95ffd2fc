"""Decides which tracks every expression refers to: the selector's scores and the evidence, weighed.

Reads:  scores/<video>.json, and evidence/<name>/<video>.json for each name in `rerank.evidence`; tracks, where
        near-duplicates are to count once; with `rerank.fusion: fitted`, fusion.json of the split it was fitted to, or
        `rerank.fusion_file`.
Writes: <cache>/<dataset>/<split>/decisions/<video>.json: the candidates with their evidence, final score and decision,
        and why; possibly none is chosen (no target).
Why:    evidence is gathered once, at a cost; deciding takes no model and no device, so another weight, threshold or
        rule decides anew in seconds.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.core.config.loading import fitting_split
from stages.core.records import Video
from stages.core.run.cli import Job, run_stage
from stages.core.run.runner import run_shard
from stages.core.state.cache import CacheError, Stamp, read_stamp
from stages.core.state.choices import read_scores, read_threshold, write_choices
from stages.core.state.graph import RERANK_TRACKS, SCORE_TRACKS, Layout
from stages.datasets import open_split
from stages.evidence.candidates import current_evidence

if TYPE_CHECKING:
    from stages.evidence.fusion.file import FusionFile


def run(job: Job) -> None:
    """Brings the decisions on the job's shard to their finished state.

    Raises:
        ValueError: a fitted fusion is asked for on the split it was fitted to, or there is none.
    """
    fitted = read_fitted(job) if job.settings.rerank.fusion == "fitted" else None
    videos = open_split(job.config, job.dataset, job.split).videos()
    run_shard(
        job, RERANK_TRACKS, videos, partial(ingredients, job, fitted), lambda _: partial(decide_video, job, fitted)
    )


def read_fitted(job: Job) -> "FusionFile":
    """The fusion that decides.

    Raises:
        ValueError: it was fitted to the split that is to be decided, or by another config; or `rerank.fusion_file` is not
            a fusion.
    """
    from stages.evidence.fusion.file import read_exported, read_fusion

    path, rerank = fusion_path(job), job.settings.rerank
    own = f"{job.dataset}/{job.split}"
    if rerank.fusion_file is None and fitting_split(job.config, job.dataset) == own:
        raise ValueError(_refusal(own))
    fitted = read_fusion(path) if rerank.fusion_file is None else read_exported(path)
    if fitted.fitted_on == own:
        raise ValueError(_refusal(own))
    asked = (tuple(sorted(rerank.evidence)), rerank.rule.kind, rerank.same_iou)
    if asked != (fitted.evidence, fitted.fusion.rule, fitted.fusion.same_iou):
        raise CacheError(
            f"{path}: was fitted to evidence {list(fitted.evidence)}, rule {fitted.fusion.rule}, same_iou "
            f"{fitted.fusion.same_iou}; the config says {list(asked[0])}, {asked[1]}, {asked[2]}: {_remedy(job)}"
        )
    return fitted


def fusion_path(job: Job) -> Path:
    """The file of the fusion that decides: the one given, or that of the split it is fitted to."""
    given = job.settings.rerank.fusion_file
    return (
        Layout.of(job.config, *fitting_split(job.config, job.dataset).split("/")).fusion
        if given is None
        else Path(given)
    )


def ingredients(job: Job, fitted: "FusionFile | None", video: Video) -> Mapping[str, Any]:
    """What a video's decisions depend on: the scores, the evidence that was gathered for them, the fitted fusion.

    Raises:
        CacheError: a file is missing, evidence was gathered for other scores or tracks, or the fusion was fitted to the
            scores of another selector.
    """
    scores = read_stamp(job.layout.file(SCORE_TRACKS, video.id), SCORE_TRACKS.name)
    evidence = {name: current_evidence(job, name, video) for name in job.settings.rerank.evidence}
    if fitted is None:
        return {"scores": scores.fingerprint, "evidence": evidence}
    if fitted.selector != scores.ingredients.get("selector"):
        raise CacheError(f"{fusion_path(job)}: was fitted to the scores of another selector; {_remedy(job)}")
    return {"scores": scores.fingerprint, "evidence": evidence, "fusion": fitted.fingerprint}


def decide_video(job: Job, fitted: "FusionFile | None", video: Video, path: Path, stamp: Stamp) -> None:
    """Writes the decisions on one video."""
    from stages.evidence.fusion.decide import decide
    from stages.evidence.fusion.fixed import LOW, fixed_fusion
    from stages.evidence.fusion.reading import decided, read_gathered, reasons, sentences_of

    rerank, configured = job.settings.rerank, job.settings.selector.threshold
    threshold = read_threshold(job.layout.file(SCORE_TRACKS, video.id)) if configured == "auto" else configured
    fusion = fixed_fusion(rerank, threshold) if fitted is None else fitted.fusion
    choices = read_scores(job.layout, video)
    gathered = read_gathered(job.layout, video, rerank.evidence)
    sentences = sentences_of(job.layout, video, choices, gathered, overlaps=fusion.same_iou is not None)
    answers = {s.expression: decided(choices[s.expression], s, decide(fusion, s)) for s in sentences}
    why = reasons(fusion, None if fitted is None else fitted.fitted_on, sentences)
    write_choices(path, stamp, answers, fusion.parameters.get(LOW, threshold), why=why)


def _refusal(own: str) -> str:
    return (
        f"{own}: the fusion is fitted to this split, so its decisions here would be flattered; decide on another split, "
        "or set rerank.fit_on (or rerank.fusion: fixed)"
    )


def _remedy(job: Job) -> str:
    if job.settings.rerank.fusion_file is not None:
        return "set rerank to what it was fitted with, or rerank.fusion_file: null to fit another one"
    dataset, split = fitting_split(job.config, job.dataset).split("/")
    return f"run `python -m stages.fit_fusion --dataset {dataset} --split {split}` again"


def main(argv: Sequence[str] | None = None) -> int:
    return run_stage(run, __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
