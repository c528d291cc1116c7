"""A person's picture, as the network is shown pictures: square, cut out, the object in its frame.

Pixels are (x, y) with x to the right and y down; (0, 0) is a picture's upper left corner, so that
pixel centres are at half-integers.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageOps
from scipy import ndimage

from datagen.cameras import RigName
from model.view_grid import remove_background

ImageLike = str | os.PathLike[str] | bytes | Image.Image | UInt8[np.ndarray, "H W C"]
Framing = Literal["auto", "keep", "recentre"]

FILL: dict[RigName, float] = {"ring": 0.65, "dome": 0.65, "partdrag4d": 0.5}
"""The share of the frame that the longer side of an object's outline in view 0 takes: the median
over PartNet-Mobility's objects and states."""
SMALLEST_PICTURE, SMALLEST_OBJECT = 32, 16  # pixels
LARGEST = 1536  # pixels: larger pictures are reduced before they are cut out
TOLERANCE = 0.06  # of `remove_background`
PLAIN = 0.8  # of the border has the background's colour
SOLID = 128  # of 255: less opaque pixels are no outline
SPECK = 0.01  # of the largest piece: smaller ones are dust
CUT_OUT = (
    "cut the object out and save it as a PNG with transparency, or photograph it before a plain "
    "wall, all of it in the picture"
)


class PictureError(ValueError):
    """A picture that shows no object we can see; says what to do."""


@dataclass(frozen=True)
class Picture:
    """A picture in the frame.

    Attributes:
        pixels: sRGB with straight alpha.
        given_size: width and height of the picture it was made of.
        scale: pixels of this picture for each of the given one's.
        offset: where the given picture's upper left corner lies in this one.
    """

    pixels: UInt8[np.ndarray, "S S 4"]
    given_size: tuple[int, int]
    scale: float
    offset: Float[np.ndarray, "2"]

    def place(self, points: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Where pixels of the given picture are in this one."""
        return points * self.scale + self.offset

    def given(self, points: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """The inverse of `place`."""
        return (points - self.offset) / self.scale


def read_picture(
    image: ImageLike, size: int, fill: float = FILL["ring"], framing: Framing = "auto"
) -> Picture:
    """Read a picture, cut its object out, and put it into the frame.

    A picture with transparency is taken as it is; in an opaque one, the plain background is
    removed. Then `keep` takes the whole picture, padded to a square: it fits where the camera was
    the rig's, as in renders. `recentre` puts the middle of the object's outline into the middle of
    the frame, as large as objects mostly are there. `auto` keeps squares with transparency, and
    recentres all others.

    Args:
        image: a file's path or content, or a Pillow image, or an array of bytes [H, W, 3 or 4],
            sRGB. A photograph is turned as its EXIF tag says, and so are its pixel coordinates.
        size: pixels along a side of the frame.
        fill: for `recentre`, the share of the frame that the longer side of the outline takes.
        framing: `auto`, `keep` or `recentre`.

    Raises:
        PictureError: it is no picture, too small, has no object, or no plain background; says what
            to do.
        OSError: there is no such file, or it cannot be opened.
    """
    given = _open(image)
    if min(given.size) < SMALLEST_PICTURE:
        raise PictureError(
            f"the picture of {given.width} x {given.height} pixels is too small: give one of "
            f"{SMALLEST_PICTURE} x {SMALLEST_PICTURE} or more; {2 * size} x {2 * size} is good"
        )
    transparent = given.mode == "RGBA" and np.asarray(given)[..., 3].min() < SOLID
    if transparent:
        cut = given
    else:
        small = given.convert("RGB")
        small.thumbnail((LARGEST, LARGEST), Image.Resampling.BOX)
        cut = Image.fromarray(_cut_out(np.asarray(small)))
    keep = framing == "keep" or (framing == "auto" and transparent and cut.width == cut.height)
    outline = _outline(np.asarray(cut)[..., 3])
    left, top, side = _window(cut.size, outline, None if keep else fill)
    square = cut.crop((left, top, left + side, top + side))
    # Averaged down as shards' pictures are; Pillow weighs colours by their alpha here.
    method = Image.Resampling.BOX if side >= size else Image.Resampling.BILINEAR
    pixels = np.asarray(square.resize((size, size), method))
    reduced, scale = cut.width / given.width, size / side
    offset = scale * np.array([0 - left, 0 - top], float)
    return Picture(pixels, given.size, reduced * scale, offset)


def _open(image: ImageLike) -> Image.Image:
    """The picture as RGB or RGBA, turned upright."""
    try:
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
                raise PictureError(
                    f"an array of {image.dtype} {list(image.shape)} is no picture: give uint8 "
                    "[H, W, 3] or [H, W, 4]"
                )
            opened = Image.fromarray(image)
        else:
            file = io.BytesIO(image) if isinstance(image, bytes) else image
            opened = file if isinstance(file, Image.Image) else Image.open(file)
        upright = ImageOps.exif_transpose(opened)
        transparent = upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info
        return upright.convert("RGBA" if transparent else "RGB")
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, PictureError):
            raise
        name = Path(image).name if isinstance(image, (str, os.PathLike)) else "this"
        raise PictureError(f"{name} is not a picture that can be read: give a PNG or JPEG") from (
            error
        )


def _cut_out(rgb: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 4"]:
    """An opaque picture without its plain background.

    Raises:
        PictureError: the background is not plain, or there is nothing else.
    """
    border = np.concatenate([rgb[0], rgb[-1], rgb[1:-1, 0], rgb[1:-1, -1]]).astype(float) / 255
    distance = np.abs(border - np.median(border, axis=0)).max(axis=1)
    plain = float((distance < TOLERANCE).mean())
    if plain < PLAIN:
        raise PictureError(
            f"the background is not plain: {plain:.0%} of the picture's border has one colour. "
            f"So {CUT_OUT}"
        )
    views = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1))).float() / 255
    rgba = remove_background(views, TOLERANCE).numpy()
    rgba[3] *= _pieces(rgba[3] >= SOLID / 255)
    return np.round(255 * rgba).astype(np.uint8).transpose(1, 2, 0).copy()


def _pieces(solid: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """All but specks: what is solid and large, and the soft edges around it."""
    labels, count = ndimage.label(solid)
    if count == 0:
        return solid
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    large = areas >= SPECK * areas.max()
    kept: Bool[np.ndarray, "H W"] = ndimage.binary_dilation(large[labels], iterations=2)
    return kept


def _outline(alpha: UInt8[np.ndarray, "H W"]) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom) around what is solid.

    Raises:
        PictureError: nothing is, or next to nothing.
    """
    rows, columns = (np.nonzero((alpha >= SOLID).any(axis=axis))[0] for axis in (1, 0))
    if len(rows) == 0:
        raise PictureError(f"the picture shows no object: it is empty or of one colour. {CUT_OUT}")
    box = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    longer = max(box[2] - box[0], box[3] - box[1])
    if longer < SMALLEST_OBJECT:
        raise PictureError(
            f"the object is only {longer} pixels large: give a picture that shows it larger, "
            f"{SMALLEST_OBJECT} pixels or more"
        )
    return box


def _window(
    size: tuple[int, int], outline: tuple[int, int, int, int], fill: float | None
) -> tuple[int, int, int]:
    """Left, top and side of the square that becomes the frame; it may reach over the edges.

    Args:
        size: width and height of the picture.
        outline: of the object: left, top, right, bottom.
        fill: the share of the square that the outline takes; none: all of the picture fits.
    """
    left, top, right, bottom = outline if fill else (0, 0, *size)
    side = round(max(right - left, bottom - top) / (fill or 1))
    return round((left + right - side) / 2), round((top + bottom - side) / 2), side
