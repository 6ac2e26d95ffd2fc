"""What torch.cuda says while the CUDA double is open."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from support.cuda_double_streams import Graph, on_stream, stream_types

if TYPE_CHECKING:
    from support.cuda_double import Double


def cuda_module(double: "Double") -> dict[str, Any]:
    """Attributes of torch.cuda: one device of 80 GB that does bfloat16."""
    event, stream = stream_types(double.queue, double.stops)
    current = stream()
    properties = SimpleNamespace(name="double", major=9, minor=0, total_memory=80 << 30, multi_processor_count=132)
    said = {
        "is_available": True,
        "is_initialized": True,
        "device_count": 1,
        "current_device": 0,
        "is_bf16_supported": True,
        "get_device_capability": (9, 0),
        "get_device_name": "double",
        "get_device_properties": properties,
        "mem_get_info": (80 << 30, 80 << 30),
        "memory_allocated": 0,
        "max_memory_allocated": 0,
        "memory_reserved": 0,
        "max_memory_reserved": 0,
        "is_current_stream_capturing": False,
        "current_stream": current,
        "default_stream": current,
        "graph_pool_handle": (0, 0),
    }
    silent = ("_lazy_init", "init", "empty_cache", "set_device", "reset_peak_memory_stats")
    types = {"Event": event, "Stream": stream, "stream": on_stream, "CUDAGraph": Graph, "graph": double.capture}
    return {
        **{name: _saying(value) for name, value in said.items()},
        **{name: _saying(None) for name in silent},
        **types,
        "device": lambda *_: nullcontext(),
        "synchronize": lambda *_: double.waits(),
    }


def _saying(value: Any) -> Any:
    return lambda *_, **__: value
