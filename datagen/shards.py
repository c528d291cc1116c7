"""The shard format and its reader: one HDF5 file an object, complete or absent.

Layout, with M movable joints, L links, P surface points, S states and V views:

    /                  attributes: format, version, id, category, source, licence, seed, config
    links/             name, semantic [L]
    joints/            name, type, parent, child, origin [4, 4], axis [3], lower, upper, part
    points/            position [P, 3] in the link's frame, link [P]
    views/             camera_to_world [V, 4, 4], intrinsics [3, 3]
                       attributes: rig, resolution, input_views, near, far (of the depth codes)
    states/            name, part, k [S]; positions [S, M]; link_poses [S, L, 4, 4] (link to object)
    world_from_object  [4, 4] similarity that centres and scales the object
    frames/            colour, depth, link: encoded pictures end to end, view after view, state
                       after state; *_end [S, V] where each ends; visible [S, V, P / 8] bits

A pack (datagen/packing.py) is a file of several objects, each in a group of this layout with its id
as its name. Its colour is lossy, and it has no depth.
"""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from datagen.articulation import ArticulatedObject, Joint, JointType, Link
from datagen.image_codec import decode_colour, decode_depth, decode_link
from datagen.state_names import State

FORMAT = "PartDrag-4D"
VERSION = 1
PACK_FORMAT = f"{FORMAT} pack"
SUFFIX = ".h5"
MANIFEST = "manifest.json"
PICTURES = ("colour", "depth", "link")
PACKED_PICTURES = ("colour", "link")
ALL = slice(None)
JOINT_COLUMNS = ("name", "type", "parent", "child", "origin", "axis", "lower", "upper", "part")


class ShardError(Exception):
    """A file that is no shard of this version; says which and why."""


class Shard:
    """Reads one shard, or one object of a pack. The file is opened at first use, once in every
    process, forked or spawned.

    States and views are named by index; `states[i].name` tells which state is which.

    Attributes:
        path: of the file; for an object in a pack, `<file>/<object id>`.
        packed: whether it is in a pack.
    """

    def __init__(self, path: Path | str, group: str | None = None) -> None:
        """
        Args:
            path: of the file.
            group: the object's id, where the file is a pack.
        """
        self.path = Path(path) / (group or "")
        self.packed = group is not None
        self._file: h5py.Group | None = None
        self._frames: dict[str, h5py.Dataset] = {}
        self._pid = 0

    def __getstate__(self) -> dict[str, Any]:
        kept = {"path": self.path, "packed": self.packed}
        return {**kept, "_file": None, "_frames": {}, "_pid": 0}

    def close(self) -> None:
        """Close the file; it opens again when it is next needed."""
        if self._file is not None and self._pid == os.getpid():
            self._file.file.close()  # not what other shards have opened of the same pack
        self._file, self._frames = None, {}

    @property
    def file(self) -> h5py.Group:
        """The open HDF5 file, or the object's group in the pack.

        Raises:
            ShardError: it is not there, or is no shard of this version.
        """
        if self._file is None or self._pid != os.getpid():
            try:
                file = h5py.File(self.path.parent if self.packed else self.path, "r")
            except OSError as error:
                raise ShardError(f"{self.path}: not a readable HDF5 file: {error}") from error
            if self.packed:
                file = file.get(self.path.name, file)  # the pack itself is of another format
            found = (file.attrs.get("format"), file.attrs.get("version"))
            if found != (FORMAT, VERSION):
                file.file.close()
                raise ShardError(
                    f"{self.path}: {FORMAT} version {VERSION} is needed, this is {found}"
                )
            self._file, self._frames, self._pid = file, {}, os.getpid()
        return self._file

    def _frame_data(self, name: str) -> h5py.Dataset:
        """A dataset of `frames/`, looked up once: that takes longer than reading a picture."""
        file = self.file
        if name not in self._frames:
            self._frames[name] = file["frames"][name]
        return self._frames[name]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of pictures that it holds."""
        return PACKED_PICTURES if self.packed else PICTURES

    @cached_property
    def id(self) -> str:
        return str(self.file.attrs["id"])

    @cached_property
    def config(self) -> dict[str, Any]:
        """How it was made: the sampler's and the renderer's settings and the seed."""
        config: dict[str, Any] = json.loads(self.file.attrs["config"])
        return config

    @cached_property
    def object(self) -> ArticulatedObject:
        """The articulated object, without its meshes."""
        file = self.file
        links = tuple(
            Link(name.decode(), semantic.decode(), (), ())
            for name, semantic in zip(
                file["links/name"][()], file["links/semantic"][()], strict=True
            )
        )
        columns = [file[f"joints/{column}"][()] for column in JOINT_COLUMNS]
        joints = tuple(
            Joint(
                name.decode(),
                JointType(kind.decode()),
                int(parent),
                int(child),
                origin,
                axis,
                float(lower),
                float(upper),
                int(part),
            )
            for name, kind, parent, child, origin, axis, lower, upper, part in zip(
                *columns, strict=True
            )
        )
        attributes = file.attrs
        return ArticulatedObject(
            self.id, str(attributes["category"]), str(attributes["source"]), links, joints
        )

    @cached_property
    def states(self) -> tuple[State, ...]:
        group = self.file["states"]
        columns = (group[c][()] for c in ("name", "part", "k", "positions"))
        return tuple(
            State(name.decode(), int(part), int(k), positions)
            for name, part, k, positions in zip(*columns, strict=True)
        )

    @cached_property
    def link_poses(self) -> Float[np.ndarray, "S L 4 4"]:
        """Link frame to object frame, PartNet units."""
        return self.file["states/link_poses"][()]

    @cached_property
    def world_from_object(self) -> Float[np.ndarray, "4 4"]:
        """Object frame (PartNet units) to world (the unit sphere)."""
        return self.file["world_from_object"][()]

    @cached_property
    def points(self) -> Float[np.ndarray, "P 3"]:
        """Surface points in their link's frame, PartNet units."""
        return self.file["points/position"][()]

    @cached_property
    def point_link(self) -> Int[np.ndarray, "P"]:
        """The link of each surface point."""
        return self.file["points/link"][()]

    @cached_property
    def camera_to_world(self) -> Float[np.ndarray, "V 4 4"]:
        return self.file["views/camera_to_world"][()]

    @cached_property
    def intrinsics(self) -> Float[np.ndarray, "3 3"]:
        return self.file["views/intrinsics"][()]

    @cached_property
    def input_views(self) -> tuple[int, ...]:
        return tuple(int(v) for v in self.file["views"].attrs["input_views"])

    @cached_property
    def resolution(self) -> int:
        return int(self.file["views"].attrs["resolution"])

    def world_points(
        self, state: int, chosen: Int[np.ndarray, "N"] | slice = ALL
    ) -> Float[np.ndarray, "N 3"]:
        """Where all or some of the surface points are in the world in a state."""
        poses = (self.world_from_object @ self.link_poses[state])[self.point_link[chosen], :3]
        turned = np.einsum("nij,nj->ni", poses[..., :3], self.points[chosen])
        return turned + poses[..., 3]

    def colour(self, state: int, view: int) -> UInt8[np.ndarray, "H W 4"]:
        """sRGB with straight alpha."""
        return decode_colour(self.picture("colour", state, view))

    def depth(self, state: int, view: int) -> Float[np.ndarray, "H W"]:
        """Depth along the optical axis in world units; infinite where there is nothing.

        Raises:
            ShardError: it is in a pack, which has none.
        """
        return decode_depth(self.picture("depth", state, view), *self._depth_range)

    def link(self, state: int, view: int) -> Int[np.ndarray, "H W"]:
        """Link index of every pixel, -1 where there is nothing."""
        return decode_link(self.picture("link", state, view))

    def visible(self, state: int, view: int) -> Bool[np.ndarray, "P"]:
        """Which surface points the depth map shows in front."""
        bits = np.unpackbits(self._frame_data("visible")[state, view])
        return bits[: len(self.points)].astype(bool)

    def picture(self, kind: str, state: int, view: int) -> bytes:
        """An encoded picture: `colour` is a WebP file, `depth` and `link` are PNG files.

        Raises:
            ShardError: it is a depth map, which packs leave out.
        """
        if self.packed and kind == "depth":
            raise ShardError(
                f"{self.path}: packed without depth; the shard that it was packed from has it"
            )
        ends = self._ends[kind]
        if not (0 <= state < len(ends) and 0 <= view < ends.shape[1]):
            raise IndexError(
                f"{self.path} has states 0 to {len(ends) - 1} and views 0 to {ends.shape[1] - 1}, "
                f"not state {state}, view {view}"
            )
        index = state * ends.shape[1] + view
        start = ends.flat[index - 1] if index else 0
        return self._frame_data(kind)[start : ends.flat[index]].tobytes()

    @cached_property
    def _ends(self) -> dict[str, Int[np.ndarray, "S V"]]:
        return {kind: self.file[f"frames/{kind}_end"][()] for kind in self.kinds}

    @cached_property
    def _depth_range(self) -> tuple[float, float]:
        attributes = self.file["views"].attrs
        return float(attributes["near"]), float(attributes["far"])


def open_shards(path: Path | str) -> dict[str, Shard]:
    """The shards of a folder (those in its manifest), or of the one file at `path`, by object id
    and in its order; of packs, their objects.

    Raises:
        ShardError: there is none.
    """
    path = Path(path)
    if path.is_file():
        return {shard.id: shard for shard in shards_in(path)}
    shards = {
        object_id or Path(name).stem: Shard(path / name, object_id)
        for name, entry in read_manifest(path).items()
        for object_id in entry.get("objects", [None])
    }
    if not shards:
        raise ShardError(f"{path}: no shards there (no {MANIFEST} that names any)")
    return dict(sorted(shards.items()))


def shards_in(path: Path) -> list[Shard]:
    """The objects of a pack. Any other file counts as a shard: if it is none, its use says so."""
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") == PACK_FORMAT:
                return [Shard(path, name) for name in file]
    except (OSError, RuntimeError):
        pass
    return [Shard(path)]


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """File name to `sha256`, `bytes`, `states` and `views` of the whole shards of a folder, and
    `sha256`, `bytes`, `packing` and `objects` of its packs: by object id, the former of the shards
    that were packed. Empty where the folder has no manifest yet.

    Raises:
        ShardError: the manifest is broken.
    """
    try:
        shards: dict[str, dict[str, Any]] = json.loads((folder / MANIFEST).read_text())["shards"]
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ShardError(f"{folder / MANIFEST}: broken: {error}") from error
    return shards
