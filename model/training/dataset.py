"""Training samples from shards: a source state's pictures, drags, and the target state.

Whatever is random about a sample follows from the seed, the epoch and the sample's index alone, so
a run can go on anywhere, on any number of workers, with the samples it would have had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from datagen.drags import draggable_pairs, sample_drags, shows_moved_part
from datagen.shards import Shard
from model.training.augmentation import (
    Augmentation,
    camera_jitter,
    colour_change,
    grid_distortion,
    still_warp,
    tinted,
    warped,
)
from model.training.motion import moved_pixels, rigid_motion, surface_points
from model.training.symmetry import Side, sides
from model.views import Views, cameras, intrinsics, on_white, read_pictures

OPEN_SHARDS = 256  # in each process: each takes a file descriptor, of which many systems give 1,024

T_co = TypeVar("T_co", covariant=True)


class Sample(NamedTuple):
    """One training sample; a batch of them with a leading B. Pictures are bytes, straight alpha.

    Attributes:
        source: the source state's V input views.
        told_cameras: what the network is told of their cameras, camera to world.
        present: which of them it is shown; always view 0.
        warp: how it is shown them, as in `augmentation.grid_distortion`.
        drag_start, drag_end: in view 0, as fractions of the picture; 0 drags for a sample that
            moves nothing.
        drag_mask: true where there is a drag.
        target_inputs: the target state in the input views, for the teacher; or no views.
        input_cameras: their cameras.
        target: the target state in the T views to be rendered; or no views.
        target_cameras: their cameras.
        intrinsics: in pixels of these pictures.
        surface_pixel: of P points of the surface in each input view, where it shows them, as
            fractions of the picture: of the source state, if splats follow, else of the target.
        surface_point: where these are in the world in the target state.
        surface_seen: true where there is such a point.
        moved: which pixels of the source's input views show what moves; or no views.
        motion: how it moves in the world: unit quaternion w, x, y, z, then the way that the world's
            origin would move.
        tint: how the colours of all of these pictures are changed, as in
            `augmentation.colour_change`.
    """

    source: UInt8[Tensor, "*B V 4 S S"]
    told_cameras: Float[Tensor, "*B V 4 4"]
    present: Bool[Tensor, "*B V"]
    warp: Float[Tensor, "*B V 2 S"]
    drag_start: Float[Tensor, "*B D 2"]
    drag_end: Float[Tensor, "*B D 2"]
    drag_mask: Bool[Tensor, "*B D"]
    target_inputs: UInt8[Tensor, "*B V 4 S S"]
    input_cameras: Float[Tensor, "*B V 4 4"]
    target: UInt8[Tensor, "*B T 4 S S"]
    target_cameras: Float[Tensor, "*B T 4 4"]
    intrinsics: Float[Tensor, "*B 3 3"]
    surface_pixel: Float[Tensor, "*B V P 2"]
    surface_point: Float[Tensor, "*B V P 3"]
    surface_seen: Bool[Tensor, "*B V P"]
    moved: Bool[Tensor, "*B V S S"]
    motion: Float[Tensor, "*B 7"]
    tint: Float[Tensor, "*B 3 4"]

    def to(self, device: torch.device) -> Sample:
        return Sample(*(tensor.to(device, non_blocking=True) for tensor in self))

    def pin_memory(self) -> Sample:
        return Sample(*(tensor.pin_memory() for tensor in self))

    def shown(self) -> Views:
        """What the network is shown, of a batch."""
        pictures, _ = self._on_white(self.source)
        return Views(warped(pictures, self.warp), self.told_cameras, self.intrinsics, self.present)

    def question(self) -> Views:
        """The source state in the input views, of a batch: nothing missing, nothing distorted."""
        return self._as_it_is(self.source)

    def answer(self) -> Views:
        """The target state in the input views, of a batch."""
        return self._as_it_is(self.target_inputs)

    def _as_it_is(self, rgba: UInt8[Tensor, "B V 4 S S"]) -> Views:
        pictures, _ = self._on_white(rgba)
        everything = torch.ones_like(self.present)
        return Views(pictures, self.input_cameras, self.intrinsics, everything)

    def truth(self) -> tuple[Float[Tensor, "B T 3 S S"], Float[Tensor, "B T 1 S S"]]:
        """The target state in the views to be rendered, of a batch: colours on white, and alpha."""
        return self._on_white(self.target)

    def _on_white(
        self, rgba: UInt8[Tensor, "B V 4 S S"]
    ) -> tuple[Float[Tensor, "B V 3 S S"], Float[Tensor, "B V 1 S S"]]:
        pictures, alpha = on_white(rgba)
        return tinted(pictures, alpha, self.tint), alpha


@dataclass(frozen=True)
class Task:
    """What a training stage wants of a sample.

    Attributes:
        moves: from one state of a part to another, by drags; otherwise states are their own target.
        teacher: with the target state in the input views.
        rendered: how many views of the target state: the input views and others at random.
        surface: how many points of the surface in each input view.
        follows: of the network that learns: `PartRMConfig.follows`.
    """

    moves: bool
    teacher: bool
    rendered: int
    surface: int = 0
    follows: bool = False


class Samples(Dataset[T_co]):
    """Samples by number, so many an epoch: see `Stream`. Of the shards, few are open at a time.

    Attributes:
        chances: of each sample to be the next; None: each comes once an epoch.
    """

    chances: Float[np.ndarray, "samples"] | None = None

    def __init__(self) -> None:
        self.used: dict[Path, Shard] = {}  # the last few, the oldest first

    def __len__(self) -> int:
        raise NotImplementedError

    def _close_all_but_the_last_used(self, shard: Shard) -> None:
        """Note that a shard is used, and close the one that has not been for longest."""
        self.used.pop(shard.path, None)
        self.used[shard.path] = shard
        if len(self.used) > OPEN_SHARDS:
            self.used.pop(next(iter(self.used))).close()


class StateDataset(Samples[Sample]):
    """Ordered pairs of states that differ in one part, which view 0 shows, or single states; where
    they are to move, a share of them still does not (`Augmentation.still`).

    `dataset[n]` is sample `n % len(dataset)` as epoch `n // len(dataset)` has it: its drags,
    augmentations and rendered views are drawn anew every epoch.
    """

    def __init__(
        self,
        shards: Mapping[str, Shard],
        task: Task,
        size: int,
        max_drags: int = 10,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        """
        Args:
            shards: by object id.
            task: what the samples are for.
            size: pixels along a side of the pictures.
            max_drags: a sample has 1 up to as many, all of the moved part's visible surface.
            augmentation: by default the published one.
            seed: decides all that is random.

        Raises:
            ValueError: the shards hold no two states that differ in a part that shows.
        """
        super().__init__()
        self.task, self.size, self.max_drags, self.seed = task, size, max_drags, seed
        self.augmentation = augmentation or Augmentation()
        self._known_sides: dict[bytes, list[Side]] = {}
        self.items: list[tuple[Shard, int, int]] = []
        for shard in shards.values():
            still = [(state, state) for state in range(len(shard.states))]
            pairs = draggable_pairs(shard) if task.moves else still
            self.items += [(shard, source, target) for source, target in pairs]
            shard.close()  # a forked worker opens its own
        if not self.items:
            raise ValueError(
                f"{len(shards)} shard(s) without a part that moves and shows: nothing to learn"
            )

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Sample:
        epoch, index = divmod(number, len(self.items))
        rng = np.random.default_rng([self.seed, epoch, index])
        shard, source, target = self.items[index]
        dragged = self.task.moves and rng.random() >= self.augmentation.still
        if not dragged:
            target = source
        self._close_all_but_the_last_used(shard)
        inputs = shard.input_views
        present, told, warp = self._shown(shard.camera_to_world[list(inputs)], rng)
        side = self._side(shard, source, dragged, rng)
        start, end, mask = (
            self._drags(shard, source, target, side, rng) if dragged else self._no_drags()
        )
        # All that is asked of a state starts with the input views, and is read once.
        views = self._inputs_first(len(shard.camera_to_world), inputs, rng)
        shown, taught, rendered = len(inputs), len(inputs) * self.task.teacher, self.task.rendered
        counts = {target: max(taught, rendered)}
        counts[source] = max(shown, counts.get(source, 0))
        pictures = {
            state: self._pictures(shard, state, views[:count], side)
            for state, count in counts.items()
        }
        follows = self.task.follows
        surface = surface_points(
            shard, source if follows else target, target, side, self.task.surface, rng
        )
        moved = np.empty((0, self.size, self.size), bool)
        if follows and self.task.teacher:
            moved = moved_pixels(shard, source, side, self.size)
        return Sample(
            source=pictures[source][:shown],
            told_cameras=torch.from_numpy(told).float(),
            present=torch.from_numpy(present),
            warp=torch.from_numpy(warp),
            drag_start=torch.from_numpy(start),
            drag_end=torch.from_numpy(end),
            drag_mask=torch.from_numpy(mask),
            target_inputs=pictures[target][:taught],
            input_cameras=cameras(shard, inputs),
            target=pictures[target][:rendered],
            target_cameras=cameras(shard, views[:rendered]),
            intrinsics=intrinsics(shard, self.size),
            surface_pixel=torch.from_numpy(surface.pixel),
            surface_point=torch.from_numpy(surface.point),
            surface_seen=torch.from_numpy(surface.seen),
            moved=torch.from_numpy(moved),
            motion=torch.from_numpy(rigid_motion(shard, source, target, side)),
            tint=torch.from_numpy(self._tint(rng)),
        )

    def _tint(self, rng: np.random.Generator) -> Float[np.ndarray, "3 4"]:
        chances = self.augmentation
        if rng.random() < chances.tint:
            return colour_change(chances.tint_strength, chances.tint_hue, rng)
        return np.eye(3, 4, dtype=np.float32)

    def _shown(
        self, camera_to_world: Float[np.ndarray, "V 4 4"], rng: np.random.Generator
    ) -> tuple[Bool[np.ndarray, "V"], Float[np.ndarray, "V 4 4"], Float[np.ndarray, "V 2 S"]]:
        """Which input views are shown, from which cameras allegedly, and how distorted."""
        views, chances = len(camera_to_world), self.augmentation
        present, told, warp = np.ones(views, bool), camera_to_world, still_warp(views, self.size)
        if rng.random() < chances.view_dropout and views > 1:
            missing = rng.integers(1, views)
            present[rng.permutation(np.arange(1, views))[:missing]] = False
        if rng.random() < chances.camera_jitter:
            others = camera_jitter(told[1:], chances.jitter_strength, rng)
            told = np.concatenate([told[:1], others])
        if rng.random() < chances.grid_distortion:
            others = grid_distortion(views - 1, self.size, chances.distortion_strength, rng)
            warp = np.concatenate([warp[:1], others])
        return present, told, warp

    def _side(self, shard: Shard, source: int, dragged: bool, rng: np.random.Generator) -> Side:
        """From where the object is looked at: where drags start, view 0 shows what moves."""
        mirrored = bool(rng.random() < self.augmentation.mirror)
        turned = bool(rng.random() < self.augmentation.turn)
        ways = [side for side in self._sides(shard) if side.mirrored == mirrored]
        if not ways:  # these cameras have no mirror image
            return self._sides(shard)[0]
        side = ways[rng.integers(len(ways)) if turned else 0]
        hidden = dragged and not shows_moved_part(shard, source, side.views[0])
        return ways[0] if hidden else side

    def _sides(self, shard: Shard) -> list[Side]:
        """`symmetry.sides` of a shard's cameras, which are those of most of the others, too."""
        key = shard.camera_to_world.tobytes()
        if key not in self._known_sides:
            self._known_sides[key] = sides(shard.camera_to_world)
        return self._known_sides[key]

    def _pictures(
        self, shard: Shard, state: int, views: tuple[int, ...], side: Side
    ) -> UInt8[Tensor, "V 4 S S"]:
        """What these views show of a state that is looked at from that side."""
        pictures = read_pictures(shard, state, [side.views[view] for view in views], self.size)
        return pictures.flip(-1) if side.mirrored else pictures

    def _drags(
        self, shard: Shard, source: int, target: int, side: Side, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "D 2"], Float[np.ndarray, "D 2"], Bool[np.ndarray, "D"]]:
        """Start, end and mask, padded to `max_drags`."""
        start, end, mask = self._no_drags()
        alone = rng.random() < self.augmentation.single
        drawn = 1 if alone else int(rng.integers(1, self.max_drags + 1))
        drags = sample_drags(shard, source, target, drawn, rng, side.views[0])
        count = len(drags.point)
        start[:count] = drags.start_pixel / shard.resolution
        end[:count] = drags.end_pixel / shard.resolution
        mask[:count] = True
        if side.mirrored:
            start[:, 0], end[:, 0] = 1 - start[:, 0], 1 - end[:, 0]
        if rng.random() < self.augmentation.drag_noise:
            end += self.augmentation.noise_strength * rng.standard_normal(end.shape, np.float32)
        return start, end, mask

    def _no_drags(
        self,
    ) -> tuple[Float[np.ndarray, "D 2"], Float[np.ndarray, "D 2"], Bool[np.ndarray, "D"]]:
        start, end = np.zeros((2, self.max_drags, 2), np.float32)
        return start, end, np.zeros(self.max_drags, bool)

    def _inputs_first(
        self, views: int, inputs: tuple[int, ...], rng: np.random.Generator
    ) -> tuple[int, ...]:
        """The input views, then the others in random order."""
        others = rng.permutation([view for view in range(views) if view not in inputs])
        return (*inputs, *(int(view) for view in others))


class Stream(Sampler[int]):
    """The numbers of the samples that one of several processes takes, without end, from any point
    on: epoch after epoch, each in an order of its own, or, where samples have chances, at random.
    """

    def __init__(
        self,
        length: int,
        seed: int = 0,
        start: int = 0,
        rank: int = 0,
        processes: int = 1,
        chances: Float[np.ndarray, "samples"] | None = None,
    ) -> None:
        """
        Args:
            length: of the dataset.
            seed: decides the order.
            start: how many samples all processes together have taken already.
            rank, processes: which of how many processes this is.
            chances: `Samples.chances`.
        """
        self.length, self.seed, self.start = length, seed, start
        self.rank, self.processes, self.chances = rank, processes, chances

    def __iter__(self) -> Iterator[int]:
        choose = self._in_turn() if self.chances is None else self._at_random(self.chances)
        position = self.start + self.rank
        while True:
            yield choose(position)
            position += self.processes

    def _in_turn(self) -> Callable[[int], int]:
        epoch, order = -1, np.empty(0, int)

        def choose(position: int) -> int:
            nonlocal epoch, order
            if position // self.length != epoch:
                epoch = position // self.length
                order = np.random.default_rng([self.seed, epoch]).permutation(self.length)
            return epoch * self.length + int(order[position % self.length])

        return choose

    def _at_random(self, chances: Float[np.ndarray, "samples"]) -> Callable[[int], int]:
        """Each time the sample of another epoch, so that it never looks the same again."""
        up_to = np.cumsum(chances) / np.sum(chances)

        def choose(position: int) -> int:
            drawn = np.random.default_rng([self.seed, position]).random()
            return position * self.length + int(np.searchsorted(up_to, drawn, side="right"))

        return choose
