"""Articulated objects: links, joints and forward kinematics.

Frames: every pose is a homogeneous 4 x 4 matrix that maps a point of the named frame to its parent
frame, as in URDF. The object frame is that of the root link: right-handed, Z up, PartNet units.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float


class JointType(StrEnum):
    """The URDF joint types that PartNet-Mobility uses."""

    FIXED = "fixed"
    REVOLUTE = "revolute"
    CONTINUOUS = "continuous"
    PRISMATIC = "prismatic"


@dataclass(frozen=True)
class MeshReference:
    """A mesh file placed in a link.

    Attributes:
        name: the part's name in the URDF, such as `door_frame-4`; empty for collision meshes.
        file: path inside the object, as the URDF spells it.
        origin: [4, 4] mesh frame to link frame; it may stretch the mesh (a URDF's scale,
            datagen.stretching) and mirror it.
    """

    name: str
    file: str
    origin: Float[np.ndarray, "4 4"] = field(repr=False)


@dataclass(frozen=True)
class Link:
    """A rigid body: the meshes to look at and the convex pieces to collide with."""

    name: str
    semantic: str
    visuals: tuple[MeshReference, ...] = field(repr=False)
    collisions: tuple[MeshReference, ...] = field(repr=False)


@dataclass(frozen=True)
class Joint:
    """How a child link moves in its parent.

    Attributes:
        name: the URDF's name.
        type: one of `JointType`.
        parent, child: link indices.
        origin: [4, 4] joint frame to parent link frame at position 0.
        axis: [3] unit vector in the joint frame; zeros where fixed.
        lower, upper: limits in radians or PartNet units; 0 to 2 pi where continuous, 0 if fixed.
        part: the moved part's index in state names, -1 where fixed. It is the part's position in
            `mobility_v2.json`; the helper joint of a screw lid goes by its own URDF number.
    """

    name: str
    type: JointType
    parent: int
    child: int
    origin: Float[np.ndarray, "4 4"] = field(repr=False)
    axis: Float[np.ndarray, "3"]
    lower: float
    upper: float
    part: int = -1

    @property
    def movable(self) -> bool:
        return self.type is not JointType.FIXED

    def position(self, k: float, states: int = 6) -> float:
        """Joint position of state index `k`: evenly spaced from `lower` to `upper`.

        A continuous joint turns over one revolution without repeating its end.
        """
        steps = states if self.type is JointType.CONTINUOUS else states - 1
        share = k / steps
        return (1 - share) * self.lower + share * self.upper  # exactly the limits at both ends


@dataclass(frozen=True)
class ArticulatedObject:
    """A kinematic tree of links.

    Attributes:
        id: PartNet-Mobility's number, or any name without underscores.
        category: such as `Microwave`.
        source: name of the folder or zip it was read from.
        links: in the URDF's order.
        joints: in the URDF's order, one for every link but the root.

    Raises:
        ValueError: the joints do not make one tree over all links.
    """

    id: str
    category: str
    source: str
    links: tuple[Link, ...] = field(repr=False)
    joints: tuple[Joint, ...] = field(repr=False)

    def __post_init__(self) -> None:
        _ = self.order

    @cached_property
    def movable(self) -> tuple[Joint, ...]:
        """The joints that move, by part index: the order of every array of joint positions."""
        return tuple(sorted((j for j in self.joints if j.movable), key=lambda j: j.part))

    @cached_property
    def lower(self) -> Float[np.ndarray, "movable"]:
        return np.array([j.lower for j in self.movable])

    @cached_property
    def upper(self) -> Float[np.ndarray, "movable"]:
        return np.array([j.upper for j in self.movable])

    @cached_property
    def rest(self) -> Float[np.ndarray, "movable"]:
        """Joint positions of the object as modelled: 0, or the nearest limit."""
        return np.clip(np.zeros(len(self.movable)), self.lower, self.upper)

    @cached_property
    def root(self) -> int:
        children = {j.child for j in self.joints}
        roots = [i for i in range(len(self.links)) if i not in children]
        if not self.links:
            raise ValueError("there is no link")
        if not roots:
            raise ValueError("the joints form a cycle: no link is the root")
        if len(roots) > 1:
            names = ", ".join(self.links[i].name for i in roots)
            raise ValueError(f"more than one root link: {names}")
        return roots[0]

    @cached_property
    def order(self) -> tuple[Joint, ...]:
        """The joints from the root outwards, so that parents come before their children."""
        of_parent: dict[int, list[Joint]] = {}
        seen: set[int] = set()
        for joint in self.joints:
            if joint.child in seen:
                raise ValueError(f"link {self.links[joint.child].name} is the child of two joints")
            seen.add(joint.child)
            of_parent.setdefault(joint.parent, []).append(joint)
        ordered: list[Joint] = []
        frontier = [self.root]
        while frontier:
            joints = of_parent.get(frontier.pop(0), [])
            ordered += joints
            frontier += [j.child for j in joints]
        if len(ordered) < len(self.joints):
            lost = next(j for j in self.joints if j not in ordered)
            raise ValueError(f"joint {lost.name} is part of a cycle")
        return tuple(ordered)

    @cached_property
    def between(self) -> Bool[np.ndarray, "links links movable"]:
        """Which joints decide how two links stand to each other: those that move one of them."""
        moves = np.zeros((len(self.links), len(self.movable)), bool)
        for column, joint in enumerate(self.movable):
            moves[list(self.subtree(joint)), column] = True
        return moves[:, None] != moves[None]

    def column(self, part: int) -> int:
        """The place of a part's joint among `movable`, and in arrays of joint positions.

        Raises:
            ValueError: there is no such movable part.
        """
        return [joint.part for joint in self.movable].index(part)

    def subtree(self, joint: Joint) -> tuple[int, ...]:
        """Indices of the links that `joint` moves: its child and everything below it."""
        moved = {joint.child}
        for other in self.order:
            if other.parent in moved:
                moved.add(other.child)
        return tuple(sorted(moved))


def joint_motion(
    joint: Joint, position: Float[np.ndarray, "*batch"]
) -> Float[np.ndarray, "*batch 4 4"]:
    """The motion of `joint` about its axis: a rotation (Rodrigues) or a translation.

    Args:
        joint: a movable joint.
        position: radians, or PartNet units where prismatic.
    """
    position = np.asarray(position, float)
    motion = np.zeros((*position.shape, 4, 4))
    motion[..., range(4), range(4)] = 1.0
    if joint.type is JointType.PRISMATIC:
        motion[..., :3, 3] = position[..., None] * joint.axis
        return motion
    x, y, z = joint.axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    sin = np.sin(position)[..., None, None]
    cos = np.cos(position)[..., None, None]
    motion[..., :3, :3] = np.eye(3) + sin * cross + (1 - cos) * (cross @ cross)
    return motion


def link_poses(
    obj: ArticulatedObject, positions: Float[np.ndarray, "*batch movable"]
) -> Float[np.ndarray, "*batch links 4 4"]:
    """Forward kinematics: where every link stands at the given joint positions.

    Args:
        obj: the object.
        positions: one value per joint of `obj.movable`, radians or PartNet units.

    Returns:
        Link frame to object frame.
    """
    positions = np.asarray(positions, float)
    column = {joint.name: i for i, joint in enumerate(obj.movable)}
    poses = np.zeros((*positions.shape[:-1], len(obj.links), 4, 4))
    poses[..., obj.root, :, :] = np.eye(4)
    for joint in obj.order:
        pose = poses[..., joint.parent, :, :] @ joint.origin
        if joint.movable:
            pose = pose @ joint_motion(joint, positions[..., column[joint.name]])
        poses[..., joint.child, :, :] = pose
    return poses


def transform(
    pose: Float[np.ndarray, "*batch 4 4"], points: Float[np.ndarray, "*batch n 3"]
) -> Float[np.ndarray, "*batch n 3"]:
    """Apply affine maps to points."""
    return points @ np.swapaxes(pose[..., :3, :3], -1, -2) + pose[..., None, :3, 3]
