"""Packs: a compact form of shards, for moving them to the machine that trains on them.

A pack is a folder like one of shards, read by the same reader (`datagen.shards`), of few files that
hold many objects each. It has what training and evaluation read: depth is left out, colour is lossy
but for its alpha, and link maps are compressed harder. Pictures may be smaller, for training on
such. Under `packing`, each object's `config` has the quality, the size of the shard's pictures, and
how close its colours on white are to those, in the size that they have here.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from datagen.image_codec import (
    decode_colour,
    downscaled,
    downscaled_links,
    encode_colour_lossy,
    encode_link,
)
from datagen.pool import Limits, run_jobs
from datagen.shard_writer import sha256, write_manifest, write_pictures, write_whole
from datagen.shards import (
    MANIFEST,
    PACK_FORMAT,
    SUFFIX,
    VERSION,
    Shard,
    ShardError,
    open_shards,
    read_manifest,
)

LINK_COMPRESSION = 9
STATES = 16
"""As many states' visible points are compressed together: from one to the next, little changes."""
SMALLEST_ERROR = 1e-10
"""Mean squared errors below count as this: 100 dB."""


def pack(
    folder: Path,
    out: Path,
    quality: int,
    max_bytes: int,
    workers: int = 0,
    resolution: int | None = None,
) -> None:
    """Pack a folder of shards. What an earlier run finished is not packed again.

    Args:
        folder: of the shards.
        out: folder of the pack.
        quality: of WebP, from 0 to 100.
        max_bytes: that a file may have; each is filled up with objects in the order of their ids.
        workers: processes; 0 for one a processor. The bytes are the same for any number.
        resolution: pixels along a side that pictures are averaged down to; by default they keep
            what they have.

    Raises:
        ShardError: `folder` holds no shards, or a pack, or smaller pictures, `out` holds something
            else, or an object cannot be packed or is larger than a file may be.
        WorkerLost: a worker process crashes time and again.
    """
    shards = open_shards(folder)
    if any(shard.packed for shard in shards.values()):
        raise ShardError(f"{folder}: is a pack already; pack the shards that it was packed from")
    sources = read_manifest(folder)
    objects = {name: sources[shard.path.name] for name, shard in shards.items()}
    settings = {"quality": quality, "max_bytes": max_bytes}
    if resolution is not None:
        settings["resolution"] = resolution
        for shard in shards.values():
            if not 0 < resolution <= shard.resolution:
                raise ShardError(
                    f"{shard.path}: holds pictures of {shard.resolution} pixels, of which none of "
                    f"{resolution} can be made; choose another --resolution"
                )
    out.mkdir(parents=True, exist_ok=True)
    manifest = _packed_before(out, objects, settings)
    done = {name for entry in manifest.values() for name in entry["objects"]}
    todo = [shard for name, shard in shards.items() if name not in done]
    with closing(_packed(todo, partial(Packer, quality, resolution), workers)) as packed:
        for parts in _filled(packed, max_bytes):
            data = _joined(parts.values())
            name = f"pack-{len(manifest):04}{SUFFIX}"
            write_whole(out / name, data)
            manifest[name] = {
                "sha256": sha256(data),
                "bytes": len(data),
                "objects": {part: objects[part] for part in parts},
                "packing": settings,
            }
            write_manifest(out, manifest)


def _packed_before(
    out: Path, objects: dict[str, dict[str, Any]], settings: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """The manifest of what an earlier run has packed of these objects.

    Raises:
        ShardError: there is something else in the folder.
    """
    manifest = read_manifest(out)
    there = [
        entry for name in sorted(manifest) for entry in manifest[name].get("objects", {}).items()
    ]
    if there != list(objects.items())[: len(there)] or not all(
        entry.get("packing") == settings and (out / name).is_file()
        for name, entry in manifest.items()
    ):
        raise ShardError(
            f"{out / MANIFEST}: is of other shards, or of a pack of others or with other settings; "
            "choose another --out"
        )
    for stale in out.glob(".*.partial"):
        stale.unlink()
    return manifest


def _packed(
    shards: list[Shard], make_packer: Callable[[], Packer], workers: int
) -> Generator[tuple[str, bytes], None, None]:
    """Each object's id and it as a pack of its own, in order.

    Raises:
        ShardError: one cannot be packed.
    """
    workers = max(1, min(workers or os.cpu_count() or 1, len(shards)))
    ended: dict[Path, bytes] = {}
    waiting = iter(shards)
    outcomes = run_jobs(shards, make_packer, workers=workers, limits=Limits())
    with closing(outcomes), tqdm(total=len(shards), unit="object", disable=not shards) as bar:
        shard = next(waiting, None)
        for outcome in outcomes:
            if outcome.result is None:
                raise ShardError(f"{outcome.job.path}: cannot be packed: {outcome.error}")
            ended[outcome.job.path] = outcome.result
            bar.update()
            while shard is not None and shard.path in ended:
                yield shard.path.stem, ended.pop(shard.path)
                shard = next(waiting, None)


@dataclass(frozen=True)
class Packer:
    """What packs objects in a worker process."""

    quality: int
    resolution: int | None

    def __call__(self, shard: Shard, report: Callable[[Any], None]) -> bytes:
        try:
            return pack_object(shard, self.quality, self.resolution)
        finally:
            shard.close()

    def close(self) -> None:
        """There is nothing to free."""


def pack_object(shard: Shard, quality: int, resolution: int | None = None) -> bytes:
    """A pack file of one object, made in memory: the same shard gives the same bytes."""
    colour: list[list[bytes]] = []
    link: list[list[bytes]] = []
    decibels = []
    views = range(len(shard.camera_to_world))
    size = resolution or shard.resolution
    for state in range(len(shard.states)):
        pictures = [downscaled(shard.colour(state, view), size) for view in views]
        maps = [downscaled_links(shard.link(state, view), size) for view in views]
        colour.append([encode_colour_lossy(picture, quality) for picture in pictures])
        link.append([encode_link(picture, LINK_COMPRESSION) for picture in maps])
        for data, picture in zip(colour[-1], pictures, strict=True):
            decibels.append(psnr_on_white(decode_colour(data), picture))
    packing = {
        "quality": quality,
        "from": shard.resolution,
        "psnr_mean": round(float(np.mean(decibels)), 2),
        "psnr_worst": round(min(decibels), 2),
    }
    config = json.dumps(shard.config | {"packing": packing}, sort_keys=True)
    buffer = io.BytesIO()
    with _new_file(buffer) as file:
        group = file.create_group(shard.path.stem)
        for name, value in (dict(shard.file.attrs) | {"config": config}).items():
            group.attrs[name] = value
        for name in shard.file:
            if name != "frames":
                shard.file.copy(name, group)
        group["views"].attrs["resolution"] = size
        group["views/intrinsics"][:2] *= size / shard.resolution
        write_pictures(group, "colour", colour)
        write_pictures(group, "link", link)
        visible = shard.file["frames/visible"][()]
        group.create_dataset(
            "frames/visible",
            data=visible,
            chunks=(min(len(visible), STATES), 1, visible.shape[-1]),
            compression="gzip",
        )
    return buffer.getvalue()


def psnr_on_white(a: UInt8[np.ndarray, "H W 4"], b: UInt8[np.ndarray, "H W 4"]) -> float:
    """Peak signal-to-noise ratio of two pictures with straight alpha, shown on white, in dB."""
    error = np.square(_on_white(a) - _on_white(b)).mean(dtype=float)
    return float(-10 * np.log10(max(error, SMALLEST_ERROR)))


def _on_white(rgba: UInt8[np.ndarray, "H W 4"]) -> Float[np.ndarray, "H W 3"]:
    colour = rgba.astype(np.float32) / 255
    return 1 + colour[..., 3:] * (colour[..., :3] - 1)


def _filled(packed: Iterable[tuple[str, bytes]], max_bytes: int) -> Iterator[dict[str, bytes]]:
    """The objects of one file after the other: as many as together have at most so many bytes.

    Raises:
        ShardError: an object alone has more.
    """
    parts: dict[str, bytes] = {}
    for name, data in packed:
        if len(data) > max_bytes:
            raise ShardError(
                f"object {name}: has {len(data) / 1e6:.2f} MB when packed, more than the "
                f"{max_bytes / 1e6:g} MB of a file; choose a larger --max-mb, or a lower --quality"
            )
        if sum(map(len, parts.values())) + len(data) > max_bytes:
            yield parts
            parts = {}
        parts[name] = data
    if parts:
        yield parts


def _joined(packs: Iterable[bytes]) -> bytes:
    """One pack file of several; it is smaller than they are together."""
    buffer = io.BytesIO()
    with _new_file(buffer) as file:
        for data in packs:
            with h5py.File(io.BytesIO(data), "r") as one:
                for name in one:
                    one.copy(name, file)
    return buffer.getvalue()


def _new_file(buffer: io.BytesIO) -> h5py.File:
    """A pack file without objects."""
    file = h5py.File(buffer, "w", libver="earliest")  # later formats hold times
    file.attrs["format"], file.attrs["version"] = PACK_FORMAT, VERSION
    return file


def report(out: Path) -> str:
    """What a pack holds, how large it is, and how close its colours are to those of the shards."""
    files, shards = read_manifest(out), open_shards(out)
    packing = {name: shard.config["packing"] for name, shard in shards.items()}
    views, colour = [], 0
    for shard in shards.values():
        ends = shard.file["frames/colour_end"]
        views.append(ends.size)
        colour += int(ends[-1, -1])
        shard.close()
    size, count = sum(entry["bytes"] for entry in files.values()), sum(views)
    mean = np.average([p["psnr_mean"] for p in packing.values()], weights=views)
    worst = min(packing, key=lambda name: packing[name]["psnr_worst"])
    return (
        f"packed   {len(shards)} object(s) into {len(files)} file(s): {count} views, "
        f"{size / 1e6:.1f} MB, {size / count / 1e3:.2f} kB a view\n"
        f"colour   quality {packing[worst]['quality']}, {colour / count / 1e3:.2f} kB a view: "
        f"PSNR on white {mean:.1f} dB, {packing[worst]['psnr_worst']:.1f} dB in the worst view "
        f"(of {worst})"
    )
