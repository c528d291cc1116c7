"""Which surface points a view shows, by its depth and link maps."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from datagen.cameras import project

TOLERANCE = 0.01
"""How far (world units; the object is 2 across) a visible point may lie off the depth map. A
pixel's depth was taken anywhere within it, so that a slanted surface differs by about this much."""


def visible_points(
    points: Float[np.ndarray, "P 3"],
    point_link: Int[np.ndarray, "P"],
    depth: Float[np.ndarray, "V H W"],
    link: Int[np.ndarray, "V H W"],
    camera_to_world: Float[np.ndarray, "V 4 4"],
    intrinsics: Float[np.ndarray, "3 3"],
) -> Bool[np.ndarray, "V P"]:
    """Whether each world point lies in the picture and on the surface that the maps show.

    Depth alone would not do: of a button's or a shut door's points, one in five falls on a pixel
    that shows its neighbour, at nearly the same depth.

    Args:
        points: in the world.
        point_link: the link that each of them is on.
        depth: along the optical axis in world units, infinite where there is nothing.
        link: link index of every pixel, -1 where there is nothing.
        camera_to_world, intrinsics: of the views.
    """
    views, height, width = depth.shape
    pixels, distance = project(points[None], camera_to_world, intrinsics)
    with np.errstate(invalid="ignore"):
        column, row = np.floor(pixels).astype(int).transpose(2, 0, 1)
    inside = (distance > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    row, column = np.where(inside, row, 0), np.where(inside, column, 0)
    pixel = (np.arange(views)[:, None], row, column)
    return inside & (link[pixel] == point_link) & (np.abs(distance - depth[pixel]) < TOLERANCE)
