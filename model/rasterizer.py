"""Render Gaussians on a CPU: EWA splatting in tiles, compiled by numba, with analytic gradients.

Zwicker et al., EWA Splatting (2002), as in Kerbl et al., 3D Gaussian Splatting (2023): a camera of
rotation W sees a Gaussian of covariance Σ = R S Sᵀ Rᵀ as one of Σ' = J W Σ Wᵀ Jᵀ + 0.3 I in its
picture, J being the projection's Jacobian at the centre. At an offset d from there its alpha
is opacity · exp(-sigma), sigma = dᵀ Σ'⁻¹ d / 2. A pixel blends Gaussians from front to back,
C = Σᵢ cᵢ alphaᵢ Tᵢ; Tᵢ is the light that those in front let through, the product of 1 - alpha.

Every rule of what is drawn is gsplat's (1.5.3, "classic"), so both render the same pictures: the
constants below, the Jacobian's clamp, which Gaussians a pixel takes (alpha at least 1/255, whatever
tile it lies in) and where it ends.

All arithmetic is in float64, whatever the tensors' type. Work is shared out by Gaussian, picture or
tile, each writing only its own part, so results do not depend on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = 16
NEAR, FAR = 0.01, 1e10  # world units
BLUR = 0.3  # pixels², added to the variances in the picture
CLAMP = 0.15  # of the picture's size: how far outside it the Jacobian still follows the centre
MIN_ALPHA, MAX_ALPHA = 1 / 255, 0.999
MIN_TRANSMITTANCE = 1e-4

# A Gaussian in a picture: centre x, y in pixels; inverse covariance [[A, B], [B, C]] in 1/pixels²;
# opacity; colour; depth along the optical axis in world units.
X, Y, A, B, C, OPACITY, RED, GREEN, BLUE, DEPTH = range(10)
SPLAT = 10
PARTS = 8  # of the work, for each thread

Vector = tuple[float, float, float]

_compiled = njit(nogil=True, cache=True, error_model="numpy")


def rasterize(
    gaussians: Float[Tensor, "batch n 14"],
    world_to_camera: Float[Tensor, "batch views 4 4"],
    intrinsics: Float[Tensor, "batch views 3 3"],
    width: int,
    height: int,
) -> tuple[
    Float[Tensor, "batch views height width 4"], Float[Tensor, "batch views height width 1"]
]:
    """Blend Gaussians into pictures, differentiably with respect to the Gaussians alone.

    Args:
        gaussians: as `rendering.render` takes them.
        world_to_camera: rigid; OpenCV camera axes.
        intrinsics: in pixels; no skew.

    Returns:
        Σ alpha T of colour and depth, to be added to a background's; and the whole pixel's alpha.
    """
    return _Rasterize.apply(gaussians, world_to_camera, intrinsics, width, height)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        gaussians: Tensor,
        world_to_camera: Tensor,
        intrinsics: Tensor,
        width: int,
        height: int,
    ) -> tuple[Tensor, Tensor]:
        scene, cameras, lenses = map(_array, (gaussians, world_to_camera, intrinsics))
        batch, views = cameras.shape[:2]
        images, count = batch * views, scene.shape[1]
        splats, boxes = np.zeros((images, count, SPLAT)), np.zeros((images, count, 4), np.int32)
        view = (scene, cameras, lenses, width, height)
        _in_threads(_project, images * count, *view, splats, boxes)

        order = torch.from_numpy(splats[..., DEPTH]).argsort(dim=-1, stable=True).numpy()
        counts = np.zeros((images, math.ceil(height / TILE), math.ceil(width / TILE)), np.int64)
        _in_threads(_count, images, boxes, counts)
        starts = _starts(counts)
        slots = _starts((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]))
        members, places = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int32)
        ends = starts[:-1].reshape(counts.shape).copy()
        first = slots[:-1].reshape(order.shape)
        _in_threads(_deal, images, boxes, order, first, ends, members, places)

        blended, light = np.zeros((images, height, width, 4)), np.ones((images, height, width))
        last = np.full((images, height, width), -1, np.int32)
        _in_threads(_blend, counts.size, splats, starts, members, blended, light, last)
        ctx.view, ctx.tiled = (*view, splats, slots, places), (splats, starts, members, light, last)
        return (
            torch.from_numpy(blended).view(batch, views, height, width, 4).to(gaussians.dtype),
            torch.from_numpy(1 - light).view(batch, views, height, width, 1).to(gaussians.dtype),
        )

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_blended: Tensor, d_alpha: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        _, starts, members, *_ = ctx.tiled
        d_pictures = _array(d_blended.flatten(0, 1)), -_array(d_alpha[..., 0].flatten(0, 1))
        d_members = np.zeros((len(members), SPLAT))
        _in_threads(_blend_backward, len(starts) - 1, *ctx.tiled, *d_pictures, d_members)
        d_scene = np.zeros_like(ctx.view[0])
        gaussians = d_scene.shape[0] * d_scene.shape[1]
        _in_threads(_project_backward, gaussians, *ctx.view, d_members, d_scene)
        return torch.from_numpy(d_scene).to(d_blended.dtype), None, None, None, None


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().contiguous().numpy()


def _starts(counts: np.ndarray) -> Int[np.ndarray, "size+1"]:
    """Where each of so many things starts in a list of all; and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def _in_threads(kernel: Callable[..., None], items: int, *arguments: Any) -> None:
    """Run a kernel over all items, on as many threads as torch uses, some parts to each of them.

    Threads of our own rather than numba's: kernels compile in half the time, a thread that is done
    early takes another part, and no second OpenMP spins beside torch's.
    """
    threads = torch.get_num_threads()
    edges = np.linspace(0, items, PARTS * threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: kernel(*part, *arguments), pairwise(edges)))


@_compiled
def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@_compiled
def _row(matrix: np.ndarray, row: int) -> Vector:
    return matrix[row, 0], matrix[row, 1], matrix[row, 2]


@_compiled
def _unit_quaternion(gaussian: np.ndarray) -> tuple[float, float, float, float, float]:
    """The rotation (w, x, y, z), and the length it had before it was normalised."""
    w, x, y, z = gaussian[7], gaussian[8], gaussian[9], gaussian[10]
    length = math.sqrt(w * w + x * x + y * y + z * z)
    return w / length, x / length, y / length, z / length, length


@_compiled
def _axes(gaussian: np.ndarray) -> tuple[Vector, Vector, Vector]:
    """The columns of R: the Gaussian's own axes, in world coordinates."""
    w, x, y, z, _ = _unit_quaternion(gaussian)
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)),
        (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)),
        (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)),
    )


@_compiled
def _to_camera(gaussian: np.ndarray, camera: np.ndarray) -> Vector:
    centre = (gaussian[0], gaussian[1], gaussian[2])
    return (
        _dot(_row(camera, 0), centre) + camera[0, 3],
        _dot(_row(camera, 1), centre) + camera[1, 3],
        _dot(_row(camera, 2), centre) + camera[2, 3],
    )


@_compiled
def _lever(pixel: float, principal: float, size: int) -> float:
    """How far off the principal point, in pixels, the Jacobian takes the centre to be."""
    return min(max(pixel, -CLAMP * size), (1 + CLAMP) * size) - principal


@_compiled
def _jacobian(camera: np.ndarray, axis: int, scale: float, tilt: float) -> Vector:
    """A row of J W: how a pixel coordinate moves with the world's three.

    Args:
        axis: 0 for x, 1 for y.
        scale: pixels per world unit across the optical axis.
        tilt: pixels per world unit along it.
    """
    across, along = _row(camera, axis), _row(camera, 2)
    return (
        scale * across[0] + tilt * along[0],
        scale * across[1] + tilt * along[1],
        scale * across[2] + tilt * along[2],
    )


@_compiled
def _project(
    begin: int,
    end: int,
    scene: Float[np.ndarray, "batch n 14"],
    cameras: Float[np.ndarray, "batch views 4 4"],
    lenses: Float[np.ndarray, "batch views 3 3"],
    width: int,
    height: int,
    splats: Float[np.ndarray, "images n 10"],
    boxes: Int[np.ndarray, "images n 4"],
) -> None:
    """Fill in Gaussians as pictures see them, and the boxes of tiles they touch: first column,
    first row, last column + 1, last row + 1. Both stay 0 where a Gaussian is not seen.

    Works on a part of all pictures' Gaussians.
    """
    views, count = cameras.shape[1], scene.shape[1]
    for index in range(begin, end):
        image, n = index // count, index % count
        gaussian = scene[image // views, n]
        camera, lens = cameras[image // views, image % views], lenses[image // views, image % views]
        opacity = gaussian[3]
        x, y, z = _to_camera(gaussian, camera)
        if not (NEAR <= z <= FAR and opacity >= MIN_ALPHA):
            continue
        px, py = lens[0, 0] * x / z + lens[0, 2], lens[1, 1] * y / z + lens[1, 2]
        row_x = _jacobian(camera, 0, lens[0, 0] / z, -_lever(px, lens[0, 2], width) / z)
        row_y = _jacobian(camera, 1, lens[1, 1] / z, -_lever(py, lens[1, 2], height) / z)
        axes = _axes(gaussian)
        xx, xy, yy = BLUR, 0.0, BLUR
        for k in range(3):
            u, v = gaussian[4 + k] * _dot(row_x, axes[k]), gaussian[4 + k] * _dot(row_y, axes[k])
            xx += u * u
            xy += u * v
            yy += v * v
        determinant = xx * yy - xy * xy
        if not 0 < determinant < np.inf:
            continue

        reach = 2 * math.log(opacity / MIN_ALPHA)  # squared, in standard deviations
        reach_x, reach_y = math.sqrt(reach * xx), math.sqrt(reach * yy)
        left = max(np.ceil(px - reach_x - 0.5), 0.0)
        top = max(np.ceil(py - reach_y - 0.5), 0.0)
        right = min(np.floor(px + reach_x - 0.5), width - 1.0)
        bottom = min(np.floor(py + reach_y - 0.5), height - 1.0)
        if left > right or top > bottom:
            continue
        boxes[image, n, 0], boxes[image, n, 1] = left // TILE, top // TILE
        boxes[image, n, 2], boxes[image, n, 3] = right // TILE + 1, bottom // TILE + 1

        splat = splats[image, n]
        splat[X], splat[Y] = px, py
        splat[A], splat[B], splat[C] = yy / determinant, -xy / determinant, xx / determinant
        splat[OPACITY] = opacity
        splat[RED], splat[GREEN], splat[BLUE] = gaussian[11], gaussian[12], gaussian[13]
        splat[DEPTH] = z


@_compiled
def _count(
    begin: int,
    end: int,
    boxes: Int[np.ndarray, "images n 4"],
    counts: Int[np.ndarray, "images rows columns"],
) -> None:
    """Fill in how many Gaussians each tile holds. Works on a part of the pictures."""
    for image in range(begin, end):
        for n in range(boxes.shape[1]):
            left, top, right, bottom = _box(boxes, image, n)
            for row in range(top, bottom):
                for column in range(left, right):
                    counts[image, row, column] += 1


@_compiled
def _deal(
    begin: int,
    end: int,
    boxes: Int[np.ndarray, "images n 4"],
    order: Int[np.ndarray, "images n"],
    slots: Int[np.ndarray, "images n"],
    ends: Int[np.ndarray, "images rows columns"],
    members: Int[np.ndarray, "members"],
    places: Int[np.ndarray, "members"],
) -> None:
    """Fill in each tile's Gaussians, near ones first. Works on a part of the pictures.

    They are dealt out in the order of their depth in the picture, so that no tile needs sorting.

    Args:
        begin: first picture.
        end: last picture + 1.
        boxes: of tiles that Gaussians touch.
        order: of the Gaussians by depth.
        slots: where each Gaussian's `places` start.
        ends: where each tile's members start; on return, where they end.
        members: Gaussians, one tile after the other.
        places: of each Gaussian among the members.
    """
    for image in range(begin, end):
        for n in order[image]:
            left, top, right, bottom = _box(boxes, image, n)
            slot = slots[image, n]
            for row in range(top, bottom):
                for column in range(left, right):
                    place = ends[image, row, column]
                    members[place] = n
                    places[slot] = place
                    ends[image, row, column] += 1
                    slot += 1


@_compiled
def _box(boxes: np.ndarray, image: int, n: int) -> tuple[int, int, int, int]:
    return boxes[image, n, 0], boxes[image, n, 1], boxes[image, n, 2], boxes[image, n, 3]


class _Ellipse(NamedTuple):
    """Where a Gaussian's alpha is at least 1/255.

    Attributes:
        x: of the centre, in pixels from the tile's left edge.
        y: likewise, from its top edge.
        reach: the most that sigma = (u² / width + dy² / height) / 2 may be, u = dx + lean · dy.
        lean: how far the middle of a row lies to the left, for each row further down.
        width: of the middle row: its variance in pixels².
        height: of the whole: its variance in pixels².
    """

    x: float
    y: float
    reach: float
    lean: float
    width: float
    height: float


@_compiled
def _ellipse(splat: np.ndarray, left: int, top: int) -> _Ellipse:
    a, b, c = splat[A], splat[B], splat[C]
    reach = math.log(splat[OPACITY] / MIN_ALPHA)
    return _Ellipse(splat[X] - left, splat[Y] - top, reach, b / a, 1 / a, 1 / (c - b * b / a))


@_compiled
def _pixels(middle: float, half: float, size: int) -> tuple[int, int]:
    """First and last + 1 of `size` pixels with centres at most `half` from `middle`."""
    return (
        int(min(max(np.ceil(middle - half - 0.5), 0), size)),
        int(max(min(np.floor(middle + half + 0.5), size), 0)),
    )


@_compiled
def _rows(ellipse: _Ellipse, size: int) -> tuple[int, int]:
    """Those of a tile's rows that the ellipse reaches: first, last + 1."""
    return _pixels(ellipse.y, math.sqrt(2 * ellipse.reach * ellipse.height), size)


@_compiled
def _columns(ellipse: _Ellipse, dy: float, size: int) -> tuple[int, int]:
    """Those of a row's pixels that it covers, the row being `dy` below its centre."""
    square = (2 * ellipse.reach - dy * dy / ellipse.height) * ellipse.width
    return _pixels(ellipse.x - ellipse.lean * dy, math.sqrt(max(square, 0.0)), size)


@_compiled
def _falloff(splat: np.ndarray, dx: float, dy: float) -> Vector:
    """The Gaussian's opacity along a row, by recurrence: no exponential for each pixel.

    Returns:
        opacity · exp(-sigma) at (dx, dy) off its centre; the ratio to that of the next pixel; and
        the ratio of each such ratio to the next.
    """
    a, b, c = splat[A], splat[B], splat[C]
    value = splat[OPACITY] * math.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    return value, math.exp(-a * (dx + 0.5) - b * dy), math.exp(-a)


@_compiled
def _tile(index: int, width: int, height: int) -> tuple[int, int, int, int, int]:
    """A tile's picture, first column, first row, last column + 1 and last row + 1, in pixels."""
    columns, rows = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    image, cell = index // (rows * columns), index % (rows * columns)
    left, top = cell % columns * TILE, cell // columns * TILE
    return image, left, top, min(left + TILE, width), min(top + TILE, height)


@_compiled
def _blend(
    begin: int,
    end: int,
    splats: Float[np.ndarray, "images n 10"],
    starts: Int[np.ndarray, "tiles+1"],
    members: Int[np.ndarray, "members"],
    blended: Float[np.ndarray, "images height width 4"],
    light: Float[np.ndarray, "images height width"],
    last: Int[np.ndarray, "images height width"],
) -> None:
    """Blend each tile's Gaussians from front to back. Works on a part of all pictures' tiles.

    Args:
        begin: first tile.
        end: last tile + 1.
        splats: as pictures see them.
        starts: where each tile's members start.
        members: Gaussians, one tile after the other.
        blended: 0; on return, colour and depth.
        light: 1; on return, what is left behind the last Gaussian drawn.
        last: -1; on return, that Gaussian's place among its tile's members, if there is one.
    """
    height, width = light.shape[1:]
    for tile in range(begin, end):
        image, left, top, right, bottom = _tile(tile, width, height)
        _blend_tile(
            splats[image],
            members[starts[tile] : starts[tile + 1]],
            left,
            top,
            blended[image, top:bottom, left:right],
            light[image, top:bottom, left:right],
            last[image, top:bottom, left:right],
        )


@_compiled
def _blend_tile(
    splats: Float[np.ndarray, "n 10"],
    members: Int[np.ndarray, "members"],
    left: int,
    top: int,
    blended: Float[np.ndarray, "rows columns 4"],
    light: Float[np.ndarray, "rows columns"],
    last: Int[np.ndarray, "rows columns"],
) -> None:
    rows, columns = light.shape
    closed = np.zeros((TILE, TILE), np.bool_)
    still_open = rows * columns
    for k in range(len(members)):
        if still_open == 0:
            break
        splat = splats[members[k]]
        red, green, blue, depth = splat[RED], splat[GREEN], splat[BLUE], splat[DEPTH]
        ellipse = _ellipse(splat, left, top)
        for y in range(*_rows(ellipse, rows)):
            dy = y + 0.5 - ellipse.y
            first, end = _columns(ellipse, dy, columns)
            value, ratio, decay = _falloff(splat, first + 0.5 - ellipse.x, dy)
            for x in range(first, end):
                if not closed[y, x]:
                    alpha = min(value, MAX_ALPHA)
                    rest = light[y, x] * (1 - alpha)
                    if rest <= MIN_TRANSMITTANCE:
                        closed[y, x] = True
                        still_open -= 1
                    else:
                        weight = light[y, x] * alpha
                        blended[y, x, 0] += weight * red
                        blended[y, x, 1] += weight * green
                        blended[y, x, 2] += weight * blue
                        blended[y, x, 3] += weight * depth
                        light[y, x] = rest
                        last[y, x] = k
                value *= ratio
                ratio *= decay


@_compiled
def _blend_backward(
    begin: int,
    end: int,
    splats: Float[np.ndarray, "images n 10"],
    starts: Int[np.ndarray, "tiles+1"],
    members: Int[np.ndarray, "members"],
    light: Float[np.ndarray, "images height width"],
    last: Int[np.ndarray, "images height width"],
    d_blended: Float[np.ndarray, "images height width 4"],
    d_light: Float[np.ndarray, "images height width"],
    d_members: Float[np.ndarray, "members 10"],
) -> None:
    """Fill in gradients of the splats, apart for each tile that they touch: no two threads write
    to one. Works on a part of all pictures' tiles."""
    height, width = light.shape[1:]
    for tile in range(begin, end):
        image, left, top, right, bottom = _tile(tile, width, height)
        _blend_tile_backward(
            splats[image],
            members[starts[tile] : starts[tile + 1]],
            left,
            top,
            light[image, top:bottom, left:right].copy(),
            last[image, top:bottom, left:right],
            d_blended[image, top:bottom, left:right],
            d_light[image, top:bottom, left:right],
            d_members[starts[tile] : starts[tile + 1]],
        )


@_compiled
def _blend_tile_backward(
    splats: Float[np.ndarray, "n 10"],
    members: Int[np.ndarray, "members"],
    left: int,
    top: int,
    light: Float[np.ndarray, "rows columns"],
    last: Int[np.ndarray, "rows columns"],
    d_blended: Float[np.ndarray, "rows columns 4"],
    d_light: Float[np.ndarray, "rows columns"],
    d_members: Float[np.ndarray, "members 10"],
) -> None:
    """From back to front: `light` is turned back to what it was before each Gaussian."""
    rows, columns = light.shape
    behind = light * d_light  # the loss's gradient times all that lies behind the Gaussian at hand
    for k in range(last.max(), -1, -1):
        splat, d_splat = splats[members[k]], d_members[k]
        red, green, blue, depth = splat[RED], splat[GREEN], splat[BLUE], splat[DEPTH]
        d_red = d_green = d_blue = d_depth = 0.0
        # Sums of dL/dsigma, times powers of dx and dy.
        s = s_x = s_y = s_xx = s_xy = s_yy = 0.0
        ellipse = _ellipse(splat, left, top)
        for y in range(*_rows(ellipse, rows)):
            dy = y + 0.5 - ellipse.y
            first, end = _columns(ellipse, dy, columns)
            value, ratio, decay = _falloff(splat, first + 0.5 - ellipse.x, dy)
            row = row_x = row_xx = 0.0
            for x in range(first, end):
                if k <= last[y, x]:
                    alpha = min(value, MAX_ALPHA)
                    light[y, x] /= 1 - alpha
                    weight = light[y, x] * alpha
                    to_red, to_green = d_blended[y, x, 0], d_blended[y, x, 1]
                    to_blue, to_depth = d_blended[y, x, 2], d_blended[y, x, 3]
                    d_red += weight * to_red
                    d_green += weight * to_green
                    d_blue += weight * to_blue
                    d_depth += weight * to_depth
                    own = red * to_red + green * to_green + blue * to_blue + depth * to_depth
                    if value <= MAX_ALPHA:
                        d_sigma = value * (behind[y, x] / (1 - alpha) - light[y, x] * own)
                        dx = x + 0.5 - ellipse.x
                        row += d_sigma
                        row_x += d_sigma * dx
                        row_xx += d_sigma * dx * dx
                    behind[y, x] += weight * own
                value *= ratio
                ratio *= decay
            s += row
            s_x += row_x
            s_y += row * dy
            s_xx += row_xx
            s_xy += row_x * dy
            s_yy += row * dy * dy
        d_splat[X] = -(splat[A] * s_x + splat[B] * s_y)
        d_splat[Y] = -(splat[B] * s_x + splat[C] * s_y)
        d_splat[A], d_splat[B], d_splat[C] = 0.5 * s_xx, s_xy, 0.5 * s_yy
        d_splat[OPACITY] = -s / splat[OPACITY]
        d_splat[RED], d_splat[GREEN], d_splat[BLUE] = d_red, d_green, d_blue
        d_splat[DEPTH] = d_depth


@_compiled
def _project_backward(
    begin: int,
    end: int,
    scene: Float[np.ndarray, "batch n 14"],
    cameras: Float[np.ndarray, "batch views 4 4"],
    lenses: Float[np.ndarray, "batch views 3 3"],
    width: int,
    height: int,
    splats: Float[np.ndarray, "images n 10"],
    slots: Int[np.ndarray, "images*n+1"],
    places: Int[np.ndarray, "members"],
    d_members: Float[np.ndarray, "members 10"],
    d_scene: Float[np.ndarray, "batch n 14"],
) -> None:
    """Add up gradients of the Gaussians over tiles and views, in their order. Works on a part of
    all the batch's Gaussians."""
    views, count = cameras.shape[1], scene.shape[1]
    for index in range(begin, end):
        item, n = index // count, index % count
        gaussian, d_gaussian = scene[item, n], d_scene[item, n]
        axes = _axes(gaussian)
        d_axes = np.zeros((3, 3))  # of R's columns, as rows
        seen = False
        for view in range(views):
            image = item * views + view
            slot, end_slot = slots[image * count + n], slots[image * count + n + 1]
            if slot == end_slot:
                continue
            seen = True
            d_splat = np.zeros(SPLAT)
            for place in places[slot:end_slot]:
                for channel in range(SPLAT):
                    d_splat[channel] += d_members[place, channel]
            d_gaussian[3] += d_splat[OPACITY]
            d_gaussian[11] += d_splat[RED]
            d_gaussian[12] += d_splat[GREEN]
            d_gaussian[13] += d_splat[BLUE]

            camera, lens, splat = cameras[item, view], lenses[item, view], splats[image, n]
            px, py, z = splat[X], splat[Y], splat[DEPTH]
            scale_x, tilt_x = lens[0, 0] / z, -_lever(px, lens[0, 2], width) / z
            scale_y, tilt_y = lens[1, 1] / z, -_lever(py, lens[1, 2], height) / z
            row_x, row_y = (
                _jacobian(camera, 0, scale_x, tilt_x),
                _jacobian(camera, 1, scale_y, tilt_y),
            )

            # With P = Σ'⁻¹ and G = dL/dP, symmetric: dL/dΣ' = -P G P.
            a, b, c = splat[A], splat[B], splat[C]
            g_xx, g_xy, g_yy = d_splat[A], 0.5 * d_splat[B], d_splat[C]
            d_xx = -(a * a * g_xx + 2 * a * b * g_xy + b * b * g_yy)
            d_xy = -(a * b * g_xx + (a * c + b * b) * g_xy + b * c * g_yy)
            d_yy = -(b * b * g_xx + 2 * b * c * g_xy + c * c * g_yy)

            # Σ' = Σₖ sₖ² (J W rₖ)(J W rₖ)ᵀ + 0.3 I, over the axes rₖ and scales sₖ.
            d_scale_x = d_tilt_x = d_scale_y = d_tilt_y = 0.0
            for k in range(3):
                size = gaussian[4 + k]
                u, v = _dot(row_x, axes[k]), _dot(row_y, axes[k])
                d_u, d_v = 2 * size * (d_xx * u + d_xy * v), 2 * size * (d_xy * u + d_yy * v)
                d_gaussian[4 + k] += d_u * u + d_v * v
                for i in range(3):
                    d_axes[k, i] += size * (d_u * row_x[i] + d_v * row_y[i])
                along = size * _dot(_row(camera, 2), axes[k])
                d_scale_x += d_u * size * _dot(_row(camera, 0), axes[k])
                d_scale_y += d_v * size * _dot(_row(camera, 1), axes[k])
                d_tilt_x += d_u * along
                d_tilt_y += d_v * along

            d_px, d_py = d_splat[X], d_splat[Y]
            if -CLAMP * width <= px <= (1 + CLAMP) * width:
                d_px -= d_tilt_x / z
            if -CLAMP * height <= py <= (1 + CLAMP) * height:
                d_py -= d_tilt_y / z
            d_x, d_y = scale_x * d_px, scale_y * d_py
            d_z = (
                d_splat[DEPTH]
                - (
                    (px - lens[0, 2]) * d_px
                    + (py - lens[1, 2]) * d_py
                    + scale_x * d_scale_x
                    + scale_y * d_scale_y
                    + tilt_x * d_tilt_x
                    + tilt_y * d_tilt_y
                )
                / z
            )
            for i in range(3):
                d_gaussian[i] += camera[0, i] * d_x + camera[1, i] * d_y + camera[2, i] * d_z

        if not seen:
            continue
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
