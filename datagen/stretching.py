"""Stretched copies of objects: more shapes of few.

A stretched cabinet is another cabinet: its doors still turn about their hinges, as rigid bodies.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from datagen.articulation import ArticulatedObject, Joint, JointType, MeshReference, link_poses


def stretched(
    obj: ArticulatedObject, factors: Float[np.ndarray, "3"], name: str
) -> ArticulatedObject:
    """A copy of an object that is longer along the axes of its frame by these factors, while its
    joints are at 0; joints that slide go as much further.

    Args:
        obj: the object.
        factors: of x, y and z, positive.
        name: the copy's id.
    """
    rotations = link_poses(obj, np.zeros((1, len(obj.movable))))[0, :, :3, :3]
    stretch = np.swapaxes(rotations, -1, -2) @ np.diag(factors) @ rotations  # in each link's frame

    def placed(mesh: MeshReference, link: int) -> MeshReference:
        origin = mesh.origin.copy()
        origin[:3] = stretch[link] @ origin[:3]
        return replace(mesh, origin=origin)

    def moved(joint: Joint) -> Joint:
        origin = joint.origin.copy()
        origin[:3, 3] = stretch[joint.parent] @ origin[:3, 3]
        axis = stretch[joint.child] @ joint.axis
        length = float(np.linalg.norm(axis))
        if not joint.movable:
            return replace(joint, origin=origin)
        further = length if joint.type is JointType.PRISMATIC else 1.0
        lower, upper = further * joint.lower, further * joint.upper
        return replace(joint, origin=origin, axis=axis / length, lower=lower, upper=upper)

    links = tuple(
        replace(
            link,
            visuals=tuple(placed(mesh, index) for mesh in link.visuals),
            collisions=tuple(placed(mesh, index) for mesh in link.collisions),
        )
        for index, link in enumerate(obj.links)
    )
    return replace(obj, id=name, links=links, joints=tuple(moved(joint) for joint in obj.joints))
