"""Stretched copies of objects: longer at rest, rigid in motion, and made by a build when asked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from datagen.__main__ import BuildCommand
from datagen.articulation import ArticulatedObject, MeshReference, link_poses, transform
from datagen.build import BuildError
from datagen.render_settings import PRESETS
from datagen.shard_maker import Job, Sampling, read_as_asked
from datagen.source import ObjectFiles
from datagen.stretching import stretched
from datagen.surface import read_surface
from tests.objects import object_files, write_folder
from tests.trees import moved_trees, pose


@given(moved_trees(), st.integers(0, 2**32))
def test_at_rest_all_points_are_as_much_further_and_in_motion_links_stay_rigid(
    moved: tuple[ArticulatedObject, np.ndarray], seed: int
) -> None:
    obj, positions = moved
    rng = np.random.default_rng(seed)
    origins = [pose(rng.normal(size=3), Rotation.random(random_state=rng.integers(2**31)))]
    mesh = MeshReference("", "", origins[0])
    obj = replace(obj, links=tuple(replace(link, visuals=(mesh,)) for link in obj.links))
    factors, points = rng.uniform(0.5, 2, 3), rng.normal(size=(5, 3))
    copy = stretched(obj, factors, "copy")
    assert copy.id == "copy"
    rest = np.zeros_like(positions)
    for link in range(len(obj.links)):
        here, there = (
            transform(link_poses(o, rest)[link] @ o.links[link].visuals[0].origin, points)
            for o in (obj, copy)
        )
        np.testing.assert_allclose(there, here * factors, atol=1e-9)
    turns = link_poses(copy, positions)[:, :3, :3]
    still = np.broadcast_to(np.eye(3), turns.shape)
    np.testing.assert_allclose(turns @ turns.swapaxes(1, 2), still, atol=1e-9)


def test_what_slides_goes_as_much_further_along_its_way(tmp_path: Path) -> None:
    obj = read_as_asked(write_folder(tmp_path / "1000", object_files()), Sampling())
    copy = stretched(obj, np.array([3.0, 1.0, 1.0]), "copy")
    ends = [np.array([joint.position(k) for joint in obj.movable]) for k in (0, 5)]
    way = np.subtract(*[link_poses(obj, end)[:, :3, 3] for end in reversed(ends)])
    ends = [np.array([joint.position(k) for joint in copy.movable]) for k in (0, 5)]
    longer = np.subtract(*[link_poses(copy, end)[:, :3, 3] for end in reversed(ends)])
    drawers = [j.child for j in obj.movable if j.type == "prismatic"]
    assert np.abs(way[drawers]).max() > 0.1
    np.testing.assert_allclose(longer[drawers], way[drawers] * [3, 1, 1], atol=1e-9)


def test_normals_stay_upright_on_what_is_stretched(tmp_path: Path) -> None:
    files = ObjectFiles(write_folder(tmp_path / "1000", object_files()))
    obj = read_as_asked(files, Sampling())
    lean = pose(rotation=Rotation.from_rotvec([0, 0, 0.5]))  # so that faces are not along the axes
    links = tuple(
        replace(
            link,
            visuals=tuple(replace(v, origin=lean @ v.origin) for v in link.visuals),
        )
        for link in obj.links
    )
    surface = read_surface(files, stretched(replace(obj, links=links), np.array([3.0, 1, 1]), "c"))
    edges = surface.triangles[:, 1:] - surface.triangles[:, :1]
    slope = np.einsum("fij,fkj->fik", surface.normals, edges)
    assert np.abs(slope).max() < 1e-5


def test_a_stretched_object_is_another_one_the_same_for_the_same_seed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "1000", object_files())
    first, again, other = (
        read_as_asked(folder, Sampling(seed=seed, stretch=0.3)) for seed in (1, 1, 2)
    )
    assert (first.id, other.id) == ("1000-1", "1000-2")
    meshes = [obj.links[-1].visuals[0].origin for obj in (first, again, other)]
    np.testing.assert_array_equal(meshes[0], meshes[1])
    scale = np.linalg.norm(meshes[0][:3, :3], axis=0)
    assert scale.min() > 1 / 1.3 and scale.max() < 1.3 and np.ptp(scale) > 0.01
    assert not np.allclose(meshes[0], meshes[2])


def test_shards_that_are_not_stretched_are_those_from_before_anything_was(tmp_path: Path) -> None:
    """So that a folder made earlier can be gone on with."""
    job = Job(tmp_path, tmp_path, Sampling(), PRESETS["preview"])
    assert "stretch" not in job.config["sampling"]
    stretches = replace(job, sampling=Sampling(stretch=0.3))
    assert stretches.config["sampling"]["stretch"] == 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stretch": -0.1}, "--stretch -0.1"),
        ({"stretch": 0.1, "state_list": Path("states.txt")}, "copies have other ids"),
    ],
)
def test_what_cannot_be_asked_for(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        BuildCommand(objects=(Path("any"),), **options).run()
