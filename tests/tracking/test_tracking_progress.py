"""What an engine and the greedy selection say of how far a video is."""

from pathlib import Path

import numpy as np
import pytest
from support.greedy import draw_prompts, track_by_shifting
from support.sam2 import draw_frames
from support.sam2_parity import RLES, lockstep, sensitive_model

from stages.core.run import progress
from stages.core.run.progress import Progress
from stages.tracking.greedy import GreedyChain, run_chains
from stages.tracking.sharing import SharedPrompts
from stages.tracking.stock import StockTracker
from stages.tracking.tracker import PromptBatch


class Shares(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("test", 1.0, silent=True)
        self.told: list[float] = []

    def at(self, done: float, note: str = "") -> None:
        super().at(done, note)
        self.told.append(done)


@pytest.mark.parametrize("engine", ["lockstep", "stock"])
def test_an_engine_moves_frame_by_frame(engine: str, tmp_path: Path) -> None:
    model, n_frames = sensitive_model("2.1 micro", tmp_path), 5
    tracker = lockstep(model) if engine == "lockstep" else StockTracker(model, "float32")
    bar = Shares()
    with bar, bar.item(1.0):
        tracker.track(draw_frames(tmp_path / "frames", n_frames), [PromptBatch(1, RLES[:2]), PromptBatch(3, RLES[:1])])
        assert bar.done == pytest.approx(1.0)
    assert bar.told == sorted(bar.told) and len(set(bar.told)) >= 2 * n_frames - 3


def test_the_selection_counts_prompts_and_what_is_covered(tmp_path: Path) -> None:
    prompts, n_frames = draw_prompts(np.random.default_rng(3), 12, 4), 4
    follow = track_by_shifting(n_frames)

    def track(batches):
        progress.advance(0.5)
        return follow(batches)

    chain = GreedyChain(prompts, range(len(prompts)), per_pass=2, covered_iou=0.5, cap=None)
    bar = Shares()
    with bar, bar.item(1.0):
        (choices,) = run_chains([chain], prompts, SharedPrompts(prompts, None), track)
    assert len(choices) > 2 and bar.told == sorted(bar.told) and bar.told[-1] == 1.0
