"""How small and how fast are lossless codecs on the pictures of shards?

    python -m benchmarks.image_codecs SHARD…

Takes random views of each shard, encodes and decodes them with every codec, checks that nothing is
lost, and prints size and processor time a view of 256². The codec whose bytes are those in the
shards is marked: it is the one that datagen/image_codec.py chose.
"""

from __future__ import annotations

import io
import itertools
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from datagen.shards import PICTURES, Shard

Encode = Callable[[np.ndarray], bytes]
Decode = Callable[[bytes, np.ndarray], np.ndarray]
VIEW_PIXELS = 256 * 256


@dataclass(frozen=True)
class Args:
    """Compare lossless picture codecs.

    Attributes:
        shards: shards to take pictures from.
        views: random views taken from each.
    """

    shards: Annotated[tuple[Path, ...], tyro.conf.Positional]
    views: int = 24


@dataclass
class Codec:
    """A codec and what was measured of it.

    Attributes:
        encode: an array to bytes.
        decode: bytes to the array again; its second argument has the array's shape and type.
        size, encode_seconds, decode_seconds: sums over all pictures; size is in bytes.
        stored: whether its bytes were always those in the shard.
    """

    name: str
    encode: Encode
    decode: Decode
    size: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    stored: bool = True

    def measure(self, array: np.ndarray, in_shard: bytes) -> None:
        """Encode and decode one picture.

        Raises:
            ValueError: the codec is not lossless.
        """
        start = time.process_time()
        data = self.encode(array)
        middle = time.process_time()
        again = self.decode(data, array)
        self.decode_seconds += time.process_time() - middle
        self.encode_seconds += middle - start
        self.size += len(data)
        self.stored &= data == in_shard
        if not np.array_equal(again, array):
            raise ValueError(f"{self.name} is not lossless")


def save_image(array: np.ndarray, kind: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def open_image(data: bytes, like: np.ndarray) -> np.ndarray:
    """Pixels in the type of `like`; WebP leaves out an alpha that is opaque everywhere."""
    image = Image.open(io.BytesIO(data))
    pixels = np.asarray(image.convert("RGBA") if like.ndim == 3 else image)
    return pixels.astype(like.dtype, copy=False)


def squeeze(array: np.ndarray, delta: bool, shuffle: bool, level: int) -> bytes:
    """zlib, of differences to the left neighbour where `delta`; where `shuffle`, of all low bytes
    first, as HDF5's filter of that name has it."""
    if delta:
        array = np.diff(array, axis=1, prepend=array.dtype.type(0))
    data = np.ascontiguousarray(array)
    if shuffle:
        data = np.ascontiguousarray(data.view(np.uint8).reshape(-1, data.itemsize).T)
    return zlib.compress(data.tobytes(), level)


def unsqueeze(data: bytes, like: np.ndarray, delta: bool, shuffle: bool) -> np.ndarray:
    flat = np.frombuffer(zlib.decompress(data), np.uint8)
    if shuffle:
        flat = np.ascontiguousarray(flat.reshape(like.itemsize, -1).T)
    array = flat.reshape(-1).view(like.dtype).reshape(like.shape)
    return np.cumsum(array, axis=1, dtype=like.dtype) if delta else array


def webp(method: int, quality: int = 20) -> Codec:
    options = partial(save_image, kind="WEBP", lossless=True, exact=True)
    encode = partial(options, method=method, quality=quality)
    return Codec(f"WebP method {method}, quality {quality}", encode, open_image)


def png(level: int) -> Codec:
    encode = partial(save_image, kind="PNG", compress_level=level)
    return Codec(f"PNG level {level}", encode, open_image)


def plain(level: int, delta: bool = False, shuffle: bool = False) -> Codec:
    name = "delta + " * delta + "shuffle + " * shuffle + f"zlib {level}"
    return Codec(
        name,
        partial(squeeze, delta=delta, shuffle=shuffle, level=level),
        partial(unsqueeze, delta=delta, shuffle=shuffle),
    )


def codecs() -> dict[str, list[Codec]]:
    """Kind of picture to what is tried on it; `shuffle + zlib 4` is HDF5's own compression."""
    pngs = (1, 3, 6)
    return {
        "colour": [
            *map(webp, (0, 1, 2, 4)),
            webp(1, 30),
            *map(png, pngs),
            plain(6, delta=True),
            plain(4, shuffle=True),
        ],
        "depth": [
            *map(png, pngs),
            plain(6, delta=True),
            plain(6, delta=True, shuffle=True),
            plain(4, shuffle=True),
        ],
        "link": [*map(png, pngs), plain(1), plain(6), plain(4, shuffle=True)],
    }


def stored_pixels(kind: str, data: bytes) -> np.ndarray:
    """The array that a shard's encoded picture holds; 16-bit PNG files open as 32-bit."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA" if kind == "colour" else None))
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint16)


def main(args: Args) -> None:
    tried, pixels = codecs(), 0
    rng = np.random.default_rng(0)
    for path in args.shards:
        shard = Shard(path)
        places = list(
            itertools.product(range(len(shard.states)), range(len(shard.camera_to_world)))
        )
        chosen = rng.choice(len(places), min(args.views, len(places)), replace=False)
        for state, view in (places[i] for i in chosen):
            pixels += shard.resolution**2
            for kind in PICTURES:
                data = shard.picture(kind, state, view)
                array = stored_pixels(kind, data)
                for codec in tried[kind]:
                    codec.measure(array, data)
        shard.close()
    per_view = VIEW_PIXELS / pixels
    print("| picture | codec | kB | encode ms | decode ms | stored |")
    print("|---|---|---|---|---|---|")
    for kind, codec in ((kind, codec) for kind, found in tried.items() for codec in found):
        print(
            f"| {kind} | {codec.name} | {codec.size * per_view / 1e3:.2f} "
            f"| {codec.encode_seconds * per_view * 1e3:.2f} "
            f"| {codec.decode_seconds * per_view * 1e3:.2f} | {'yes' if codec.stored else ''} |"
        )
    for kind, found in tried.items():
        smallest = min(found, key=lambda codec: codec.size)
        for stored in (codec for codec in found if codec.stored):
            print(
                f"{kind}: {stored.name} is stored, {stored.size / smallest.size:.2f} times the "
                f"size of the smallest ({smallest.name}), "
                f"{stored.size / found[-1].size:.2f} times HDF5's gzip with shuffle"
            )


if __name__ == "__main__":
    main(tyro.cli(Args))
