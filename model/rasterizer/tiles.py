"""Which Gaussians each tile of a picture holds, near ones first; and backward, adding up what each
Gaussian gets from its tiles."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from model.rasterizer.kernels import compiled, in_threads

TILE = 16  # pixels along a side


class Dealt(NamedTuple):
    """The Gaussians of all pictures, dealt out to the tiles that they touch.

    Attributes:
        starts: where each tile's members start, tiles being numbered row by row, picture by
            picture; and where the last one's end.
        members: Gaussians, one tile after the other, in each from near to far.
        slots: where each Gaussian's `places` start, picture by picture; and where the last end.
        places: of each Gaussian among the members.
    """

    starts: Int[np.ndarray, "tiles+1"]
    members: Int[np.ndarray, "members"]
    slots: Int[np.ndarray, "images*n+1"]
    places: Int[np.ndarray, "members"]


def rectangles(width: int, height: int) -> Int[np.ndarray, "tiles_of_a_picture 4"]:
    """Each tile's first column, first row, last column + 1 and last row + 1, in pixels."""
    top, left = np.mgrid[0:height:TILE, 0:width:TILE]
    right, bottom = np.minimum(left + TILE, width), np.minimum(top + TILE, height)
    return np.stack([left, top, right, bottom], axis=-1).reshape(-1, 4)


def deal(
    boxes: Int[np.ndarray, "images n 4"],
    order: Int[np.ndarray, "images n"],
    width: int,
    height: int,
) -> Dealt:
    """Deal out Gaussians in the order of their depth in a picture, so that no tile needs sorting.

    Args:
        boxes: of pixels: first column, first row, last column + 1, last row + 1; empty for a
            Gaussian that is not seen.
        order: of the Gaussians by depth.
        width: of the pictures, in pixels.
        height: likewise.
    """
    images, count = order.shape
    touched = (boxes + np.array([0, 0, TILE - 1, TILE - 1], boxes.dtype)) // TILE
    counts = np.zeros((images, math.ceil(height / TILE), math.ceil(width / TILE)), np.int64)
    in_threads(_count, images, touched, counts)
    starts = _starts(counts)
    left, top, right, bottom = np.moveaxis(touched, -1, 0)
    slots = _starts((right - left) * (bottom - top))
    members, places = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.int32)
    ends, first = starts[:-1].reshape(counts.shape).copy(), slots[:-1].reshape(images, count)
    in_threads(_deal, images, touched, order, first, ends, members, places)
    return Dealt(starts, members, slots, places)


def gather(
    dealt: Dealt, d_members: Shaped[np.ndarray, "members"]
) -> Shaped[np.ndarray, "images*n"]:
    """Add up each Gaussian's gradients over its tiles, in their order.

    Args:
        dealt: what `deal` returned.
        d_members: gradients for each member; records of float64.
    """
    d_splats = np.zeros(len(dealt.slots) - 1, d_members.dtype)
    channels = len(d_members.dtype)
    sums, parts = (d.view(np.float64).reshape(-1, channels) for d in (d_splats, d_members))
    in_threads(_gather, len(d_splats), dealt.slots, dealt.places, parts, sums)
    return d_splats


def _starts(counts: np.ndarray) -> Int[np.ndarray, "size+1"]:
    """Where each of so many things starts in a list of all; and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


@compiled
def _count(
    begin: int,
    end: int,
    touched: Int[np.ndarray, "images n 4"],
    counts: Int[np.ndarray, "images rows columns"],
) -> None:
    """Fill in how many Gaussians each tile holds. Works on a part of the pictures.

    Args:
        begin: first picture.
        end: last picture + 1.
        touched: boxes of tiles: first column, first row, last column + 1, last row + 1.
        counts: 0; on return, of each tile.
    """
    for image in range(begin, end):
        for n in range(touched.shape[1]):
            left, top, right, bottom = _box(touched, image, n)
            for row in range(top, bottom):
                for column in range(left, right):
                    counts[image, row, column] += 1


@compiled
def _deal(
    begin: int,
    end: int,
    touched: Int[np.ndarray, "images n 4"],
    order: Int[np.ndarray, "images n"],
    slots: Int[np.ndarray, "images n"],
    ends: Int[np.ndarray, "images rows columns"],
    members: Int[np.ndarray, "members"],
    places: Int[np.ndarray, "members"],
) -> None:
    """Fill in `members` and `places`. Works on a part of the pictures.

    Args:
        begin: first picture.
        end: last picture + 1.
        touched: boxes of tiles, as `_count` takes them.
        order: of the Gaussians by depth.
        slots: where each Gaussian's `places` start.
        ends: where each tile's members start; on return, where they end.
        members: Gaussians, one tile after the other.
        places: of each Gaussian among the members.
    """
    for image in range(begin, end):
        for n in order[image]:
            left, top, right, bottom = _box(touched, image, n)
            slot = slots[image, n]
            for row in range(top, bottom):
                for column in range(left, right):
                    place = ends[image, row, column]
                    members[place] = n
                    places[slot] = place
                    ends[image, row, column] += 1
                    slot += 1


@compiled
def _box(boxes: np.ndarray, image: int, n: int) -> tuple[int, int, int, int]:
    return boxes[image, n, 0], boxes[image, n, 1], boxes[image, n, 2], boxes[image, n, 3]


@compiled
def _gather(
    begin: int,
    end: int,
    slots: Int[np.ndarray, "images*n+1"],
    places: Int[np.ndarray, "members"],
    d_members: Float[np.ndarray, "members channels"],
    d_splats: Float[np.ndarray, "images*n channels"],
) -> None:
    """Add up gradients. Works on a part of all pictures' Gaussians."""
    for index in range(begin, end):
        for place in places[slots[index] : slots[index + 1]]:
            for channel in range(d_members.shape[1]):
                d_splats[index, channel] += d_members[place, channel]
