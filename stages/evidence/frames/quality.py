"""How good a frame is for a track: token-driven selection after VRS-HQ (Gong et al., CVPR 2025, arXiv 2501.08549).

There a keyframe is where SAM2's object score and the token's similarity to the text are highest. Here both come from the
cache, and the similarity is that of the frame's object token to the track's own mean: an object token says who an
object is, not what a sentence means.

Legend: N tracks, T frames, C channels; V_n are the frames in which track n is visible.
"""

import numpy as np
from numpy.typing import NDArray

from stages.evidence.frames.settings import FrameSettings
from stages.evidence.frames.sightings import Sightings

Floats = NDArray[np.float64]


def quality(sightings: Sightings, settings: FrameSettings) -> Floats:
    """(N, T) q_nt, 0 outside V_n.

    faithful: softmax over V_n of o_nt + softmax over V_n of cos(z_nt, u_n);
    balanced: σ(o_nt / τ_o) + η · |V_n| · softmax over V_n of cos(z_nt, u_n) / τ_s, so that neither term depends on how
    long a track is seen.
    """
    from scipy.special import expit  # late: `--help` need not wait for scipy

    object_NT, cosine_NT = sightings.object_NT.astype(np.float64), similarity(sightings)
    seen_NT = sightings.visible_NT
    if settings.quality == "faithful":
        return softmax_over(object_NT, seen_NT) + softmax_over(cosine_NT, seen_NT)
    similar_NT = softmax_over(cosine_NT / settings.similarity_temperature, seen_NT)
    scaled_NT = settings.similarity_weight * seen_NT.sum(1, keepdims=True) * similar_NT
    return np.where(seen_NT, expit(object_NT / settings.object_temperature) + scaled_NT, 0.0)


def similarity(sightings: Sightings) -> Floats:
    """(N, T) cosine between a track's token in a frame and the mean of its tokens over V_n; 0 without tokens."""
    tokens_NTC = sightings.tokens_NTC.astype(np.float64)
    seen_NT1 = sightings.visible_NT[..., None]
    mean_N1C = (tokens_NTC * seen_NT1).sum(1, keepdims=True) / np.maximum(seen_NT1.sum(1, keepdims=True), 1)
    norms_NT = np.linalg.norm(tokens_NTC, axis=-1) * np.linalg.norm(mean_N1C, axis=-1)
    product_NT = (tokens_NTC * mean_N1C).sum(-1)
    return np.divide(product_NT, norms_NT, out=np.zeros_like(product_NT), where=norms_NT > 0)


def softmax_over(value_NT: Floats, seen_NT: NDArray[np.bool_]) -> Floats:
    """Softmax over the frames in which a track is visible; 0 in the others."""
    highest_N1 = np.max(value_NT, axis=1, keepdims=True, where=seen_NT, initial=-np.inf)
    power_NT = np.exp(np.where(seen_NT, value_NT - np.where(np.isfinite(highest_N1), highest_N1, 0), -np.inf))
    total_N1 = power_NT.sum(1, keepdims=True)
    return np.divide(power_NT, total_N1, out=np.zeros_like(power_NT), where=total_N1 > 0)
