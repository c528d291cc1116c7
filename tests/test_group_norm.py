"""The fused group norm against PyTorch's: on a GPU, and anywhere by Triton's interpreter."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from model.group_norm import fused_group_norm, group_norm

SHAPES = [
    (2, 16, 8, 9),
    (2, 96, 32, 50),
    (3, 320, 8, 4),
    (1, 2, 2, 40),
]  # N, channels, groups, side


def worst_error(device: str) -> float:
    """Of the output and the gradients of x, weight and bias, as shares of their norms, against
    PyTorch in float64."""
    torch.manual_seed(0)
    errors = []
    for n, channels, groups, side in SHAPES:
        for silu in (True, False):
            x = 2 * torch.randn(n, channels, side, side) + 0.7
            inputs = [x, torch.randn(channels), torch.randn(channels)]
            gradient = torch.randn_like(x)
            mine = [tensor.to(device).requires_grad_() for tensor in inputs]
            y = fused_group_norm(*mine, groups, 1e-5, silu)
            y.backward(gradient.to(device))
            theirs = [tensor.detach().double().requires_grad_() for tensor in inputs]
            truth = F.group_norm(theirs[0], groups, *theirs[1:], 1e-5)
            truth = F.silu(truth) if silu else truth
            truth.backward(gradient.double())
            pairs = [(y, truth), *((a.grad, b.grad) for a, b in zip(mine, theirs, strict=True))]
            errors += [float((a.cpu() - b).norm() / b.norm()) for a, b in pairs]
    return max(errors)


def test_interpreted_it_is_pytorchs() -> None:
    """In a process of its own, as Triton reads the variable when it is imported."""
    pytest.importorskip("triton")
    code = "from tests.test_group_norm import worst_error; print(worst_error('cpu'))"
    interpreted = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=interpreted, stdout=subprocess.PIPE)
    assert float(done.stdout) < 1e-5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_on_a_gpu_it_is_pytorchs() -> None:
    pytest.importorskip("triton")
    assert worst_error("cuda") < 1e-5


def test_elsewhere_it_is_the_modules_own() -> None:
    x, norm = torch.randn(2, 8, 4, 4), nn.GroupNorm(4, 8)
    torch.testing.assert_close(group_norm(x, norm, silu=False), norm(x), rtol=0, atol=0)
    torch.testing.assert_close(group_norm(x, norm, silu=True), F.silu(norm(x)), rtol=0, atol=0)
