"""The rendered surface of an object: its triangles by link, and points drawn on them."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from datagen.articulation import ArticulatedObject, MeshReference, transform
from datagen.obj_mesh import MAX_FACES, Material, MeshError, ObjMesh, parse_mtl, parse_obj
from datagen.source import ObjectError, ObjectFiles


@dataclass(frozen=True)
class Surface:
    """Triangles of all links, each with corners of its own and a look on either side.

    PartNet panels are two coincident faces, wound oppositely, often of different materials (wood
    outside, white inside). They are one triangle here, with a front and a back: nothing z-fights,
    no seam opens, and there is half as much to trace. A face that exists once looks alike on both
    sides.

    Attributes:
        triangles: [F, 3, 3] corner positions in the link's frame, PartNet units, counter-clockwise
            seen from the front.
        normals: [F, 3, 3] unit shading normals in the link's frame, on the front's side.
        uvs: [2, F, 3, 2] texture coordinates of front and back, v upwards; 0 where there are none.
        material: [2, F] indices into `materials` of front and back.
        link: [F] link index.
        materials: textures are names that `ObjectFiles.read` takes.
    """

    triangles: Float[np.ndarray, "F 3 3"] = field(repr=False)
    normals: Float[np.ndarray, "F 3 3"] = field(repr=False)
    uvs: Float[np.ndarray, "2 F 3 2"] = field(repr=False)
    material: Int[np.ndarray, "2 F"] = field(repr=False)
    link: Int[np.ndarray, "F"] = field(repr=False)
    materials: tuple[Material, ...]

    def __len__(self) -> int:
        return len(self.triangles)


def read_surface(files: ObjectFiles, obj: ArticulatedObject, max_faces: int = MAX_FACES) -> Surface:
    """Read every visual mesh of `obj` with its materials.

    Faces without area are dropped, and of faces that coincide on one side only the first is kept.
    Missing meshes, meshes without faces and missing textures are noted in `files`.

    Raises:
        ObjectError: a mesh file is broken, there are too many faces, or none at all.
    """
    materials: dict[Material, int] = {}
    pieces: list[tuple[np.ndarray, ...]] = []
    count = 0
    for index, owner in enumerate(obj.links):
        for visual in owner.visuals:
            mesh = _read_mesh(files, visual, max_faces - count)
            if mesh is None or not len(mesh.corners):
                continue
            count += len(mesh.corners)
            slots = np.array(
                [materials.setdefault(m, len(materials)) for m in _materials(files, visual, mesh)]
            )
            to_mesh = np.linalg.inv(visual.origin[:3, :3])  # how normals turn where it stretches
            mirrored = np.linalg.det(to_mesh) < 0
            corners = mesh.corners[:, ::-1] if mirrored else mesh.corners  # fronts stay in front
            triangles = transform(visual.origin, mesh.positions[corners[..., 0]])
            normals = _corner_values(mesh.normals, corners[..., 2]) @ to_mesh
            uvs = _corner_values(mesh.uvs, corners[..., 1])
            links = np.full(len(triangles), index)
            pieces.append((triangles, normals, uvs, links, slots[mesh.face_material]))
    if not pieces:
        raise ObjectError(files.id, "mobility.urdf", "none of its visual meshes has a face")
    triangles, normals, uvs, link, material = map(np.concatenate, zip(*pieces, strict=True))
    normals = _unit_normals(triangles, normals)
    front, back = _sides(triangles, link)
    if not len(front):
        raise ObjectError(files.id, "mobility.urdf", "none of its visual meshes has an area")
    turn = _corner_match(triangles[front], triangles[back])
    back_uvs = np.take_along_axis(uvs[back], turn[..., None], axis=1)
    return Surface(
        triangles[front],
        normals[front],
        np.stack([uvs[front], back_uvs]),
        np.stack([material[front], material[back]]),
        link[front],
        tuple(materials),
    )


def face_normals(triangles: Float[np.ndarray, "F 3 3"]) -> Float[np.ndarray, "F 3"]:
    """Normals as long as twice the triangle's area, on the side it is counter-clockwise from."""
    return np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])


def _read_mesh(files: ObjectFiles, visual: MeshReference, max_faces: int) -> ObjMesh | None:
    found = files.find(visual.file)
    if found is None:
        return None
    try:
        mesh = parse_obj(files.read(found), max_faces)
    except MeshError as error:
        where = f"line {error.line}" if error.line else ""
        raise ObjectError(files.id, visual.file, str(error), where) from error
    if not len(mesh.corners):
        files.note("meshes without faces", visual.file)
    return mesh


def _materials(files: ObjectFiles, visual: MeshReference, mesh: ObjMesh) -> list[Material]:
    """The mesh's materials in its own order, textures found in the object."""
    known: dict[str, Material] = {}
    folder = PurePosixPath(visual.file).parent
    for library in mesh.libraries:
        found = files.find(str(folder / library))
        if found is None:
            files.note("material files that are not there", str(folder / library))
            continue
        try:
            known |= parse_mtl(files.read(found))
        except MeshError as error:
            raise ObjectError(files.id, found, str(error), f"line {error.line}") from error
    materials = []
    for name in mesh.materials:
        material = replace(known.get(name, Material()), name="")
        if material.texture:
            material = replace(material, texture=_texture(files, folder / material.texture))
        materials.append(material)
    return materials


def _texture(files: ObjectFiles, path: PurePosixPath) -> str:
    """The name of a texture that can be read, or an empty one."""
    found = files.find(str(path))
    if found is None:
        files.note("textures that are not there", str(path))
        return ""
    try:
        Image.open(io.BytesIO(files.read(found)))
    except (OSError, Image.DecompressionBombError):
        files.note("textures that are no pictures", found)
        return ""
    return found


def _corner_values(
    values: Float[np.ndarray, "N c"], index: Int[np.ndarray, "F 3"]
) -> Float[np.ndarray, "F 3 c"]:
    """The values of each corner; zeros where its index is -1."""
    return np.concatenate([values, np.zeros((1, values.shape[1]))])[index]


def _unit_normals(
    triangles: Float[np.ndarray, "F 3 3"], normals: Float[np.ndarray, "F 3 3"]
) -> Float[np.ndarray, "F 3 3"]:
    """Unit corner normals on the face's front; the face's own where the file's are no use."""
    flat = face_normals(triangles)
    flat = (flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30))[:, None]
    length = np.linalg.norm(normals, axis=2, keepdims=True)
    unit = normals / np.maximum(length, 1e-12)
    facing = (unit * flat).sum(axis=2, keepdims=True)
    return np.where(np.abs(facing) < 0.05, flat, np.where(facing < 0, -unit, unit))


def _hash(*values: Int[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
    """A 64-bit number of several (splitmix64). A sum of products would not do: on shapes as regular
    as a box, different corners often give the same sum."""
    key = np.zeros(values[0].shape, np.uint64)
    for value in values:
        key = key * np.uint64(0x9E3779B97F4A7C15) + value.astype(np.uint64)
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        key ^= key >> np.uint64(31)
    return key


def _corner_keys(triangles: Float[np.ndarray, "F 3 3"]) -> Int[np.ndarray, "F 3"]:
    """A number for each corner, the same for corners that coincide within 1e-5."""
    return _hash(*np.moveaxis(np.round(triangles * 1e5).astype(np.int64), 2, 0))


def _sides(
    triangles: Float[np.ndarray, "F 3 3"], link: Int[np.ndarray, "F"]
) -> tuple[Int[np.ndarray, "kept"], Int[np.ndarray, "kept"]]:
    """Faces that are left when those on the same three corners of a link are one.

    Returns:
        For every such face the index of its front, and that of its back (itself where it has none).
    """
    area = np.linalg.norm(face_normals(triangles), axis=1)
    keys = _corner_keys(triangles)
    order = keys.argsort(axis=1)
    odd = (order[:, 1] - order[:, 0]) % 3 != 1
    ordered = np.take_along_axis(keys, order, axis=1)
    face_key = _hash(link, *ordered.T)
    face_key[area <= 1e-12] = 0
    _, front, group = np.unique(face_key, return_index=True, return_inverse=True)
    back = front.copy()
    opposite = np.flatnonzero(odd != odd[front][group])[::-1]
    back[group[opposite]] = opposite  # reversed, so that the first in the file comes last and stays
    kept = np.argsort(front)[area[np.sort(front)] > 1e-12]
    return front[kept], back[kept]


def _corner_match(
    front: Float[np.ndarray, "F 3 3"], back: Float[np.ndarray, "F 3 3"]
) -> Int[np.ndarray, "F 3"]:
    """For every corner of `front`, which corner of `back` it coincides with."""
    back_order = _corner_keys(back).argsort(axis=1)
    rank = _corner_keys(front).argsort(axis=1).argsort(axis=1)
    return np.take_along_axis(back_order, rank, axis=1)


def sample_points(
    surface: Surface, per_link: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "P 3"], Int[np.ndarray, "P"]]:
    """Area-weighted random points, `per_link` on each link that has a surface.

    Returns:
        Points in their link's frame, PartNet units, and their link indices.
    """
    points, links = [], []
    for link in np.unique(surface.link):
        triangles = surface.triangles[surface.link == link]
        area = np.linalg.norm(face_normals(triangles), axis=1)
        chosen = triangles[rng.choice(len(triangles), per_link, p=area / area.sum())]
        root, other = np.sqrt(rng.random(per_link)), rng.random(per_link)
        weights = np.stack([1 - root, root * (1 - other), root * other], axis=1)
        points.append(np.einsum("pc,pcx->px", weights, chosen))
        links.append(np.full(per_link, link))
    return np.concatenate(points), np.concatenate(links)
