"""The split that weights are fitted to: never the one that is averaged."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from stages.core.records import Split, Video
from stages.core.run.progress import Progress
from stages.core.state.frames import FrameFolder
from stages.core.state.graph import Layout
from stages.exchange.ensemble.fit import Fitted, fit
from stages.exchange.ensemble.mean import Mixture
from stages.exchange.ensemble.runs import Run
from stages.exchange.ensemble.votes import votes_of

FOLDER = "ensemble"  # below a split's folder of the ensemble's cache

log = logging.getLogger(__name__)


def refuse_scored(own: str, folders: dict[str, FrameFolder], place: str, others: dict[str, FrameFolder]) -> None:
    """Raises ValueError where weights would be fitted to what they are used on: the split itself, or a video of it.

    Args:
        own, place: <dataset>/<split> that is averaged, and that is fitted to.
        folders, others: their videos' frames.
    """
    if place == own:
        raise ValueError(f"{own}: weights fitted to the split they are used on flatter it; give --fit-on another split")
    digests = {frames.digest for frames in folders.values()}
    if shared := [video for video, frames in others.items() if frames.digest in digests]:
        raise ValueError(
            f"{place}: {len(shared)} of its videos are in {own} too, as {shared[0]!r}; weights fitted to them flatter it: "
            "give --fit-on another split"
        )


def fit_runs(
    cache: Layout, split: Split, videos: Sequence[Video], folders: dict[str, FrameFolder], runs: Sequence[Run]
) -> Fitted:
    """Counts the votes of every video, each in a file of its own, and fits.

    Args:
        cache: the ensemble's own, of the split that is fitted to.

    Raises:
        ValueError: the split has no ground truth, or too little; or a prediction cannot be used.
    """
    place = f"{cache.dataset}/{cache.split}"
    if not split.has_truth:
        raise ValueError(f"{place} has no ground truth: weights are fitted to a split that has it")
    parts = []
    with Progress(f"ensemble, votes of {place}", len(videos)) as progress:
        for video in videos:
            path = cache.root / FOLDER / "votes" / f"{video.id}.h5"
            parts.append(votes_of(path, split, video, folders[video.id], runs))
            progress.more(1)
    fitted = fit(parts)
    found = "taken" if fitted.taken else "not better than equal ones, which are taken"
    words = "J %.1f with equal weights, %.1f with fitted ones, %.1f on videos left out of a fit: %s"
    log.info(f"{place}: {words}", 100 * fitted.equal, 100 * fitted.fitted, 100 * fitted.held_out, found)
    return fitted


def mixture_of(fitted: Fitted, runs: Sequence[Run]) -> Mixture:
    weights = {run.name: round(float(w), 6) for run, w in zip(runs, fitted.parameters.weight_R, strict=True)}
    return Mixture(weights, fitted.parameters.threshold)


def report_of(fitted: Fitted, place: str, runs: Sequence[Run]) -> dict[str, Any]:
    """For ensemble.json."""
    report = {key: value for key, value in asdict(fitted).items() if key not in ("parameters", "alone_R")}
    alone = {run.name: j for run, j in zip(runs, fitted.alone_R, strict=True)}
    return {"fitted_on": place, **report, "alone": alone}
