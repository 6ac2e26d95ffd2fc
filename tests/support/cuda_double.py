"""A CUDA device that is not there: torch believes in one, and computes on the CPU.

    with cuda_double() as double:
        model.to("cuda")
        with double.counting.during() as counts:
            model(x)
        assert not counts.waits

A DeviceTensor says that it is on cuda:0 and holds a tensor of the CPU. It goes through torch's own dispatch as CUDA's
tensors do, autocast included, and so do torch's own indexing, torch.tensor(…, device="cuda") and Module.to. Every operation
then arrives here, in any thread: it is refused where CUDA would refuse it (cuda_double_rules.py), computed on what is held,
and counted by the line of the project that asked for it (cuda_double_counts.py). Copies that do not block, streams, events
and captured graphs: cuda_double_streams.py.

What it does not have: backward passes (autograd wants a thread per device), kernels of Triton or torch.compile, limits of
memory, times, and the rounding of CUDA's own kernels: results are the CPU's, to the last bit in float32.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from support.cuda_double_counts import Counting, source_line
from support.cuda_double_module import cuda_module
from support.cuda_double_rules import COPYING, NO_KERNEL, check_devices, host_indices, synchronises
from support.cuda_double_streams import Graph, Pinned, Queue
from torch.utils._device import _device_constructors
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
ONE_KERNEL = "aten::scaled_dot_product_attention"  # CUDA has kernels for the whole of it
_active: list["Double"] = []


class DeviceTensor(torch.Tensor):
    """A tensor on the double."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "DeviceTensor":
        like = {"dtype": held.dtype, "layout": held.layout, "device": CUDA}
        place = {"strides": held.stride(), "storage_offset": held.storage_offset()}
        with torch.inference_mode(False):  # a view of a plain tensor is a plain one, within inference mode too
            tensor = torch.Tensor._make_wrapper_subclass(cls, held.size(), **place, **like)
        tensor.held = held
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert _active, "a tensor of a double that is closed"
        return _active[-1].run(func, args, kwargs or {})

    def to(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return super().to(*map(_first_device, args), **{name: _first_device(v) for name, v in kwargs.items()})

    def cuda(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def record_stream(self, stream: Any) -> None: ...

    def __repr__(self) -> str:
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype})"


class Double(TorchDispatchMode):
    """The device; made by `cuda_double`.

    Attributes:
        counting: what was asked of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counting, self.pinned, self.queue = Counting(), Pinned(), Queue()
        self._capturing: Graph | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Any operation of torch."""
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        ours = [tensor for tensor in tensors if isinstance(tensor, DeviceTensor)]
        devices = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
        here = any(device.type == "cuda" for device in devices) if devices else bool(ours)
        name = func._schema.name
        if not ours and not here:
            return self._on_host(name, func, args, kwargs)
        if name != ONE_KERNEL and _is_composite(func):
            with self:  # for what it makes on the device
                return func._op_dk(COMPOSITE, *args, **kwargs)
        indices = host_indices(name, args, DeviceTensor)
        passed = {id(tensor) for tensor in (*ours, *indices)}
        others = [tensor for tensor in tensors if id(tensor) not in passed]
        check_devices(name, func._schema, ours, others, tensors[0] if tensors else None, source_line())
        if name in COPYING:
            return self._copy(func, args, kwargs, here)
        for _ in indices:
            self.waits("copies")
        if synchronises(name, args, kwargs):
            self.waits("syncs")
        return self._compute(name, func, args, kwargs, here)

    def waits(self, kind: str = "syncs") -> None:
        """The host waits for all that the device was given."""
        self.stops(kind)
        self.queue.wait()

    def stops(self, kind: str = "syncs") -> None:
        """Counts that the host waits, which it must not while a graph is captured."""
        if self._capturing is not None:
            raise RuntimeError(f"operation not permitted when stream is capturing ({source_line()})")
        self.counting.add(kind)

    @contextmanager
    def capture(self, graph: Graph, *_: Any, **__: Any) -> Iterator[None]:
        """torch.cuda.graph."""
        self._capturing, graph.replayed = graph, lambda: self.counting.add("launches")
        try:
            yield
        finally:
            self._capturing = None

    def _on_host(self, name: str, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if name in ("aten::pin_memory", "aten::_pin_memory"):
            return self.pinned.mark(args[0].clone())
        if name == "aten::is_pinned":
            return self.pinned.holds(args[0])
        if kwargs.get("pin_memory"):
            return self.pinned.mark(func(*args, **{**kwargs, "pin_memory": False}))
        return func(*args, **kwargs)

    def _copy(self, func: Any, args: Any, kwargs: dict[str, Any], here: bool) -> Any:
        """Between devices, or on the device from one type of numbers to another."""
        into = args[0] if func._schema.name != "aten::_to_copy" else None
        source = args[0] if into is None else args[1]
        goes_here = here if into is None else isinstance(into, DeviceTensor)
        blocking = not (kwargs.get("non_blocking") or (into is not None and args[2:3] == (True,)))
        if isinstance(source, DeviceTensor) and goes_here:
            return self._compute(func._schema.name, func, args, kwargs, here)
        if goes_here:
            if blocking or not self.pinned.holds(source):
                self.waits("copies")
            else:
                self.queue.to_device(source)
            return self._compute("", func, args, kwargs, here)
        blocking = blocking or (into is not None and not self.pinned.holds(into))
        if blocking:
            self.waits("copies")
        out = self._compute("", func, args, kwargs, here)
        if not blocking:
            self.queue.to_host(self.pinned.mark(out), out)
        return out

    def _compute(self, name: str, func: Any, args: Any, kwargs: dict[str, Any], here: bool) -> Any:
        """On what is held; without a name nothing is launched."""
        known: dict[int, DeviceTensor] = {}

        def inner(value: Any) -> Any:
            if isinstance(value, DeviceTensor):
                known[id(value.held)] = value
                return value.held
            return value

        real_args, real_kwargs = tree_map(inner, (args, kwargs))
        if real_kwargs.get("device") is not None:
            real_kwargs["device"] = CPU
        out = func(*real_args, **real_kwargs)
        if torch.Tag.inplace_view in func.tags:
            with no_dispatch():
                func(*args, **kwargs)
        if name and name not in NO_KERNEL and not _is_view(func, out, known):
            self._launched(name, func, real_args, real_kwargs, out)
        return tree_map(lambda value: _outer(value, known), out) if here else out

    def _launched(self, name: str, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        if self._capturing is not None:
            self._capturing.record(func, args, kwargs, out)
            return
        cast = name == "aten::_to_copy" and out.dtype != args[0].dtype
        self.counting.add("launches", *(["casts"] if cast else []))


@contextmanager
def cuda_double() -> Iterator[Double]:
    """Makes torch believe in one CUDA device while it is open; whatever is put there must not be used afterwards."""
    assert not _active and not torch.cuda.is_available(), "there is a CUDA device already"
    torch._C._ensureCUDADeviceGuardSet()  # a guard that does nothing, for good: no driver is asked
    _device_constructors()  # torch remembers which functions obey torch.device(…) when first asked: the true ones
    double = Double()
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    with ExitStack() as stack:
        for name, value in cuda_module(double).items():
            stack.enter_context(patch.object(torch.cuda, name, value))
        stack.enter_context(patch.object(torch, "tensor", _from_data(torch.tensor)))
        stack.enter_context(patch.object(threading.Thread, "run", _with(double, threading.Thread.run)))
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, overwrite)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        _active.append(double)
        stack.callback(_active.clear)
        stack.enter_context(double)
        yield double
        double.queue.wait()


def _from_data(make: Any) -> Any:
    """torch.tensor, which reads the numbers of tensors within a list below where operations arrive here."""

    def number(value: Any) -> Any:
        return value.tolist() if isinstance(value, DeviceTensor) else value

    def made(data: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        return make(data if isinstance(data, torch.Tensor) else tree_map(number, data), *args, **kwargs)

    return made


def _with(double: Double, run: Any) -> Any:
    """Threads enter the mode, which torch keeps per thread."""

    def entered(thread: threading.Thread) -> None:
        with double:
            run(thread)

    return entered


def _first_device(value: Any) -> Any:
    """Plain "cuda" as cuda:0, without asking a driver which is current."""
    is_device = isinstance(value, (str, torch.device))
    return CUDA if is_device and torch.device(value).type == "cuda" else value


def _is_composite(func: Any) -> bool:
    """Whether it is made of other operations; within inference mode these arrive whole."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE))


def _is_view(func: Any, out: Any, known: dict[int, DeviceTensor]) -> bool:
    tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
    if func._schema.is_mutable or not tensors:
        return False
    storages = {value.held.untyped_storage()._cdata for value in known.values()}
    return all(tensor.untyped_storage()._cdata in storages for tensor in tensors)


def _outer(value: Any, known: dict[int, DeviceTensor]) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    same = known.get(id(value))
    if same is None:
        return DeviceTensor(value)
    assert same.shape == value.shape, "the double does not resize tensors"
    return same
