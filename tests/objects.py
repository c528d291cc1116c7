"""Small objects in PartNet-Mobility's layout, as files that a test can break one by one."""

import io
import json
import zipfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from PIL import Image

from datagen.articulation import ArticulatedObject
from datagen.partnet import read_object
from datagen.source import ObjectFiles
from datagen.surface import Surface, read_surface

Vector = tuple[float, float, float]
Files = dict[str, bytes]

BASE_TURN = "1.570796326794897 0 -1.570796326794897"
MTL = "newmtl paint\nNs 30\nKd 0.8 0.1 0.1\nKs 0.2 0.2 0.2\nd 1\nmap_Kd ../images/paint.png\n"


@dataclass(frozen=True)
class Part:
    """A box and how it is joined to its parent.

    Attributes:
        name: its semantic label.
        low, high: opposite corners of the box in the link's frame (y up, front at +z).
        joint: `fixed`, `revolute`, `continuous`, `prismatic`.
        axis, origin: of the joint, in the parent's frame.
        limits: of the joint.
        parent: index of the part it is joined to; -1 for the base link.
    """

    name: str
    low: Vector
    high: Vector
    joint: str = "fixed"
    axis: Vector = (0, 1, 0)
    origin: Vector = (0, 0, 0)
    limits: tuple[float, float] = (0, 1)
    parent: int = 0


BODY = Part("body", (-0.5, -0.5, -0.5), (0.5, 0.5, -0.45), parent=-1)
DOOR = Part(
    "door", (0, -0.5, -0.025), (1, 0.5, 0.025), "revolute", (0, -1, 0), (-0.5, 0, 0.45), (0, 1.6)
)
DRAWER = Part(
    "drawer", (-0.4, -0.4, -0.4), (0.4, 0.4, 0.4), "prismatic", (0, 0, 1), limits=(0, 0.7)
)
KNOB = Part(
    "knob",
    (-0.02, -0.02, 0),
    (0.02, 0.02, 0.05),
    "continuous",
    (0, 0, 1),
    (0.9, 0, 0.025),
    parent=1,
)
CABINET = (BODY, DOOR, DRAWER, KNOB)
"""A back wall, a door shut before a drawer, and a knob on the door: parts 0, 1, 2 and 3."""


def box_obj(low: Vector, high: Vector, material: str = "paint") -> str:
    """An OBJ of the box: 8 corners, 12 triangles, each wound as seen from outside."""
    corners = product(*zip(low, high, strict=True))
    quads = ("1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4")
    lines = ["mtllib paint.mtl", *("v {} {} {}".format(*c) for c in corners)]
    lines += ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1", f"usemtl {material}"]
    for a, b, c, d in (quad.split() for quad in quads):
        lines += [f"f {a}/1 {b}/2 {c}/3", f"f {a}/1 {c}/3 {d}/4"]
    return "\n".join(lines) + "\n"


def object_files(parts: tuple[Part, ...] = CABINET) -> Files:
    """The files of an object made of `parts`: part i is `link_i`, moved by `joint_i`."""
    links, joints = ['<link name="base"/>'], []
    files = {"textured_objs/paint.mtl": MTL}
    for i, part in enumerate(parts):
        mesh = f'<geometry><mesh filename="textured_objs/part-{i}.obj"/></geometry>'
        links.append(
            f'<link name="link_{i}">\n<visual name="{part.name}-{i}">{mesh}</visual>\n'
            f"<collision>{mesh}</collision>\n</link>"
        )
        parent = "base" if part.parent < 0 else f"link_{part.parent}"
        turn = BASE_TURN if part.parent < 0 else "0 0 0"
        lower, upper = part.limits
        joints.append(
            f'<joint name="joint_{i}" type="{part.joint}">\n'
            f'<origin xyz="{_words(part.origin)}" rpy="{turn}"/>\n'
            f'<axis xyz="{_words(part.axis)}"/>\n'
            f'<child link="link_{i}"/>\n<parent link="{parent}"/>\n'
            f'<limit lower="{lower}" upper="{upper}"/>\n</joint>'
        )
        files[f"textured_objs/part-{i}.obj"] = box_obj(part.low, part.high)
    files["mobility.urdf"] = "\n".join(['<robot name="test">', *links, *joints, "</robot>\n"])
    files["mobility_v2.json"] = json.dumps(
        [{"id": i, "name": part.name, "joint": part.joint} for i, part in enumerate(parts)]
    )
    files["semantics.txt"] = "".join(f"link_{i} {p.joint} {p.name}\n" for i, p in enumerate(parts))
    files["meta.json"] = json.dumps({"model_cat": "StorageFurniture"})
    picture = io.BytesIO()
    Image.new("RGB", (2, 2), "red").save(picture, "PNG")
    encoded = {name: text.encode() for name, text in files.items()}
    return {"images/paint.png": picture.getvalue(), **encoded}


def _words(numbers: Vector) -> str:
    return " ".join(map(str, numbers))


def edit(files: Files, name: str, old: str, new: str) -> Files:
    """The files with the first `old` of the file `name` replaced."""
    assert old.encode() in files[name], f"no {old!r} in {name}"
    return {**files, name: files[name].replace(old.encode(), new.encode(), 1)}


def write_folder(folder: Path, files: Files) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def write_zip(path: Path, files: Files, folder: str = "1000/") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(folder + name, data)
    return path


def read(path: Path) -> tuple[ArticulatedObject, Surface]:
    """The object at `path`, and its surface."""
    files = ObjectFiles(path)
    obj = read_object(files)
    return obj, read_surface(files, obj)
