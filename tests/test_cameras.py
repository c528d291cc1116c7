"""Cameras, the world they look at, and what they see."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from objects import object_files, write_folder

from datagen.articulation import link_poses, transform
from datagen.cameras import look_at, project, rig, unproject
from datagen.partnet import read_object
from datagen.source import ObjectFiles
from datagen.surface import read_surface
from datagen.visibility import visible_points
from datagen.world import depth_range, extent_points, world_from_object
from model.training.symmetry import sides

RIGS = ("ring", "dome", "partdrag4d")
TARGETS = {"ring": (0, 0, 0), "dome": (0, 0, 0), "partdrag4d": (-0.0016885, -0.0071193, -0.3899882)}


@pytest.mark.parametrize("name", RIGS)
def test_cameras_are_rigid_and_upright(name):
    for camera in rig(name).camera_to_world:
        turn = camera[:3, :3]
        np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1)
        assert turn[2, 0] == pytest.approx(0, abs=1e-12), "the picture's x axis is level"
        assert turn[2, 1] < 0, "down in the picture is down in the world"


@pytest.mark.parametrize("name", RIGS)
def test_pictures_have_the_target_in_their_centre_and_right_and_up_where_they_belong(name):
    views, target = rig(name), np.array(TARGETS[name])
    for camera in views.camera_to_world:
        forward = target - camera[:3, 3]
        right = np.cross(forward, [0, 0, 1])
        points = np.stack(
            [target, target + 0.1 * right, target + np.array([0, 0, 0.1]), 2 * camera[:3, 3]]
        )
        (centre, aside, above, _), depth = project(points, camera, views.intrinsics(256))
        np.testing.assert_allclose(centre, [128, 128], atol=1e-9)
        assert aside[0] > 129
        assert aside[1] == pytest.approx(128)
        assert above[0] == pytest.approx(128)
        assert above[1] < 127
        assert depth[0] == pytest.approx(np.linalg.norm(forward))
        assert depth[3] < 0, "a point behind the camera"


def test_ring_is_twelve_views_thirty_degrees_apart_that_start_at_the_front():
    views = rig("ring")
    eyes = views.camera_to_world[:, :3, 3]
    azimuth = np.degrees(np.unwrap(np.arctan2(eyes[:, 1], eyes[:, 0])))
    np.testing.assert_allclose(np.diff(azimuth), 30)
    assert len(eyes) == 12
    elevation = np.degrees(np.arcsin(eyes[:, 2] / np.linalg.norm(eyes, axis=1)))
    np.testing.assert_allclose(elevation, 38.7)
    assert views.fov == pytest.approx(2 * math.atan(16 / 35))
    assert views.input_views == (0, 3, 6, 9)
    assert eyes[0, 0] < 0
    assert eyes[0, 1] == pytest.approx(0)


def test_dome_has_the_input_views_of_ring_and_others_lower_and_higher():
    ring, dome = rig("ring"), rig("dome")
    inputs = [views.camera_to_world[list(views.input_views)] for views in (ring, dome)]
    np.testing.assert_allclose(*inputs, atol=1e-12)
    assert dome.fov == ring.fov
    others = np.delete(dome.camera_to_world, dome.input_views, axis=0)[:, :3, 3]
    distance = np.linalg.norm(others, axis=1)
    np.testing.assert_allclose(distance, np.linalg.norm(ring.camera_to_world[0, :3, 3]))
    elevation = np.degrees(np.arcsin(others[:, 2] / distance))
    np.testing.assert_allclose(np.unique(elevation.round(6)), [15, 55])
    assert len(np.unique(others.round(6), axis=0)) == len(others) == 12
    # Turned by a quarter, and mirrored, the cameras stand where they stood: training makes use.
    assert len(sides(dome.camera_to_world)) == 8


def test_ring_shows_the_unit_sphere_on_95_percent_of_the_frame():
    views = rig("ring")
    rng = np.random.default_rng(0)
    sphere = rng.normal(size=(200_000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    pixels, _ = project(sphere, views.camera_to_world[5], views.intrinsics(2))
    assert np.linalg.norm(pixels - 1, axis=1).max() == pytest.approx(0.95, abs=1e-3)


def test_partdrag4d_is_the_published_rig():
    views = rig("partdrag4d")
    published = [
        [-0.0037966, 0.70987, -0.70432, 1.8735],
        [0.99999, 0.0026951, -0.0026740, 0],
        [0, -0.70432, -0.70988, 1.5],
        [0, 0, 0, 1],
    ]
    cameras = views.camera_to_world
    np.testing.assert_allclose(cameras[0], published, atol=1e-5)
    np.testing.assert_allclose(cameras[11], cameras[0], atol=1e-9)
    eyes = cameras[:, :3, 3]
    np.testing.assert_allclose(np.linalg.norm(eyes, axis=1), 2.4)
    azimuth = np.degrees(np.unwrap(np.arctan2(eyes[:, 1], eyes[:, 0])))
    np.testing.assert_allclose(np.diff(azimuth), 360 / 11)
    assert views.intrinsics(512)[0, 0] == pytest.approx(711.11, abs=0.01)
    assert views.input_views == (0, 1, 2, 3)


def test_an_unknown_rig_is_refused():
    with pytest.raises(ValueError, match="rings"):
        rig("rings")


numbers = st.floats(-5, 5)


@given(
    st.tuples(numbers, numbers, numbers), st.floats(0, 256), st.floats(0, 256), st.floats(0.1, 9)
)
def test_unproject_is_the_inverse_of_project(eye, x, y, depth):
    camera = look_at(np.array(eye), np.array([7.0, 0, 0]))
    intrinsics = rig("ring").intrinsics(256)
    points = unproject(np.array([[x, y]]), np.array([depth]), camera, intrinsics)
    pixels, depths = project(points, camera, intrinsics)
    np.testing.assert_allclose(pixels, [[x, y]], atol=1e-6)
    np.testing.assert_allclose(depths, [depth])


def test_a_batch_of_cameras_projects_as_each_alone():
    views = rig("ring")
    points = np.random.default_rng(0).normal(size=(5, 3))
    pixels, depth = project(points[None], views.camera_to_world, views.intrinsics(64))
    back = unproject(pixels, depth, views.camera_to_world, views.intrinsics(64))
    np.testing.assert_allclose(back, np.broadcast_to(points, (12, 5, 3)), atol=1e-9)
    alone, _ = project(points, views.camera_to_world[7], views.intrinsics(64))
    np.testing.assert_allclose(pixels[7], alone)


@pytest.fixture(scope="module")
def cabinet(tmp_path_factory):
    """Object, surface, joint positions of some states."""
    source = ObjectFiles(write_folder(tmp_path_factory.mktemp("cabinet") / "1", object_files()))
    obj = read_object(source)
    states = np.random.default_rng(0).uniform(obj.lower, obj.upper, (9, 3))
    return obj, read_surface(source, obj), states


def test_all_states_lie_in_the_unit_sphere_and_touch_it(cabinet):
    obj, surface, states = cabinet
    world = world_from_object("ring", extent_points(obj, surface, states))
    poses = world @ link_poses(obj, states)[:, surface.link]
    corners = transform(poses, surface.triangles).reshape(-1, 3)
    assert np.linalg.norm(corners, axis=1).max() == pytest.approx(1)
    np.testing.assert_allclose(corners.min(axis=0), -corners.max(axis=0), atol=1e-9)
    scale = np.cbrt(np.linalg.det(world[:3, :3]))
    np.testing.assert_allclose(world[:3, :3], scale * np.eye(3), atol=1e-12)


@pytest.mark.parametrize("name", RIGS)
def test_view_0_looks_at_the_front(cabinet, name):
    """The front is the OBJ files' +z side, where the cabinet has its door."""
    obj, surface, states = cabinet
    world = world_from_object(name, extent_points(obj, surface, states))
    body, door = (world @ link_poses(obj, obj.rest))[1:3, :3]
    camera = rig(name).camera_to_world[0]
    front = body[:, 2] / np.linalg.norm(body[:, 2])
    to_camera = camera[:3, 3] - body[:, 3]
    to_camera[2] = 0
    assert front @ to_camera / np.linalg.norm(to_camera) > 0.99
    depth = np.array([body[:, 3], door[:, 3]]) @ camera[:3, 2]
    assert depth[1] < depth[0], "the door is nearer than the back"


def test_partdrag4d_takes_obj_axes_to_the_published_ones(cabinet):
    obj, _, _ = cabinet
    world = world_from_object("partdrag4d", np.zeros((1, 3)))
    body = link_poses(obj, obj.rest)[1]
    placed = transform(world @ body, np.array([[0.0, 0, 0], [1, 2, 3]]))
    np.testing.assert_allclose(placed[0], [-0.0121, -0.0070, 0.0120])
    np.testing.assert_allclose((placed[1] - placed[0]) / 0.42995866893870127, [3, 1, 2])


@given(st.integers(0, 2**32))
def test_depths_of_all_points_are_in_range(seed):
    points = np.random.default_rng(seed).uniform(-0.6, 0.6, (20, 3))
    cameras = rig("ring").camera_to_world
    near, far = depth_range(points, list(cameras))
    _, depth = project(points[None], cameras, np.eye(3))
    assert 0 < near < depth.min()
    assert depth.max() < far
    assert far - near == pytest.approx(1.02 * np.ptp(depth))


def test_points_are_visible_where_the_maps_show_their_link_at_their_depth():
    camera = np.eye(4)[None]
    intrinsics = np.array([[4.0, 0, 4], [0, 4, 4], [0, 0, 1]])
    depth = np.full((1, 8, 8), 2.0)
    depth[0, :, 0] = np.inf
    link = np.full((1, 8, 8), 3)
    link[0, 5, 5] = 4
    points = {
        (0, 0, 2.0): True,
        (0, 0, 2.5): False,
        (0, 0, 1.5): False,
        (0, 0, -2.0): False,
        (1.9, 1.9, 2.0): True,
        (0.7, 0.7, 2.0): False,
        (2.1, 0, 2.0): False,
        (0, -2.1, 2.0): False,
        (-1.9, 0, 2.0): False,
        (0, 0, 0): False,
    }
    own = np.full(len(points), 3)
    seen = visible_points(np.array(list(points)), own, depth, link, camera, intrinsics)
    assert seen.tolist() == [list(points.values())]
