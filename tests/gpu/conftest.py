"""A CUDA device for every part: the machine's own, or where it has none the double of tests/support/cuda_double.py."""

from collections.abc import Iterator

import pytest
import torch
from support.cuda_double import Double, cuda_double
from support.cuda_parts import Place, make_place

N_FRAMES = 6


@pytest.fixture
def double() -> Iterator[Double]:
    """For what is counted."""
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device, so torch cannot be told of another")
    with cuda_double() as opened:
        yield opened


@pytest.fixture
def device() -> Iterator[Double | None]:
    """None = a real device."""
    if torch.cuda.is_available():
        yield None
    else:
        with cuda_double() as opened:
            yield opened


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return make_place(tmp_path_factory.mktemp("place"), N_FRAMES)
