"""Closed solids as pure functions on arrays.

Every solid is a loft: a stack of rings of points, neighbouring rings joined by bands of triangles.
Frame of the object: x right, y up, z to the front. Lengths are metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Pair = tuple[float, float]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Mesh:
    """One or more closed solids, wound outwards.

    vertices: (V, 3) metres; faces: (F, 3) indices; normals: (F, 3, 3) unit, one for each corner;
    uv: (F, 3, 2) metres along the surface, or 0 to 1 over a picture.
    pieces: convex solids that fill it together; empty where it is convex itself.
    """

    vertices: Array
    faces: Indices
    normals: Array
    uv: Array
    pieces: tuple[Mesh, ...] = ()

    def moved(self, offset: ArrayLike) -> Mesh:
        """The mesh shifted by `offset` (3,), metres."""
        return replace(
            self,
            vertices=self.vertices + np.asarray(offset, float),
            pieces=tuple(piece.moved(offset) for piece in self.pieces),
        )

    def turned(self, axis: int, angle: float, about: ArrayLike = (0, 0, 0)) -> Mesh:
        """The mesh turned by `angle` radians round coordinate axis 0 to 2 through `about` (3,)."""
        return replace(
            self,
            vertices=turned_points(self.vertices, axis, angle, about),
            normals=turned_points(self.normals, axis, angle),
            pieces=tuple(piece.turned(axis, angle, about) for piece in self.pieces),
        )

    def pictured(self, axis: int = 2) -> Mesh:
        """The mesh with uv running 0 to 1 over its faces towards +axis, and 0 elsewhere."""
        facing = self.normals.mean(axis=1)[:, axis] > 0.9
        uv = self.uv.copy()
        low, high = uv[facing].min(axis=(0, 1)), uv[facing].max(axis=(0, 1))
        uv[facing] = (uv[facing] - low) / (high - low)
        uv[~facing] = 0.0
        return replace(self, uv=uv)


def turned_points(
    points: ArrayLike, axis: int, angle: float, about: ArrayLike = (0, 0, 0)
) -> Array:
    """Points (…, 3) turned by `angle` radians round coordinate axis 0 to 2 through `about` (3,)."""
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.roll(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), (axis + 1, axis + 1), (0, 1))
    about = np.asarray(about, float)
    turned: Array = (np.asarray(points, float) - about) @ rotation.T + about
    return turned


def join(meshes: Sequence[Mesh], pieces: Sequence[Mesh] | None = None) -> Mesh:
    """One mesh of several; `pieces` may name simpler convex stand-ins for collisions."""
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    if pieces is None:
        pieces = [piece for mesh in meshes for piece in mesh.pieces or (mesh,)]
    return Mesh(
        vertices=np.concatenate([mesh.vertices for mesh in meshes]),
        faces=np.concatenate([mesh.faces + n for mesh, n in zip(meshes, starts, strict=True)]),
        normals=np.concatenate([mesh.normals for mesh in meshes]),
        uv=np.concatenate([mesh.uv for mesh in meshes]),
        pieces=tuple(pieces),
    )


def signed_volume(vertices: Array, faces: Indices) -> float:
    """Volume enclosed by a closed surface, negative where it is wound inwards."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


def rectangle(low: ArrayLike, high: ArrayLike, radius: float = 0.0, steps: int = 1) -> Array:
    """Counter-clockwise outline (4 (steps + 1), 2) with corners of `radius`.

    steps: chords per corner; 1 chamfers it, 0 leaves it sharp.
    """
    low, high = np.asarray(low, float), np.asarray(high, float)
    turn = np.linspace(0, np.pi / 2, steps + 1)
    corners = []
    for quarter, (x, y) in enumerate(((1, 1), (0, 1), (0, 0), (1, 0))):
        centre = np.where((x, y), high - radius, low + radius)
        angle = turn + quarter * np.pi / 2
        corners.append(centre + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    return np.concatenate(corners)


def circle(radius: float, segments: int = 32, centre: ArrayLike = (0, 0)) -> Array:
    """Counter-clockwise outline (segments, 2)."""
    angle = 2 * np.pi * np.arange(segments) / segments
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1) + np.asarray(centre, float)


def stack(outlines: Sequence[Array], heights: Sequence[float], axis: int) -> Array:
    """Rings (K, N, 3) from K outlines (N, 2) at `heights` along `axis`.

    An outline's coordinates are those of the two axes after `axis`, in cyclic order: xy for z,
    zx for y, yz for x.
    """
    rings = [
        np.column_stack([outline, np.full(len(outline), height)])
        for outline, height in zip(outlines, heights, strict=True)
    ]
    return np.roll(np.array(rings), axis + 1, axis=2)


def _corner_normals(vertices: Array, faces: Indices, crease: float) -> Array:
    """Corner normals (F, 3, 3): the mean over the faces round a vertex that lie within `crease`."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    weighted = np.cross(b - a, c - a)
    unit = weighted / np.linalg.norm(weighted, axis=1, keepdims=True)
    corners = np.arange(faces.size)
    touches = sparse.csr_matrix((np.ones(faces.size), (corners, faces.ravel())))
    first, second = (touches @ touches.T).nonzero()
    smooth = np.einsum("ij,ij->i", unit[first // 3], unit[second // 3]) > np.cos(crease)
    normals = np.zeros((faces.size, 3))
    np.add.at(normals, first[smooth], weighted[second[smooth] // 3])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return normals.reshape(-1, 3, 3)


def _box_uv(vertices: Array, faces: Indices) -> Array:
    """Corner uv (F, 3, 2), metres: each face seen along the axis it faces, upright, unmirrored."""
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    axis = np.abs(normal).argmax(axis=1)
    sign = np.sign(normal[np.arange(len(faces)), axis])[:, None]
    x, y, z = np.moveaxis(corners, 2, 0)
    u = np.choose(axis[:, None], [-sign * z, x, sign * x])
    v = np.choose(axis[:, None], [y, -sign * z, y])
    return np.stack([u, v], axis=2)


def _wrapped_uv(rings: Array, ring: Indices, point: Indices) -> Array:
    """uv, metres, of grid corners (…): u round the rings, v along them."""
    round_it = np.linalg.norm(np.roll(rings, -1, axis=1) - rings, axis=2).mean(axis=0)
    along = np.linalg.norm(np.diff(rings, axis=0, append=rings[:1]), axis=2).mean(axis=1)
    u, v = (np.concatenate([[0.0], np.cumsum(lengths)]) for lengths in (round_it, along))
    return np.stack([u[point], v[ring]], axis=-1)


def loft(rings: Array, closed: bool = False, crease: float = 0.7, wrap: bool = False) -> Mesh:
    """The solid between rings (K, N, 3).

    closed: the last ring joins the first, as in a tube; else both end rings, which must be convex
    and flat, are filled. crease: radians up to which neighbouring faces shade as one. wrap: uv runs
    round the rings and along them, in metres, instead of straight on.
    """
    count, points = rings.shape[:2]
    i, j = np.meshgrid(np.arange(count if closed else count - 1), np.arange(points), indexing="ij")
    # The four corners of each quad as steps from (ring i, point j), then its two triangles.
    ring = (i[..., None] + [0, 0, 1, 1]).reshape(-1, 4)[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    point = (j[..., None] + [0, 1, 1, 0]).reshape(-1, 4)[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)
    faces = ring % count * points + point % points
    if not closed:
        fan = np.arange(points - 2)[:, None] * [0, 1, 1] + [0, 1, 2]
        faces = np.concatenate([faces, fan[:, ::-1], fan + (count - 1) * points])

    # Rings may shrink to an edge or a point: weld what coincides and drop what has no area.
    _, first, weld = np.unique(
        rings.reshape(-1, 3).round(7), axis=0, return_index=True, return_inverse=True
    )
    vertices = rings.reshape(-1, 3)[first]
    faces = weld.ravel()[faces]
    kept = (faces != np.roll(faces, 1, axis=1)).all(axis=1)
    faces = faces[kept]
    order = [0, 1, 2] if signed_volume(vertices, faces) > 0 else [2, 1, 0]
    faces = faces[:, order]
    uv = _box_uv(vertices, faces)
    if wrap:
        bands = kept[: len(ring)]
        uv[: bands.sum()] = _wrapped_uv(rings, ring, point)[bands][:, order]
    return Mesh(vertices, faces, _corner_normals(vertices, faces, crease), uv)


def sectors(rings: Array, step: int = 1) -> tuple[Mesh, ...]:
    """Convex pieces of a closed loft: one for every `step` columns of rings (K, N, 3).

    A column's K points must form a convex polygon.
    """
    columns = np.moveaxis(rings, 1, 0)[::step]
    return tuple(
        loft(np.stack(pair)) for pair in zip(columns, np.roll(columns, -1, 0), strict=True)
    )


def box(
    low: ArrayLike,
    high: ArrayLike,
    bevel: float = 0.0,
    radius: float | None = None,
    axis: int = 2,
    steps: int = 4,
) -> Mesh:
    """A box from corner `low` to `high` (3,), every edge chamfered by `bevel`.

    radius: the edges along `axis` are rounded by it instead.
    """
    low, high = np.roll(low, -1 - axis).astype(float), np.roll(high, -1 - axis).astype(float)
    radius, steps = (bevel, 1) if radius is None else (radius, steps)
    full = rectangle(low[:2], high[:2], radius, steps)
    if not bevel:
        return loft(stack([full, full], [low[2], high[2]], axis))
    inner = rectangle(low[:2] + bevel, high[:2] - bevel, radius - bevel, steps)
    heights = [low[2], low[2] + bevel, high[2] - bevel, high[2]]
    return loft(stack([inner, full, full, inner], heights, axis))


def cup(
    outer: Sequence[Array],
    inner: Sequence[Array],
    heights: Sequence[float],
    axis: int,
    wrap: bool = False,
    step: int = 1,
) -> Mesh:
    """A hollow solid open towards +axis, or -axis where the heights run down.

    outer, inner: outlines (N, 2) of the outside from its bottom up to the rim, then of the inside
    from its rim down to its bottom; heights: one for each of them in that order;
    wrap: as in `loft`; step: as in `sectors`.
    """
    rings = stack([*outer, *inner], heights, axis)
    pieces = (*sectors(rings, step), loft(rings[[0, -1]]))
    return replace(loft(rings, wrap=wrap), pieces=pieces)


def shell(
    low: ArrayLike,
    high: ArrayLike,
    inner_low: ArrayLike,
    inner_high: ArrayLike,
    axis: int = 2,
    bevel: float = 0.004,
    radius: float = 0.0,
) -> Mesh:
    """A chamfered box with a box-shaped hollow, open towards +axis.

    The hollow reaches from `inner_low` (3,) to `inner_high` (3,), whose `axis` entry is not used.
    """
    (a, b, c, d) = (np.roll(p, -1 - axis).astype(float) for p in (low, high, inner_low, inner_high))
    radius = max(radius, bevel)
    steps = 1 if radius == bevel else 4
    full = rectangle(a[:2], b[:2], radius, steps)
    inset = rectangle(a[:2] + bevel, b[:2] - bevel, radius - bevel, steps)
    hollow = rectangle(c[:2], d[:2], bevel, steps)
    heights = [a[2], a[2] + bevel, b[2] - bevel, b[2], b[2], c[2]]
    visible = loft(stack([inset, full, full, inset, hollow, hollow], heights, axis))
    sharp, well = rectangle(a[:2], b[:2], steps=0), rectangle(c[:2], d[:2], steps=0)
    walls = cup([sharp, sharp], [well, well], [a[2], b[2], b[2], c[2]], axis)
    return replace(visible, pieces=walls.pieces)


def frame(
    low: ArrayLike,
    high: ArrayLike,
    hole_low: ArrayLike,
    hole_high: ArrayLike,
    bevel: float = 0.004,
    radius: float = 0.0,
    hole_radius: float = 0.0,
) -> Mesh:
    """A slab facing +z, corners `low`, `high` (3,), with a hole: `hole_low` to `hole_high` (2,)."""
    (a, b, c, d) = (np.asarray(p, float) for p in (low, high, hole_low, hole_high))
    steps = 1 if max(radius, hole_radius) <= bevel else 4
    radius, hole_radius = max(radius, bevel), max(hole_radius, bevel)
    full = rectangle(a[:2], b[:2], radius, steps)
    inset = rectangle(a[:2] + bevel, b[:2] - bevel, radius - bevel, steps)
    hole = rectangle(c, d, hole_radius, steps)
    wide = rectangle(c - bevel, d + bevel, hole_radius + bevel, steps)
    heights = [a[2], b[2] - bevel, b[2], b[2], b[2] - bevel, a[2]]
    visible = loft(stack([full, full, inset, wide, hole, hole], heights, 2), closed=True)
    sharp, gap = rectangle(a[:2], b[:2], steps=0), rectangle(c, d, steps=0)
    walls = stack([sharp, sharp, gap, gap], [a[2], b[2], b[2], a[2]], 2)
    return replace(visible, pieces=sectors(walls))


def round_hole_plate(
    low: ArrayLike, high: ArrayLike, centre: ArrayLike, radius: float, bevel: float = 0.004
) -> Mesh:
    """A slab facing +z with corners `low`, `high` (3,) and a round hole at `centre` (2,)."""
    a, b, centre = (np.asarray(p, float) for p in (low, high, centre))

    def spaced(low: Array, high: Array) -> Array:
        corners = rectangle(low, high)[[0, 2, 4, 6]]
        side = np.linspace(0, 1, 8, endpoint=False)[:, None]
        return np.concatenate(
            [p + side * (q - p) for p, q in zip(corners, np.roll(corners, -1, 0), strict=True)]
        )

    full, inset = spaced(a[:2], b[:2]), spaced(a[:2] + bevel, b[:2] - bevel)
    ray = (full - centre) / np.linalg.norm(full - centre, axis=1, keepdims=True)
    hole = centre + radius * ray
    heights = [a[2], b[2] - bevel, b[2], b[2], a[2]]
    rings = stack([full, full, inset, hole, hole], heights, 2)
    return replace(loft(rings, closed=True), pieces=sectors(rings))


def lathe(
    profile: ArrayLike,
    centre: ArrayLike,
    axis: int,
    segments: int = 32,
    closed: bool = False,
    wrap: bool = False,
) -> Mesh:
    """A solid of revolution round `axis` through `centre` (3,).

    profile: (P, 2) radii and heights above `centre`. closed: it is a closed convex polygon, which
    makes a ring; else the solid is filled, and counts as convex.
    """
    radii, heights = np.asarray(profile, float).T
    rings = stack([circle(max(r, 0.0), segments) for r in radii], heights, axis)
    rings = rings + np.asarray(centre, float)
    solid = loft(rings, closed=closed, wrap=wrap)
    return replace(solid, pieces=sectors(rings, 2)) if closed else solid


def cylinder(
    start: ArrayLike,
    length: float,
    axis: int,
    radius: float,
    bevel: float = 0.0,
    segments: int = 32,
) -> Mesh:
    """A cylinder from the middle of its lower end `start` (3,), `length` along `axis`."""
    profile = [(radius, 0.0), (radius, length)]
    if bevel:
        r = radius - bevel
        profile = [(r, 0.0), (radius, bevel), (radius, length - bevel), (r, length)]
    return lathe(profile, start, axis, segments, wrap=True)


def sweep(path: ArrayLike, radius: float, sides: int = 10) -> Mesh:
    """A round bar along `path` (P, 3), filled at both ends."""
    path = np.asarray(path, float)
    tangents = np.gradient(path, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    angle = 2 * np.pi * np.arange(sides)[:, None] / sides
    across = np.eye(3)[np.abs(tangents[0]).argmin()]
    sections = []
    for point, tangent in zip(path, tangents, strict=True):
        across = across - tangent * (across @ tangent)
        across /= np.linalg.norm(across)
        ring = np.cos(angle) * across + np.sin(angle) * np.cross(tangent, across)
        sections.append(point + radius * ring)
    rings = np.array(sections)
    pieces = tuple(loft(rings[i : i + 2]) for i in range(len(rings) - 1)) if len(path) > 2 else ()
    return replace(loft(rings), pieces=pieces)
