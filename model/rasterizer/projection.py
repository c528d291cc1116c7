"""What pictures see of each Gaussian, and backward.

A camera of rotation W sees a Gaussian of covariance Σ = R S Sᵀ Rᵀ as one of
Σ' = J W Σ Wᵀ Jᵀ + blur I in its picture, J being the projection's Jacobian at the centre.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from model.rasterizer.kernels import compiled

NEAR, FAR = 0.01, 1e10  # world units
BLUR = 0.3  # pixels², added to the variances in the picture, by default
CLAMP = 0.15  # of the picture's size: how far outside it the Jacobian still follows the centre
MIN_ALPHA = 1 / 255

# A Gaussian in a picture: centre x, y in pixels; inverse covariance [[a, b], [b, c]] in 1/pixels²;
# opacity; the sigma at which its alpha is 1/255; colour; depth along the optical axis in world
# units.
SPLAT = np.dtype(
    [
        (name, np.float64)
        for name in ("x", "y", "a", "b", "c", "opacity", "reach", "red", "green", "blue", "depth")
    ],
    align=True,
)

Vector = tuple[float, float, float]


@compiled
def project(
    begin: int,
    end: int,
    gaussians: Float[np.ndarray, "batch n 14"],
    cameras: Float[np.ndarray, "batch*views 4 4"],
    lenses: Float[np.ndarray, "batch*views 3 3"],
    width: int,
    height: int,
    blur: float,
    splats: Shaped[np.ndarray, "batch*views n"],
    boxes: Int[np.ndarray, "batch*views n 4"],
) -> None:
    """Works on a part of all pictures' Gaussians.

    Args:
        begin: first Gaussian.
        end: last Gaussian + 1.
        gaussians: in the world.
        cameras: world to camera.
        lenses: intrinsics in pixels.
        width: of the pictures, in pixels.
        height: likewise.
        blur: added to the variances in the picture, in pixels².
        splats: 0; on return, `SPLAT` of each Gaussian that is seen.
        boxes: 0; on return, the pixels that it reaches: first column, first row, last column + 1,
            last row + 1.
    """
    views, count = len(cameras) // len(gaussians), gaussians.shape[1]
    for index in range(begin, end):
        image, n = index // count, index % count
        gaussian, camera, lens = gaussians[image // views, n], cameras[image], lenses[image]
        opacity = gaussian[3]
        x, y, z = _to_camera(gaussian, camera)
        if not (NEAR <= z <= FAR and opacity >= MIN_ALPHA):
            continue
        px, py = lens[0, 0] * x / z + lens[0, 2], lens[1, 1] * y / z + lens[1, 2]
        jacobian = _jacobian(px, py, z, camera, lens, width, height)
        axes = _axes(gaussian)
        xx, xy, yy = blur, 0.0, blur
        for k in range(3):
            size = gaussian[4 + k]
            u, v = size * _dot(jacobian.row_x, axes[k]), size * _dot(jacobian.row_y, axes[k])
            xx += u * u
            xy += u * v
            yy += v * v
        determinant = xx * yy - xy * xy
        if not 0 < determinant < np.inf:
            continue

        reach = math.log(opacity / MIN_ALPHA)
        reach_x, reach_y = math.sqrt(2 * reach * xx), math.sqrt(2 * reach * yy)
        left = max(np.ceil(px - reach_x - 0.5), 0.0)
        top = max(np.ceil(py - reach_y - 0.5), 0.0)
        right = min(np.floor(px + reach_x - 0.5), width - 1.0)
        bottom = min(np.floor(py + reach_y - 0.5), height - 1.0)
        if left > right or top > bottom:
            continue
        boxes[image, n, 0], boxes[image, n, 1] = left, top
        boxes[image, n, 2], boxes[image, n, 3] = right + 1, bottom + 1

        splat = splats[image, n]
        splat.x, splat.y = px, py
        splat.a, splat.b, splat.c = yy / determinant, -xy / determinant, xx / determinant
        splat.opacity, splat.reach = opacity, reach
        splat.red, splat.green, splat.blue = gaussian[11], gaussian[12], gaussian[13]
        splat.depth = z


@compiled
def project_backward(
    begin: int,
    end: int,
    gaussians: Float[np.ndarray, "batch n 14"],
    cameras: Float[np.ndarray, "batch*views 4 4"],
    lenses: Float[np.ndarray, "batch*views 3 3"],
    width: int,
    height: int,
    splats: Shaped[np.ndarray, "batch*views n"],
    d_splats: Shaped[np.ndarray, "batch*views*n"],
    d_gaussians: Float[np.ndarray, "batch n 14"],
) -> None:
    """Add up gradients of the Gaussians over views, in their order. Works on a part of all the
    batch's Gaussians."""
    views, count = len(cameras) // len(gaussians), gaussians.shape[1]
    for index in range(begin, end):
        item, n = index // count, index % count
        gaussian, d_gaussian = gaussians[item, n], d_gaussians[item, n]
        axes = _axes(gaussian)
        d_axes = np.zeros((3, 3))  # of R's columns, as rows
        seen = False
        for image in range(item * views, (item + 1) * views):
            splat, d_splat = splats[image, n], d_splats[image * count + n]
            if splat.depth == 0:
                continue
            seen = True
            camera, lens = cameras[image], lenses[image]
            d_gaussian[3] += d_splat.opacity
            d_gaussian[11] += d_splat.red
            d_gaussian[12] += d_splat.green
            d_gaussian[13] += d_splat.blue

            # With P = Σ'⁻¹ and G = dL/dP, symmetric: dL/dΣ' = -P G P.
            a, b, c = splat.a, splat.b, splat.c
            g_xx, g_xy, g_yy = d_splat.a, 0.5 * d_splat.b, d_splat.c
            d_xx = -(a * a * g_xx + 2 * a * b * g_xy + b * b * g_yy)
            d_xy = -(a * b * g_xx + (a * c + b * b) * g_xy + b * c * g_yy)
            d_yy = -(b * b * g_xx + 2 * b * c * g_xy + c * c * g_yy)

            # Σ' = Σₖ sₖ² (J W rₖ)(J W rₖ)ᵀ + blur I, over the axes rₖ and scales sₖ.
            px, py, z = splat.x, splat.y, splat.depth
            jacobian = _jacobian(px, py, z, camera, lens, width, height)
            d_scale_x = d_tilt_x = d_scale_y = d_tilt_y = 0.0
            for k in range(3):
                size = gaussian[4 + k]
                u, v = _dot(jacobian.row_x, axes[k]), _dot(jacobian.row_y, axes[k])
                d_u, d_v = 2 * size * (d_xx * u + d_xy * v), 2 * size * (d_xy * u + d_yy * v)
                d_gaussian[4 + k] += d_u * u + d_v * v
                for i in range(3):
                    d_axes[k, i] += size * (d_u * jacobian.row_x[i] + d_v * jacobian.row_y[i])
                along = size * _dot(_row(camera, 2), axes[k])
                d_scale_x += d_u * size * _dot(_row(camera, 0), axes[k])
                d_scale_y += d_v * size * _dot(_row(camera, 1), axes[k])
                d_tilt_x += d_u * along
                d_tilt_y += d_v * along

            d_px, d_py = d_splat.x, d_splat.y
            if -CLAMP * width <= px <= (1 + CLAMP) * width:
                d_px -= d_tilt_x / z
            if -CLAMP * height <= py <= (1 + CLAMP) * height:
                d_py -= d_tilt_y / z
            d_x, d_y = jacobian.scale_x * d_px, jacobian.scale_y * d_py
            d_z = (
                d_splat.depth
                - (
                    (px - lens[0, 2]) * d_px
                    + (py - lens[1, 2]) * d_py
                    + jacobian.scale_x * d_scale_x
                    + jacobian.scale_y * d_scale_y
                    + jacobian.tilt_x * d_tilt_x
                    + jacobian.tilt_y * d_tilt_y
                )
                / z
            )
            for i in range(3):
                d_gaussian[i] += camera[0, i] * d_x + camera[1, i] * d_y + camera[2, i] * d_z
        if seen:
            _axes_backward(gaussian, d_axes, d_gaussian)


class _Jacobian(NamedTuple):
    """J W at a Gaussian's centre.

    Attributes:
        row_x, row_y: how its pixel coordinates move with the world's three.
        scale_x, scale_y: pixels per world unit across the optical axis.
        tilt_x, tilt_y: pixels per world unit along it.
    """

    row_x: Vector
    row_y: Vector
    scale_x: float
    scale_y: float
    tilt_x: float
    tilt_y: float


@compiled
def _jacobian(
    px: float,
    py: float,
    z: float,
    camera: np.ndarray,
    lens: np.ndarray,
    width: int,
    height: int,
) -> _Jacobian:
    """At a pixel and a depth. Far outside of the picture, as at CLAMP outside."""
    scale_x, scale_y = lens[0, 0] / z, lens[1, 1] / z
    tilt_x = -(min(max(px, -CLAMP * width), (1 + CLAMP) * width) - lens[0, 2]) / z
    tilt_y = -(min(max(py, -CLAMP * height), (1 + CLAMP) * height) - lens[1, 2]) / z
    right, down, along = _row(camera, 0), _row(camera, 1), _row(camera, 2)
    row_x = (
        scale_x * right[0] + tilt_x * along[0],
        scale_x * right[1] + tilt_x * along[1],
        scale_x * right[2] + tilt_x * along[2],
    )
    row_y = (
        scale_y * down[0] + tilt_y * along[0],
        scale_y * down[1] + tilt_y * along[1],
        scale_y * down[2] + tilt_y * along[2],
    )
    return _Jacobian(row_x, row_y, scale_x, scale_y, tilt_x, tilt_y)


@compiled
def _axes(gaussian: np.ndarray) -> tuple[Vector, Vector, Vector]:
    """The columns of R: the Gaussian's own axes, in world coordinates."""
    w, x, y, z, _ = _unit_quaternion(gaussian)
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)),
        (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)),
        (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)),
    )


@compiled
def _axes_backward(
    gaussian: Float[np.ndarray, "14"],
    d_axes: Float[np.ndarray, "3 3"],
    d_gaussian: Float[np.ndarray, "14"],
) -> None:
    """Fill in the gradient of the rotation."""
    w, x, y, z, length = _unit_quaternion(gaussian)
    g = d_axes.T
    d_w = 2 * (x * (g[2, 1] - g[1, 2]) + y * (g[0, 2] - g[2, 0]) + z * (g[1, 0] - g[0, 1]))
    d_x = 2 * (
        w * (g[2, 1] - g[1, 2])
        - 2 * x * (g[1, 1] + g[2, 2])
        + y * (g[0, 1] + g[1, 0])
        + z * (g[0, 2] + g[2, 0])
    )
    d_y = 2 * (
        w * (g[0, 2] - g[2, 0])
        + x * (g[0, 1] + g[1, 0])
        - 2 * y * (g[0, 0] + g[2, 2])
        + z * (g[1, 2] + g[2, 1])
    )
    d_z = 2 * (
        w * (g[1, 0] - g[0, 1])
        + x * (g[0, 2] + g[2, 0])
        + y * (g[1, 2] + g[2, 1])
        - 2 * z * (g[0, 0] + g[1, 1])
    )
    # Only turning the quaternion counts: its length is normalised away.
    radial = w * d_w + x * d_x + y * d_y + z * d_z
    d_gaussian[7] = (d_w - radial * w) / length
    d_gaussian[8] = (d_x - radial * x) / length
    d_gaussian[9] = (d_y - radial * y) / length
    d_gaussian[10] = (d_z - radial * z) / length


@compiled
def _unit_quaternion(gaussian: np.ndarray) -> tuple[float, float, float, float, float]:
    """The rotation (w, x, y, z), and the length it had before it was normalised."""
    w, x, y, z = gaussian[7], gaussian[8], gaussian[9], gaussian[10]
    length = math.sqrt(w * w + x * x + y * y + z * z)
    return w / length, x / length, y / length, z / length, length


@compiled
def _to_camera(gaussian: np.ndarray, camera: np.ndarray) -> Vector:
    centre = (gaussian[0], gaussian[1], gaussian[2])
    return (
        _dot(_row(camera, 0), centre) + camera[0, 3],
        _dot(_row(camera, 1), centre) + camera[1, 3],
        _dot(_row(camera, 2), centre) + camera[2, 3],
    )


@compiled
def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@compiled
def _row(matrix: np.ndarray, row: int) -> Vector:
    return matrix[row, 0], matrix[row, 1], matrix[row, 2]
