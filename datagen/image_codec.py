"""A rendered view, and its pictures as bytes, in formats that anything can open.

WebP for colour and PNG for the rest: benchmarks/image_codecs.py compares sizes and times. All are
lossless, but for colour in packs.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

DEPTH_STEPS = 65534


@dataclass(frozen=True)
class Frame:
    """One rendered view.

    Attributes:
        colour: [H, W, 4] sRGB ("Standard" view transform) with straight alpha.
        depth: [H, W] along the optical axis in world units, infinite where there is nothing.
        link: [H, W] link index, -1 where there is nothing.
    """

    colour: UInt8[np.ndarray, "H W 4"] = field(repr=False)
    depth: Float[np.ndarray, "H W"] = field(repr=False)
    link: Int[np.ndarray, "H W"] = field(repr=False)


def downscaled(
    picture: UInt8[np.ndarray, "H W 4"], size: int
) -> UInt8[np.ndarray, "{size} {size} 4"]:
    """A picture with straight alpha, averaged down to this size."""
    if len(picture) == size:
        return picture
    # Pillow weighs colours by their alpha here.
    return np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BOX))


def downscaled_links(link: Int[np.ndarray, "H W"], size: int) -> Int[np.ndarray, "{size} {size}"]:
    """A link map of a picture of this size: what is in the middle of each of its pixels."""
    middles = ((np.arange(size) + 0.5) * len(link) / size).astype(int)
    return link[np.ix_(middles, middles)]


def encode_colour(rgba: UInt8[np.ndarray, "H W 4"]) -> bytes:
    """sRGB with straight alpha as lossless WebP; the colour under alpha 0 is kept too."""
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "WEBP", lossless=True, method=1, quality=20, exact=True)
    return buffer.getvalue()


def encode_colour_lossy(rgba: UInt8[np.ndarray, "H W 4"], quality: int) -> bytes:
    """sRGB with straight alpha as lossy WebP, quality 0 to 100. Alpha is kept as it is; the colour
    under alpha 0 is lost."""
    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "WEBP", quality=quality, alpha_quality=100, method=4)
    return buffer.getvalue()


def decode_colour(data: bytes) -> UInt8[np.ndarray, "H W 4"]:
    """What `encode_colour` was given, or what is left of it after `encode_colour_lossy`."""
    return np.asarray(_opened(data, "WEBP").convert("RGBA"))


def encode_depth(depth: Float[np.ndarray, "H W"], near: float, far: float) -> bytes:
    """Depth as a 16-bit PNG: 0 for infinite, else 1 to 65535 in even steps from `near` to `far`.

    Raises:
        ValueError: the range is empty, or a depth that is not infinite lies outside of it.
    """
    if not near < far:
        raise ValueError(f"no depth is in {near}…{far}")
    empty = np.isposinf(depth)
    code = np.round((np.where(empty, near, depth) - near) / (far - near) * DEPTH_STEPS)
    if not ((code >= 0) & (code <= DEPTH_STEPS)).all():
        raise ValueError(f"depth {depth[~empty].min()}…{depth[~empty].max()} not in {near}…{far}")
    return _png(np.where(empty, 0, code + 1).astype(np.uint16))


def decode_depth(data: bytes, near: float, far: float) -> Float[np.ndarray, "H W"]:
    """Depth within half a step, (far - near) / 65534 / 2, of what `encode_depth` was given."""
    code = np.asarray(_opened(data, "PNG"), dtype=np.float32)
    depth = near + (code - 1) * np.float32((far - near) / DEPTH_STEPS)
    return np.where(code == 0, np.float32(np.inf), depth)


def encode_link(link: Int[np.ndarray, "H W"], compress_level: int = 3) -> bytes:
    """Link indices, -1 for none, as an 8-bit or, where there are many, 16-bit PNG of index + 1."""
    return _png((link + 1).astype(np.uint8 if link.max() < 255 else np.uint16), compress_level)


def decode_link(data: bytes) -> Int[np.ndarray, "H W"]:
    """What `encode_link` was given."""
    return np.asarray(_opened(data, "PNG")).astype(np.int16) - np.int16(1)


def _png(array: np.ndarray, compress_level: int = 3) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()


def _opened(data: bytes, kind: str) -> Image.Image:
    """A picture of a known kind: trying all that Pillow knows takes as long as a tenth of WebP."""
    return Image.open(io.BytesIO(data), formats=(kind,))
