"""Writes one object in PartNet-Mobility's on-disk layout."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from .shapes import Array, Mesh
from .textures import Colour, Picture

# PartNet's bodies stand y up, facing +z; this turns them to z up, facing -x.
BASE_RPY = "1.570796326794897 0 -1.570796326794897"
URDF_TYPE = {"hinge": "revolute", "slider": "prismatic"}
Record = dict[str, object]  # A JSON object.


@dataclass(frozen=True, eq=False)
class Material:
    """colour: sRGB, 0 to 1, where `texture` is None; tile: metres that the texture spans, or 1 for
    a picture; gloss: specular colour (Ks); shininess: its exponent (Ns); alpha: 1 is opaque."""

    colour: Colour = (1.0, 1.0, 1.0)
    texture: Picture | None = None
    tile: float = 1.0
    gloss: float = 0.07
    shininess: float = 30.0
    alpha: float = 1.0


@dataclass(frozen=True)
class Solid:
    """One visible solid, in the object's frame at rest, metres."""

    name: str
    mesh: Mesh
    material: Material
    collides: bool = True


@dataclass
class Part:
    """One link and the joint that moves it.

    joint: hinge, slider, or for the body heavy, free; origin, axis: (3,) in the object's frame, at
    rest; upper: its limit in radians or metres, the lower one being 0; None: a hinge turns freely.
    parent: the part it hangs on; None: the body.
    """

    name: str
    joint: str
    origin: ArrayLike = (0.0, 0.0, 0.0)
    axis: ArrayLike = (0.0, 0.0, 1.0)
    upper: float | None = None
    parent: Part | None = None
    solids: list[Solid] = field(default_factory=list)

    def add(self, name: str, mesh: Mesh, material: Material, collides: bool = True) -> None:
        """Append one visible solid; `collides` False leaves it out of collision checks."""
        self.solids.append(Solid(name, mesh, material, collides))


def _row(values: ArrayLike) -> str:
    """Numbers as text, to 6 decimals, without a negative zero."""
    rounded = np.round(np.asarray(values, float).ravel(), 6) + 0.0
    return " ".join(np.format_float_positional(value, trim="0") for value in rounded)


def _indexed(rows: Array, digits: int, key: str) -> tuple[list[str], NDArray[np.int64]]:
    """OBJ lines of the distinct rows (N, C), rounded, and each row's 1-based index (N,)."""
    distinct, index = np.unique(np.round(rows, digits) + 0.0, axis=0, return_inverse=True)
    pattern = f"{key}" + f" %.{digits}f" * rows.shape[1]
    return [pattern % tuple(row) for row in distinct.tolist()], index.ravel() + 1


def _visible_obj(name: str, mesh: Mesh, tile: float) -> str:
    """OBJ text with normals, uv in units of `tile`, and the material of the .mtl file beside it."""
    vertices, v = _indexed(mesh.vertices, 6, "v")
    uv, vt = _indexed(mesh.uv.reshape(-1, 2) / tile, 4, "vt")
    normals, vn = _indexed(mesh.normals.reshape(-1, 3), 3, "vn")
    corners = np.stack([v[mesh.faces.ravel()], vt, vn], axis=1).reshape(-1, 9).tolist()
    faces = ["f {}/{}/{} {}/{}/{} {}/{}/{}".format(*corner) for corner in corners]
    head = [f"mtllib {name}.mtl", f"o {name}"]
    return "\n".join([*head, *vertices, *uv, *normals, "usemtl material_0", *faces]) + "\n"


def _convex_obj(name: str, mesh: Mesh) -> str:
    """OBJ text of a bare solid for collisions."""
    vertices, v = _indexed(mesh.vertices, 6, "v")
    faces = ["f {} {} {}".format(*face) for face in v[mesh.faces].tolist()]
    return "\n".join([f"o {name}", *vertices, *faces]) + "\n"


def _mtl(material: Material, texture: str | None) -> str:
    lines = [
        "newmtl material_0",
        "illum 3" if material.alpha == 1 else "illum 4",
        f"d {_row(material.alpha)}",
        f"Ns {_row(material.shininess)}",
        f"Kd {_row((1, 1, 1) if texture else material.colour)}",
        f"Ks {_row([material.gloss] * 3)}",
    ]
    if texture:
        lines.append(f"map_Kd ../{texture}")
    return "\n".join(lines) + "\n"


def _save(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


class _Meshes:
    """Writes OBJ, MTL and texture files below `root`, numbered in order.

    Vertices are moved by -centre (3,) and scaled into PartNet units.
    """

    def __init__(self, root: Path, centre: Array, scale: float) -> None:
        self.root, self.centre, self.scale = root, centre, scale
        self.numbers = count(1)
        self.textures: dict[int, str] = {}
        (root / "textured_objs").mkdir()
        (root / "images").mkdir()

    def texture(self, picture: Picture) -> str:
        """The path of a picture, relative to the object's folder; each is written once."""
        if id(picture) not in self.textures:
            path = f"images/texture_{len(self.textures)}.png"
            Image.fromarray(picture).save(self.root / path, optimize=True)
            self.textures[id(picture)] = path
        return self.textures[id(picture)]

    def write(self, mesh: Mesh, material: Material | None) -> str:
        """The name of a new OBJ file; a mesh without a material is for collisions only."""
        name = f"{'original' if material else 'convex'}-{next(self.numbers)}"
        path = self.root / "textured_objs" / name
        mesh = replace(mesh, vertices=(mesh.vertices - self.centre) * self.scale)
        if material is None:
            _save(path.with_suffix(".obj"), _convex_obj(name, mesh))
            return name
        texture = None if material.texture is None else self.texture(material.texture)
        _save(path.with_suffix(".obj"), _visible_obj(name, mesh, material.tile))
        _save(path.with_suffix(".mtl"), _mtl(material, texture))
        return name


def _add_geometry(link: Element, kind: str, name: str | None, origin: Array, file: str) -> None:
    element = SubElement(link, kind, {"name": name} if name else {})
    SubElement(element, "origin", xyz=_row(-origin))
    SubElement(SubElement(element, "geometry"), "mesh", filename=f"textured_objs/{file}.obj")


def _add_joint(
    robot: Element, index: int, part: Part, parent: int | None, origin: Array, upper: float | None
) -> None:
    """The URDF joint above link `index`; `origin` is relative to the parent's, in PartNet units."""
    kind = "fixed" if parent is None else "continuous" if upper is None else URDF_TYPE[part.joint]
    joint = SubElement(robot, "joint", name=f"joint_{index}", type=kind)
    if parent is None:
        SubElement(joint, "origin", rpy=BASE_RPY, xyz="0 0 0")
    else:
        SubElement(joint, "origin", xyz=_row(origin))
        SubElement(joint, "axis", xyz=_row(part.axis))
    SubElement(joint, "child", link=f"link_{index}")
    SubElement(joint, "parent", link="base" if parent is None else f"link_{parent}")
    if kind in ("revolute", "prismatic") and upper is not None:
        SubElement(joint, "limit", lower="0.0", upper=_row(upper))


def _joint_data(part: Part, origin: Array, upper: float | None) -> Record:
    """mobility_v2.json's jointData: origin in PartNet units, a hinge's limit in degrees."""
    if upper is None:
        limit = {"a": 0.0, "b": 0.0, "noLimit": True}
    else:
        turn = np.rad2deg(upper) if part.joint == "hinge" else upper
        limit = {"a": 0.0, "b": round(float(turn), 6), "noLimit": False}
    return {"axis": {"origin": _rounded(origin), "direction": _rounded(part.axis)}, "limit": limit}


def _rounded(values: ArrayLike) -> list[float]:
    return (np.round(np.asarray(values, float), 6) + 0.0).tolist()


def _write_files(root: Path, name: str, category: str, parts: list[Part]) -> None:
    """Write all files of one object into the empty folder `root`; the body is the last part."""
    points = np.concatenate([solid.mesh.vertices for part in parts for solid in part.solids])
    low, high = points.min(axis=0), points.max(axis=0)
    # PartNet's scale: the bounding box at rest has a diagonal of 2.
    centre, scale = (low + high) / 2, 2 / float(np.linalg.norm(high - low))
    body = len(parts) - 1
    origins = [(np.asarray(part.origin, float) - centre) * scale for part in parts]
    origins[body] = np.zeros(3)
    meshes, ids = _Meshes(root, centre, scale), count(0)
    robot = Element("robot", name=f"partnet_{name}")
    SubElement(robot, "link", name="base")
    records, branches = [], list[Record]()
    tree = {"text": category, "children": branches, "id": next(ids), "name": category.lower()}

    for index, part in enumerate(parts):
        link = SubElement(robot, "link", name=f"link_{index}")
        leaves = list[Record]()
        branches.append({"text": part.name, "children": leaves, "id": next(ids), "name": part.name})
        hulls = []
        for solid in part.solids:
            file, leaf = meshes.write(solid.mesh, solid.material), next(ids)
            _add_geometry(link, "visual", f"{solid.name}-{leaf}", origins[index], file)
            leaves.append({"text": solid.name, "objs": [file], "id": leaf, "name": solid.name})
            if solid.collides:
                hulls += [meshes.write(piece, None) for piece in solid.mesh.pieces] or [file]
        for file in hulls:
            _add_geometry(link, "collision", None, origins[index], file)

        parent = (
            None if index == body else body if part.parent is None else parts.index(part.parent)
        )
        upper = part.upper
        if part.joint == "slider" and upper is not None:
            upper *= scale
        above = origins[body if parent is None else parent]
        _add_joint(robot, index, part, parent, origins[index] - above, upper)
        records.append(
            {
                "id": index,
                "parent": -1 if parent is None else parent,
                "joint": part.joint,
                "name": part.name,
                "parts": [
                    {"id": leaf["id"], "name": leaf["name"], "children": []} for leaf in leaves
                ],
                "jointData": {} if parent is None else _joint_data(part, origins[index], upper),
            }
        )

    indent(robot, "\t")
    _save(root / "mobility.urdf", '<?xml version="1.0" ?>\n' + tostring(robot, "unicode") + "\n")
    _save(root / "mobility_v2.json", json.dumps(records))
    _save(root / "result.json", json.dumps([tree]))
    lines = [f"link_{index} {part.joint} {part.name}" for index, part in enumerate(parts)]
    _save(root / "semantics.txt", "\n".join(lines) + "\n")
    meta = {"model_id": name, "anno_id": name, "user_id": "", "version": "1", "model_cat": category}
    _save(root / "meta.json", json.dumps(meta))
    bounds = {"min": _rounded((low - centre) * scale), "max": _rounded((high - centre) * scale)}
    _save(root / "bounding_box.json", json.dumps(bounds))


def write_object(out: Path, name: str, category: str, parts: list[Part]) -> Path:
    """Write the object `out`/`name`, whole or not at all, replacing one that is there; return it.

    parts: its links, the body last.
    """
    out.mkdir(parents=True, exist_ok=True)
    folder = out / name
    with TemporaryDirectory(prefix=f".{name}-", dir=out) as scratch:
        fresh = Path(scratch) / "new"
        fresh.mkdir()
        _write_files(fresh, name, category, parts)
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        fresh.rename(folder)
    return folder
