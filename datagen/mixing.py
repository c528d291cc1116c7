"""Objects of the parts of several: more things of few.

A safe whose door is another safe's, made to fit, still opens about its own hinge.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import defusedxml.ElementTree
import numpy as np
from jaxtyping import Float

from datagen.articulation import (
    ArticulatedObject,
    Joint,
    JointType,
    Link,
    MeshReference,
    link_poses,
)
from datagen.obj_mesh import MeshError, parse_mtl, parse_obj
from datagen.partnet import URDF, read_object
from datagen.source import ObjectFiles
from datagen.surface import read_surface

DISTORTION = 3.0  # the most by which a part may be stretched along one axis more than along another
FLAT = 0.02  # thinner than this share of its length, a part is taken to be as thick
ASIDE = 0.25  # of its size, from a part's middle to its hinge, from which on it hangs at that side


@dataclass(frozen=True)
class Part:
    """What one joint moves, without what hangs on it.

    Attributes:
        path, obj: where it is from. Files are not kept open: thousands would be.
        joint: moves it.
        turn: [3, 3] rotation of its link's frame at rest, to the object's.
        low, high: [3] the corners of its box in the link's frame, PartNet units.
    """

    path: Path
    obj: ArticulatedObject = field(repr=False)
    joint: Joint
    turn: Float[np.ndarray, "3 3"] = field(repr=False)
    low: Float[np.ndarray, "3"]
    high: Float[np.ndarray, "3"]

    @property
    def size(self) -> Float[np.ndarray, "3"]:
        size = self.high - self.low
        return np.maximum(size, FLAT * size.max())

    @property
    def link(self) -> Link:
        return self.obj.links[self.joint.child]

    @property
    def hinge_side(self) -> Float[np.ndarray, "3"]:
        """-1, 0 or 1 for each axis: at which side of the part its hinge is."""
        if self.joint.type is JointType.PRISMATIC:
            return np.zeros(3)
        aside = -(self.low + self.high) / 2 / self.size
        return np.sign(aside) * (np.abs(aside) > ASIDE)


def parts_of(path: Path) -> list[Part]:
    """The parts of the object at `path` that can be told from their box.

    Raises:
        ObjectError: the object cannot be read.
    """
    files = ObjectFiles(path)
    obj = read_object(files)
    surface = read_surface(files, obj)
    files.warn()
    poses = link_poses(obj, np.zeros(len(obj.movable)))
    parts = []
    for joint in obj.movable:
        points = surface.triangles[surface.link == joint.child].reshape(-1, 3)
        if len(points):
            turn = poses[joint.child, :3, :3]
            parts.append(Part(path, obj, joint, turn, points.min(axis=0), points.max(axis=0)))
    return parts


def placement(slot: Part, part: Part) -> Float[np.ndarray, "4 4"] | None:
    """How a part is stretched, mirrored and moved to take the place of another.

    Returns:
        From its link's frame to the other's, without a rotation; None where it does not fit: it is
        something else (`semantics.txt`), moves another way, would be distorted, or its meshes are
        turned in their link.
    """
    mesh_turns = [mesh.origin[:3, :3] for mesh in part.link.visuals]
    along = [int(np.abs(p.joint.axis).argmax()) for p in (slot, part)]
    factors = slot.size / part.size
    if (
        slot.link.semantic != part.link.semantic
        or slot.joint.type is not part.joint.type
        or along[0] != along[1]
        or factors.max() > DISTORTION * factors.min()
        or not np.allclose(slot.turn, part.turn, atol=1e-6)
        or any(np.abs(turn - np.diag(np.diag(turn))).max() > 1e-9 for turn in mesh_turns)
    ):
        return None
    factors[slot.hinge_side * part.hinge_side < 0] *= -1
    placed = np.diag([*factors, 1.0])
    placed[:3, 3] = (slot.low + slot.high) / 2 - factors * (part.low + part.high) / 2
    return placed


def mix(
    host: Sequence[Part],
    others: Sequence[Part],
    share: float,
    name: str,
    out: Path,
    rng: np.random.Generator,
) -> Path | None:
    """Write an object as PartNet-Mobility has it, some of whose parts are other objects'.

    Its joints, and all that does not move, are the host's. Its `meta.json` says whose parts it has.

    Args:
        host: the parts of the object that it is made of.
        others: parts to take; those of the host's own object are passed over.
        share: of the host's parts that are replaced, where any other fits.
        name: the object's id, and that of its folder in `out`.
        rng: decides which.

    Returns:
        The folder, or None where nothing was replaced.

    Raises:
        ObjectError: a file cannot be read.
    """
    files, obj = ObjectFiles(host[0].path), host[0].obj
    urdf: Element = defusedxml.ElementTree.fromstring(files.read(URDF), forbid_dtd=True)
    folder, taken = out / name, {}
    for slot in host:
        fitting = [
            (other, place)
            for other in others
            if other.obj.id != obj.id and (place := placement(slot, other)) is not None
        ]
        if not fitting or rng.random() >= share:
            continue
        other, place = fitting[rng.integers(len(fitting))]
        element = next(e for e in urdf.findall("link") if e.get("name") == slot.link.name)
        _replace_meshes(element, other, place)
        taken[slot.link.name] = f"{other.obj.id}/{other.link.name}"
        source = ObjectFiles(other.path)
        _copy_meshes(source, other.obj, [other.joint.child], folder / other.obj.id)
    if not taken:
        return None
    kept = [i for i, link in enumerate(obj.links) if link.name not in taken]
    _copy_meshes(files, obj, kept, folder)
    for plain in ("mobility_v2.json", "semantics.txt"):
        _copy(files, plain, folder)
    meta = {"model_cat": obj.category, "anno_id": name, "made_of": obj.id, "parts_of": taken}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    indent(urdf, "\t")
    (folder / URDF).write_bytes(tostring(urdf, xml_declaration=True, encoding="utf-8") + b"\n")
    return folder


def _replace_meshes(link: Element, part: Part, place: Float[np.ndarray, "4 4"]) -> None:
    """Give a URDF's link the meshes of a part."""
    for tag, meshes in (("visual", part.link.visuals), ("collision", part.link.collisions)):
        for old in link.findall(tag):
            link.remove(old)
        for mesh in meshes:
            pose = place @ mesh.origin
            element = SubElement(link, tag, {"name": mesh.name} if mesh.name else {})
            SubElement(element, "origin", xyz=_words(pose[:3, 3]))
            geometry = SubElement(element, "geometry")
            file = f"{part.obj.id}/{mesh.file}"
            SubElement(geometry, "mesh", filename=file, scale=_words(np.diag(pose)[:3]))


def _words(numbers: Float[np.ndarray, "3"]) -> str:
    return " ".join(repr(float(number)) for number in numbers)


def _copy_meshes(
    files: ObjectFiles, obj: ArticulatedObject, links: Sequence[int], folder: Path
) -> None:
    """Write the meshes of these links below a folder, with materials and textures."""
    for index in links:
        for mesh in (*obj.links[index].visuals, *obj.links[index].collisions):
            _copy_mesh(files, mesh, folder)


def _copy_mesh(files: ObjectFiles, mesh: MeshReference, folder: Path) -> None:
    found = files.find(mesh.file)
    if found is None or (folder / found).exists():
        return
    _copy(files, found, folder)
    beside = PurePosixPath(mesh.file).parent
    try:
        for library in parse_obj(files.read(found)).libraries:
            found = _copy(files, str(beside / library), folder)
            for material in parse_mtl(files.read(found)).values() if found else ():
                if material.texture:
                    _copy(files, str(beside / material.texture), folder)
    except MeshError:
        return  # of a piece to collide with, as all others were read; readers of those note it


def _copy(files: ObjectFiles, name: str, folder: Path) -> str | None:
    """Write a file of an object below a folder, and return what it is called there, if there is
    one."""
    found = files.find(name)
    if found is not None:
        path = folder / found
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files.read(found))
    return found
