"""What moved is found, and its motion; the rest is left alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from model.rigid_part import find_rigid_part, held_together
from model.splatter import moved_by

PART = 300
MOTION = torch.tensor([0.8, 0.0, 0.6, 0.0, 0.1, -0.2, 0.05])


@pytest.fixture
def before() -> Tensor:
    """Gaussians anywhere, of which the first make the part."""
    torch.manual_seed(0)
    gaussians = torch.rand(1000, 14)
    gaussians[:, 7:11] = torch.nn.functional.normalize(gaussians[:, 7:11], dim=-1)
    return gaussians


def after_the_drag(before: Tensor, noise: float) -> Tensor:
    """The part moved, each of its Gaussians somewhat off, and blurred; the rest as it was."""
    after = before.clone()
    after[:PART] = moved_by(before[None, :PART], MOTION[None])[0]
    after[:PART, :3] += noise * torch.randn(PART, 3)
    after[:PART, 4:7] *= 3
    return after


def test_the_motion_of_a_part_is_found_and_what_goes_along(before: Tensor) -> None:
    part = find_rigid_part(before, after_the_drag(before, 0.01))
    assert part is not None
    assert torch.allclose(part.motion, MOTION, atol=5e-3)
    assert part.members[:PART].float().mean() > 0.98 and not part.members[PART:].any()


def test_what_moved_otherwise_does_not_spoil_it(before: Tensor) -> None:
    after = after_the_drag(before, 0.01)
    after[PART : PART + 60, :3] += 0.3 * torch.randn(60, 3)
    part = find_rigid_part(before, after)
    assert part is not None and torch.allclose(part.motion, MOTION, atol=1e-2)


def test_a_part_held_together_is_as_it_was_seen_and_the_rest_as_predicted(before: Tensor) -> None:
    after = after_the_drag(before, 0.01)
    sharp, part = held_together(before, after)
    assert part is not None
    assert torch.equal(sharp[:, 4:7][part.members], before[:, 4:7][part.members])
    assert torch.equal(sharp[~part.members], after[~part.members])


def test_where_nothing_moves_there_is_no_part(before: Tensor) -> None:
    assert find_rigid_part(before, before.clone()) is None
    hardly = before + 1e-3
    assert find_rigid_part(before, hardly) is None and held_together(before, hardly)[0] is hardly
