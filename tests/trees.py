"""Kinematic trees for tests: joints between links without meshes."""

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from datagen.articulation import ArticulatedObject, Joint, JointType, Link

MOVABLE = (JointType.REVOLUTE, JointType.CONTINUOUS, JointType.PRISMATIC)


def pose(translation=(0, 0, 0), rotation: Rotation | None = None) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = translation
    if rotation is not None:
        matrix[:3, :3] = rotation.as_matrix()
    return matrix


def joint(
    kind: JointType, parent: int, child: int, origin=None, axis=(0, 0, 1), part=None
) -> Joint:
    axis = np.asarray(axis, float)
    origin = np.eye(4) if origin is None else origin
    return Joint(f"joint_{child}", kind, parent, child, origin, axis, -1, 2, part or child)


def assemble(*joints: Joint, links: int | None = None) -> ArticulatedObject:
    count = links or len(joints) + 1
    bodies = tuple(Link(f"link_{i}", "", (), ()) for i in range(count))
    return ArticulatedObject("1", "Test", "", bodies, joints)


@st.composite
def moved_trees(draw) -> tuple[ArticulatedObject, np.ndarray]:
    """A random tree of up to seven links, its joints listed in any order, and joint positions."""
    count = draw(st.integers(1, 6))
    parents = [draw(st.integers(0, i)) for i in range(count)]
    kinds = [draw(st.sampled_from((*MOVABLE, JointType.FIXED))) for _ in range(count)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    joints = []
    for i, (parent, kind) in enumerate(zip(parents, kinds, strict=True)):
        axis = rng.normal(size=3)
        origin = pose(rng.normal(size=3), Rotation.random(random_state=rng.integers(2**31)))
        joints.append(joint(kind, parent, i + 1, origin, axis / np.linalg.norm(axis)))
    obj = assemble(*draw(st.permutations(joints)))
    return obj, rng.uniform(-3, 3, len(obj.movable))
