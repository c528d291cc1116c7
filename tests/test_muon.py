"""Muon: steps that move all directions of a weight alike, as large as Adam's."""

from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from model.click_to_part import ClickToPartConfig, ClickToPartNet
from model.config import PRESETS
from model.partrm import PartRM
from model.training.config import TrainConfig
from model.training.loop import StageTask
from model.training.muon import Muon, Orthogonal, orthogonal_factors
from model.training.parts import ClickTask
from model.training.run import make_optimizers

SHAPES = [(4, 3, 3, 3), (8, 4), (4, 3, 3, 3), (6, 8)]


def weights_and_gradients(device: str = "cpu") -> tuple[list[nn.Parameter], list[Tensor]]:
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape, device=device)) for shape in SHAPES]
    gradients = [torch.randn(shape, device=device) for shape in SHAPES]
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient.clone()
    return weights, gradients


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.floats(1e-3, 1e3), st.integers(0, 99))
def test_singular_values_become_one(rows: int, columns: int, scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, right = (
        torch.linalg.qr(torch.randn(2, size, min(rows, columns), generator=generator)).Q
        for size in (rows, columns)
    )
    values = scale * (0.05 + torch.rand(2, 1, min(rows, columns), generator=generator))
    made = orthogonal_factors((left * values) @ right.mT)
    along = (left.mT @ made @ right).diagonal(dim1=1, dim2=2)
    assert ((along > 0.6) & (along < 1.25)).all()
    torch.testing.assert_close(made, (left * along[:, None]) @ right.mT, atol=1e-3, rtol=0)


def test_each_weight_takes_the_step_of_its_own_gradient_as_large_as_adams() -> None:
    weights, gradients = weights_and_gradients()
    before = [weight.detach().clone() for weight in weights]
    Muon(weights, lr=0.01, weight_decay=0.1).step()
    for weight, old, gradient in zip(weights, before, gradients, strict=True):
        step = (old * (1 - 0.01 * 0.1) - weight.detach()).flatten(1) / 0.01
        factors = orthogonal_factors(gradient.flatten(1)[None])[0]
        torch.testing.assert_close(step, 0.2 * max(step.shape) ** 0.5 * factors, atol=1e-3, rtol=0)
        assert step.square().mean().sqrt() == pytest.approx(0.2, rel=0.2)


def test_goes_on_from_a_saved_state_as_if_it_had_never_stopped() -> None:
    weights, gradients = weights_and_gradients()
    optimizer = Muon(weights, lr=0.01)
    optimizer.step()
    others = [nn.Parameter(weight.detach().clone()) for weight in weights]
    resumed = Muon(others, lr=0.01)
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))
    for weight, other, gradient in zip(weights, others, gradients, strict=True):
        weight.grad, other.grad = -3 * gradient, -3 * gradient
    optimizer.step()
    resumed.step()
    for weight, other in zip(weights, others, strict=True):
        torch.testing.assert_close(other, weight, atol=0, rtol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_recorded_steps_are_those_that_are_not_recorded() -> None:
    weights, gradients = weights_and_gradients("cuda")
    recorded = Orthogonal(weights)
    for factor in (1.0, -2.0):
        given_gradients = [factor * gradient for gradient in gradients]
        steps = [step.clone() for step in recorded(given_gradients)]
        for step, gradient in zip(steps, given_gradients, strict=True):
            alone = Orthogonal([gradient.cpu()])([gradient.cpu()])[0]
            torch.testing.assert_close(step.cpu(), alone, atol=0.02, rtol=0)


CPU = torch.device("cpu")
PARTRM = PartRM(PRESETS["nano"])
CLICKS = ClickToPartNet(ClickToPartConfig(channels=(8, 16), heads=2))


@pytest.mark.parametrize(
    ("network", "hidden", "ends"),
    [
        (
            PARTRM,
            StageTask(Mock(), 0, [], CPU).hidden(PARTRM),
            [PARTRM.unet.conv_in, PARTRM.unet.conv_out, PARTRM.conv],
        ),
        (CLICKS, ClickTask([], CPU, nullcontext).hidden(CLICKS), [CLICKS.stem, CLICKS.conv_out]),
    ],
)
def test_each_weight_has_one_optimizer_and_the_first_and_last_layers_have_adam(
    network: nn.Module, hidden: list[nn.Module], ends: list[nn.Module]
) -> None:
    config = TrainConfig(Path("data"), Path("out"))
    adam, muon = (
        [id(weight) for group in optimizer.param_groups for weight in group["params"]]
        for optimizer in make_optimizers(network, hidden, config)
    )
    assert sorted(adam + muon) == sorted(map(id, network.parameters()))
    assert {id(end.weight) for end in ends} <= set(adam)
    assert len(muon) > 5
