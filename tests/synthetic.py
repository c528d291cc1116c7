"""A small shard made without Blender: boxes, rasterised by intersecting rays with them.

A cabinet of one solid box with a drawer that slides (part 0, a knob fixed to it) and a lid on a
hinge (part 1). Every picture is exact: one ray through each pixel's centre.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from datagen.articulation import ArticulatedObject, Joint, JointType, Link, link_poses, transform
from datagen.cameras import Rig, rig
from datagen.image_codec import Frame
from datagen.shard_writer import ShardContents, StateImages, shard_bytes
from datagen.state_names import STATES_PER_PART, State, positions
from datagen.visibility import visible_points

RIG = rig("ring")
WORLD = np.array([[0.72, 0, 0, 0.19], [0, 0.72, 0, 0], [0, 0, 0.72, -0.25], [0, 0, 0, 1]])
SEED = 0
POINTS = 400
"""Surface points on each link that has a surface."""
LINKS = ("base", "body", "drawer", "knob", "lid")
BOXES = {
    1: ([-0.5, -0.5, -0.6], [0.5, 0.5, 0.3]),
    2: ([-0.06, -0.35, -0.15], [0.5, 0.35, 0.15]),
    3: ([-0.1, -0.08, -0.05], [0.0, 0.08, 0.05]),
    4: ([-1.0, -0.5, 0.0], [0.0, 0.5, 0.08]),
}
"""Link to its box's lowest and highest corner, in the link's frame."""
COLOURS = np.array([[0, 0, 0], [170, 120, 80], [90, 140, 200], [240, 200, 60], [120, 180, 110]])


def _at(*offset: float) -> Float[np.ndarray, "4 4"]:
    origin = np.eye(4)
    origin[:3, 3] = offset
    return origin


def cabinet(name: str = "cabinet", category: str = "Cabinet") -> ArticulatedObject:
    """The object: its front faces -x, as PartNet-Mobility's do."""
    still = np.zeros(3)
    joints = (
        Joint("joint_body", JointType.FIXED, 0, 1, np.eye(4), still, 0.0, 0.0),
        Joint(
            "joint_drawer", JointType.PRISMATIC, 1, 2, _at(-0.5, 0, 0), -np.eye(3)[0], 0.0, 0.45, 0
        ),
        Joint("joint_knob", JointType.FIXED, 2, 3, _at(-0.06, 0, 0), still, 0.0, 0.0),
        Joint(
            "joint_lid", JointType.REVOLUTE, 1, 4, _at(0.5, 0, 0.3), np.eye(3)[1], 0.0, np.pi / 2, 1
        ),
    )
    links = tuple(Link(link, link, (), ()) for link in LINKS)
    return ArticulatedObject(name, category, "synthetic", links, joints)


def states_of(obj: ArticulatedObject) -> tuple[State, ...]:
    """Six states of each part, while the other is half open."""
    states = []
    for index, joint in enumerate(obj.movable):
        for k in range(STATES_PER_PART):
            row = positions(obj, joint.part, k)
            row[1 - index] = obj.movable[1 - index].position(2.5)
            states.append(State(f"{obj.id}_{joint.part}_{k}_u0", joint.part, k, row))
    return tuple(states)


def synthetic_shard(
    path: Path,
    resolution: int = 64,
    cameras: Rig = RIG,
    world: Float[np.ndarray, "4 4"] = WORLD,
    category: str = "Cabinet",
) -> Path:
    """Write the cabinet's shard: 12 states, 12 views, 400 points on each of 4 links.

    Args:
        path: the file to write; its stem becomes the object's id.
        resolution: of the pictures.
        cameras: that take them.
        world: the similarity from the object's frame to the world.
        category: of the object.

    Returns:
        `path`.
    """
    obj, rng = cabinet(path.stem, category), np.random.default_rng(SEED)
    states = states_of(obj)
    distance = float(np.linalg.norm(cameras.camera_to_world[0, :3, 3]))
    points = np.concatenate([_on_box(*BOXES[link], rng) for link in BOXES]).astype(np.float32)
    contents = ShardContents(
        obj,
        states,
        points,
        np.repeat(list(BOXES), POINTS),
        world,
        cameras,
        resolution,
        (distance - 1.5, distance + 1.5),
        SEED,
        {"sampling": {"scheme": "uniform"}, "render": {"resolution": resolution}},
    )
    poses = world @ link_poses(obj, np.array([s.positions for s in states]))
    path.write_bytes(shard_bytes(contents, [_images(contents, placed) for placed in poses]))
    return path


def _on_box(low: list[float], high: list[float], rng: np.random.Generator) -> np.ndarray:
    """Points spread evenly over a box's surface, [POINTS, 3]."""
    size = np.subtract(high, low)
    area = size.prod() / size
    axis = rng.choice(3, POINTS, p=area / area.sum())
    share = rng.uniform(size=(POINTS, 3))
    share[np.arange(POINTS), axis] = rng.integers(0, 2, POINTS)
    return low + share * size


def _images(contents: ShardContents, poses: Float[np.ndarray, "L 4 4"]) -> StateImages:
    """The pictures of a state, its links placed in the world."""
    intrinsics = contents.rig.intrinsics(contents.resolution)
    cameras = contents.rig.camera_to_world
    frames = [_rasterise(poses, camera, intrinsics, contents.resolution) for camera in cameras]
    points = transform(poses[contents.point_link], contents.points[:, None])[:, 0]
    depth = np.stack([frame.depth for frame in frames])
    link = np.stack([frame.link for frame in frames])
    visible: Bool[np.ndarray, "V P"] = visible_points(
        points, contents.point_link, depth, link, cameras, intrinsics
    )
    return StateImages.encode(frames, visible, contents.depth_range)


def _rasterise(
    poses: Float[np.ndarray, "L 4 4"],
    camera_to_world: Float[np.ndarray, "4 4"],
    intrinsics: Float[np.ndarray, "3 3"],
    resolution: int,
) -> Frame:
    """What a camera sees of the boxes: their colour, depth along its axis, and link."""
    row, column = np.mgrid[:resolution, :resolution] + 0.5
    ray = np.stack([column, row, np.ones_like(row)], axis=-1) @ np.linalg.inv(intrinsics).T
    depth = np.full((resolution, resolution), np.inf)
    link: Int[np.ndarray, "H W"] = np.full(depth.shape, -1, np.int16)
    for index, box in BOXES.items():
        to_box = np.linalg.inv(poses[index]) @ camera_to_world
        hit = _hit(to_box[:3, 3], ray @ to_box[:3, :3].T, *box)
        link[hit < depth] = index
        depth = np.minimum(depth, hit)
    colour = np.concatenate([COLOURS[link], 255 * np.ones_like(link)[..., None]], axis=-1)
    colour[link < 0] = 0
    return Frame(colour.astype(np.uint8), depth.astype(np.float32), link)


def _hit(
    origin: Float[np.ndarray, "3"],
    direction: Float[np.ndarray, "H W 3"],
    low: list[float],
    high: list[float],
) -> Float[np.ndarray, "H W"]:
    """How many times `direction` it is from `origin` to an axis-aligned box; infinite past it."""
    with np.errstate(divide="ignore"):
        bounds = (np.array([low, high])[:, None, None] - origin) / direction
    enter, leave = bounds.min(axis=0).max(axis=-1), bounds.max(axis=0).min(axis=-1)
    return np.where((enter < leave) & (enter > 0), enter, np.inf)
