"""The engine on a CUDA device, or on its double: the CPU's tracks, and nothing that the launching thread waits for."""

import copy
import logging

import pytest
import torch
from support.sam2 import draw_frames
from support.sam2_parity import RLES, assert_parity, lockstep, sensitive_model

from stages.core.media import masks
from stages.tracking.lockstep import LockstepTracker
from stages.tracking.recorder import run_lengths
from stages.tracking.tracker import PromptBatch

N_FRAMES = 5
BUDGETS = {"device": (10**9, 0), "host": (0, 10**9), "file": (0, 0)}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sensitive_model("2.1 micro", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    frames = draw_frames(tmp_path_factory.mktemp("short") / "frames", N_FRAMES)
    return frames, [PromptBatch(1, RLES[:2]), PromptBatch(3, RLES[2:])]


@pytest.fixture(scope="module")
def tracked(model, short):
    return lockstep(model).track(*short)


def on_device(model, precision="float32", budget=(10**9, 0)):
    return LockstepTracker(copy.deepcopy(model).to("cuda"), precision, 8, budget)


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=list(BUDGETS))
def test_the_tracks_of_the_cpu_and_no_wait(double, model, short, tracked, budget, caplog):
    with caplog.at_level(logging.WARNING):
        engine = on_device(model, budget=budget)
        assert_parity(tracked, engine.track(*short))
    assert not caplog.records  # the graph was captured, and gives the same
    with double.counting.during() as counts:
        assert_parity(tracked, engine.track(*short))  # all features are there
        if budget != (0, 0):
            engine.close()
            engine.track(*short)  # they are encoded again
    assert not counts.waits, counts.waits
    assert counts.of("graphs.py").launches.total() <= 5 * N_FRAMES  # pixels, graph, three features


def test_without_a_graph(double, model, short, tracked, caplog, monkeypatch):
    """One line says why, and the tracks are the same."""

    def refuse(*args, **options):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    with caplog.at_level(logging.WARNING):
        assert_parity(tracked, on_device(model).track(*short))
    assert [record.message for record in caplog.records] == [
        "image encoder without a CUDA graph: CUDA error: operation not permitted when stream is capturing"
    ]


def test_a_graph_that_gives_something_else_is_not_used(double, model, short, tracked, caplog, monkeypatch):
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: graph.steps[-1][-1].add_(1))
    with caplog.at_level(logging.WARNING):
        assert_parity(tracked, on_device(model).track(*short))
    assert "it gives something else" in caplog.text


def test_steps_of_a_few_tracks_become_graphs(double, model, caplog, monkeypatch, tmp_path):
    """In a later round too, which has a memory bank and a video of its own."""
    monkeypatch.setattr("stages.tracking.heads.GRAPHED", 4)
    monkeypatch.setattr("stages.tracking.heads.GRAPH_AFTER", 3)
    frames, batches = draw_frames(tmp_path / "f", 22), [PromptBatch(0, RLES[:1])]
    other = draw_frames(tmp_path / "g", 20)
    with caplog.at_level(logging.WARNING):
        engine = on_device(model)
        assert_parity(lockstep(model).track(frames, batches), engine.track(frames, batches))
        with double.counting.during() as counts:
            assert_parity(lockstep(model).track(other, batches), engine.track(other, batches))
    assert not caplog.records and not counts.waits
    replayed = counts.of("graphs.py").launches.total()
    assert replayed == 20 * 5 + 4 * 11  # frames: pixels, graph, three features; steps: five inputs, graph, five outputs


def test_weights_cast_once_change_no_bit_under_the_rules_of_cuda(double, model, short, monkeypatch):
    ours = on_device(model, precision="bfloat16").track(*short)
    monkeypatch.setattr("stages.tracking.lockstep.cast_weights", lambda model, precision: None)
    expected = on_device(model, precision="bfloat16").track(*short)
    for mine, theirs in zip((m for ms in ours for m in ms), (m for ms in expected for m in ms), strict=True):
        assert mine.rles_T == theirs.rles_T and mine.tokens_TC.tobytes() == theirs.tokens_TC.tobytes()


@pytest.mark.parametrize("size", [(64, 64), (90, 70)], ids=["as it is", "enlarged"])
def test_masks_turned_on_the_device_have_the_same_run_lengths(double, size):
    logits_B1hw = torch.randn(19, 1, 64, 64)
    expected = run_lengths(logits_B1hw, size)
    assert run_lengths(logits_B1hw.to("cuda"), size) == expected and len(expected) == 19
    assert masks.decode(expected[3]).shape == size
