"""Forward kinematics against closed forms, against its own laws, and against pybullet."""

import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pybullet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from datagen.articulation import (
    Joint,
    JointType,
    joint_motion,
    link_poses,
    transform,
)
from datagen.partnet import read_object
from tests.trees import assemble, joint, moved_trees, pose


def test_a_revolute_joint_turns_about_its_offset_axis():
    obj = assemble(joint(JointType.REVOLUTE, 0, 1, pose((1, 0, 0))))
    for angle in (-1.0, 0.0, 0.5, 2.0):
        (placed,) = transform(link_poses(obj, np.array([angle]))[1], np.array([[1.0, 0, 5]]))
        np.testing.assert_allclose(placed, [1 + np.cos(angle), np.sin(angle), 5], atol=1e-12)


def test_a_prismatic_joint_slides_along_the_axis_of_its_own_frame():
    quarter = Rotation.from_rotvec([0, 0, np.pi / 2])
    obj = assemble(joint(JointType.PRISMATIC, 0, 1, pose((0, 0, 3), quarter), (1, 0, 0)))
    moved = link_poses(obj, np.array([0.7]))[1]
    np.testing.assert_allclose(moved, pose((0, 0.7, 3), quarter), atol=1e-12)


def test_a_child_moves_with_its_parent():
    """A drawer (x) in a turntable (z), listed child first."""
    obj = assemble(
        joint(JointType.PRISMATIC, 1, 2, pose((1, 0, 0)), (1, 0, 0)),
        joint(JointType.CONTINUOUS, 0, 1),
    )
    poses = link_poses(obj, np.array([np.pi / 2, 0.25]))
    np.testing.assert_allclose(poses[2, :3, 3], [0, 1.25, 0], atol=1e-12)
    assert obj.subtree(obj.movable[0]) == (1, 2)
    assert obj.subtree(obj.movable[1]) == (2,)


@given(moved_trees())
def test_poses_are_rigid(moved):
    obj, positions = moved
    poses = link_poses(obj, positions)
    turns = poses[:, :3, :3]
    np.testing.assert_allclose(
        turns @ turns.swapaxes(1, 2), np.tile(np.eye(3), (len(turns), 1, 1)), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-9)
    assert (poses[:, 3] == [0, 0, 0, 1]).all()


@given(moved_trees())
def test_position_zero_is_the_chain_of_origins(moved):
    obj, positions = moved
    poses = link_poses(obj, np.zeros_like(positions))
    for j in obj.joints:
        np.testing.assert_allclose(poses[j.child], poses[j.parent] @ j.origin, atol=1e-9)


@given(moved_trees(), st.data())
def test_a_joint_moves_its_subtree_and_nothing_else(moved, data):
    obj, positions = moved
    if not obj.movable:
        return
    index = data.draw(st.integers(0, len(obj.movable) - 1))
    other = positions.copy()
    other[index] += 0.5
    change = np.abs(link_poses(obj, other) - link_poses(obj, positions)).max(axis=(1, 2))
    assert tuple(np.flatnonzero(change > 1e-9)) == obj.subtree(obj.movable[index])


@given(moved_trees(), st.floats(-4, 4), st.floats(-4, 4))
def test_motions_of_one_joint_add_up(moved, first, second):
    for j in moved[0].movable:
        both = joint_motion(j, np.array(first)) @ joint_motion(j, np.array(second))
        np.testing.assert_allclose(both, joint_motion(j, np.array(first + second)), atol=1e-9)


@given(moved_trees())
def test_a_batch_is_its_members(moved):
    obj, positions = moved
    batch = np.stack([positions, positions / 2, -positions]).reshape(3, 1, -1)
    poses = link_poses(obj, batch)
    assert poses.shape == (3, 1, len(obj.links), 4, 4)
    for i in range(3):
        np.testing.assert_allclose(poses[i, 0], link_poses(obj, batch[i, 0]), atol=1e-12)


@pytest.mark.parametrize(
    ("edges", "reason"),
    [
        ([(0, 1), (1, 0)], "no link is the root"),
        ([(0, 1), (2, 3), (3, 2)], "cycle"),
        ([(0, 1), (2, 3)], "more than one root link: link_0, link_2"),
        ([(0, 1), (0, 2), (1, 2)], "link_2 is the child of two joints"),
        ([(0, 1), (2, 2)], "cycle"),
    ],
)
def test_joints_that_make_no_tree_are_refused(edges, reason):
    joints = [joint(JointType.REVOLUTE, a, b) for a, b in edges]
    with pytest.raises(ValueError, match=reason):
        assemble(*joints, links=1 + max(max(e) for e in edges))


def test_only_a_continuous_joint_stops_before_its_end():
    turn = Joint("j", JointType.CONTINUOUS, 0, 1, np.eye(4), np.ones(3), 0, 2 * np.pi, 0)
    assert [turn.position(k) for k in range(6)] == pytest.approx([k * np.pi / 3 for k in range(6)])
    slide = Joint("j", JointType.PRISMATIC, 0, 1, np.eye(4), np.ones(3), -1, 2, 0)
    assert [slide.position(k) for k in range(6)] == pytest.approx([-1, -0.4, 0.2, 0.8, 1.4, 2])


@given(st.floats(-7, 7), st.floats(1e-3, 7))
def test_states_end_exactly_at_the_limits(lower, size):
    slide = Joint("j", JointType.PRISMATIC, 0, 1, np.eye(4), np.ones(3), lower, lower + size, 0)
    assert (slide.position(0), slide.position(5)) == (slide.lower, slide.upper)
    assert slide.lower < slide.position(1) < slide.position(4) < slide.upper


def test_positions_go_by_part_index_and_rest_at_zero_or_the_nearest_limit():
    def slider(child: int, part: int, lower: float, upper: float) -> Joint:
        return Joint(
            f"j{child}", JointType.PRISMATIC, 0, child, np.eye(4), np.ones(3), lower, upper, part
        )

    obj = assemble(slider(1, 7, 0.1, 1), slider(2, 0, -1, 1), slider(3, 3, -2, -0.5))
    assert [j.part for j in obj.movable] == [0, 3, 7]
    assert obj.rest.tolist() == [0, -0.5, 0.1]


def bare_urdf(archive: Path, folder: Path) -> Path:
    """The object's URDF on disk, as pybullet wants it: links of one kilogram in place of meshes,
    and axes of length 1, which it takes for granted."""
    with zipfile.ZipFile(archive) as files:
        name = next(n for n in files.namelist() if n.endswith("mobility.urdf"))
        robot = ElementTree.fromstring(files.read(name))
    for link in robot.iter("link"):
        for tag in ("visual", "collision"):
            for element in link.findall(tag):
                link.remove(element)
        inertial = ElementTree.SubElement(link, "inertial")
        ElementTree.SubElement(inertial, "origin", xyz="0.1 0.2 0.3")
        ElementTree.SubElement(inertial, "mass", value="1")
        ElementTree.SubElement(
            inertial, "inertia", ixx="1", iyy="1", izz="1", ixy="0", ixz="0", iyz="0"
        )
    for element in robot.iter("axis"):
        axis = np.array(element.get("xyz").split(), float)
        element.set("xyz", " ".join(map(repr, (axis / np.linalg.norm(axis)).tolist())))
    path = folder / f"{archive.stem}.urdf"
    path.write_bytes(ElementTree.tostring(robot))
    return path


def test_real_objects_move_as_in_pybullet(real_objects, tmp_path):
    client = pybullet.connect(pybullet.DIRECT)
    loaded = 0
    for archive in real_objects:
        obj = read_object(archive)
        try:
            body = pybullet.loadURDF(str(bare_urdf(archive, tmp_path)), useFixedBase=True)
        except pybullet.error:
            continue
        loaded += 1
        infos = [pybullet.getJointInfo(body, i) for i in range(pybullet.getNumJoints(body))]
        index = {info[1].decode(): info[0] for info in infos}
        link_of = {info[0]: info[12].decode() for info in infos}
        names = [link.name for link in obj.links]
        rng = np.random.default_rng(loaded)
        for positions in rng.uniform(obj.lower, obj.upper, (3, len(obj.movable))):
            poses = link_poses(obj, positions)
            for j, position in zip(obj.movable, positions, strict=True):
                pybullet.resetJointState(body, index[j.name], position)
            for i, name in link_of.items():
                state = pybullet.getLinkState(body, i, computeForwardKinematics=True)
                expected = pose(state[4], Rotation.from_quat(state[5]))
                np.testing.assert_allclose(
                    poses[names.index(name)], expected, atol=1e-5, err_msg=f"{obj.id} {name}"
                )
        pybullet.removeBody(body)
    pybullet.disconnect(client)
    assert loaded > 100, f"pybullet loaded only {loaded} of {len(real_objects)}"
