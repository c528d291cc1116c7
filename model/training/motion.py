"""What a shard knows of how things move from one state to another: points of the surface that views
show, the pixels that show what moves, and its rigid motion.

All as the cameras see it that look at the object from a `symmetry.Side`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from datagen.cameras import project
from datagen.drags import moved_links
from datagen.image_codec import downscaled_links
from datagen.shards import Shard
from model.training.symmetry import Side


class Surface(NamedTuple):
    """Points of the surface, so many in each input view.

    Attributes:
        pixel: where the view shows them, as fractions of the picture.
        point: where they are in the world in the target state.
        seen: false where there is no such point, as the view shows none; its place means nothing.
    """

    pixel: Float[np.ndarray, "V P 2"]
    point: Float[np.ndarray, "V P 3"]
    seen: Bool[np.ndarray, "V P"]


def surface_points(
    shard: Shard, shown: int, target: int, side: Side, count: int, rng: np.random.Generator
) -> Surface:
    """Points drawn from those that the input views show.

    Args:
        shard: the object's.
        shown: the state in which they are seen.
        target: the state that they are followed to; it may be the same.
        side: from where the object is looked at.
        count: how many for each view; a point may come more than once.
        rng: decides which.
    """
    views = len(shard.input_views)
    chosen = np.zeros((views, count), int)
    seen = np.zeros((views, count), bool)
    for row, view in enumerate(shard.input_views if count else ()):
        visible = np.flatnonzero(shard.visible(shown, side.views[view]))
        if len(visible):
            chosen[row], seen[row] = visible[rng.integers(len(visible), size=count)], True
    here, there = (
        side.seen(shard.world_points(state, chosen.ravel())).reshape(views, count, 3)
        for state in (shown, target)
    )
    cameras = shard.camera_to_world[list(shard.input_views)]
    pixel, _ = project(here, cameras, shard.intrinsics)
    fractions = pixel / shard.resolution
    return Surface(fractions.astype(np.float32), there.astype(np.float32), seen)


def moved_pixels(
    shard: Shard, state: int, side: Side, size: int
) -> Bool[np.ndarray, "V {size} {size}"]:
    """Which pixels of the input views show what the state's part moves, in pictures of this size:
    what is in the middle of each."""
    moved = np.empty((len(shard.input_views), size, size), bool)
    links = moved_links(shard, shard.states[state].part)
    for row, view in enumerate(shard.input_views):
        link = downscaled_links(shard.link(state, side.views[view]), size)
        moved[row] = np.isin(link[:, ::-1] if side.mirrored else link, links)
    return moved


def rigid_motion(shard: Shard, source: int, target: int, side: Side) -> Float[np.ndarray, "7"]:
    """How what the source state's part moves gets to where the target state has it, x -> R x + t in
    the world: R's unit quaternion w, x, y, z, then t."""
    (link, *_) = moved_links(shard, shard.states[source].part)
    before, after = shard.world_from_object @ shard.link_poses[[source, target], link]
    # By hand: LAPACK's inverse leaves threads spinning, which other samples' workers could use.
    turn = after[:3, :3] @ before[:3, :3].T / (before[:3, 0] @ before[:3, 0])
    shift = after[:3, 3] - turn @ before[:3, 3]
    world = np.array(side.world)
    x, y, z, w = Rotation.from_matrix(world @ turn @ world.T).as_quat()
    return np.array([w, x, y, z, *side.seen(shift)], np.float32)
