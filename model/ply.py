"""Gaussians as the .ply files of 3D Gaussian Splatting, which its viewers open.

Binary, little-endian, a float32 for each property: x, y, z; nx, ny, nz, all 0; f_dc_0 to 2, the
first spherical harmonic's coefficients (colour - 0.5) / 0.28209479177387814; opacity, as its logit;
scale_0 to 2, as logarithms; rot_0 to 3 (w, x, y, z).

A float32 logit or logarithm does not hold all of a float32: near -7, it loses the last three bits
of a scale. So each Gaussian has seven properties more, its opacity, scale and colour as they are,
which viewers skip. Each counts on reading only if it agrees with what viewers see, so that a file
edited elsewhere reads as edited. What `save_ply` wrote, `load_ply` reads bit for bit, provided that
rotations were normalised.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

SH_CONSTANT = 0.28209479177387814  # the first spherical harmonic, 1 / (2 √π)
LIMIT = 100.0  # of logits and logarithms: no viewer meets an infinity

POSITION = ("x", "y", "z")
NORMAL = ("nx", "ny", "nz")
COLOUR = ("f_dc_0", "f_dc_1", "f_dc_2")
OPACITY = ("opacity",)
SCALE = ("scale_0", "scale_1", "scale_2")
ROTATION = ("rot_0", "rot_1", "rot_2", "rot_3")
ENCODED = (*POSITION, *OPACITY, *SCALE, *ROTATION, *COLOUR)  # in the order of the channels
EXACT = ("partrm_opacity", *(f"partrm_{name}" for name in (*SCALE, "red", "green", "blue")))
EXACT_CHANNELS = [3, 4, 5, 6, 11, 12, 13]
PROPERTIES = (*POSITION, *NORMAL, *COLOUR, *OPACITY, *SCALE, *ROTATION, *EXACT)

TYPES = {
    **dict.fromkeys(("char", "int8"), "<i1"),
    **dict.fromkeys(("uchar", "uint8"), "<u1"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
}


def save_ply(path: Path, gaussians: Float[Tensor, "n 14"]) -> None:
    """Write Gaussians as `rendering.render` takes them: world units, activated."""
    if gaussians.ndim != 2 or gaussians.shape[1] != 14:
        raise ValueError(f"gaussians: {tuple(gaussians.shape)} is not [n, 14]")
    values = gaussians.detach().cpu().float().numpy()
    vertices = np.zeros(len(values), [(name, "<f4") for name in PROPERTIES])
    for name, column in zip(ENCODED, _encode(values).T, strict=True):
        vertices[name] = column
    for name, column in zip(EXACT, values[:, EXACT_CHANNELS].T, strict=True):
        vertices[name] = column
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"element vertex {len(values)}",
        *(f"property float {name}" for name in PROPERTIES),
        "end_header\n",
    ]
    path.write_bytes("\n".join(header).encode("ascii") + vertices.tobytes())


def load_ply(path: Path) -> Float[Tensor, "n 14"]:
    """Read Gaussians as `rendering.render` takes them, from our files or 3D Gaussian Splatting's.

    Colour that depends on the view (f_rest_…) is left out; rotations are normalised if need be.

    Raises:
        ValueError: it is no such file.
    """
    vertices = _read_vertices(path)
    names = set(vertices.dtype.names or ())
    if missing := [name for name in ENCODED if name not in names]:
        raise ValueError(f"{path}: not a file of Gaussians: no property {', '.join(missing)}")
    encoded = np.stack([vertices[name] for name in ENCODED], axis=-1)
    values = _decode(encoded)
    if names.issuperset(EXACT):
        exact = values.copy()
        exact[:, EXACT_CHANNELS] = np.stack([vertices[name] for name in EXACT], axis=-1)
        values = np.where(_encode(exact) == encoded, exact, values)
    return torch.from_numpy(values)


def _encode(values: Float[np.ndarray, "n 14"]) -> Float[np.ndarray, "n 14"]:
    """Channels as viewers expect them, rounded once, from float64."""
    encoded = values.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        encoded[:, 3] = np.log(encoded[:, 3]) - np.log1p(-encoded[:, 3])
        encoded[:, 4:7] = np.log(encoded[:, 4:7])
    encoded[:, 3:7] = encoded[:, 3:7].clip(-LIMIT, LIMIT)
    encoded[:, 11:] = (encoded[:, 11:] - 0.5) / SH_CONSTANT
    return encoded.astype(np.float32)


def _decode(encoded: Float[np.ndarray, "n 14"]) -> Float[np.ndarray, "n 14"]:
    """The inverse of `_encode`, as far as rounding lets it be."""
    values = encoded.astype(np.float64)
    values[:, 3] = 1 / (1 + np.exp(-values[:, 3]))
    values[:, 4:7] = np.exp(values[:, 4:7])
    length = np.linalg.norm(values[:, 7:11], axis=-1, keepdims=True)
    values[:, 7:11] /= np.where(np.abs(length - 1) < 1e-6, 1, length)
    values[:, 11:] = values[:, 11:] * SH_CONSTANT + 0.5
    return values.astype(np.float32)


def _read_vertices(path: Path) -> np.ndarray:
    """The structured array that the first element of a binary little-endian file holds."""
    content = path.read_bytes()
    header, marker, body = content.partition(b"end_header\n")
    lines = [line.split() for line in header.decode("ascii", "replace").splitlines()]
    lines = [words for words in lines if words and words[0] not in ("comment", "obj_info")]
    if not marker or lines[:2] != [["ply"], ["format", "binary_little_endian", "1.0"]]:
        raise ValueError(f"{path}: not a binary little-endian .ply file")
    elements = [index for index, words in enumerate(lines) if words[0] == "element"]
    if not elements or lines[elements[0]][1:-1] != ["vertex"]:
        raise ValueError(f"{path}: its first element is not its vertices")
    count = int(lines[elements[0]][-1])
    properties = lines[elements[0] + 1 : (*elements, len(lines))[1]]
    if unknown := [words for words in properties if len(words) != 3 or words[1] not in TYPES]:
        raise ValueError(f"{path}: vertices with {' '.join(unknown[0])!r}")
    vertex = np.dtype([(name, TYPES[kind]) for _, kind, name in properties])
    if len(body) < count * vertex.itemsize:
        raise ValueError(f"{path}: cut short: {len(body)} bytes for {count} Gaussians")
    return np.frombuffer(body, vertex, count)
