"""Blend each tile's Gaussians from front to back, and backward.

At an offset d from its centre a Gaussian's alpha is opacity · exp(-sigma), sigma = dᵀ Σ'⁻¹ d / 2.
A pixel blends Gaussians from front to back, C = Σᵢ cᵢ alphaᵢ Tᵢ; Tᵢ is the light that those in
front let through, the product of 1 - alpha.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from model.rasterizer.kernels import compiled

MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4


@compiled
def blend(
    begin: int,
    end: int,
    splats: Shaped[np.ndarray, "images n"],
    starts: Int[np.ndarray, "tiles+1"],
    members: Int[np.ndarray, "members"],
    rectangles: Int[np.ndarray, "tiles_of_a_picture 4"],
    blended: Float[np.ndarray, "images height width 4"],
    light: Float[np.ndarray, "images height width"],
    last: Int[np.ndarray, "images height width"],
) -> None:
    """Works on a part of all pictures' tiles.

    Args:
        begin: first tile.
        end: last tile + 1.
        splats: as pictures see them, `projection.SPLAT`.
        starts: where each tile's members start.
        members: Gaussians, one tile after the other.
        rectangles: of each tile of a picture: left, top, right, bottom in pixels.
        blended: 0; on return, colour and depth.
        light: 1; on return, what is left behind the last Gaussian drawn.
        last: -1; on return, that Gaussian's place among its tile's members, if there is one.
    """
    for tile in range(begin, end):
        image, left, top, right, bottom = _tile(tile, rectangles)
        _blend_tile(
            splats[image],
            members[starts[tile] : starts[tile + 1]],
            left,
            top,
            blended[image, top:bottom, left:right],
            light[image, top:bottom, left:right],
            last[image, top:bottom, left:right],
        )


@compiled
def _blend_tile(
    splats: Shaped[np.ndarray, "n"],
    members: Int[np.ndarray, "members"],
    left: int,
    top: int,
    blended: Float[np.ndarray, "rows columns 4"],
    light: Float[np.ndarray, "rows columns"],
    last: Int[np.ndarray, "rows columns"],
) -> None:
    rows, columns = light.shape
    closed = np.zeros((rows, columns), np.bool_)
    still_open = rows * columns
    for k in range(len(members)):
        if still_open == 0:
            break
        splat = splats[members[k]]
        red, green, blue, depth = splat.red, splat.green, splat.blue, splat.depth
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


@compiled
def blend_backward(
    begin: int,
    end: int,
    splats: Shaped[np.ndarray, "images n"],
    starts: Int[np.ndarray, "tiles+1"],
    members: Int[np.ndarray, "members"],
    rectangles: Int[np.ndarray, "tiles_of_a_picture 4"],
    light: Float[np.ndarray, "images height width"],
    last: Int[np.ndarray, "images height width"],
    d_blended: Float[np.ndarray, "images height width 4"],
    d_light: Float[np.ndarray, "images height width"],
    d_members: Shaped[np.ndarray, "members"],
) -> None:
    """Fill in gradients of the splats, apart for each tile that they touch: no two threads write
    to one. Works on a part of all pictures' tiles."""
    for tile in range(begin, end):
        image, left, top, right, bottom = _tile(tile, rectangles)
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


@compiled
def _blend_tile_backward(
    splats: Shaped[np.ndarray, "n"],
    members: Int[np.ndarray, "members"],
    left: int,
    top: int,
    light: Float[np.ndarray, "rows columns"],
    last: Int[np.ndarray, "rows columns"],
    d_blended: Float[np.ndarray, "rows columns 4"],
    d_light: Float[np.ndarray, "rows columns"],
    d_members: Shaped[np.ndarray, "members"],
) -> None:
    """From back to front: `light` is turned back to what it was before each Gaussian."""
    rows, columns = light.shape
    behind = light * d_light  # the loss's gradient times all that lies behind the Gaussian at hand
    for k in range(last.max(), -1, -1):
        splat, d_splat = splats[members[k]], d_members[k]
        red, green, blue, depth = splat.red, splat.green, splat.blue, splat.depth
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
        d_splat.x = -(splat.a * s_x + splat.b * s_y)
        d_splat.y = -(splat.b * s_x + splat.c * s_y)
        d_splat.a, d_splat.b, d_splat.c = 0.5 * s_xx, s_xy, 0.5 * s_yy
        d_splat.opacity = -s / splat.opacity
        d_splat.red, d_splat.green, d_splat.blue = d_red, d_green, d_blue
        d_splat.depth = d_depth


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


@compiled
def _ellipse(splat: Any, left: int, top: int) -> _Ellipse:
    a, b, c = splat.a, splat.b, splat.c
    return _Ellipse(splat.x - left, splat.y - top, splat.reach, b / a, 1 / a, 1 / (c - b * b / a))


@compiled
def _pixels(middle: float, half: float, size: int) -> tuple[int, int]:
    """First and last + 1 of `size` pixels with centres at most `half` from `middle`."""
    return (
        int(min(max(np.ceil(middle - half - 0.5), 0), size)),
        int(max(min(np.floor(middle + half + 0.5), size), 0)),
    )


@compiled
def _rows(ellipse: _Ellipse, size: int) -> tuple[int, int]:
    """Those of a tile's rows that the ellipse reaches: first, last + 1."""
    return _pixels(ellipse.y, math.sqrt(2 * ellipse.reach * ellipse.height), size)


@compiled
def _columns(ellipse: _Ellipse, dy: float, size: int) -> tuple[int, int]:
    """Those of a row's pixels that it covers, the row being `dy` below its centre."""
    square = (2 * ellipse.reach - dy * dy / ellipse.height) * ellipse.width
    return _pixels(ellipse.x - ellipse.lean * dy, math.sqrt(max(square, 0.0)), size)


@compiled
def _falloff(splat: Any, dx: float, dy: float) -> tuple[float, float, float]:
    """The Gaussian's opacity along a row, by recurrence: no exponential for each pixel.

    Returns:
        opacity · exp(-sigma) at (dx, dy) off its centre; the ratio to that of the next pixel; and
        the ratio of each such ratio to the next.
    """
    a, b, c = splat.a, splat.b, splat.c
    value = splat.opacity * math.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    return value, math.exp(-a * (dx + 0.5) - b * dy), math.exp(-a)


@compiled
def _tile(
    index: int, rectangles: Int[np.ndarray, "tiles_of_a_picture 4"]
) -> tuple[int, int, int, int, int]:
    """A tile's picture, and its left, top, right and bottom there."""
    image, cell = index // len(rectangles), index % len(rectangles)
    rectangle = rectangles[cell]
    return image, rectangle[0], rectangle[1], rectangle[2], rectangle[3]
