"""Networks replayed as CUDA graphs do what they do without."""

import copy

import pytest
import torch

from model.capture import Captured, CapturedForTraining
from model.config import PRESETS
from model.drag_embedding import Drags
from model.partrm import PartRM

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"),
]


def inputs(seed: int) -> tuple[torch.Tensor, Drags]:
    torch.manual_seed(seed)
    start, end = torch.rand(2, 2, 4, 3, 2, device="cuda")
    mask = torch.ones(2, 4, 3, dtype=torch.bool, device="cuda")
    return torch.randn(2, 4, 9, 64, 64, device="cuda"), Drags(start, end, mask)


def test_a_replay_answers_what_it_is_asked_with_the_weights_of_now() -> None:
    network = PartRM(PRESETS["nano"]).cuda()
    captured = Captured(network)
    for seed in (0, 1, 2):
        images, drags = inputs(seed)
        with torch.inference_mode(seed == 1), torch.autocast("cuda", torch.bfloat16):
            torch.testing.assert_close(captured(images, drags), network(images, drags))
            torch.testing.assert_close(captured(images), network(images))
        with torch.no_grad():
            network.conv.bias += 0.1


def test_a_replay_passes_gradients_to_the_weights() -> None:
    network = PartRM(PRESETS["nano"]).cuda()
    other = copy.deepcopy(network)
    captured = CapturedForTraining(network)
    for seed in (0, 1):
        images, drags = inputs(seed)
        with torch.autocast("cuda", torch.bfloat16):
            captured(images, drags).square().mean().backward()
            other(images, drags).square().mean().backward()
        for (name, mine), theirs in zip(
            network.named_parameters(), other.parameters(), strict=True
        ):
            assert mine.grad is not None and theirs.grad is not None
            error = (mine.grad - theirs.grad).norm() / theirs.grad.norm().clamp(min=1e-6)
            assert error < 0.05, name
        network.zero_grad()
        other.zero_grad()
