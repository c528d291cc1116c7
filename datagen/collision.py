"""How deep the parts of an object stand in one another, from the convex pieces it ships."""

from __future__ import annotations

import itertools
from types import TracebackType

import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.transform import Rotation

from datagen.articulation import ArticulatedObject, link_poses, transform
from datagen.obj_mesh import MeshError, parse_obj
from datagen.source import ObjectFiles

MAX_HULL_VERTICES = 256


class CollisionModel:
    """Penetration between the links of `obj` at any joint positions, by pybullet's closest points.

    Each collision mesh that PartNet-Mobility ships is a convex piece (its hull is taken). Pieces of
    links that no joint moves against each other are not compared.
    """

    def __init__(self, files: ObjectFiles, obj: ArticulatedObject) -> None:
        import pybullet  # here, because it prints to stdout when it is imported

        self.obj = obj
        self._bullet = pybullet
        self._client = pybullet.connect(pybullet.DIRECT)
        self._link: list[int] = []
        self._body: list[int] = []
        self._vertices: list[np.ndarray] = []
        for index, link in enumerate(obj.links):
            for piece in link.collisions:
                found = files.find(piece.file)
                if found is None:
                    continue
                try:
                    points = parse_obj(files.read(found)).positions
                except MeshError as error:
                    files.note(f"collision meshes that cannot be read ({error})", piece.file)
                    continue
                hull = _hull(transform(piece.origin, points))
                if hull is not None:
                    self._add(index, hull)
        self._pairs = np.array(
            [
                (a, b)
                for a, b in itertools.combinations(range(len(self._link)), 2)
                if obj.between[self._link[a], self._link[b]].any()
            ],
            dtype=int,
        ).reshape(-1, 2)

    def _add(self, link: int, hull: Float[np.ndarray, "n 3"]) -> None:
        shape = self._bullet.createCollisionShape(
            self._bullet.GEOM_MESH, vertices=hull.tolist(), physicsClientId=self._client
        )
        body = self._bullet.createMultiBody(
            baseCollisionShapeIndex=shape, physicsClientId=self._client
        )
        self._link.append(link)
        self._body.append(body)
        self._vertices.append(hull)

    def close(self) -> None:
        self._bullet.disconnect(self._client)

    def __enter__(self) -> CollisionModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def penetration(
        self, positions: Float[np.ndarray, "movable"]
    ) -> Float[np.ndarray, "links links"]:
        """Depth of the deepest penetration between each two links, PartNet units; 0 where they are
        apart."""
        poses = link_poses(self.obj, positions)
        depth = np.zeros((len(self.obj.links),) * 2)
        if not len(self._pairs):
            return depth
        lower, upper = [], []
        for body, link, vertices in zip(self._body, self._link, self._vertices, strict=True):
            placed = transform(poses[link], vertices)
            lower.append(placed.min(axis=0))
            upper.append(placed.max(axis=0))
            self._bullet.resetBasePositionAndOrientation(
                body, poses[link, :3, 3], _quaternion(poses[link]), physicsClientId=self._client
            )
        low, high = np.array(lower), np.array(upper)
        a, b = self._pairs.T
        near = (low[a] < high[b]).all(axis=1) & (low[b] < high[a]).all(axis=1)
        for a, b in self._pairs[near]:
            contacts = self._bullet.getClosestPoints(
                self._body[a], self._body[b], distance=0.0, physicsClientId=self._client
            )
            if contacts:
                deepest = max(0.0, -min(contact[8] for contact in contacts))
                i, j = sorted((self._link[a], self._link[b]))
                depth[i, j] = depth[j, i] = max(depth[i, j], deepest)
        return depth


def _hull(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "m 3"] | None:
    """Vertices of the convex hull, thinned where it has very many; None for a flat piece."""
    try:
        vertices = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        return None
    return vertices[:: -(-len(vertices) // MAX_HULL_VERTICES)]


def _quaternion(pose: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4"]:
    """A rotation matrix as a quaternion (x, y, z, w), pybullet's order."""
    return Rotation.from_matrix(pose[:3, :3]).as_quat()
