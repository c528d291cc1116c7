"""Writing shards: rendered states one by one, then the whole file at once."""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Float, Int

from datagen.articulation import ArticulatedObject, link_poses
from datagen.cameras import Rig
from datagen.image_codec import Frame, encode_colour, encode_depth, encode_link
from datagen.shards import FORMAT, JOINT_COLUMNS, MANIFEST, PICTURES, VERSION
from datagen.state_names import State

LICENCE = (
    "Renders of PartNet-Mobility objects are for non-commercial research and education under "
    "PartNet-Mobility's terms; renders of this project's own sample objects are free to use (MIT)."
)


@dataclass(frozen=True)
class StateImages:
    """The encoded pictures of one state.

    Attributes:
        pictures: per kind (`colour`, `depth`, `link`), one encoded picture a view.
        visible: [V, P] which surface points each view shows.
    """

    pictures: dict[str, list[bytes]]
    visible: Bool[np.ndarray, "V P"]

    @staticmethod
    def encode(
        frames: list[Frame], visible: Bool[np.ndarray, "V P"], depth_range: tuple[float, float]
    ) -> StateImages:
        """Encode rendered frames."""
        pictures = {
            "colour": [encode_colour(f.colour) for f in frames],
            "depth": [encode_depth(f.depth, *depth_range) for f in frames],
            "link": [encode_link(f.link) for f in frames],
        }
        return StateImages(pictures, visible)

    def save(self, path: Path) -> None:
        """Write to `path`, whole or not at all."""
        arrays: dict[str, np.ndarray] = {"visible": self.visible}
        for kind, pictures in self.pictures.items():
            arrays[kind] = np.frombuffer(b"".join(pictures), np.uint8)
            arrays[f"{kind}_size"] = np.array([len(p) for p in pictures])
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        write_whole(path, buffer.getvalue())

    @staticmethod
    def load(path: Path) -> StateImages:
        """What `save` wrote."""
        with np.load(path) as arrays:
            pictures = {}
            for kind in PICTURES:
                ends = np.cumsum(arrays[f"{kind}_size"])[:-1]
                pictures[kind] = [part.tobytes() for part in np.split(arrays[kind], ends)]
            return StateImages(pictures, arrays["visible"])


@dataclass(frozen=True)
class ShardContents:
    """All of a shard but its pictures; the shapes are those of `datagen.shards`."""

    obj: ArticulatedObject
    states: tuple[State, ...]
    points: Float[np.ndarray, "P 3"]
    point_link: Int[np.ndarray, "P"]
    world_from_object: Float[np.ndarray, "4 4"]
    rig: Rig
    resolution: int
    depth_range: tuple[float, float]
    seed: int
    config: dict[str, Any]


def shard_bytes(contents: ShardContents, images: list[StateImages]) -> bytes:
    """The HDF5 file, made in memory: the same contents give the same bytes.

    Args:
        contents: everything but the pictures.
        images: of each state.
    """
    obj, states = contents.obj, contents.states
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="earliest") as file:  # later formats hold times
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["id"] = obj.id
        file.attrs["category"] = obj.category
        file.attrs["source"] = obj.source
        file.attrs["licence"] = LICENCE
        file.attrs["seed"] = contents.seed
        file.attrs["config"] = json.dumps(contents.config, sort_keys=True)
        file["links/name"] = _strings([link.name for link in obj.links])
        file["links/semantic"] = _strings([link.semantic for link in obj.links])
        for column in JOINT_COLUMNS:
            values = [getattr(joint, column) for joint in obj.joints]
            text = column in ("name", "type")
            file[f"joints/{column}"] = _strings(values) if text else np.array(values)
        file["points/position"] = contents.points.astype(np.float32)
        file["points/link"] = contents.point_link.astype(np.int16)
        file["world_from_object"] = contents.world_from_object
        views = file.create_group("views")
        views["camera_to_world"] = contents.rig.camera_to_world
        views["intrinsics"] = contents.rig.intrinsics(contents.resolution)
        views.attrs["rig"] = contents.rig.name
        views.attrs["resolution"] = contents.resolution
        views.attrs["input_views"] = contents.rig.input_views
        views.attrs["near"], views.attrs["far"] = contents.depth_range
        file["states/name"] = _strings([s.name for s in states])
        file["states/part"] = np.array([s.part for s in states])
        file["states/k"] = np.array([s.k for s in states])
        positions = np.array([s.positions for s in states])
        file["states/positions"] = positions
        file["states/link_poses"] = link_poses(obj, positions)
        for kind in PICTURES:
            write_pictures(file, kind, [image.pictures[kind] for image in images])
        visible = np.packbits(np.stack([image.visible for image in images]), axis=-1)
        file.create_dataset(
            "frames/visible",
            data=visible,
            chunks=(1, 1, visible.shape[-1]),
            compression="gzip",
        )
    return buffer.getvalue()


def write_pictures(group: h5py.Group, kind: str, pictures: list[list[bytes]]) -> None:
    """Write the encoded pictures of a kind, and where each ends.

    Args:
        group: of the shard.
        kind: `colour`, `depth` or `link`.
        pictures: a list of views for each state.
    """
    sizes = [[len(picture) for picture in views] for views in pictures]
    joined = b"".join(picture for views in pictures for picture in views)
    group[f"frames/{kind}"] = np.frombuffer(joined, np.uint8)
    group[f"frames/{kind}_end"] = np.cumsum(sizes).reshape(np.shape(sizes))


def _strings(values: list[str]) -> np.ndarray:
    return np.array([str(v).encode() for v in values])


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` beside `path` and rename it there, so that it is complete or absent.

    Raises:
        OSError: the disk is full, or the like; nothing is left behind.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_manifest(folder: Path, shards: dict[str, dict[str, Any]]) -> None:
    """Write the manifest of a folder's shards, sorted by name."""
    text = json.dumps(
        {"format": FORMAT, "version": VERSION, "shards": shards}, indent=1, sort_keys=True
    )
    write_whole(folder / MANIFEST, text.encode() + b"\n")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
