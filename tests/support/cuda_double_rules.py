"""What CUDA demands of an operation, and what it costs, as far as the double tells.

Legend: a device tensor is a DeviceTensor of cuda_double.py; a host tensor is any other.
"""

from collections.abc import Sequence
from typing import Any

import torch

# Launch nothing, and give no view either.
NO_KERNEL = {
    "aten::empty",
    "aten::empty_strided",
    "aten::empty_like",
    "aten::new_empty",
    "aten::new_empty_strided",
    "aten::detach",
    "aten::alias",
    "aten::_unsafe_view",
    "aten::lift_fresh",
    "aten::resize_",
    "aten::is_pinned",
    "aten::_reshape_alias",
    "aten::record_stream",
}
# Wait for the device, because the host needs a number: a value, or the size of what comes out.
SYNCHRONISES = {
    "aten::item",
    "aten::_local_scalar_dense",
    "aten::is_nonzero",
    "aten::equal",
    "aten::nonzero",
    "aten::masked_select",
    "aten::_unique",
    "aten::_unique2",
    "aten::unique_dim",
    "aten::unique_consecutive",
    "aten::bincount",
    "torchvision::nms",
}
INDEXING = {
    "aten::index",
    "aten::index_put",
    "aten::index_put_",
    "aten::_index_put_impl_",
    "aten::_unsafe_index",
    "aten::_unsafe_index_put",
}
COPYING = {"aten::_to_copy", "aten::copy_", "aten::copy"}
BOOL = (torch.bool, torch.uint8)


def synchronises(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether an operation on device tensors makes the host wait."""
    if name == "aten::repeat_interleave":
        return isinstance(args[0], torch.Tensor) and kwargs.get("output_size") is None and len(args) < 3
    if name in INDEXING:
        masks = [index for index in args[1] if index is not None and index.dtype in BOOL]
        filled = "put" in name and len(args[1]) == 1 and args[2].dim() == 0 and args[2].device.type == "cpu"
        return bool(masks) and not filled  # one mask and one number: masked_fill
    return name in SYNCHRONISES


def host_indices(name: str, args: Sequence[Any], on_device: type) -> list[torch.Tensor]:
    """Indices on the CPU of a device tensor, which CUDA copies first."""
    if name not in INDEXING or not isinstance(args[0], on_device):
        return []
    return [index for index in args[1] if index is not None and not isinstance(index, on_device)]


def check_devices(
    name: str, schema: Any, device_tensors: Sequence[Any], host_tensors: Sequence[Any], first: Any, where: str
) -> None:
    """Raises RuntimeError where CUDA would refuse: host tensors of any dimension among device tensors, or as the target."""
    if not device_tensors or name in COPYING:
        return
    changed = schema.arguments[0].alias_info is not None and schema.arguments[0].alias_info.is_write
    refused = [tensor for tensor in host_tensors if tensor.dim() or (changed and tensor is first)]
    if refused:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in refused)
        raise RuntimeError(
            f"Expected all tensors to be on the same device: {name} got {shapes} on the CPU beside CUDA tensors ({where})"
        )
