"""What moved is found, and its motion; the rest is left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import model.pulls
from datagen.cameras import project, rig
from model.holding import drawn_depth
from model.pulls import Pulls, pulls
from model.rigid_part import (
    RigidPart,
    find_rigid_part,
    moved_rigidly,
)
from model.splatter import moved_by
from tests.ball import RADIUS, SIZE, ball

PART = 300
MOTION = torch.tensor([0.8, 0.0, 0.6, 0.0, 0.4, 0.0, -0.2])  # of a hinge: nothing along its axis
ASKEW = torch.tensor(
    [0.8, 0.36, 0.0, 0.48, 0.4, 0.2, -0.3]
)  # of a hinge along no axis of the world


@pytest.fixture
def before() -> Tensor:
    """Gaussians anywhere, of which the first make the part."""
    torch.manual_seed(0)
    gaussians = torch.rand(1000, 14)
    gaussians[:, 7:11] = torch.nn.functional.normalize(gaussians[:, 7:11], dim=-1)
    return gaussians


def after_the_drag(before: Tensor, noise: float, motion: Tensor = MOTION) -> Tensor:
    """The part moved, each of its Gaussians somewhat off, and blurred; the rest as it was."""
    after = before.clone()
    after[:PART] = moved_by(before[None, :PART], motion[None])[0]
    after[:PART, :3] += noise * torch.randn(PART, 3)
    after[:PART, 4:7] *= 3
    return after


def test_the_motion_of_a_part_is_found_and_what_goes_along(before: Tensor) -> None:
    part = find_rigid_part(before, after_the_drag(before, 0.01))
    assert part is not None
    assert torch.allclose(part.motion, MOTION, atol=5e-3)
    assert part.members[:PART].float().mean() > 0.98 and not part.members[PART:].any()


def test_what_is_likely_of_the_part_goes_along_if_it_moved_at_all(before: Tensor) -> None:
    after = after_the_drag(before, 0.01)
    hesitant, still, taken, unknown = (slice(i, i + 50) for i in (300, 350, 0, 50))
    share, motion = 0.4, moved_by(before[None], MOTION[None])[0]
    after[hesitant, :3] = torch.lerp(before[hesitant, :3], motion[hesitant, :3], share)
    likely = torch.full((len(before),), 0.3)
    likely[hesitant] = likely[still] = 0.9
    likely[taken], likely[unknown] = 0.1, torch.nan
    part = find_rigid_part(before, after, likely=likely)
    assert part is not None and part.members[hesitant].all() and part.members[unknown].all()
    assert not part.members[still].any() and not part.members[taken].any()
    alone = find_rigid_part(before, after)
    assert alone is not None and not alone.members[hesitant].all() and alone.members[taken].all()


def test_what_moved_otherwise_does_not_spoil_it(before: Tensor) -> None:
    after = after_the_drag(before, 0.01)
    after[PART : PART + 60, :3] += 0.3 * torch.randn(60, 3)
    part = find_rigid_part(before, after)
    assert part is not None and torch.allclose(part.motion, MOTION, atol=1e-2)


def test_a_part_held_together_is_as_it_was_seen_and_the_rest_as_predicted(before: Tensor) -> None:
    after = after_the_drag(before, 0.01)
    sharp, part = moved_rigidly(before, after)
    assert part is not None
    assert torch.equal(sharp[:, 4:7][part.members], before[:, 4:7][part.members])
    assert torch.equal(sharp[~part.members], after[~part.members])


def true_drags(before: Tensor, motion: Tensor, count: int) -> Pulls:
    camera, lens = rig("ring").camera_to_world[0], rig("ring").intrinsics(128)
    goal = moved_by(before[None, :count], motion[None])[0, :, :3].double().numpy()
    ends, _ = project(goal, camera, lens)
    return Pulls(before[:count, :3].double().numpy(), ends, camera, lens, 128)


def off(part: RigidPart, before: Tensor) -> float:
    """How far from where it belongs the part would be, in the mean."""
    found, goal = (
        moved_by(before[None, :PART], motion[None])[0, :, :3] for motion in (part.motion, MOTION)
    )
    return float((found - goal).norm(dim=1).mean())


def test_drags_correct_a_motion_that_splats_have_only_roughly(before: Tensor) -> None:
    """Splats that were not sure went 70 % of the way; ten drags tell all of it."""
    after = after_the_drag(before, 0.01)
    after[:PART, :3] = before[:PART, :3] + 0.7 * (after[:PART, :3] - before[:PART, :3])
    drags = true_drags(before, MOTION, 10)

    rough, exact = find_rigid_part(before, after), find_rigid_part(before, after, drags)
    assert rough is not None and exact is not None
    assert off(rough, before) > 0.1
    assert off(exact, before) < 0.2 * off(rough, before)
    assert exact.members[:PART].float().mean() > 0.9 and not exact.members[PART:].any()
    nowhere = drags._replace(point=np.empty((0, 3)), end=np.empty((0, 2)))
    assert torch.equal(find_rigid_part(before, after, nowhere).motion, rough.motion)


def test_drags_correct_a_motion_though_it_is_not_known_how_far_away_they_start(
    before: Tensor,
) -> None:
    after = after_the_drag(before, 0.01)
    after[:PART, :3] = before[:PART, :3] + 0.7 * (after[:PART, :3] - before[:PART, :3])
    drags = true_drags(before, MOTION, 10)
    rays = drags.point - drags.camera_to_world[:3, 3]
    away = np.random.default_rng(0).uniform(-0.05, 0.05, (10, 1))
    part = find_rigid_part(before, after, drags._replace(point=drags.point + away * rays))
    assert part is not None and off(part, before) < 0.06


def test_drags_that_a_hand_drew_are_not_obeyed_to_the_pixel(
    before: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = after_the_drag(before, 0.01)
    drags = true_drags(before, MOTION, 5)
    shaken = np.random.default_rng(1).normal(0, 0.02 * drags.size, drags.end.shape)
    drags = drags._replace(end=drags.end + shaken)
    part = find_rigid_part(before, after, drags)
    monkeypatch.setattr(model.pulls, "EXACT", (0.001,))
    obedient = find_rigid_part(before, after, drags)
    assert part is not None and obedient is not None
    assert off(part, before) < 0.05 < off(obedient, before)


def test_a_hinge_is_taken_to_go_along_an_axis_of_the_world_where_that_may_be(
    before: Tensor,
) -> None:
    """Splats that swing about an axis 20 degrees off, and three drags."""
    wrong = torch.tensor([0.8, 0.6 * 0.342, 0.6 * 0.94, 0.0, 0.4, 0.0, -0.2])
    after = after_the_drag(before, 0.01, wrong)
    part = find_rigid_part(before, after, true_drags(before, MOTION, 3))
    assert part is not None
    torch.testing.assert_close(part.motion[[1, 3]], torch.zeros(2), atol=1e-6, rtol=0)
    assert torch.allclose(part.motion, MOTION, atol=0.1)


def test_a_hinge_that_goes_along_none_is_found_too(before: Tensor) -> None:
    after = after_the_drag(before, 0.01, ASKEW)
    part = find_rigid_part(before, after, true_drags(before, ASKEW, 10))
    assert part is not None and torch.allclose(part.motion, ASKEW, atol=0.02)


def test_what_no_one_motion_does_is_no_part(before: Tensor) -> None:
    """Two doors that open, each its own way, say."""
    after = after_the_drag(before, 0.01)
    drags = true_drags(before, MOTION, 10)
    start, _ = project(drags.point, drags.camera_to_world, drags.intrinsics)
    drags.end[::2] = 2 * start[::2] - drags.end[::2]
    assert find_rigid_part(before, after, drags) is None
    assert moved_rigidly(before, after, drags)[0] is after


def test_a_part_that_turned_far_is_not_taken_to_have_turned_the_other_way(before: Tensor) -> None:
    """Splats went half of the way to where a turn backwards by 150 degrees takes them; drags say
    that it is forwards by 150."""
    before[:PART, :3] *= 0.3
    motion, wrong = (
        torch.tensor([math.cos(half), 0.0, math.sin(half), 0.0, 0.3, 0.0, 0.4])
        for half in (math.radians(75), math.radians(-75))
    )
    after = after_the_drag(before, 0.01, wrong)
    after[:PART, :3] = torch.lerp(before[:PART, :3], after[:PART, :3], 0.5)
    part = find_rigid_part(before, after, true_drags(before, motion, 10))
    assert part is not None and torch.allclose(part.motion, motion, atol=0.02)


def test_drags_pull_half_way_between_a_pixels_own_splat_and_the_surface_drawn() -> None:
    views, splats = ball()
    start = np.array([[0.5, 0.5], [0.02, 0.02]])  # the second is on nothing
    exact = pulls(splats[0], views, drawn_depth(splats[0], views), start, start + 0.1, layers=1)
    assert len(exact.point) == len(exact.end) == 1
    assert np.linalg.norm(exact.point) == pytest.approx(RADIUS, abs=0.01)
    pixel, depth = project(exact.point, exact.camera_to_world, exact.intrinsics)
    np.testing.assert_allclose(pixel, [[SIZE / 2, SIZE / 2]], atol=1e-6)
    np.testing.assert_allclose(exact.end, [[0.6 * SIZE, 0.6 * SIZE]])

    own = (SIZE // 2) * SIZE + SIZE // 2  # of view 0, and of no weight in what is drawn
    splats[0, own, :4] = splats.new_tensor([*(0.8 * exact.point[0]), 1e-4])
    _, off = project(
        pulls(splats[0], views, drawn_depth(splats[0], views), start, start + 0.1, layers=1).point,
        exact.camera_to_world,
        exact.intrinsics,
    )
    assert off[0] - depth[0] == pytest.approx(0.2 * RADIUS / 2, abs=0.01)


def test_where_nothing_moves_there_is_no_part(before: Tensor) -> None:
    assert find_rigid_part(before, before.clone()) is None
    hardly = before + 1e-3
    assert find_rigid_part(before, hardly) is None and moved_rigidly(before, hardly)[0] is hardly
