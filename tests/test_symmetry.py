"""Another side of an object, or its mirror image, is what the same cameras would see of it."""

import numpy as np
import pytest

from datagen.cameras import project, rig
from model.training.symmetry import sides


def test_every_side_is_the_view_of_one_object_from_the_same_cameras() -> None:
    ring = rig("ring")
    poses, lens, size = ring.camera_to_world, ring.intrinsics(64), 64
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
    found = sides(poses)
    assert len(found) == len(set(found)) == 2 * len(poses)
    for side in found:
        # Where the object has to be for camera 0 to see what that side's camera sees ...
        seen = (points - poses[side.views[0], :3, 3]) @ poses[side.views[0], :3, :3]
        seen *= [-1, 1, 1] if side.mirrored else [1, 1, 1]
        there = seen @ poses[0, :3, :3].T + poses[0, :3, 3]
        # ... is where all the others see what those of that side see.
        pixels, depth = project(points, poses[list(side.views)], lens)
        if side.mirrored:
            pixels[..., 0] = size - pixels[..., 0]
        expected, expected_depth = project(there, poses, lens)
        np.testing.assert_allclose(pixels, expected, atol=1e-8)
        np.testing.assert_allclose(depth, expected_depth, atol=1e-8)


@pytest.mark.parametrize("name", ["ring", "partdrag4d"])
def test_the_first_side_is_the_object_as_it_is(name: str) -> None:
    first = sides(rig(name).camera_to_world)[0]
    assert first.views == tuple(range(12)) and not first.mirrored


def test_cameras_that_stand_unevenly_have_no_other_side() -> None:
    assert len(sides(rig("partdrag4d").camera_to_world)) == 1
