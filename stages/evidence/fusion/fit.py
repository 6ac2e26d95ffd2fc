"""Fits a fusion to sentences of known truth: weights by logistic regression, then the rule's parameters by quality.

A track is positive where it is referred to. Each sentence weighs the same, however many tracks it has. The strength of
the L2 penalty is chosen by cross-validation, in which no video is on both sides. Columns are standardised for the fit, so
that one penalty fits all; the weights that are kept are of the plain columns.

Legend: K tracks of all sentences, D columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.evidence.fusion.calibrate import Quality, calibrate
from stages.evidence.fusion.decide import Fusion
from stages.evidence.fusion.features import Inputs, table_of
from stages.evidence.fusion.table import Sentence, Values

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)  # C of scikit-learn: the inverse of the penalty
FOLDS = 5


@dataclass(frozen=True)
class Figures:
    """How well a fusion does on the sentences it was fitted to.

    Attributes:
        log_loss, auc: of its probabilities of tracks, cross-validated over videos.
        quality: mean over sentences of the answers' quality, at the fitted parameters.
    """

    log_loss: float
    auc: float
    quality: float


@dataclass(frozen=True)
class Fitted:
    """A fitted fusion and what is worth reporting of it.

    Attributes:
        strength: the chosen C.
        deviations: column → its standard deviation.
        figures: with everything.
        without: source of columns → the figures of a fusion fitted without it.
        n_sentences, n_tracks, n_positive, n_videos: what it was fitted to.
    """

    fusion: Fusion
    strength: float
    deviations: Mapping[str, float]
    figures: Figures
    without: Mapping[str, Figures]
    n_sentences: int
    n_tracks: int
    n_positive: int
    n_videos: int

    @property
    def moves(self) -> dict[str, float]:
        """Column → what it moves S by: its weight times its standard deviation."""
        return {name: self.fusion.weights[name] * deviation for name, deviation in self.deviations.items()}


@dataclass(frozen=True)
class Weights:
    """Weights of plain columns, and how they did in cross-validation."""

    bias: float
    weights: Mapping[str, float]
    deviations: Mapping[str, float]
    strength: float
    log_loss: float
    auc: float


@dataclass(frozen=True, eq=False)
class Rows:
    """The tracks of all sentences: columns, labels, weights (mean 1), and the number of each track's video."""

    x_KD: Values
    labels_K: NDArray[np.bool_]
    weights_K: Values
    videos_K: NDArray[np.int64]

    def __getitem__(self, index: NDArray[np.int64]) -> "Rows":
        return Rows(self.x_KD[index], self.labels_K[index], self.weights_K[index], self.videos_K[index])


def fit(
    sentences: Sequence[Sentence],
    inputs: Inputs,
    rule: str,
    settings: Mapping[str, float | str],
    same_iou: float | None,
    quality: Quality,
    *,
    ablate: bool = True,
) -> Fitted:
    """The fusion of best quality on these sentences.

    Args:
        sentences: with labels; those without a word are left out.
        rule, settings: name of the rule, and its section of the config: "auto" is found, numbers stay.
        quality: (index of a sentence, (N,) chosen tracks) → how good that answer is, 0 to 1.
        ablate: whether a fusion without each source is fitted too.

    Raises:
        ValueError: there is nothing to learn: no input, no track, or tracks of one class alone.
    """
    asked = [i for i, sentence in enumerate(sentences) if sentence.asked]
    sound = [sentences[i] for i in asked]

    def of_asked(index: int, chosen_N: NDArray[np.bool_]) -> float:
        return quality(asked[index], chosen_N)

    def fitted(inputs: Inputs) -> tuple[Fusion, Weights, Figures]:
        learnt = learn(sound, inputs)
        start = Fusion(learnt.bias, learnt.weights, same_iou, rule, {})
        parameters, best = calibrate(start, settings, sound, of_asked)
        return (
            Fusion(learnt.bias, learnt.weights, same_iou, rule, parameters),
            learnt,
            Figures(learnt.log_loss, learnt.auc, best),
        )

    fusion, learnt, figures = fitted(inputs)
    sources = inputs.sources if ablate and len(inputs.sources) > 1 else ()
    rows = _rows(sound, ())
    return Fitted(
        fusion=fusion,
        strength=learnt.strength,
        deviations=learnt.deviations,
        figures=figures,
        without={source: fitted(inputs.without(source))[2] for source in sources},
        n_sentences=len(sound),
        n_tracks=len(rows.labels_K),
        n_positive=int(rows.labels_K.sum()),
        n_videos=len(np.unique(rows.videos_K)),
    )


def learn(sentences: Sequence[Sentence], inputs: Inputs) -> Weights:
    """The weights; raises as `fit`."""
    from sklearn.metrics import roc_auc_score

    columns = inputs.columns
    if not columns:
        raise ValueError("a fusion needs something to look at: the score, or evidence")
    rows = _rows(sentences, columns)
    if len(np.unique(rows.labels_K)) < 2:
        raise ValueError(
            f"a fusion learns from tracks that are referred to and tracks that are not; of {len(rows.labels_K)} tracks "
            f"{int(rows.labels_K.sum())} are"
        )
    folds = _folds(rows.videos_K)
    validated = {strength: _validated(rows, strength, folds) for strength in STRENGTHS}
    losses = {strength: _log_loss(logits_K, rows) for strength, logits_K in validated.items()}
    strength = min(STRENGTHS, key=lambda strength: losses[strength])
    bias, weights_D = _regress(rows, strength)
    auc = roc_auc_score(rows.labels_K, validated[strength], sample_weight=rows.weights_K)
    return Weights(
        bias=bias,
        weights=dict(zip(columns, weights_D.tolist(), strict=True)),
        deviations=dict(zip(columns, rows.x_KD.std(0).tolist(), strict=True)),
        strength=strength,
        log_loss=losses[strength],
        auc=float(auc),
    )


def _rows(sentences: Sequence[Sentence], columns: tuple[str, ...]) -> Rows:
    number = {video: i for i, video in enumerate(dict.fromkeys(sentence.video for sentence in sentences))}
    labels, weights, videos = [np.zeros(0, bool)], [np.zeros(0)], [np.zeros(0, np.int64)]
    for sentence in sentences:
        assert sentence.labels_N is not None, "a fusion is fitted to sentences of known truth"
        labels.append(sentence.labels_N)
        weights.append(np.full(len(sentence), 1 / max(len(sentence), 1)))
        videos.append(np.full(len(sentence), number[sentence.video]))
    weights_K = np.concatenate(weights)
    x_KD = np.concatenate([np.zeros((0, len(columns))), *(table_of(sentence, columns) for sentence in sentences)])
    mean = weights_K.mean() if len(weights_K) else 1.0
    return Rows(x_KD, np.concatenate(labels), weights_K / mean, np.concatenate(videos))


def _folds(videos_K: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to learn from and rows to look at, by video; with one video, all rows are both."""
    from sklearn.model_selection import GroupKFold

    n_folds = min(FOLDS, len(np.unique(videos_K)))
    if n_folds < 2:
        return [(np.arange(len(videos_K)), np.arange(len(videos_K)))]
    return list(GroupKFold(n_folds).split(videos_K, groups=videos_K))


def _validated(rows: Rows, strength: float, folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> Values:
    """(K,) S of every track, by weights that were learnt without its video."""
    logits_K = np.zeros(len(rows.labels_K))
    for learnt, looked_at in folds:
        bias, weights_D = _regress(rows[learnt], strength)
        logits_K[looked_at] = bias + rows.x_KD[looked_at] @ weights_D
    return logits_K


def _regress(rows: Rows, strength: float) -> tuple[float, Values]:
    """Bias and weights (D,) of the plain columns; a column that never changes gets 0."""
    from sklearn.linear_model import LogisticRegression

    mean_D, deviation_D = rows.x_KD.mean(0), rows.x_KD.std(0)
    varies_D = deviation_D > 0
    weights_D = np.zeros(len(mean_D))
    share = float(np.average(rows.labels_K, weights=rows.weights_K)) if len(rows.labels_K) else 0.5
    if not varies_D.any() or not 0 < share < 1:  # a fold may hold one class alone
        share = min(max(share, 1e-3), 1 - 1e-3)
        return float(np.log(share / (1 - share))), weights_D
    scaled = (rows.x_KD[:, varies_D] - mean_D[varies_D]) / deviation_D[varies_D]
    model = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000)
    model.fit(scaled, rows.labels_K, sample_weight=rows.weights_K)
    weights_D[varies_D] = model.coef_[0] / deviation_D[varies_D]
    return float(model.intercept_[0] - weights_D @ mean_D), weights_D


def _log_loss(logits_K: Values, rows: Rows) -> float:
    signed_K = np.where(rows.labels_K, logits_K, -logits_K)
    return float(np.average(np.logaddexp(0, -signed_K), weights=rows.weights_K))
