"""The double refuses what CUDA refuses, gives what CUDA gives, and counts what CUDA waits for."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.cuda_double import CUDA, DeviceTensor, Double
from torch import Tensor, nn


def on_device() -> Tensor:
    return torch.arange(12.0, device="cuda").view(3, 4)


# ------------------------------------------------------------- which device


MIXED: dict[str, Callable[[Tensor], Any]] = {
    "sum": lambda x: x + torch.ones(4),
    "sum, the CPU first": lambda x: torch.ones(4) + x,
    "product": lambda x: x @ torch.ones(4, 2),
    "layer": lambda x: F.linear(x, torch.ones(2, 4)),
    "cat": lambda x: torch.cat([x, torch.ones(1, 4)]),
    "stack": lambda x: torch.stack([x[0], torch.ones(4)]),
    "where": lambda x: torch.where(x > 0, x, torch.ones(3, 4)),
    "attention mask": lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(3, 3)),
    "in place, of the CPU": lambda x: torch.zeros(()).add_(x[0, 0]),
    "into rows": lambda x: x.index_put_((torch.tensor([0]),), torch.ones(1, 4)),
    "rows of the CPU": lambda x: torch.ones(3, 4)[x[0].long()],
    "output": lambda x: torch.mm(x, x.T, out=torch.empty(3, 3)),
}


@pytest.mark.parametrize("inference", [False, True], ids=["plain", "inference"])
@pytest.mark.parametrize("mixed", MIXED.values(), ids=list(MIXED))
def test_devices_are_not_mixed(double: Double, mixed: Callable[[Tensor], Any], inference: bool) -> None:
    with torch.inference_mode(inference), pytest.raises(RuntimeError, match=r"same device|should be either on"):
        mixed(on_device())


ALLOWED: dict[str, Callable[[Tensor], Tensor]] = {
    "a number of the CPU": lambda x: x * torch.tensor(2.0),
    "where": lambda x: torch.where(x > 5, x, torch.tensor(-1.0)),
    "filled": lambda x: x.fill_(torch.tensor(3.0)),
    "rows by an index of the CPU": lambda x: x[torch.tensor([2, 0])],
}


@pytest.mark.parametrize("allowed", ALLOWED.values(), ids=list(ALLOWED))
def test_numbers_and_indices_may_be_of_the_cpu(double: Double, allowed: Callable[[Tensor], Tensor]) -> None:
    expected = allowed(torch.arange(12.0).view(3, 4))
    got = allowed(on_device())
    assert got.device == CUDA and torch.equal(got.cpu(), expected)


def test_numpy_wants_the_cpu(double: Double) -> None:
    with pytest.raises((TypeError, RuntimeError)):
        on_device().numpy()


@pytest.mark.parametrize("inference", [False, True], ids=["plain", "inference"])
def test_views_and_indices_are_those_of_torch(double: Double, inference: bool) -> None:
    with torch.inference_mode(inference):
        x, y = torch.arange(24.0).view(2, 3, 4), torch.arange(24.0, device="cuda").view(2, 3, 4)
        for view in (
            lambda t: t[..., 1:, 0],
            lambda t: t[None, 1, [0, 2]],
            lambda t: t[t > 7],
            lambda t: t.unflatten(-1, (2, 2)).permute(3, 0, 1, 2).contiguous(),
            lambda t: t.transpose(0, 1).reshape(3, -1).view(torch.int32),
            lambda t: torch.stack([row.sum() for row in t]),
            lambda t: t.clone().unsqueeze_(1),
        ):
            assert view(y).shape == view(x).shape and torch.equal(view(y).cpu(), view(x))
        for t in (x, y):
            t[0, :, 1] = 5.0
            t[t < 3] = -1.0
            t[:, [0, 2]] = torch.zeros((), device=t.device)
            t.view(-1)[3:5].add_(1)
        assert torch.equal(y.cpu(), x) and y.tolist() == x.tolist()


def test_modules_and_tensors_go_to_it(double: Double) -> None:
    module = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)).eval()
    expected = module(torch.ones(3, 4))
    module.to("cuda")
    assert {t.device for t in module.state_dict().values()} == {CUDA} and isinstance(module[0].weight, nn.Parameter)
    with torch.no_grad():
        assert torch.equal(module(torch.ones(3, 4, device="cuda")).cpu(), expected)
    x = on_device()
    assert x.to("cuda") is x and x.cuda() is x and x.to(CUDA) is x and torch.ones(2).cuda().device == CUDA
    assert torch.tensor([x[0, 1], x[0, 2]], device="cuda").tolist() == [1, 2]


def test_threads_see_it(double: Double) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: torch.ones(3, device="cuda").sum().item()).result() == 3
    assert double.counting.others.syncs.total() == 1 and not double.counting.counts.syncs


# ------------------------------------------------------------- autocast


def test_autocast_is_that_of_cuda(double: Double) -> None:
    layer = nn.Linear(4, 4).to("cuda").requires_grad_(False)
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        x = on_device()
        assert layer(x).dtype == torch.bfloat16 and layer(x).softmax(-1).dtype == torch.float32
        assert F.scaled_dot_product_attention(x, x, x).dtype == torch.bfloat16
        assert F.layer_norm(x.bfloat16(), (4,)).dtype == torch.float32
        assert F.linear(torch.ones(1, 4), torch.ones(1, 4)).dtype == torch.float32  # CUDA's leaves the CPU alone
        with double.counting.during() as counts:
            layer(x)
    assert counts.casts.total() == 3 and counts.launches.total() == 4  # weight, bias and x; and the product


# ------------------------------------------------------------- what waits


WAITS: dict[str, tuple[Callable[[Tensor], Any], int, int]] = {
    "to the host": (lambda x: x.cpu(), 1, 0),
    "from the host": (lambda x: torch.ones(3).to("cuda"), 1, 0),
    "not pinned": (lambda x: torch.ones(3).to("cuda", non_blocking=True), 1, 0),
    "pinned, but blocking": (lambda x: torch.ones(3).pin_memory().to("cuda"), 1, 0),
    "pinned": (lambda x: torch.ones(3).pin_memory()[1:].to("cuda", non_blocking=True), 0, 0),
    "pinned from the start": (lambda x: x[0, :3].copy_(torch.zeros(3, pin_memory=True), non_blocking=True), 0, 0),
    "to the host, later": (lambda x: x.to("cpu", non_blocking=True), 0, 0),
    "to a page of the host, later": (lambda x: torch.empty(3, 4).copy_(x, non_blocking=True), 1, 0),
    "data": (lambda x: torch.tensor([1, 2], device="cuda"), 1, 0),
    "a list of rows": (lambda x: x[[0, 2]], 1, 0),
    "rows of an index of the CPU": (lambda x: x[torch.tensor([0])], 1, 0),
    "rows of an index": (lambda x: x[torch.zeros(1, dtype=torch.long, device="cuda")], 0, 0),
    "a number": (lambda x: x[0, 0].item(), 0, 1),
    "a decision": (lambda x: bool((x > 3).any()), 0, 1),
    "equality": (lambda x: torch.equal(x, x), 0, 1),
    "places": (lambda x: (x > 3).nonzero(), 0, 1),
    "a mask": (lambda x: x[x > 3], 0, 1),
    "a number by a mask": (lambda x: x.__setitem__(x > 3, 1.0), 0, 0),
    "repeated": (lambda x: x.repeat_interleave(2, dim=0), 0, 0),
    "repeated as often as it says": (lambda x: x[0].long().repeat_interleave(x[0].long()), 0, 1),
    "the device": (lambda x: torch.cuda.synchronize(), 0, 1),
    "nothing": (lambda x: torch.where(x > 3, x, 0.0).amax(-1).clamp(min=1).view(-1, 3).sum(), 0, 0),
}


@pytest.mark.parametrize("inference", [False, True], ids=["plain", "inference"])
@pytest.mark.parametrize(("asked", "copies", "syncs"), WAITS.values(), ids=list(WAITS))
def test_what_waits(double: Double, asked: Callable[[Tensor], Any], copies: int, syncs: int, inference: bool) -> None:
    with torch.inference_mode(inference):
        x = on_device()
        with double.counting.during() as counts:
            asked(x)
    assert (counts.copies.total(), counts.syncs.total()) == (copies, syncs)


def test_launches_are_kernels_and_not_views(double: Double) -> None:
    with torch.inference_mode():
        x = on_device()
        with double.counting.during() as counts:
            y = x.view(4, 3)[1:].t()[None].expand(2, -1, -1).detach()
            assert not counts.launches
            y = y.contiguous().float()  # one copy
            y = F.scaled_dot_product_attention(y, y, y) + 1
            y.relu_().to(torch.float16)
    assert counts.launches.total() == 5 and counts.casts.total() == 1


# ------------------------------------------------------------- what happens later


def test_a_copy_to_the_host_is_there_once_it_was_waited_for(double: Double) -> None:
    x, event = on_device(), torch.cuda.Event()
    early = x.to("cpu", non_blocking=True)
    event.record()
    late = (x + 1).to("cpu", non_blocking=True)
    assert not torch.equal(early, torch.arange(12.0).view(3, 4))
    event.synchronize()
    assert torch.equal(early, torch.arange(12.0).view(3, 4)) and not torch.equal(late, early + 1)
    torch.cuda.current_stream().synchronize()
    assert torch.equal(late, early + 1) and double.counting.counts.syncs.total() == 2


def test_a_pinned_buffer_is_not_overwritten_too_early(double: Double) -> None:
    buffer = torch.zeros(3).pin_memory()
    buffer.to("cuda", non_blocking=True)
    torch.cuda.synchronize()
    buffer.fill_(1)
    buffer.to("cuda", non_blocking=True)
    buffer.fill_(2)
    with pytest.raises(RuntimeError, match="overwritten"):
        torch.cuda.synchronize()


def test_a_graph_computes_again_from_its_inputs(double: Double) -> None:
    with torch.inference_mode():
        x, graph = torch.ones(3, device="cuda"), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = (x * 2).add_(1)[1:] + 3
        with double.counting.during() as counts:
            x.fill_(5)
            graph.replay()
        assert y.tolist() == [14, 14] and counts.launches.total() == 2  # the number, and the graph
        with pytest.raises(RuntimeError, match="capturing"), torch.cuda.graph(torch.cuda.CUDAGraph()):
            y.cpu()


# ------------------------------------------------------------- afterwards


def test_it_leaves_torch_as_it_was() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    from support.cuda_double import cuda_double

    names = ("is_available", "Stream", "Event", "graph", "synchronize", "_lazy_init")
    before = {name: getattr(torch.cuda, name) for name in names}, torch.tensor, threading.Thread.run
    with cuda_double():
        assert torch.cuda.is_available() and isinstance(on_device(), DeviceTensor)
    assert ({name: getattr(torch.cuda, name) for name in names}, torch.tensor, threading.Thread.run) == before
    assert not torch.cuda.is_available() and torch.ones(2).to("cpu").device.type == "cpu"
