"""Batches: what counts as short memory, halving, and that nothing is computed twice or left out."""

import logging
from collections.abc import Sequence

import pytest
import torch

from stages.core.run.batches import Batches, is_out_of_memory

# As torch 2.x words them.
SHORT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.65 GiB"),
    torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA driver error: out of memory"),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasLtMatmul with transpose_mat1 1"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
]
OTHER = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasSgemm`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_MAPPING_ERROR"),
    RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
    ValueError("out of memory"),
    OSError(12, "Cannot allocate memory"),
    MemoryError(),
]


def name(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:60]


@pytest.mark.parametrize("error", SHORT, ids=name)
def test_every_kind_of_short_memory_halves(error: RuntimeError, caplog: pytest.LogCaptureFixture) -> None:
    tried: list[int] = []

    def compute(part: Sequence[int]) -> int:
        tried.append(len(part))
        if len(part) > 3:
            raise error
        return sum(part)

    batches = Batches(16, "numbers")
    with caplog.at_level(logging.WARNING):
        done = list(batches.run(range(11), compute))
    assert [list(part) for part, _ in done] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10]]
    assert [total for _, total in done] == [1, 5, 9, 13, 17, 10]
    assert tried == [11, 5, 2, 2, 2, 2, 2, 1] and batches.limit == 2
    assert "out of device memory with 11 numbers at once: going on with 5" in caplog.text
    assert [len(part) for part, _ in batches.run([1, 2, 3], compute)] == [2, 1], "the limit stays"


@pytest.mark.parametrize("error", OTHER, ids=name)
def test_other_errors_pass_at_once(error: Exception) -> None:
    tried: list[int] = []

    def compute(part: Sequence[int]) -> None:
        tried.append(len(part))
        raise error

    batches = Batches(4, "numbers")
    with pytest.raises(type(error)) as raised:
        list(batches.run(range(8), compute))
    assert raised.value is error and tried == [4] and batches.limit == 4 and not is_out_of_memory(error)


@pytest.mark.parametrize("error", SHORT, ids=name)
def test_what_does_not_fit_alone_is_an_error(error: RuntimeError) -> None:
    def compute(part: Sequence[int]) -> None:
        raise error

    batches = Batches(4, "numbers")
    with pytest.raises(type(error)) as raised:
        list(batches.run(range(8), compute))
    assert raised.value is error and batches.limit == 1


def test_an_allocation_that_the_processor_refuses_is_one() -> None:
    """torch's own words, here and now."""
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)
