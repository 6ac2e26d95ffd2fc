"""Fits the fusion of scores and evidence to one split: weights, and the rule's parameters.

One job, not sharded, on the CPU.
Reads:  scores/<video>.json, evidence/<name>/<video>.json for each name in `rerank.evidence`, tracks with their labels,
        and the annotations of the split.
Writes: <cache>/<dataset>/<split>/fusion.json: weights, bias, the rule and its parameters, what they were fitted to, and
        figures with and without each source of evidence (stages/evidence/fusion/file.py). --out and --card write it
        elsewhere too, so that other caches and machines decide by it (`rerank.fusion_file`).
Why:    what evidence is worth is measured, not guessed; a split that is never scored says it (`rerank.fit_on`), and
        rerank_tracks refuses to decide that same split.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.core.config.places import check_output
from stages.core.digests import digest
from stages.core.records import Split, Video
from stages.core.run.cli import Job, execute, parse_job, stage_parser
from stages.core.run.progress import Progress
from stages.core.run.runner import stamp_of
from stages.core.state.cache import CacheError, State, atomic_path, inspect, read_stamp, remedy
from stages.core.state.choices import read_scores
from stages.core.state.failures import first_failure
from stages.core.state.fingerprints import annotations_digest
from stages.core.state.graph import FIT_FUSION, SCORE_TRACKS
from stages.core.state.temporary import remove_leftovers
from stages.datasets import open_split
from stages.evidence.candidates import current_evidence

if TYPE_CHECKING:
    from stages.evidence.fusion.fit import Fitted
    from stages.evidence.fusion.table import Sentence

log = logging.getLogger(__name__)


def run(job: Job) -> None:
    """Brings the split's fusion to its finished state.

    Raises:
        ValueError: no ground truth, nothing to learn from, or scores of several selectors.
        CacheError: a file is missing or damaged, or evidence was gathered for other scores; or there is a fusion of
            another config, and `run.on_stale` is "stop".
    """
    from stages.evidence.fusion.file import write_fusion

    if job.n_pids != 1:
        raise ValueError(f"--n-pids {job.n_pids}: fitting is one job; leave the flag out")
    split = open_split(job.config, job.dataset, job.split)
    if not split.has_truth:
        raise ValueError(f"{job.dataset}/{job.split} has no ground truth: a fusion is fitted to a split that has it")
    videos = sound_videos(job, split)
    stamp = stamp_of(job, FIT_FUSION, {"inputs": inputs_digest(job, split, videos)})
    state, reason = inspect(job.layout.fusion, stamp)
    if state is State.COMPLETE and not job.overwrite:
        log.info("fit_fusion %s/%s: nothing to do", job.dataset, job.split)
        return
    if state is State.STALE and job.settings.run.on_stale == "stop":
        raise CacheError(
            f"{job.layout.fusion}: another fusion ({reason}); run.on_stale is 'stop': delete it, or set recompute"
        )
    if state in (State.STALE, State.DAMAGED):
        log.warning("fit_fusion %s/%s: fitted again: %s", job.dataset, job.split, reason)
    remove_leftovers(job.layout.fusion)
    fitted = fit_videos(job, split, videos)
    own = f"{job.dataset}/{job.split}"
    write_fusion(job.layout.fusion, stamp, fitted, own, selector_of(job, videos), job.settings.rerank)
    log_report(job, fitted)


def sound_videos(job: Job, split: Split) -> list[Video]:
    """The videos without a defect, and those that failed before where failures are left out."""
    leave_out = job.settings.run.on_failure == "leave_out"
    sound = []
    for video in split.videos()[: job.limit]:
        failure = first_failure(job.layout, video.id) if leave_out else None
        if not video.defect and failure is None:
            sound.append(video)
        else:
            log.error("video %s is left out: %s", video.id, video.defect or f"failed in {failure.task}")  # type: ignore[union-attr]
    return sound


def inputs_digest(job: Job, split: Split, videos: Sequence[Video]) -> str:
    """Of everything that is read, video by video."""
    return digest(
        [
            [
                video.id,
                read_stamp(job.layout.file(SCORE_TRACKS, video.id), SCORE_TRACKS.name).fingerprint,
                [current_evidence(job, name, video) for name in sorted(job.settings.rerank.evidence)],
                annotations_digest(video, split.annotations(video)),
            ]
            for video in videos
        ]
    )


def selector_of(job: Job, videos: Sequence[Video]) -> str | None:
    """The id of the selector that all scores are of."""
    stamps = [read_stamp(job.layout.file(SCORE_TRACKS, video.id), SCORE_TRACKS.name) for video in videos]
    identifiers = {stamp.ingredients.get("selector") for stamp in stamps}
    if len(identifiers) > 1:
        raise ValueError(f"{job.layout.folder(SCORE_TRACKS)}: scores of several selectors; {remedy(SCORE_TRACKS.name)}")
    return next(iter(identifiers), None)


def fit_videos(job: Job, split: Split, videos: Sequence[Video]) -> "Fitted":
    """Reads the videos and fits."""
    from stages.comparison.video import VideoScorer
    from stages.evidence.fusion.fit import fit
    from stages.evidence.fusion.fixed import rule_settings
    from stages.evidence.fusion.objective import quality_of
    from stages.evidence.fusion.reading import inputs_of

    settings = job.settings
    sources, ratio = settings.selector.sources.evaluate, settings.evaluate.boundary_ratio
    sentences: list[Sentence] = []
    scorers: dict[str, VideoScorer] = {}
    with Progress(f"fit_fusion {job.dataset}/{job.split}", len(videos)) as progress:
        for video in videos:
            sentences += labelled(job, video)
            scorers[video.id] = VideoScorer(job.layout, split, video, sources, ratio)
            progress.more(1)
    expression_of = {(video.id, expression.id): expression for video in videos for expression in video.expressions}

    asked = [expression_of[sentence.video, sentence.expression] for sentence in sentences]

    def outcome(index: int, chosen_N: NDArray[np.bool_]) -> dict[str, Any]:
        sentence = sentences[index]
        return scorers[sentence.video].outcome(asked[index], sentence.tracks, chosen_N)

    rerank = settings.rerank
    inputs = inputs_of(sentences, behind=rerank.behind_best, looks=rerank.looks_apart)
    quality = quality_of(rerank.objective, outcome, [bool(expression.annotations) for expression in asked])
    return fit(sentences, inputs, rerank.rule.kind, rule_settings(rerank), rerank.same_iou, quality)


def labelled(job: Job, video: Video) -> "list[Sentence]":
    """The sentences of known truth with everything that is known of their tracks."""
    from stages.evidence.fusion.reading import read_gathered, sentences_of
    from stages.selectors.samples import open_video

    rerank, positive_iou = job.settings.rerank, job.settings.selector.training.positive_iou
    choices = read_scores(job.layout, video)
    tracks = open_video(job.layout, video, job.settings.selector.sources.evaluate)
    labels = {}
    for e, expression in enumerate(video.expressions):
        if expression.annotations is None:
            continue
        if [candidate.id for candidate in choices[expression.id]] != [tracks.ids[row] for row in tracks.tracks_of(e)]:
            raise CacheError(
                f"video {video.id!r}: scores are of other tracks than there are now; {remedy(SCORE_TRACKS.name)}"
            )
        labels[expression.id] = tracks.labels_of(e, positive_iou)
    gathered = read_gathered(job.layout, video, rerank.evidence)
    overlaps = rerank.same_iou is not None
    return sentences_of(job.layout, video, choices, gathered, overlaps=overlaps, labels=labels)


def log_report(job: Job, fitted: "Fitted") -> None:
    from stages.evidence.fusion.objective import FIGURES

    figure = FIGURES[job.settings.rerank.objective]

    def words(figures: Any) -> str:
        return f"{figure} {100 * figures.quality:.1f}, AUC of tracks {figures.auc:.3f}, log loss {figures.log_loss:.3f}"

    log.info("fit_fusion %s/%s: %d sentences: %s", job.dataset, job.split, fitted.n_sentences, words(fitted.figures))
    for source, figures in fitted.without.items():
        log.info("  without %s: %s", source, words(figures))


def main(argv: Sequence[str] | None = None) -> int:
    parser = stage_parser(__doc__)
    parser.add_argument("--out", type=Path, metavar="FILE", help="the fusion, for rerank.fusion_file (.json)")
    parser.add_argument("--card", type=Path, metavar="FILE", help="a page about it (Markdown); needs --out")
    return execute(parser, argv, lambda arguments: _main(parse_job(arguments), arguments.out, arguments.card))


def _main(job: Job, out: Path | None, card: Path | None) -> None:
    if card is not None and out is None:
        raise ValueError("--card describes the file that --out writes; give --out too")
    for path in (out, card):
        if path is not None:
            check_output(job.config, path)
    run(job)
    if out is not None:
        write_exported(job, out, card)


def write_exported(job: Job, out: Path, card: Path | None) -> None:
    """The finished fusion as a file of its own, and a page about it.

    Raises:
        ValueError: a file is in the place of one of them that is something else.
    """
    from stages.evidence.fusion.card import TITLE, card_of
    from stages.evidence.fusion.file import export, read_exported

    if out.exists():
        read_exported(out)
    if card is not None and card.exists() and not card.read_text(encoding="utf-8", errors="replace").startswith(TITLE):
        raise ValueError(f"{card}: is not a card of a fusion; give another place")
    document = export(job.layout.fusion, out)
    log.info("wrote %s: name it in rerank.fusion_file", out)
    if card is not None:
        with atomic_path(card) as temporary:
            temporary.write_text(card_of(document, out), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
