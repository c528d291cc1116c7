"""From one drag to several (PartRM, section 3.2): other points of the part move as the given one.

Where the mask of the part comes from does not matter here: from a shard's link maps, from a
segmenter that was clicked on, or from a person's brush.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8

SHORTEST = 1e-6  # pixels


class DragError(ValueError):
    """A drag that says nothing; names what is wrong with it."""


def propagate(
    mask: Bool[np.ndarray, "H W"],
    start: Float[np.ndarray, "2"],
    end: Float[np.ndarray, "2"],
    count: int,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N 2"]]:
    """Drags that start all over a part, each with the given drag's displacement in the picture.

    Args:
        mask: the pixels that show the part.
        start, end: the given drag (x, y), in pixels of the mask, pixel centres at half-integers.
            It starts on the part; its end may lie outside of the picture.
        count: how many drags to return; where the mask has fewer pixels, one for each of them.
        rng: decides where the others start: at centres of different pixels of the mask.

    Returns:
        Starts and ends in pixels, the given drag first.

    Raises:
        DragError: the drag starts outside of the picture or off the part, or has no length.
        ValueError: less than one drag is asked for.
    """
    if count < 1:
        raise ValueError(f"one drag or more can be made of one, not {count}")
    column, row = check_drag(mask, start, end)
    others = mask.copy()
    others[row, column] = False
    rows, columns = np.nonzero(others)
    chosen = rng.choice(len(rows), min(count - 1, len(rows)), replace=False)
    centres = np.stack([columns[chosen], rows[chosen]], axis=1) + 0.5
    starts = np.concatenate([np.asarray(start, float)[None], centres])
    return starts, starts + (np.asarray(end, float) - start)


def check_drag(
    mask: Bool[np.ndarray, "H W"], start: Float[np.ndarray, "2"], end: Float[np.ndarray, "2"]
) -> tuple[int, int]:
    """The column and row of the pixel that a drag starts at.

    Raises:
        DragError: it starts outside of the picture or off the part, or has no length.
    """
    column, row = starting_pixel(mask.shape, start)
    place = _place(start)
    if not mask[row, column]:
        covered = f"{int(mask.sum())} pixel(s)" if mask.any() else "no pixel at all"
        raise DragError(f"{place}, off the part, whose mask covers {covered}")
    if np.linalg.norm(np.subtract(end, start)) < SHORTEST:
        raise DragError(f"{place} and ends there as well: it says nothing of where to move")
    return column, row


def starting_pixel(size: tuple[int, ...], start: Float[np.ndarray, "2"]) -> tuple[int, int]:
    """The column and row of the pixel that a drag starts at.

    Args:
        size: height and width of the picture.
        start: (x, y) in its pixels, pixel centres at half-integers.

    Raises:
        DragError: it starts outside of the picture.
    """
    height, width = size
    if not (0 <= start[0] < width and 0 <= start[1] < height):
        raise DragError(f"{_place(start)}, outside of the picture of {width} x {height} pixels")
    return int(start[0]), int(start[1])


def object_pixel(
    picture: UInt8[np.ndarray, "H W 4"], start: Float[np.ndarray, "2"]
) -> tuple[int, int]:
    """The same, of a drag that is to start on what a picture shows.

    Args:
        picture: straight alpha, 0 where there is nothing.

    Raises:
        DragError: it starts outside of the picture or on its background.
    """
    column, row = starting_pixel(picture.shape[:2], start)
    if not picture[row, column, 3]:
        raise DragError(f"{_place(start)}, on the background: start it on the part that is to move")
    return column, row


def _place(start: Float[np.ndarray, "2"]) -> str:
    return f"the drag starts at ({start[0]:g}, {start[1]:g})"
