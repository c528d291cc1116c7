"""Wavefront OBJ and MTL as PartNet-Mobility writes them, face by face.

General importers merge vertices or drop one of two coincident faces; here every face stays what the
file says, because most objects hold both sides of a panel as two faces with different materials.
"""

from __future__ import annotations

import math
import re
from bisect import bisect
from dataclasses import dataclass, field
from itertools import pairwise
from typing import AnyStr

import numpy as np
from jaxtyping import Float, Int

MAX_FACES = 10_000_000
"""More triangles than this in one object are refused: no renderer here would finish it."""


LIMIT = 1e9
"""Coordinates of this size are taken for damage."""


ATTRIBUTES = (b"v", b"vt", b"vn")
TRIANGLE_FORMS = tuple(
    (re.compile(corner + rb"(?:[ \t]+" + corner + rb"){2}"), columns)
    for corner, columns in (
        (rb"\d{1,18}/\d{1,18}/\d{1,18}", [0, 1, 2]),
        (rb"\d{1,18}//\d{1,18}", [0, 2]),
        (rb"\d{1,18}/\d{1,18}", [0, 1]),
        (rb"\d{1,18}", [0]),
    )
)
"""Rows of triangles in their usual forms, and which of position, uv and normal the corners name."""


class MeshError(ValueError):
    """A mesh file that cannot be used; `line` is where, counted from 1 (0: the file as a whole)."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Material:
    """What an MTL says of a surface.

    Attributes:
        name: as in the file.
        colour: diffuse sRGB colour, 0 to 1 (Kd).
        opacity: 0 to 1 (d).
        specular: mean of Ks, 0 to 1.
        shininess: Phong exponent (Ns).
        texture: colour picture, a path beside the MTL (map_Kd); empty for none.
    """

    name: str = ""
    colour: tuple[float, float, float] = (0.8, 0.8, 0.8)
    opacity: float = 1.0
    specular: float = 0.0
    shininess: float = 30.0
    texture: str = ""


@dataclass(frozen=True)
class ObjMesh:
    """Triangles with their corners' attributes; -1 where a corner has none.

    Attributes:
        positions: [V, 3] in the file's units.
        uvs: [T, 2].
        normals: [N, 3].
        corners: [F, 3, 3] indices of each corner's position, uv and normal.
        face_material: [F] index into `materials`.
        face_group: [F] a number for each group or object of the file (`g`, `o`).
        materials: names, as `usemtl` gives them.
        libraries: MTL files, as `mtllib` gives them.
    """

    positions: Float[np.ndarray, "V 3"] = field(repr=False)
    uvs: Float[np.ndarray, "T 2"] = field(repr=False)
    normals: Float[np.ndarray, "N 3"] = field(repr=False)
    corners: Int[np.ndarray, "F 3 3"] = field(repr=False)
    face_material: Int[np.ndarray, "F"] = field(repr=False)
    face_group: Int[np.ndarray, "F"] = field(repr=False)
    materials: tuple[str, ...]
    libraries: tuple[str, ...]


def parse_obj(data: bytes, max_faces: int = MAX_FACES) -> ObjMesh:
    """Parse an OBJ file; polygons are cut into triangle fans.

    Raises:
        MeshError: a line cannot be read, an index points nowhere, or there are too many triangles.
    """
    if b"\0" in data:
        raise MeshError("binary data, no OBJ text", 1 + data.count(b"\n", 0, data.index(b"\0")))
    rows: dict[bytes, list[bytes]] = {b"v": [], b"vt": [], b"vn": [], b"f": []}
    row_lines: dict[bytes, list[int]] = {key: [] for key in rows}
    material_of_face: list[int] = []
    group_of_face: list[int] = []
    materials: dict[str, int] = {}
    groups: dict[bytes, int] = {b"": 0}
    libraries: list[str] = []
    current, group = -1, 0
    for number, line in enumerate(data.split(b"\n"), start=1):
        key, rest = _key_and_rest(line)
        if key in rows:
            rows[key].append(rest)
            row_lines[key].append(number)
            if key == b"f":
                if current < 0:
                    current = materials.setdefault("", 0)
                material_of_face.append(current)
                group_of_face.append(group)
                if len(material_of_face) > max_faces:
                    raise _too_many(max_faces, number)
        elif key == b"usemtl":
            current = materials.setdefault(rest.decode(errors="replace"), len(materials))
        elif key in (b"g", b"o"):
            group = groups.setdefault(rest, len(groups))
        elif key == b"mtllib":
            libraries.append(rest.decode(errors="replace"))
    arrays = {
        key: _number_rows(rows[key], row_lines[key], key.decode(), count)
        for key, count in ((b"v", 3), (b"vt", 2), (b"vn", 3))
    }
    corners, face_of_triangle = _faces(rows[b"f"], row_lines, max_faces)
    return ObjMesh(
        arrays[b"v"],
        arrays[b"vt"],
        arrays[b"vn"],
        corners,
        np.array(material_of_face, int)[face_of_triangle],
        np.array(group_of_face, int)[face_of_triangle],
        tuple(materials),
        tuple(libraries),
    )


def _key_and_rest(line: AnyStr) -> tuple[AnyStr, AnyStr]:
    """The first word of a line and what follows it, without the white space around them."""
    words = line.strip().split(None, 1)
    return (words[0], words[1]) if len(words) == 2 else (line.strip(), line[:0])


def _too_many(max_faces: int, line: int) -> MeshError:
    return MeshError(f"more than the {max_faces:,} triangles still allowed", line)


def _number_rows(
    rows: list[bytes], lines: list[int], key: str, count: int
) -> Float[np.ndarray, "n count"]:
    """The first `count` numbers of every row, fast where all rows hold just so many."""
    if not rows:
        return np.zeros((0, count))
    words = b" ".join(rows).split()
    if len(words) == count * len(rows) and all(row.count(b" ") == count - 1 for row in rows):
        try:
            values = np.fromiter(map(float, words), float, len(words)).reshape(-1, count)
            if (np.abs(values) < LIMIT).all():
                return values
        except ValueError:
            pass  # found below, with its line
    values = np.empty((len(rows), count))
    for i, row in enumerate(rows):
        try:
            numbers = [float(word) for word in row.split()[:count]]
        except ValueError:
            numbers = []
        if len(numbers) < count or not (np.abs(numbers) < LIMIT).all():
            text = row.decode(errors="replace")[:60]
            raise MeshError(f"`{key} {text}` is not {count} numbers within ±{LIMIT:.0e}", lines[i])
        values[i] = numbers
    return values


def _faces(
    rows: list[bytes], lines: dict[bytes, list[int]], max_faces: int
) -> tuple[Int[np.ndarray, "F 3 3"], Int[np.ndarray, "F"]]:
    """Corner indices [F, 3, 3] of the triangles, and the row [F] each of them came from."""
    if not rows:
        return np.zeros((0, 3, 3), int), np.zeros(0, int)
    corners = _uniform_triangles(rows)
    face_of_triangle = np.arange(len(rows))
    if corners is None:
        corners, face_of_triangle = _mixed_polygons(rows, lines, max_faces)
    sizes = [len(lines[key]) for key in ATTRIBUTES]
    bad = (corners >= sizes).any(axis=(1, 2)) | (corners[..., 0] < 0).any(axis=1)
    if bad.any():
        face = face_of_triangle[bad.argmax()]
        text = rows[face].decode(errors="replace")[:60]
        raise MeshError(
            f"`f {text}` names a vertex that is not there "
            f"({sizes[0]} positions, {sizes[1]} uvs, {sizes[2]} normals)",
            lines[b"f"][face],
        )
    return corners, face_of_triangle


def _uniform_triangles(rows: list[bytes]) -> Int[np.ndarray, "F 3 3"] | None:
    """Corners where all rows are triangles of one of the usual forms, else None."""
    for form, named in TRIANGLE_FORMS:
        if all(map(form.fullmatch, rows)):
            columns = named
            break
    else:
        return None
    words = b" ".join(rows).replace(b"/", b" ").split()
    values = np.fromiter(map(int, words), np.int64, len(words)).reshape(len(rows), 3, -1)
    if (values < 1).any():
        return None
    corners = np.full((len(rows), 3, 3), -1)
    corners[..., columns] = values - 1
    return corners


def _mixed_polygons(
    rows: list[bytes], lines: dict[bytes, list[int]], max_faces: int
) -> tuple[Int[np.ndarray, "F 3 3"], Int[np.ndarray, "F"]]:
    """The general case, a row at a time: polygons, mixed forms, indices counted from the end."""
    triangles: list[tuple[list[int], ...]] = []
    source: list[int] = []
    for i, (row, line) in enumerate(zip(rows, lines[b"f"], strict=True)):
        polygon = []
        for word in row.split():
            try:
                indices = [int(t) if t else 0 for t in word.decode("ascii").split("/")]
            except ValueError:
                indices = []
            if not 1 <= len(indices) <= 3 or indices[0] == 0:
                text = row.decode(errors="replace")[:60]
                raise MeshError(f"`f {text}` is not a list of corners", line)
            indices += [0] * (3 - len(indices))
            polygon.append(
                [
                    _from_zero(n, lines[key], line)
                    for n, key in zip(indices, ATTRIBUTES, strict=True)
                ]
            )
        if len(polygon) < 3:
            raise MeshError(f"a face of {len(polygon)} corner(s)", line)
        if len(triangles) + len(polygon) - 2 > max_faces:
            raise _too_many(max_faces, line)
        for second, third in pairwise(polygon[1:]):
            triangles.append((polygon[0], second, third))
            source.append(i)
    return np.array(triangles, int), np.array(source, int)


def _from_zero(number: int, lines: list[int], line: int) -> int:
    """The index from 0 of an OBJ's `number`: from 1, from the face's own `line` backwards, or 0 for
    none (-1 here). One that points nowhere gives the number of all entries."""
    if number == 0:
        return -1
    index = number - 1 if number > 0 else bisect(lines, line) + number
    return index if 0 <= index < len(lines) else len(lines)


def parse_mtl(data: bytes) -> dict[str, Material]:
    """Parse an MTL file into materials by name; what it does not say stays at its default.

    Raises:
        MeshError: a value is not a number.
    """
    materials: dict[str, Material] = {}
    fields: dict[str, object] = {}
    name = ""
    for number, line in enumerate(data.decode(errors="replace").splitlines(), start=1):
        key, rest = _key_and_rest(line)
        try:
            if key == "newmtl":
                name, fields = rest, {}
            elif key == "Kd":
                fields["colour"] = _colour(rest)
            elif key == "Ks":
                fields["specular"] = sum(_colour(rest)) / 3
            elif key == "Ns":
                fields["shininess"] = _finite(rest)
            elif key == "d":
                fields["opacity"] = _fraction(rest.split()[-1])
            elif key == "Tr":
                fields["opacity"] = 1.0 - _fraction(rest)
            elif key == "map_Kd":
                fields["texture"] = rest
            else:
                continue
        except (ValueError, IndexError):
            raise MeshError(f"`{line.strip()[:60]}` cannot be read", number) from None
        if key != "newmtl" or name not in materials:
            materials[name] = Material(name=name, **fields)  # type: ignore[arg-type]
    return materials


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError
    return value


def _fraction(word: str) -> float:
    return min(max(_finite(word), 0.0), 1.0)


def _colour(text: str) -> tuple[float, float, float]:
    """Red, green and blue, 0 to 1; one number stands for all three."""
    values = [_fraction(word) for word in text.split()[:3]]
    red, green, blue = values * 3 if len(values) == 1 else values
    return red, green, blue
