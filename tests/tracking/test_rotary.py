"""Rotary encoding: in float32 in place, otherwise by way of one float32 tensor, on a GPU in one kernel."""

import importlib.util
import subprocess
import sys

import pytest
import torch
from sam2.modeling.position_encoding import apply_rotary_enc, compute_axial_cis

from stages.tracking.rotary import Rotary

SIDE, WIDTH, PLAIN = 4, 32, 5
ROTATION_LF = compute_axial_cis(WIDTH, SIDE, SIDE)


def drawn(batch, n, dtype):
    return torch.randn(batch, 1, n, WIDTH, generator=torch.Generator().manual_seed(n)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("queries", [1, 3])
def test_it_is_the_packages(dtype, queries):
    length = SIDE * SIDE
    q, k = drawn(queries, length, dtype), drawn(3, 2 * length + PLAIN, dtype)
    rotated = slice(0, 2 * length)
    expected_q, expected_k = apply_rotary_enc(q, k[:, :, rotated], ROTATION_LF, repeat_freqs_k=True)
    plain = k[:, :, 2 * length :].clone()
    ours_q, ours_k = Rotary(ROTATION_LF)(q.clone(), k.clone(), PLAIN)
    assert torch.equal(ours_q, expected_q.expand_as(ours_q)) and ours_q.dtype == dtype
    assert torch.equal(ours_k[:, :, rotated], expected_k) and torch.equal(ours_k[:, :, 2 * length :], plain)


def test_without_a_device_for_the_kernel_nothing_changes():
    """Asking for it is no error where there is no GPU."""
    q, k = drawn(1, SIDE * SIDE, torch.bfloat16), drawn(2, SIDE * SIDE, torch.bfloat16)
    for ours, expected in zip(Rotary(ROTATION_LF, fused=True)(q, k), Rotary(ROTATION_LF)(q, k)):
        assert torch.equal(ours, expected)


INTERPRETED = """
import sys
import torch
from stages.tracking.rotary import turned
from stages.tracking.rotary_kernel import turn

rotation_LF = torch.load(sys.argv[1])
length, pairs = rotation_LF.shape
for batch in (1, 3):
    given = torch.linspace(0, 99, batch * (2 * length + 5) * 2 * pairs).sin().view(batch, 1, -1, 2 * pairs)
    ours, expected = (function(given.clone(), 2 * length, rotation_LF) for function in (turn, turned))
    assert torch.equal(ours, expected) and not torch.equal(ours, given)
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernel_is_equal_in_float32(monkeypatch, tmp_path):
    """In Triton's interpreter, which must be chosen before Triton is imported."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    torch.save(ROTATION_LF, tmp_path / "rotation.pt")
    subprocess.run([sys.executable, "-c", INTERPRETED, tmp_path / "rotation.pt"], check=True)
