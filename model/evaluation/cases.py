"""Which samples are measured, and reading them: what a network is shown, and the truth."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from datagen.drags import draggable_pairs, moved_links, sample_drags
from datagen.shards import Shard
from model.metrics import changed_region
from model.part_masks import PartMask
from model.propagation import DragError, propagate
from model.views import Views, cameras, intrinsics, on_white, read_pictures

Propagation = Literal["none", "mask", "part"]
T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """One sample: an object goes from one state to another.

    Attributes:
        shard: what a network is shown.
        source, target: its states.
        truth: the same object with the views to compare: the same shard, or one of another rig.
        truth_source, truth_target: the same states there.
    """

    shard: Shard
    source: int
    target: int
    truth: Shard
    truth_source: int
    truth_target: int

    @property
    def source_name(self) -> str:
        return self.shard.states[self.source].name

    @property
    def target_name(self) -> str:
        return self.shard.states[self.target].name

    def close(self) -> None:
        """Close its files until they are next needed."""
        self.shard.close()
        self.truth.close()


@dataclass(frozen=True)
class DragChoice:
    """How a sample's drags are chosen.

    Attributes:
        count: so many, fewer where the part shows fewer points.
        propagate: `none`: all are true; `mask`: one is, and the others start on the true mask of
            its part, each with its displacement; `part`: on what `part_mask` takes for the part,
            as in `predict.py --spread part`. Where that finds none, the one is alone.
        seed: decides which points. A sample's first drags are the same for every count.
        part_mask: finds the part in view 0.
    """

    count: int
    propagate: Propagation = "none"
    seed: int = 0
    part_mask: PartMask | None = None


class Truth(NamedTuple):
    """What is compared with, in T views of another or the same rig.

    Attributes:
        source, target: the two states' pictures, sRGB in [0, 1] on white.
        region: where they differ visibly.
        camera_to_world: of the views, in the world of the shard that the network is shown.
        intrinsics: in pixels of these pictures.
    """

    source: Float[Tensor, "T 3 R R"]
    target: Float[Tensor, "T 3 R R"]
    region: Bool[Tensor, "T R R"]
    camera_to_world: Float[Tensor, "T 4 4"]
    intrinsics: Float[Tensor, "3 3"]

    def to(self, device: torch.device) -> Truth:
        return Truth(*(tensor.to(device) for tensor in self))


def choose_cases(
    shards: Mapping[str, Shard], pairs: int, truths: Mapping[str, Shard] | None = None
) -> list[Case]:
    """For each object an even choice of at most so many of the pairs of states that its drags join.

    Args:
        shards: what networks are shown, by object id.
        pairs: at most, of an object.
        truths: where the views to compare are, by object id; by default in the same shards.

    Raises:
        ValueError: no part of any object moves and shows, or an object or state is missing from
            `truths` or differs there.
    """
    if truths is not None and (missing := sorted(shards.keys() - truths.keys())):
        raise ValueError(
            f"--targets has no shard of {', '.join(missing[:5])}"
            + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        )
    cases = []
    for name, shard in shards.items():
        truth = shard if truths is None else truths[name]
        for source, target in even_choice(draggable_pairs(shard), pairs):
            there = (_same_state(shard, state, truth) for state in (source, target))
            cases.append(Case(shard, source, target, truth, *there))
        shard.close()
        truth.close()
    if not cases:
        raise ValueError(
            f"nothing to drag in {len(shards)} object(s): no part of any moves and shows in view 0"
        )
    return cases


def even_choice(items: Sequence[T], most: int) -> list[T]:
    """At most so many of a sequence's items, evenly spread, the first and the last among them."""
    chosen = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[index] for index in chosen]


def check_pictures(shards: Iterable[Shard], resolution: int) -> None:
    """Refuse shards whose pictures are smaller than those to be compared, or of several rigs.

    Raises:
        ValueError: says which, and what to do.
    """
    rigs = {}
    for shard in shards:
        if shard.resolution < resolution:
            raise ValueError(
                f"{shard.path} holds pictures of {shard.resolution} pixels, fewer than the "
                f"{resolution} that are to be compared: pass --resolution {shard.resolution}, or "
                "render it again, larger"
            )
        rigs[rig_of(shard)] = shard.path
    if len(rigs) > 1:
        told = ", ".join(f"{path} ({rig})" for rig, path in rigs.items())
        raise ValueError(f"these shards are of different rigs, which do not compare: {told}")


def rig_of(shard: Shard) -> str:
    """The name of the rig that a shard was rendered with."""
    return str(shard.file["views"].attrs["rig"])


def read_views(case: Case, state: int, size: int, count: int) -> Views:
    """The input views of one of the case's states, a batch of one, of which `count` are shown."""
    shard, views = case.shard, case.shard.input_views
    pictures, _ = on_white(read_pictures(shard, state, views, size))
    present = torch.ones(1, len(views), dtype=torch.bool)
    told = cameras(shard, views), intrinsics(shard, size)
    return Views(pictures[None], told[0][None], told[1][None], present).first(count)


def read_drags(
    case: Case, choice: DragChoice
) -> tuple[Float[np.ndarray, "D 2"], Float[np.ndarray, "D 2"]]:
    """Where the case's drags start and end in view 0, as fractions of the picture."""
    shard = case.shard
    rng = np.random.default_rng([choice.seed, _number(shard.id), case.source, case.target])
    everything = sample_drags(shard, case.source, case.target, len(shard.points), rng)
    start, end = everything.start_pixel[: choice.count], everything.end_pixel[: choice.count]
    if choice.propagate != "none":
        mask = _mask_of_part(case, choice, start[0])
        if mask is None:
            start, end = start[:1], end[:1]
        else:
            start, end = propagate(mask, start[0], end[0], choice.count, rng)
    return start / shard.resolution, end / shard.resolution


def _mask_of_part(
    case: Case, choice: DragChoice, start: Float[np.ndarray, "2"]
) -> Bool[np.ndarray, "H W"] | None:
    """The pixels of view 0 over which a drag is propagated; None where no part is found."""
    shard = case.shard
    if choice.propagate == "mask":
        part = moved_links(shard, shard.states[case.source].part)
        return np.isin(shard.link(case.source, 0), part)
    if choice.part_mask is None:
        raise ValueError("drags are propagated over parts: what finds them, part_mask, is missing")
    try:
        return choice.part_mask(shard.colour(case.source, 0), start)
    except DragError:
        return None


def read_truth(case: Case, resolution: int) -> Truth:
    """What the case's prediction is compared with, in all views of `case.truth`."""
    shard = case.truth
    views = range(len(shard.camera_to_world))
    source, target = (
        on_white(read_pictures(shard, state, views, resolution))[0]
        for state in (case.truth_source, case.truth_target)
    )
    camera_to_world = cameras_in_world(
        shard.camera_to_world, shard.world_from_object, case.shard.world_from_object
    )
    return Truth(
        source,
        target,
        changed_region(source, target),
        torch.from_numpy(camera_to_world).float(),
        intrinsics(shard, resolution),
    )


def cameras_in_world(
    camera_to_world: Float[np.ndarray, "V 4 4"],
    their_world: Float[np.ndarray, "4 4"],
    our_world: Float[np.ndarray, "4 4"],
) -> Float[np.ndarray, "V 4 4"]:
    """Cameras of another world, placed in ours so that they see the object as they do in theirs.

    Worlds may be turned, moved and scaled against each other. Pixels stay the same, since the scale
    acts along rays; depths become ours.

    Args:
        camera_to_world: OpenCV matrices in their world.
        their_world, our_world: similarities from the object's frame, `world_from_object`.
    """
    between = our_world @ np.linalg.inv(their_world)
    moved = between @ camera_to_world
    scale = np.cbrt(np.linalg.det(between[:3, :3]))
    left, _, right = np.linalg.svd(moved[:, :3, :3] / scale)  # free of rounding: rigid
    moved[:, :3, :3] = left @ right
    return moved


def _same_state(shard: Shard, state: int, other: Shard) -> int:
    """The index of a shard's state in another shard of the object.

    Raises:
        ValueError: it has no such state, or its joints are elsewhere in the state of that name.
    """
    wanted = shard.states[state]
    for index, candidate in enumerate(other.states):
        if candidate.name == wanted.name:
            if not _equal_poses(shard.link_poses[state], other.link_poses[index]):
                raise ValueError(
                    f"state {wanted.name} is another in {other.path} than in {shard.path}: build "
                    "both with the same --seed and --scheme"
                )
            return index
    raise ValueError(
        f"{other.path} has no state {wanted.name}, which {shard.path} has: build it with "
        "--min-share 0, which leaves no part out for being small there"
    )


def _equal_poses(a: Float[np.ndarray, "L 4 4"], b: Float[np.ndarray, "L 4 4"]) -> bool:
    return a.shape == b.shape and np.allclose(a, b, atol=1e-5)


def _number(name: str) -> int:
    """A number that tells names apart, the same in every process."""
    return int.from_bytes(hashlib.sha1(name.encode()).digest()[:8])
