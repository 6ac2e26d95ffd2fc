"""What a job of each rule takes on a cluster, at its first attempt: for a shard of MeViS on one GPU.

A retry gets as much again. A job that runs out of time goes on where it stopped.
"""

from collections.abc import Mapping

# Rule → memory in MB, minutes.
NEEDS: Mapping[str, tuple[int, int]] = {
    "make_shapes": (4000, 60),
    "fetch_weights": (8000, 240),
    "collect": (4000, 60),
    "extract_frames": (8000, 240),
    "generate_prompts": (24000, 480),
    "build_tracks": (32000, 720),
    "encode_text": (16000, 60),
    "train_selector": (64000, 1440),
    "train_seg": (64000, 1440),
    "score_tracks": (16000, 120),
    "gather_evidence": (32000, 480),
    "fit_fusion": (16000, 120),
    "rerank_tracks": (8000, 60),
    "evaluate": (16000, 240),
    "render_predictions": (16000, 480),
    "assemble": (8000, 120),
    "report": (16000, 240),
    "compare": (32000, 480),
}
