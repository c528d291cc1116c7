"""One object from its files to its shard: the job that every worker does."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from datagen.articulation import ArticulatedObject, link_poses
from datagen.cameras import rig
from datagen.collision import CollisionModel
from datagen.object_ids import copy_id
from datagen.partnet import read_object
from datagen.render_settings import RenderSettings
from datagen.renderer import Renderer, RendererName
from datagen.repainting import repainted
from datagen.shard_writer import ShardContents, StateImages, sha256, shard_bytes, write_whole
from datagen.shards import SUFFIX, VERSION
from datagen.source import ObjectError, ObjectFiles
from datagen.state_names import decode
from datagen.states import Blame, Plan, Scheme, collision_check, none_collide, object_rng, sample
from datagen.stretching import stretched
from datagen.surface import Surface, read_surface, sample_points
from datagen.visibility import visible_points
from datagen.world import depth_range, extent_points, world_from_object


def probe_settings(render: RenderSettings) -> RenderSettings:
    """Just good enough to see which part covers which pixel."""
    return replace(render, resolution=96, samples=1, denoiser="none", bounces=0)


@dataclass(frozen=True)
class Sampling:
    """How states and points are drawn.

    Attributes:
        scheme: `uniform` or `partdrag4d` (datagen.states).
        draws: random configurations of the other parts for each moved part (`uniform`).
        seed: decides everything random.
        points: surface points on each link.
        min_share: parts that cover less than this share of the pixels in the input view that shows
            them best, shut or open, are left out.
        stretch: how much longer an object may be made along each axis: by a random factor of up to
            1 + stretch, or down to its inverse. 0 leaves objects as they are.
        repaint: probability that a material has another colour, in place of its colour or texture.
        collisions: whether states in which parts stand in one another are left out.
    """

    scheme: Scheme = "uniform"
    draws: int = 1
    seed: int = 0
    points: int = 2048
    min_share: float = 0.002
    stretch: float = 0.0
    repaint: float = 0.0
    collisions: bool = True

    @property
    def copies(self) -> bool:
        """Whether shards are of copies, and not of the objects themselves."""
        return bool(self.stretch or self.repaint)

    def decisive(self) -> dict[str, Any]:
        """All of it, but for what came later and is as it was before."""
        settings = asdict(self)
        first = Sampling()
        for name in ("stretch", "repaint", "collisions"):
            if settings[name] == getattr(first, name):
                del settings[name]
        return settings


@dataclass(frozen=True)
class Job:
    """An object to make a shard of.

    Attributes:
        path: the object's folder or zip.
        out: folder for the shard.
        sampling, render: what to make.
        states: exactly these published states, in place of the sampling's.
        renderer: which one makes the pictures.
    """

    path: Path
    out: Path
    sampling: Sampling
    render: RenderSettings
    states: tuple[str, ...] | None = None
    renderer: RendererName = "blender"

    @property
    def config(self) -> dict[str, Any]:
        """All that decides the shard's content, apart from the object."""
        config: dict[str, Any] = {"version": VERSION, "sampling": self.sampling.decisive()}
        config["render"] = asdict(self.render)
        if self.renderer != "blender":
            config["renderer"] = self.renderer
        return config | ({} if self.states is None else {"states": list(self.states)})

    @property
    def config_hash(self) -> str:
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:16]


def read_as_asked(files: Path | ObjectFiles, sampling: Sampling) -> ArticulatedObject:
    """The object in these files, or a copy of it, whose id ends with the seed.

    Raises:
        ObjectError: it cannot be read.
    """
    obj = read_object(files)
    if not sampling.copies:
        return obj
    rng = object_rng(sampling.seed, obj.id, "stretch")
    factors = (1 + sampling.stretch) ** rng.uniform(-1, 1, 3)
    return stretched(obj, factors, copy_id(obj.id, sampling.seed))


@dataclass(frozen=True)
class Planned:
    """Event: an object's states are known."""

    states: int


@dataclass(frozen=True)
class StateDone:
    """Event: one more state is on disk; `resumed` if it was there already."""

    resumed: bool


@dataclass(frozen=True)
class Made:
    """What came of a job.

    Attributes:
        id: the object's.
        sha256: of the shard; empty where the object has no state to render.
        bytes: the shard's size.
        states, views: how many it holds.
        small_parts: names of the parts left out because hardly anything of them can be seen.
        colliding: names of the states left out because parts would stand in one another.
        render_seconds: time inside Cycles in this run.
    """

    id: str
    sha256: str = ""
    bytes: int = 0
    states: int = 0
    views: int = 0
    small_parts: tuple[str, ...] = ()
    colliding: tuple[str, ...] = ()
    render_seconds: float = 0.0


class ShardMaker:
    """Makes shards, one object after the other, with one renderer that stays alive.

    Args:
        make_renderer: starts it.
    """

    def __init__(self, make_renderer: Callable[[], Renderer]) -> None:
        self._renderer = make_renderer()

    def close(self) -> None:
        self._renderer.close()

    def __call__(self, job: Job, report: Callable[[object], None]) -> Made:
        """Make the shard of `job`; states that an earlier run left on disk are not made again.

        Raises:
            ObjectError: the object cannot be used.
            StateNameError: a name of the state list does not fit the object.
            BlenderError: Blender refuses, for one because it has no such device.
            BlenderDied: Blender ended.
            OSError: the disk is full, or the like.
        """
        files = ObjectFiles(job.path)
        obj = read_as_asked(files, job.sampling)
        surface = read_surface(files, obj)
        if job.sampling.repaint:
            rng = object_rng(job.sampling.seed, obj.id, "repaint")
            surface = repainted(surface, job.sampling.repaint, rng)
        if not obj.movable:
            raise ObjectError(files.id, "mobility.urdf", "no joint of it moves")
        rendered_before = self._renderer.render_seconds
        self._renderer.load(files, surface)
        plan, small = self._plan(job, files, obj, surface)
        files.warn()
        made = Made(obj.id, small_parts=small, colliding=plan.colliding)
        if not plan.states:
            return made
        report(Planned(len(plan.states)))
        data = self._render(job, obj, surface, plan, report)
        write_whole(job.out / f"{obj.id}{SUFFIX}", data)
        shutil.rmtree(_work_folder(job, obj))
        return replace(
            made,
            sha256=sha256(data),
            bytes=len(data),
            states=len(plan.states),
            views=len(plan.states) * len(rig(job.render.rig).camera_to_world),
            render_seconds=self._renderer.render_seconds - rendered_before,
        )

    def _plan(
        self, job: Job, files: ObjectFiles, obj: ArticulatedObject, surface: Surface
    ) -> tuple[Plan, tuple[str, ...]]:
        """The states to render, and the names of the parts that are too small to see."""
        if job.states is not None:
            return Plan(tuple(decode(obj, job.states))), ()
        sampling = job.sampling
        shares = self._shares(job.render, obj, surface)
        seen = [j for j in obj.movable if shares[j.part] >= sampling.min_share]
        small = tuple(
            f"{j.part} ({obj.links[j.child].semantic or j.name}, {shares[j.part]:.2%})"
            for j in obj.movable
            if j not in seen
        )
        rng = object_rng(sampling.seed, obj.id, "states")

        def planned(blame: Blame) -> Plan:
            parts = [j.part for j in seen]
            return sample(obj, parts, sampling.scheme, sampling.draws, rng, blame)

        if not sampling.collisions:
            return planned(none_collide), small
        with CollisionModel(files, obj) as model:
            return planned(collision_check(model)), small

    def _shares(
        self, settings: RenderSettings, obj: ArticulatedObject, surface: Surface
    ) -> dict[int, float]:
        """Part index to the largest share of an input view's pixels that the part covers, shut or
        open while the others rest."""
        self._renderer.configure(probe_settings(settings))
        view_rig = rig(settings.rig)
        cameras = view_rig.camera_to_world[list(view_rig.input_views)]
        shares = {}
        for index, joint in enumerate(obj.movable):
            ends = np.tile(obj.rest, (2, 1))
            ends[:, index] = joint.position(0), joint.position(5)
            world = world_from_object(settings.rig, extent_points(obj, surface, ends))
            subtree = obj.subtree(joint)
            frames = [
                frame
                for poses in link_poses(obj, ends)
                for frame in self._renderer.render(world @ poses, cameras)
            ]
            shares[joint.part] = max(float(np.isin(f.link, subtree).mean()) for f in frames)
        return shares

    def _render(
        self,
        job: Job,
        obj: ArticulatedObject,
        surface: Surface,
        plan: Plan,
        report: Callable[[object], None],
    ) -> bytes:
        """Render every state that is not on disk yet, then put the shard together."""
        view_rig = rig(job.render.rig)
        poses = link_poses(obj, np.array([s.positions for s in plan.states]))
        extent = extent_points(obj, surface, np.array([s.positions for s in plan.states]))
        world = world_from_object(job.render.rig, extent)
        world_extent = extent @ world[:3, :3].T + world[:3, 3]
        contents = ShardContents(
            obj,
            plan.states,
            *sample_points(
                surface, job.sampling.points, object_rng(job.sampling.seed, obj.id, "points")
            ),
            world,
            view_rig,
            job.render.resolution,
            depth_range(world_extent, list(view_rig.camera_to_world)),
            job.sampling.seed,
            job.config,
        )
        folder = _work_folder(job, obj)
        folder.mkdir(parents=True, exist_ok=True)
        self._renderer.configure(job.render)
        images = []
        for index in range(len(plan.states)):
            path = folder / f"{index:04d}.npz"
            resumed = path.exists()
            if resumed:
                images.append(StateImages.load(path))
            else:
                images.append(self._render_state(contents, world @ poses[index]))
                images[-1].save(path)
            report(StateDone(resumed))
        return shard_bytes(contents, images)

    def _render_state(
        self, contents: ShardContents, poses: Float[np.ndarray, "links 4 4"]
    ) -> StateImages:
        cameras = contents.rig.camera_to_world
        frames = self._renderer.render(poses, cameras)
        placed = poses[contents.point_link]
        points = np.einsum("pij,pj->pi", placed[:, :3, :3], contents.points) + placed[:, :3, 3]
        visible = visible_points(
            points,
            contents.point_link,
            np.stack([f.depth for f in frames]),
            np.stack([f.link for f in frames]),
            cameras,
            contents.rig.intrinsics(contents.resolution),
        )
        return StateImages.encode(frames, visible, contents.depth_range)


def _work_folder(job: Job, obj: ArticulatedObject) -> Path:
    """Where the finished states of a shard in the making are kept."""
    return job.out / ".work" / f"{obj.id}-{job.config_hash}"
