"""Drags start on the moved part and end where the kinematics takes them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic import LINKS, synthetic_shard

from datagen.articulation import link_poses
from datagen.drags import sample_drags, state_pairs, sweeps
from datagen.shards import Shard

EVERY = 10_000
DRAWER_LINKS = {LINKS.index("drawer"), LINKS.index("knob")}


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    return Shard(synthetic_shard(tmp_path_factory.mktemp("drags") / "cabinet.h5"))


def test_pairs_are_the_ordered_pairs_of_each_sweep(shard: Shard) -> None:
    assert sweeps(shard) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    pairs = state_pairs(shard)
    assert len(pairs) == len(set(pairs)) == 2 * 6 * 5
    assert all((s < 6) == (t < 6) and s != t for s, t in pairs)


@pytest.mark.parametrize("source, target, view", [(0, 5, 0), (4, 1, 2), (7, 11, 5)])
def test_drags_follow_the_kinematics(shard: Shard, source: int, target: int, view: int) -> None:
    drags = sample_drags(shard, source, target, 20, np.random.default_rng(1), view)
    poses = link_poses(shard.object, np.array([s.positions for s in shard.states]))
    to_camera = np.linalg.inv(shard.camera_to_world[view]) @ shard.world_from_object
    ends = ((source, drags.start, drags.start_pixel), (target, drags.end, drags.end_pixel))
    for state, world, pixels in ends:
        for point, place, pixel in zip(drags.point, world, pixels, strict=True):
            placed = poses[state, shard.point_link[point]] @ [*shard.points[point], 1.0]
            np.testing.assert_allclose(place, (shard.world_from_object @ placed)[:3], atol=1e-6)
            x, y, depth = (to_camera @ placed)[:3]
            focal, centre = shard.intrinsics[0, 0], shard.resolution / 2
            expected = [focal * x / depth + centre, focal * y / depth + centre]
            np.testing.assert_allclose(pixel, expected, atol=1e-4)


def test_drags_start_on_what_moves(shard: Shard) -> None:
    drags = sample_drags(shard, 3, 0, EVERY, np.random.default_rng(0))
    assert set(shard.point_link[drags.point]) == DRAWER_LINKS
    assert shard.visible(3, 0)[drags.point].all()
    column, row = np.floor(drags.start_pixel).astype(int).T
    seen = shard.link(3, 0)[row, column]
    assert np.isin(seen, list(DRAWER_LINKS)).mean() > 0.97


def test_the_generator_decides_which(shard: Shard) -> None:
    first, again, other = (
        sample_drags(shard, 6, 9, 10, np.random.default_rng(seed)).point for seed in (0, 0, 1)
    )
    assert len(set(first)) == 10
    assert (first == again).all() and set(first) != set(other)


def test_as_many_as_are_visible(shard: Shard) -> None:
    every = sample_drags(shard, 3, 0, EVERY, np.random.default_rng(0))
    expected = shard.visible(3, 0) & np.isin(shard.point_link, list(DRAWER_LINKS))
    assert sorted(every.point) == list(np.flatnonzero(expected))
    behind = sample_drags(shard, 0, 1, 10, np.random.default_rng(0), view=6)
    assert behind.start.shape == behind.end.shape == (0, 3)
    assert behind.start_pixel.shape == behind.end_pixel.shape == (0, 2)


@pytest.mark.parametrize("source, target", [(2, 2), (0, 6), (6, 0)])
def test_states_that_no_drag_joins(shard: Shard, source: int, target: int) -> None:
    with pytest.raises(ValueError, match="no drag leads from cabinet_"):
        sample_drags(shard, source, target, 1, np.random.default_rng(0))


def test_drags_need_no_blender() -> None:
    heavy = ("bpy", "OpenEXR", "pybullet", "scipy", "datagen.blender", "datagen.shard_writer")
    script = f"import sys, datagen.drags; sys.exit(any(m in sys.modules for m in {heavy}))"
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", script], cwd=root, check=False).returncode == 0
