"""Objects of meshes in which nothing moves: some of their pieces are given a hinge or a slider.

There are far more meshes of furniture and of things about the house than there are articulated
ones. Where a joint is only guessed, a door may open the wrong way; a network still learns from it
how such things look, and that what is pulled comes along whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PurePosixPath
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from datagen.obj_mesh import MeshError, ObjMesh, parse_mtl, parse_obj
from datagen.partnet import URDF
from datagen.samples.writer import BASE_RPY
from datagen.source import ObjectError

DIAGONAL = 2.0  # of the box around an object: PartNet's unit
SMALLEST, LARGEST = 0.15, 0.95  # of that, the diagonals of parts
BULK = 0.7  # the largest share of the object's volume that a part's box may take
WELD = 1e-5  # of the diagonal: corners as close as that are one
ALONG = 0.05  # of a part's size, by which what comes along may stick out of its box
THIN = 0.35  # of its next larger side: what is thinner swings or slides as doors do


@dataclass(frozen=True)
class GivenJoint:
    """A joint that a part is given.

    Attributes:
        type: of the URDF: revolute or prismatic.
        origin: [3] a point of its axis, in the mesh's frame and PartNet units.
        axis: [3] unit vector.
        upper: its range from 0, in radians or PartNet units.
    """

    type: str
    origin: Float[np.ndarray, "3"]
    axis: Float[np.ndarray, "3"]
    upper: float


def adopt(path: Path, name: str, out: Path, most: int, rng: np.random.Generator) -> Path | None:
    """Write an object as PartNet-Mobility has it, made of a mesh.

    Args:
        path: the mesh, an OBJ file, y up, with its materials beside it.
        name: the object's id, and that of its folder in `out`.
        most: parts that it is given at most.
        rng: decides which, and how they move.

    Returns:
        The folder, or None where no piece of it would do for a part.

    Raises:
        ObjectError: the mesh cannot be read.
    """
    try:
        mesh = parse_obj(path.read_bytes())
    except MeshError as error:
        where = f"line {error.line}" if error.line else ""
        raise ObjectError(name, path.name, str(error), where) from error
    if not len(mesh.corners):
        raise ObjectError(name, path.name, "there is no face in it")
    low, high = _box(mesh.positions[mesh.corners[..., 0]])
    scale = DIAGONAL / max(float(np.linalg.norm(high - low)), 1e-12)
    mesh = replace(mesh, positions=(mesh.positions - (low + high) / 2) * scale)
    triangles = mesh.positions[mesh.corners[..., 0]]
    piece = _connected(triangles)
    candidates = _candidates((mesh.face_group, piece), triangles)
    parts = _chosen(candidates, piece, triangles, int(rng.integers(1, most + 1)), rng)
    if not parts:
        return None
    joints = [given_joint(_box(triangles[part]), _box(triangles), rng) for part in parts]
    body = ~np.any(parts, axis=0)
    _write(path, mesh, [*parts, body], joints, out / name)
    return out / name


def _candidates(
    kinds: Sequence[Int[np.ndarray, "F"]], triangles: Float[np.ndarray, "F 3 3"]
) -> list[Bool[np.ndarray, "F"]]:
    """Faces of what may be a part: those of one number (a group of the file, a connected piece),
    neither too small nor too large."""
    masks = [kind == value for kind in kinds for value in np.unique(kind)]
    low, high = _box(triangles)
    volume = np.prod(high - low)
    fitting = []
    for mask in masks:
        start, end = _box(triangles[mask])
        size = np.linalg.norm(end - start) / DIAGONAL
        flat = np.maximum(end - start, 0.02 * DIAGONAL * size)
        if SMALLEST < size < LARGEST and np.prod(flat) < BULK * volume:
            fitting.append(mask)
    return fitting


def _connected(triangles: Float[np.ndarray, "F 3 3"]) -> Int[np.ndarray, "F"]:
    """A number for each face, the same for those that hang together by their corners."""
    places = np.round(triangles.reshape(-1, 3) / (WELD * DIAGONAL)).astype(np.int64)
    _, corner = np.unique(places, axis=0, return_inverse=True)
    corner = corner.reshape(-1, 3)
    ends = np.concatenate([corner[:, :2], corner[:, 1:]])
    count = int(corner.max()) + 1
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1])[corner[:, 0]]


def _chosen(
    candidates: Sequence[Bool[np.ndarray, "F"]],
    piece: Int[np.ndarray, "F"],
    triangles: Float[np.ndarray, "F 3 3"],
    count: int,
    rng: np.random.Generator,
) -> list[Bool[np.ndarray, "F"]]:
    """Up to `count` of them that share no face, each with the pieces that lie in its box: the
    handle of a door, the glass in its frame. Large ones are likelier."""
    lows, highs = (_extreme(reduce, piece, triangles) for reduce in (np.minimum, np.maximum))
    parts: list[Bool[np.ndarray, "F"]] = []
    taken = np.zeros(len(triangles), bool)
    sizes = np.array([np.linalg.norm(np.ptp(triangles[c], axis=(0, 1))) for c in candidates])
    # as if drawn one by one, each as likely as it is large
    for index in (rng.exponential(size=len(sizes)) / sizes**2).argsort():
        if len(parts) == count:
            break
        low, high = _box(triangles[candidates[index]])
        room = ALONG * np.linalg.norm(high - low)
        inside = (lows > low - room).all(axis=1) & (highs < high + room).all(axis=1)
        part = candidates[index] | inside[piece]
        if not (part & taken).any() and not (part | taken).all():
            parts.append(part)
            taken |= part
    return parts


def _extreme(
    reduce: np.ufunc, piece: Int[np.ndarray, "F"], triangles: Float[np.ndarray, "F 3 3"]
) -> Float[np.ndarray, "P 3"]:
    """The lowest or highest coordinates of each piece."""
    values = reduce.reduce(triangles, axis=1)
    order = piece.argsort(kind="stable")
    starts = np.searchsorted(piece[order], np.unique(piece))
    return np.asarray(reduce.reduceat(values[order], starts))


def _box(triangles: Float[np.ndarray, "F 3 3"]) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest coordinates, each [3]."""
    return triangles.min(axis=(0, 1)), triangles.max(axis=(0, 1))


def given_joint(
    part: tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]],
    whole: tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]],
    rng: np.random.Generator,
) -> GivenJoint:
    """How a part in this box of a whole may move.

    What is flat most often swings about an edge, as a door or a lid does, else it slides; what is
    not is drawn out like a drawer, or tilts about an edge. Either goes away from the middle.

    Args:
        part, whole: the lowest and highest corner of each box, in the mesh's frame, PartNet units.
        rng: decides which, and how far.
    """
    low, high = part
    size, middle = high - low, (low + high) / 2
    aside = (middle - (whole[0] + whole[1]) / 2) / np.maximum(whole[1] - whole[0], 1e-9)
    out = np.where(np.abs(aside) < 0.02, rng.choice([-1.0, 1.0], 3), np.sign(aside))
    order = size.argsort()
    flat = size[order[0]] < THIN * size[order[1]]
    chances = np.abs(aside) + 0.05
    ahead = int(order[0] if flat else rng.choice(3, p=chances / chances.sum()))
    kind = rng.choice(["swing", "out", "aside"], p=[0.7, 0.15, 0.15] if flat else [0.4, 0.5, 0.1])
    others = [axis for axis in range(3) if axis != ahead]
    if kind == "swing":
        upright = others.index(1) if 1 in others and rng.random() < 0.6 else rng.integers(2)
        about, across = others[upright], others[1 - upright]
        side = rng.choice([-1.0, 1.0])
        origin = middle.copy()
        origin[across] += side * size[across] / 2
        origin[ahead] += rng.choice([-1.0, 1.0] if flat else [-out[ahead]]) * size[ahead] / 2
        axis = np.eye(3)[about]
        goes = np.cross(axis, -side * np.eye(3)[across])[ahead]  # where its far edge sets out to
        turn = rng.uniform(0.8, 2.2) if flat else rng.uniform(0.4, 1.6)
        return GivenJoint("revolute", origin, axis * goes * out[ahead], float(turn))
    along = ahead if kind == "out" else int(rng.choice(others))
    reach = size[order[1]] if along == order[0] and flat else size[along]
    return GivenJoint(
        "prismatic", middle, np.eye(3)[along] * out[along], float(rng.uniform(0.35, 0.9) * reach)
    )


def _write(
    path: Path,
    mesh: ObjMesh,
    links: Sequence[Bool[np.ndarray, "F"]],
    joints: Sequence[GivenJoint],
    folder: Path,
) -> None:
    """Write meshes and URDF of an object; its body is the last link, and moves with nothing."""
    meshes = folder / "textured_objs"
    meshes.mkdir(parents=True, exist_ok=True)
    _copy_materials(path, mesh, meshes)
    robot = Element("robot", name=f"partnet_{folder.name}")
    SubElement(robot, "link", name="base")
    body = len(links) - 1
    for index, faces in enumerate(links):
        (meshes / f"link_{index}.obj").write_text(_obj(mesh, faces))
        joint = joints[index] if index < body else None
        origin = joint.origin if joint else np.zeros(3)
        link = SubElement(robot, "link", name=f"link_{index}")
        for tag in ("visual", "collision"):
            element = SubElement(link, tag)
            SubElement(element, "origin", xyz=_words(-origin))
            geometry = SubElement(element, "geometry")
            SubElement(geometry, "mesh", filename=f"textured_objs/link_{index}.obj")
        element = SubElement(
            robot, "joint", name=f"joint_{index}", type=joint.type if joint else "fixed"
        )
        if joint:
            SubElement(element, "origin", xyz=_words(origin))
            SubElement(element, "axis", xyz=_words(joint.axis))
            SubElement(element, "limit", lower="0", upper=repr(joint.upper))
        else:
            SubElement(element, "origin", rpy=BASE_RPY, xyz="0 0 0")
        SubElement(element, "child", link=f"link_{index}")
        SubElement(element, "parent", link=f"link_{body}" if joint else "base")
    indent(robot, "\t")
    (folder / URDF).write_bytes(tostring(robot, xml_declaration=True, encoding="utf-8") + b"\n")
    meta = {"model_cat": "Adopted", "anno_id": folder.name, "made_of": path.name}
    (folder / "meta.json").write_text(json.dumps(meta) + "\n")


def _obj(mesh: ObjMesh, faces: Bool[np.ndarray, "F"]) -> str:
    """OBJ text of some of the faces."""
    lines = [f"mtllib {PurePath(library).name}" for library in mesh.libraries]
    columns = []
    values = (mesh.positions, mesh.uvs, mesh.normals)
    for key, rows, corner in zip(
        ("v", "vt", "vn"), values, mesh.corners[faces].reshape(-1, 3).T, strict=True
    ):
        kept, index = np.unique(corner, return_inverse=True)
        none = int(kept[0] < 0)  # corners that have none come first
        lines += [f"{key} " + " ".join(f"{x:.6g}" for x in row) for row in rows[kept[none:]]]
        columns.append(index.ravel() + 1 - none)
    words = [
        "/".join(str(n) if n else "" for n in corner).rstrip("/")
        for corner in np.stack(columns, axis=1).tolist()
    ]
    material = mesh.face_material[faces].tolist()
    for i, index in enumerate(material):
        if i == 0 or index != material[i - 1]:
            lines.append(f"usemtl {mesh.materials[index]}")
        lines.append("f " + " ".join(words[3 * i : 3 * i + 3]))
    return "\n".join(lines) + "\n"


def _words(numbers: Float[np.ndarray, "3"]) -> str:
    return " ".join(repr(float(number) + 0.0) for number in numbers)


def _copy_materials(path: Path, mesh: ObjMesh, folder: Path) -> None:
    """Copy what the mesh's materials are in, and their pictures, as far as they are there."""
    for library in mesh.libraries:
        found = path.parent / library
        if not found.is_file():
            continue
        data = found.read_bytes()
        (folder / found.name).write_bytes(data)
        try:
            materials = parse_mtl(data)
        except MeshError as error:
            raise ObjectError(folder.parent.name, found.name, str(error)) from error
        for texture in {m.texture for m in materials.values() if m.texture}:
            place = PurePosixPath(texture.replace("\\", "/"))
            inside = not place.is_absolute() and ".." not in place.parts
            if inside and (path.parent / place).is_file():
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                (folder / place).write_bytes((path.parent / place).read_bytes())
