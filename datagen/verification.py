"""Checking finished shards: that they are whole, and that all they hold agrees with itself.

A fault is a sentence that names the dataset, state or view; a good shard has none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from datagen.articulation import Joint, link_poses
from datagen.cameras import project
from datagen.drags import moved_points
from datagen.image_codec import DEPTH_STEPS
from datagen.shards import (
    MANIFEST,
    PICTURES,
    SUFFIX,
    Shard,
    ShardError,
    read_manifest,
    shards_in,
)
from datagen.state_names import STATES_PER_PART, State, encode
from datagen.visibility import TOLERANCE

EXACT = 1e-6
"""How far numbers that must be equal may differ: positions, poses and axes, in their own units."""
STRAY = 0.005
"""Share of a view's pixels of the object, or of its visible points, where what is stored twice may
disagree: a pixel is made of several samples, and depth is stored in steps."""

ATTRIBUTES = {
    "/": ("format", "version", "id", "category", "source", "licence", "seed", "config"),
    "views": ("rig", "resolution", "input_views", "near", "far"),
}
DATASETS = {
    "links/name": ("S", "L"),
    "links/semantic": ("S", "L"),
    "joints/name": ("S", "J"),
    "joints/type": ("S", "J"),
    "joints/parent": ("i", "J"),
    "joints/child": ("i", "J"),
    "joints/origin": ("f", "J 4 4"),
    "joints/axis": ("f", "J 3"),
    "joints/lower": ("f", "J"),
    "joints/upper": ("f", "J"),
    "joints/part": ("i", "J"),
    "points/position": ("f", "P 3"),
    "points/link": ("i", "P"),
    "views/camera_to_world": ("f", "V 4 4"),
    "views/intrinsics": ("f", "3 3"),
    "states/name": ("S", "S"),
    "states/part": ("i", "S"),
    "states/k": ("i", "S"),
    "states/positions": ("f", "S M"),
    "states/link_poses": ("f", "S L 4 4"),
    "world_from_object": ("f", "4 4"),
    "frames/visible": ("u", "S V B"),
    **{f"frames/{kind}": ("u", kind) for kind in PICTURES},
    **{f"frames/{kind}_end": ("i", "S V") for kind in PICTURES},
}
"""Dataset to the kind of its dtype and its shape, where a name stands for the same size throughout:
those of `datagen.shards`, B for the bytes of P bits, and a kind of picture for its bytes."""


def verify_folder(folder: Path) -> dict[str, list[str]]:
    """Check every shard or pack of a folder, and that they are those that its manifest names.

    Returns:
        File name to its faults, for every file in the folder or in the manifest, and for the
        manifest where it is missing or broken; of packs also the objects', as `verify_file` has
        them.
    """
    found: dict[str, list[str]] = {}
    try:
        manifest = read_manifest(folder)
        if not manifest:
            found[MANIFEST] = [f"{folder / MANIFEST}: is not there, or names no shard"]
    except ShardError as error:
        manifest, found[MANIFEST] = {}, [str(error)]
    present = {path.name for path in folder.glob(f"*{SUFFIX}")}
    for name in sorted(present | set(manifest)):
        path = folder / name
        if name not in present:
            found[name] = [f"{path}: in the manifest, but not in the folder"]
        else:
            unlisted = (
                [] if name in manifest else [f"{path}: in the folder, but not in the manifest"]
            )
            found |= verify_file(path, manifest.get(name))
            found[name] = unlisted + found[name]
    return found


def verify_file(path: Path, expected: dict[str, Any] | None = None) -> dict[str, list[str]]:
    """Check one file: a shard, or a pack and its objects.

    Args:
        path: of the file.
        expected: what its folder's manifest says of it; None where no manifest does.

    Returns:
        The file's name to its faults, and of a pack also `<file>/<object id>` to those of each
        object.
    """
    shards = shards_in(path)
    if [shard.packed for shard in shards] == [False]:
        return {path.name: verify_shard(shards[0], expected)}
    entry = expected or {}
    faults = () if expected is None else _pack_faults(path, shards, entry)
    found = {path.name: [f"{path}: {fault}" for fault in faults]}
    for shard in shards:
        counts = entry.get("objects", {}).get(shard.path.name)
        found[f"{path.name}/{shard.path.name}"] = verify_shard(shard, counts)
    return found


def verify_shard(shard: Shard, expected: dict[str, Any] | None = None) -> list[str]:
    """Check one shard, or one object of a pack, every picture of it.

    Args:
        shard: it; closed afterwards.
        expected: what the manifest says of it; None where no manifest does.

    Returns:
        Its faults. Where the structure is broken, what depends on that is not looked at. A pack has
        no depth: its points are checked against the link maps alone, or, where its pictures were
        made smaller, not at all.
    """
    faults: list[str] = []
    try:
        faults.extend(f"{shard.path}: {fault}" for fault in _faults(shard, expected))
    except ShardError as error:
        faults.append(str(error))
    except Exception as error:  # on a damaged file, the libraries raise anything
        faults.append(f"{shard.path}: cannot be read: {type(error).__name__}: {error}")
    finally:
        shard.close()
    return faults


def _faults(shard: Shard, expected: dict[str, Any] | None) -> Iterator[str]:
    if expected is not None and not shard.packed:
        yield from _file_faults(shard.path, expected)
    for structure in (_schema_faults, _index_faults):
        broken = list(structure(shard))
        yield from broken
        if broken:
            return
    if expected is not None:
        yield from _count_faults(shard, expected)
    yield from _object_faults(shard)
    yield from _camera_faults(shard)
    yield from chain.from_iterable(_state_faults(shard, state) for state in shard.states)
    yield from _pose_faults(shard)
    yield from _picture_faults(shard)


def _file_faults(path: Path, expected: dict[str, Any]) -> Iterator[str]:
    size = path.stat().st_size
    if size != expected["bytes"]:
        yield f"has {size} bytes, {expected['bytes']} in the manifest"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != expected["sha256"]:
        yield f"its SHA-256 is {digest}, {expected['sha256']} in the manifest"


def _pack_faults(path: Path, shards: list[Shard], expected: dict[str, Any]) -> Iterator[str]:
    yield from _file_faults(path, expected)
    listed, present = set(expected.get("objects", ())), {shard.path.name for shard in shards}
    yield from (f"object {name} is in the manifest alone" for name in sorted(listed - present))
    yield from (f"object {name} is not in the manifest" for name in sorted(present - listed))


def _count_faults(shard: Shard, expected: dict[str, Any]) -> Iterator[str]:
    states = len(shard.states)
    for name, count in (("states", states), ("views", states * len(shard.camera_to_world))):
        if count != expected[name]:
            yield f"has {count} {name}, {expected[name]} in the manifest"


def _schema_faults(shard: Shard) -> Iterator[str]:
    """Of datasets and attributes: what keeps the file from being read as a shard at all."""
    file = shard.file
    for group, names in ATTRIBUTES.items():
        node = file if group == "/" else file.get(group)
        attributes = {} if node is None else node.attrs
        yield from (f"{group}: no attribute {name!r}" for name in names if name not in attributes)
    sizes: dict[str, int] = {}
    for name, (kind, shape) in DATASETS.items():
        if shard.packed and name in ("frames/depth", "frames/depth_end"):
            continue
        dataset = file.get(name)
        if not isinstance(dataset, h5py.Dataset):
            yield f"{name}: missing"
            continue
        if dataset.dtype.kind != kind:
            yield f"{name}: holds {dataset.dtype}, not a type of kind {kind!r}"
        axes = shape.split()
        known = {axis: int(axis) for axis in axes if axis.isdecimal()} | sizes
        wanted = [known.get(axis, size) for axis, size in zip(axes, dataset.shape, strict=False)]
        if list(dataset.shape) != wanted or dataset.ndim != len(axes):
            yield f"{name}: has shape {list(dataset.shape)}, not [{', '.join(axes)}] as the others"
        else:
            sizes |= {a: n for a, n in zip(axes, wanted, strict=True) if not a.isdecimal()}
    yield from _packing_faults(file, sizes)


def _packing_faults(file: h5py.File, sizes: dict[str, int]) -> Iterator[str]:
    """Whether the bits of the points and the bytes of the pictures are as many as they must be."""
    if {"B", "P"} <= sizes.keys() and sizes["B"] != -(-sizes["P"] // 8):
        yield f"frames/visible: {sizes['B']} bytes are not the bits of {sizes['P']} points"
    for kind in PICTURES:
        ends = file.get(f"frames/{kind}_end")
        if ends is not None and kind in sizes:
            lengths = np.diff(ends[()].ravel(), prepend=0)
            if (lengths <= 0).any() or lengths.sum() != sizes[kind]:
                yield f"frames/{kind}_end: does not divide the bytes of frames/{kind} into pictures"


def _index_faults(shard: Shard) -> Iterator[str]:
    """Of what names a link or a joint by its index, and is followed everywhere else."""
    links = len(shard.file["links/name"])
    broken = False
    for name in ("joints/parent", "joints/child", "points/link"):
        index = shard.file[name][()]
        if not ((index >= 0) & (index < links)).all():
            broken = True
            yield f"{name}: not every index is within 0 to {links - 1}"
    if broken:
        return
    movable = shard.object.movable
    columns = shard.file["states/positions"].shape[1]
    if columns != len(movable):
        yield f"states/positions: {columns} a state, for {len(movable)} movable joints"
    for part in sorted({state.part for state in shard.states} - {joint.part for joint in movable}):
        yield f"states/part: {part} is the part of no movable joint"


def _object_faults(shard: Shard) -> Iterator[str]:
    """Of links, joints, points and where they are in the world."""
    obj = shard.object
    if shard.id != shard.path.stem:
        yield f"its id is {shard.id!r}, unlike the file's name"
    yield from _repeated("links/name", (link.name for link in obj.links))
    yield from _repeated("joints/name", (joint.name for joint in obj.joints))
    yield from _repeated("joints/part", (joint.part for joint in obj.movable))
    for joint in obj.joints:
        yield from (f"joint {joint.name}: {fault}" for fault in _joint_faults(joint))
    scale = np.cbrt(np.linalg.det(shard.world_from_object[:3, :3]))
    if not (scale > 0 and _is_rigid(shard.world_from_object, scale)):
        yield "world_from_object: is no rotation, scaling and shift"
    if not np.isfinite(shard.points).all():
        yield "points/position: not every number is finite"
    for part in sorted({state.part for state in shard.states}):
        if not moved_points(shard, part).any():
            yield f"points/link: no point is on part {part}, which moves"


def _joint_faults(joint: Joint) -> Iterator[str]:
    if not _is_rigid(joint.origin):
        yield "its origin is no rotation and shift"
    if not joint.lower <= joint.upper:
        yield f"its limits are {joint.lower:g} to {joint.upper:g}"
    if joint.movable and not abs(np.linalg.norm(joint.axis) - 1) < EXACT:
        yield f"its axis {joint.axis} is not of length 1"


def _camera_faults(shard: Shard) -> Iterator[str]:
    for view, pose in enumerate(shard.camera_to_world):
        if not _is_rigid(pose):
            yield f"views/camera_to_world: view {view} is not orthonormal and right-handed"
    focal, centre = np.diag(shard.intrinsics)[:2], shard.intrinsics[:2, 2]
    pinhole = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])
    inside = (centre > 0) & (centre < shard.resolution)
    if not ((shard.intrinsics == pinhole).all() and (focal > 0).all() and inside.all()):
        yield f"views/intrinsics: {shard.intrinsics.tolist()} is the matrix of no such camera"
    if not set(shard.input_views) <= set(range(len(shard.camera_to_world))):
        yield f"views: there are not all of the input views {shard.input_views}"
    near, far = (float(shard.file["views"].attrs[name]) for name in ("near", "far"))
    if not 0 < near < far:
        yield f"views: depths from {near:g} to {far:g} are no range"


def _state_faults(shard: Shard, state: State) -> Iterator[str]:
    """Of a state's name, index and positions."""
    label = f"state {state.name}"
    if sum(state.name == other.name for other in shard.states) > 1:
        yield f"{label}: another state has the same name"
    if not f"{state.name}_".startswith(f"{encode(shard.id, state.part, state.k)}_"):
        yield f"{label}: is of part {state.part} at state index {state.k}, unlike its name"
    for joint, position in zip(shard.object.movable, state.positions, strict=True):
        if not joint.lower - EXACT <= position <= joint.upper + EXACT:
            limits = f"{joint.lower:g} to {joint.upper:g}"
            yield f"{label}: joint {joint.name} is at {position:g}, outside of {limits}"
        if joint.part == state.part:
            wanted = joint.position(state.k)
            if not (0 <= state.k < STATES_PER_PART and abs(position - wanted) <= EXACT):
                yield (
                    f"{label}: joint {joint.name} is at {position:g}; "
                    f"state index {state.k} would be {wanted:g}"
                )


def _pose_faults(shard: Shard) -> Iterator[str]:
    """Of the links' poses, which the joint positions decide."""
    positions = np.array([state.positions for state in shard.states])
    off = np.abs(shard.link_poses - link_poses(shard.object, positions)).max(axis=(2, 3))
    for state, link in np.argwhere(~(off <= EXACT)):
        yield (
            f"state {shard.states[state].name}: the pose of link {shard.object.links[link].name} "
            f"differs by {off[state, link]:.2g} from what the joint positions give"
        )


@dataclass(frozen=True)
class _Pictures:
    """The pictures of one state that decode, in whichever views those are; a pack has no depth."""

    views: list[int]
    alpha: UInt8[np.ndarray, "V H W"]
    link: Int[np.ndarray, "V H W"]
    depth: Float[np.ndarray, "V H W"] | None


@dataclass(frozen=True)
class _Landing:
    """Where a state's surface points come to lie in those pictures.

    Attributes:
        pixel: the indices of each point's pixel, some pixel where it is outside of the picture.
        inside: whether it is in the picture at all.
        distance: its depth along the optical axis in world units.
        visible: the stored bits.
    """

    pixel: tuple[Int[np.ndarray, "V 1"], Int[np.ndarray, "V P"], Int[np.ndarray, "V P"]]
    inside: Bool[np.ndarray, "V P"]
    distance: Float[np.ndarray, "V P"]
    visible: Bool[np.ndarray, "V P"]


def _picture_faults(shard: Shard) -> Iterator[str]:
    """Of the pictures and of the points that they show."""
    for index, state in enumerate(shard.states):
        faults: list[str] = []
        pictures = _decode(shard, index, faults)
        yield from (f"state {state.name}, {fault}" for fault in faults)
        if not pictures.views:
            continue
        found = [_map_faults(shard, pictures)]
        if not _made_smaller(shard):  # which leaves what is thin out of link maps
            found.append(_visible_faults(shard, pictures, _land(shard, index, pictures)))
        yield from (f"state {state.name}, {fault}" for fault in chain(*found))


def _made_smaller(shard: Shard) -> bool:
    return bool(shard.config.get("packing", {}).get("from", shard.resolution) > shard.resolution)


def _decode(shard: Shard, state: int, faults: list[str]) -> _Pictures:
    """Decode the pictures of a state; what is wrong with one goes to `faults`."""
    size = (shard.resolution, shard.resolution)
    views: list[int] = []
    stacks: dict[str, list[np.ndarray]] = {kind: [] for kind in shard.kinds}
    for view in range(len(shard.camera_to_world)):
        images = {}
        for kind in shard.kinds:
            shape = (*size, 4) if kind == "colour" else size
            try:
                image = getattr(shard, kind)(state, view)
            except Exception as error:  # on damaged bytes, decoders raise anything
                faults.append(f"view {view}: its {kind} does not decode: {error}")
                continue
            if image.shape == shape:
                images[kind] = image
            else:
                faults.append(f"view {view}: its {kind} is {image.shape}, not {shape}")
        if len(images) == len(stacks):
            views.append(view)
            for kind, image in images.items():
                stacks[kind].append(image)
    arrays = {kind: np.array(stack) for kind, stack in stacks.items()}
    return _Pictures(views, arrays["colour"][..., 3], arrays["link"], arrays.get("depth"))


def _land(shard: Shard, state: int, pictures: _Pictures) -> _Landing:
    cameras = shard.camera_to_world[pictures.views]
    pixels, distance = project(shard.world_points(state)[None], cameras, shard.intrinsics)
    ahead = (distance > 0) & (pixels >= 0).all(axis=-1) & (pixels < shard.resolution).all(axis=-1)
    column, row = np.where(ahead[..., None], pixels, 0).astype(int).transpose(2, 0, 1)
    visible = np.stack([shard.visible(state, view) for view in pictures.views])
    return _Landing((np.arange(len(cameras))[:, None], row, column), ahead, distance, visible)


def _map_faults(shard: Shard, pictures: _Pictures) -> Iterator[str]:
    """Whether colour, depth and link maps show one and the same."""
    there = pictures.link >= 0
    per_view = {"has link indices beyond the last link": pictures.link >= len(shard.object.links)}
    if pictures.depth is not None:
        wrong = there != np.isfinite(pictures.depth)
        per_view["has a link where there is no depth, or the other way round"] = wrong
    for fault, wrong in per_view.items():
        yield from (f"view {pictures.views[v]}: {fault}" for v in np.flatnonzero(wrong.any((1, 2))))
    bare = ~_grown(~there) & (pictures.alpha == 0)
    filled = ~_grown(there) & (pictures.alpha == 255)
    area, stray = there.sum((1, 2)), (bare | filled).sum((1, 2))
    for view, pixels, differing in zip(pictures.views, area, stray, strict=True):
        if not pixels:
            yield f"view {view}: shows nothing"
        elif differing > STRAY * pixels:
            yield f"view {view}: its colour and link map differ in {differing} of {pixels} pixels"


def _visible_faults(shard: Shard, pictures: _Pictures, landing: _Landing) -> Iterator[str]:
    """Whether the points stored as visible are those that the depth and link maps show."""
    near, far = (float(shard.file["views"].attrs[name]) for name in ("near", "far"))
    step = (far - near) / DEPTH_STEPS  # so close to the tolerance, the stored depth cannot tell
    own = landing.inside & (pictures.link[landing.pixel] == shard.point_link)
    if pictures.depth is None:  # which tells neither that a point shows nor that it does not
        gap = np.where(own, TOLERANCE, np.inf)
    else:
        gap = np.where(own, np.abs(landing.distance - pictures.depth[landing.pixel]), np.inf)
    off = (landing.visible & (gap > TOLERANCE + step)).sum(axis=1)
    missed = (~landing.visible & (gap < TOLERANCE - step)).sum(axis=1)
    allowed = STRAY * landing.visible.sum(axis=1)
    for row in np.flatnonzero(off + missed > allowed):
        yield (
            f"view {pictures.views[row]}: {off[row]} of its visible points are not what the depth "
            f"and link maps show, and {missed[row]} points that are do not count as visible"
        )


def _grown(mask: Bool[np.ndarray, "V H W"]) -> Bool[np.ndarray, "V H W"]:
    """`mask` with every pixel added that touches it, at a corner too."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
    return rows[..., :-2] | rows[..., 1:-1] | rows[..., 2:]


def _repeated(dataset: str, values: Iterable[object]) -> Iterator[str]:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            yield f"{dataset}: {value} is there more than once"
        seen.add(value)


def _is_rigid(pose: Float[np.ndarray, "4 4"], scale: float = 1.0) -> bool:
    """Whether `pose` is a rotation, right-handed and without a stretch but `scale`, and a shift."""
    rotation = pose[:3, :3] / scale
    return bool(
        np.isfinite(pose).all()
        and np.allclose(rotation @ rotation.T, np.eye(3), atol=EXACT)
        and np.linalg.det(rotation) > 0
        and np.array_equal(pose[3], [0, 0, 0, 1])
    )
