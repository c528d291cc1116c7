"""PartNet-Mobility's own layout into an `ArticulatedObject`.

Where `mobility.urdf` and `mobility_v2.json` disagree, the URDF is right about geometry, and
`mobility_v2.json` about order and names.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml.common import DefusedXmlException
from jaxtyping import Float

from datagen.articulation import ArticulatedObject, Joint, JointType, Link, MeshReference
from datagen.source import ObjectError, ObjectFiles

URDF = "mobility.urdf"


def read_object(path: Path | ObjectFiles) -> ArticulatedObject:
    """Read the object at `path`: its folder, its zip, or the files already opened.

    What is missing but harmless is noted in the files (`ObjectFiles.warn` says it).

    Raises:
        ObjectError: the object cannot be used; says in which file, at which element, and why.
    """
    files = path if isinstance(path, ObjectFiles) else ObjectFiles(path)
    robot = _parse_urdf(files)
    parts = _part_indices(files)
    semantics = _semantics(files)
    link_elements = robot.findall("link")
    joint_elements = robot.findall("joint")
    names = _names(files, link_elements)
    _names(files, joint_elements)
    links = tuple(
        _read_link(files, e, name, semantics.get(name, ""))
        for e, name in zip(link_elements, names, strict=True)
    )
    indices = {name: index for index, name in enumerate(names)}
    joints = tuple(_read_joint(files, e, indices, parts) for e in joint_elements)
    joints = _number_helpers(joints)
    try:
        obj = ArticulatedObject(files.id, _category(files), files.path.name, links, joints)
    except ValueError as error:
        raise ObjectError(files.id, URDF, str(error)) from error
    _note_missing(files, obj)
    return obj


def _parse_urdf(files: ObjectFiles) -> Element:
    try:
        robot: Element = defusedxml.ElementTree.fromstring(files.read(URDF), forbid_dtd=True)
    except ParseError as error:
        line, column = error.position
        raise ObjectError(
            files.id, URDF, f"not well-formed XML: {error}", f"line {line}, column {column}"
        ) from error
    except DefusedXmlException as error:
        raise ObjectError(
            files.id, URDF, f"a document type or entity is refused ({error})"
        ) from None
    except (LookupError, ValueError) as error:
        raise ObjectError(files.id, URDF, f"its encoding cannot be read: {error}") from error
    if robot.tag != "robot":
        raise ObjectError(files.id, URDF, f"the root element is <{robot.tag}>, not <robot>")
    return robot


def _read_json(files: ObjectFiles, name: str) -> Any:
    """The content of a JSON file, None where the object has no such file."""
    found = files.find(name)
    if found is None:
        return None
    try:
        return json.loads(files.read(found))
    except (ValueError, RecursionError) as error:
        raise ObjectError(files.id, name, f"not valid JSON: {error}") from error


def _part_indices(files: ObjectFiles) -> dict[str, int]:
    """Link name to the part's position in `mobility_v2.json`."""
    parts = _read_json(files, "mobility_v2.json")
    if parts is None:
        return {}
    try:
        return {f"link_{part['id']}": index for index, part in enumerate(parts)}
    except (TypeError, KeyError) as error:
        raise ObjectError(files.id, "mobility_v2.json", f"not a list of parts: {error}") from error


def _category(files: ObjectFiles) -> str:
    meta = _read_json(files, "meta.json")
    return str(meta.get("model_cat", "")) if isinstance(meta, dict) else ""


def _semantics(files: ObjectFiles) -> dict[str, str]:
    """Link name to its semantic label, from lines such as `link_0 hinge door`."""
    found = files.find("semantics.txt")
    text = files.read(found).decode(errors="replace") if found else ""
    words = [line.split() for line in text.splitlines()]
    return {w[0]: " ".join(w[2:]) for w in words if len(w) >= 3}


def _names(files: ObjectFiles, elements: list[Element]) -> list[str]:
    """The names of all elements, each another."""
    names: dict[str, Element] = {}
    for element in elements:
        if names.setdefault(_attribute(files, element, "name"), element) is not element:
            raise ObjectError(files.id, URDF, f"two {element.tag}s of this name", _where(element))
    return list(names)


def _where(element: Element) -> str:
    name = element.get("name")
    return f"{element.tag} {name}" if name else f"<{element.tag}>"


def _attribute(
    files: ObjectFiles, element: Element, name: str, within: Element | None = None
) -> str:
    value = element.get(name)
    if value is None:
        where = _where(within if within is not None else element)
        raise ObjectError(files.id, URDF, f"<{element.tag}> has no attribute {name!r}", where)
    return value


def _child(files: ObjectFiles, element: Element, tag: str) -> Element:
    child = element.find(tag)
    if child is None:
        raise ObjectError(files.id, URDF, f"no <{tag}> in it", _where(element))
    return child


def _numbers(
    files: ObjectFiles, text: str, count: int, within: Element, what: str
) -> Float[np.ndarray, "n"]:
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        values = np.empty(0)
    if len(values) != count or not np.isfinite(values).all():
        raise ObjectError(
            files.id, URDF, f"{what} is {text!r}, not {count} finite number(s)", _where(within)
        )
    return values


def _origin(files: ObjectFiles, element: Element) -> Float[np.ndarray, "4 4"]:
    """The `<origin>` of a joint or mesh: fixed-axis roll, pitch, yaw (URDF) and translation."""
    pose = np.eye(4)
    origin = element.find("origin")
    if origin is None:
        return pose
    roll, pitch, yaw = _numbers(files, origin.get("rpy", "0 0 0"), 3, element, "origin rpy")
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a), math.sin(a)) for a in (roll, pitch, yaw))
    turn_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    turn_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    turn_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    pose[:3, :3] = turn_z @ turn_y @ turn_x
    pose[:3, 3] = _numbers(files, origin.get("xyz", "0 0 0"), 3, element, "origin xyz")
    return pose


def _scale(files: ObjectFiles, mesh: Element, within: Element) -> Float[np.ndarray, "4 4"]:
    """The `scale` of a mesh along its axes; negative ones mirror it."""
    factors = _numbers(files, mesh.get("scale", "1 1 1"), 3, within, "mesh scale")
    if not factors.all():
        raise ObjectError(files.id, URDF, "a mesh's scale is 0 along an axis", _where(within))
    return np.diag([*factors, 1.0])


def _read_link(files: ObjectFiles, element: Element, name: str, semantic: str) -> Link:
    def meshes(tag: str) -> tuple[MeshReference, ...]:
        return tuple(
            MeshReference(
                e.get("name", ""),
                _attribute(files, mesh, "filename", within=element),
                _origin(files, e) @ _scale(files, mesh, within=element),
            )
            for e in element.findall(tag)
            for mesh in e.findall("geometry/mesh")
        )

    return Link(name, semantic, meshes("visual"), meshes("collision"))


def _read_joint(
    files: ObjectFiles, element: Element, links: dict[str, int], parts: dict[str, int]
) -> Joint:
    name = _attribute(files, element, "name")

    def link(tag: str) -> str:
        target = _attribute(files, _child(files, element, tag), "link", within=element)
        if target not in links:
            raise ObjectError(
                files.id, URDF, f"its {tag} link {target!r} is not there", _where(element)
            )
        return target

    parent, child = links[link("parent")], links[link("child")]
    origin = _origin(files, element)
    type_name = _attribute(files, element, "type")
    try:
        joint_type = JointType(type_name)
    except ValueError:
        known = ", ".join(JointType)
        raise ObjectError(
            files.id, URDF, f"joint type {type_name!r} is none of {known}", _where(element)
        ) from None
    if joint_type is JointType.FIXED:
        return Joint(name, joint_type, parent, child, origin, np.zeros(3), 0.0, 0.0)
    axis_element = element.find("axis")
    text = "1 0 0" if axis_element is None else _attribute(files, axis_element, "xyz", element)
    axis = _numbers(files, text, 3, element, "axis")
    length = float(np.linalg.norm(axis))
    if not 0 < length < math.inf:
        raise ObjectError(files.id, URDF, f"its axis is {length} long", _where(element))
    lower, upper = 0.0, 2 * math.pi
    if joint_type is not JointType.CONTINUOUS:
        limit = _child(files, element, "limit")
        lower, upper = (
            float(_numbers(files, limit.get(a, "0"), 1, element, f"limit {a}")[0])
            for a in ("lower", "upper")
        )
        if lower >= upper:
            raise ObjectError(
                files.id, URDF, f"its limits leave no range: {lower} to {upper}", _where(element)
            )
    part = parts.get(link("child"), -1)
    return Joint(name, joint_type, parent, child, origin, axis / length, lower, upper, part)


def _number_helpers(joints: tuple[Joint, ...]) -> tuple[Joint, ...]:
    """Give the movable joints without a part of their own an index.

    PartNet splits a screw lid into two joints; the one of its geometry-free helper link takes its
    URDF number (`joint_2`), or the next free one.
    """
    taken = {j.part for j in joints if j.movable and j.part >= 0}
    numbered = []
    for joint in joints:
        if joint.movable and joint.part < 0:
            digits = joint.name.rpartition("_")[2]
            index = int(digits) if digits.isdecimal() else 0
            while index in taken:
                index += 1
            taken.add(index)
            joint = replace(joint, part=index)
        numbered.append(joint)
    return tuple(numbered)


def _note_missing(files: ObjectFiles, obj: ArticulatedObject) -> None:
    """Note the mesh files which the URDF names and the object does not hold."""
    for kind in ("visuals", "collisions"):
        names = {m.file for link in obj.links for m in getattr(link, kind)}
        for name in sorted(n for n in names if files.find(n) is None):
            files.note(f"{kind.removesuffix('s')} meshes that are not there", name)
