"""Training of the click-to-part network: clicks on parts that move, and what moves with them.

Clicks are on parts that move, never on what stands still: a person who drags says that something
moves there, and the network's task is to find what moves along. Were it taught that some clicks
mean nothing, it would refuse parts of unseen objects that do move; were it taught to mark the body
instead, a drag would spread over what no joint moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor, nn

from datagen.drags import moved_links
from datagen.shards import Shard
from model.checkpoint_layout import CheckpointError
from model.click_to_part import ClickToPartConfig, ClickToPartNet, spots
from model.part_masks import part_of_links
from model.training.augmentation import colour_change
from model.training.config import TrainConfig
from model.training.dataset import Samples
from model.training.folders import as_one, chances, training_folders
from model.training.processes import Processes
from model.training.progress import Measure
from model.training.run import Task, autocast, even_choice, held_out_shards, train_network
from model.views import on_white

NAME = "parts"
IOU = Measure("iou", "IoU", "{:.3f} IoU")
SMALLEST = 1e-3  # of the picture; of parts that show less, no one clicks on the rest
BORDER = 0.25  # of a picture's side, added on every side before it is cropped
MOST_CLICKS = 10  # on a part


class Click(NamedTuple):
    """One training sample; a batch of them with a leading B.

    Attributes:
        picture: sRGB, straight alpha.
        clicks: (x, y) as fractions of the picture: centres of pixels of a part, of which some, or
            all but the first, are the first one again.
        mask: the pixels of what moves with the clicked ones.
    """

    picture: UInt8[Tensor, "*B 4 S S"]
    clicks: Float[Tensor, "*B K 2"]
    mask: Bool[Tensor, "*B S S"]

    def to(self, device: torch.device) -> Click:
        return Click(*(tensor.to(device, non_blocking=True) for tensor in self))

    def pin_memory(self) -> Click:
        return Click(*(tensor.pin_memory() for tensor in self))


@dataclass(frozen=True)
class ClickAugmentation:
    """How often and how strongly samples are changed.

    Attributes:
        alone: probability that there is one click, and not up to `MOST_CLICKS`.
        flip: probability that left and right are exchanged.
        crop: probability that a square that holds the click is shown in place of the picture.
        sides: the shortest and longest side of that square, as a fraction of the picture's.
        colour: strength of changes of brightness, contrast and saturation: factors of 1 plus and
            minus as much.
        hue: of hue, in turns.
    """

    alone: float = 0.5
    flip: float = 0.5
    crop: float = 0.8
    sides: tuple[float, float] = (0.6, 1.4)
    colour: float = 0.4
    hue: float = 0.1

    @classmethod
    def none(cls) -> ClickAugmentation:
        return cls(alone=1, flip=0, crop=0, colour=0, hue=0)


class ClickDataset(Samples[Click]):
    """A state of an object each; its view, the part and the pixels clicked on are drawn.

    `dataset[n]` is sample `n % len(dataset)` as epoch `n // len(dataset)` has it. Parts are clicked
    on as often as the square root of their pixels says. Slivers, as of a drawer inside a cabinet,
    are only clicked on where no view of the state shows more of any part: what they belong to, no
    picture tells.
    """

    def __init__(
        self,
        shards: Mapping[str, Shard],
        size: int,
        augmentation: ClickAugmentation | None = None,
        seed: int = 0,
        views: tuple[int, ...] | None = None,
    ) -> None:
        """
        Args:
            shards: by object id.
            size: pixels along a side of the pictures.
            augmentation: by default some.
            seed: decides all that is random.
            views: to draw from; by default all.

        Raises:
            ValueError: no object has a part that moves.
        """
        super().__init__()
        self.size, self.seed, self.views = size, seed, views
        self.augmentation = augmentation or ClickAugmentation()
        self.items: list[tuple[Shard, int]] = []
        for shard in shards.values():
            if shard.object.movable:
                self.items += [(shard, state) for state in range(len(shard.states))]
            shard.close()  # a forked worker opens its own
        if not self.items:
            raise ValueError(f"{len(shards)} shard(s) without a part that moves: nothing to learn")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Click:
        epoch, index = divmod(number, len(self.items))
        rng = np.random.default_rng([self.seed, epoch, index])
        shard, state = self.items[index]
        self._close_all_but_the_last_used(shard)
        picture, links, pixels = self._clicked(shard, state, rng)
        row, column = pixels[0]
        part = int(part_of_links(shard.object)[links[row, column]])
        mask = np.isin(links, moved_links(shard, part))
        left, top, side = self._square(column, row, shard.resolution, rng)
        picture, mask = cropped(picture, mask, left, top, side, self.size)
        clicks = (pixels[:, ::-1] + 0.5 - [left, top]) / side
        clicks[((clicks < 0) | (clicks >= 1)).any(axis=1)] = clicks[0]
        columns, rows = (clicks * self.size).astype(int).T
        mask[rows, columns] = True  # small parts may fall in between
        if rng.random() < self.augmentation.flip:
            picture, mask = picture[:, ::-1], mask[:, ::-1]
            clicks[:, 0] = 1 - clicks[:, 0]
        return Click(
            torch.from_numpy(self._jittered(picture, rng).transpose(2, 0, 1).copy()),
            torch.from_numpy(clicks).float(),
            torch.from_numpy(mask.copy()),
        )

    def _clicked(
        self, shard: Shard, state: int, rng: np.random.Generator
    ) -> tuple[
        UInt8[np.ndarray, "H W 4"], Int[np.ndarray, "H W"], Int[np.ndarray, "{MOST_CLICKS} 2"]
    ]:
        """A view that shows a part that moves, as colours and links, and pixels (row, column) of
        it, of which several may be the first again."""
        views = self.views or range(len(shard.camera_to_world))
        sliver = None
        for view in rng.permutation(list(views)).tolist():
            picture, links = shard.colour(state, view), shard.link(state, view)
            parts = clickable(shard, picture, links)
            large = [p for p in parts if len(p) >= SMALLEST * shard.resolution**2]
            if large:
                return picture, links, self._pixels(large, rng)
            if parts and sliver is None:
                sliver = picture, links, parts
        if sliver is not None:
            picture, links, parts = sliver
            return picture, links, self._pixels(parts, rng)
        raise ValueError(
            f"{shard.path}: state {shard.states[state].name} shows no part that moves in view(s) "
            f"{', '.join(str(view) for view in views)}"
        )

    def _pixels(
        self, parts: list[Int[np.ndarray, "N 2"]], rng: np.random.Generator
    ) -> Int[np.ndarray, "{MOST_CLICKS} 2"]:
        """Pixels of one of these parts, each by its own."""
        weight = np.sqrt([len(pixels) for pixels in parts])
        chosen = parts[rng.choice(len(parts), p=weight / weight.sum())]
        pixels = chosen[rng.integers(len(chosen), size=MOST_CLICKS)]
        alone = rng.random() < self.augmentation.alone
        pixels[1 if alone else rng.integers(2, MOST_CLICKS + 1) :] = pixels[0]
        return pixels

    def _square(
        self, column: int, row: int, resolution: int, rng: np.random.Generator
    ) -> tuple[float, float, float]:
        """Left, top and side, in pixels, of what is shown: it holds the click, and lies within the
        picture and its border."""
        if rng.random() >= self.augmentation.crop:
            return 0, 0, resolution
        side = resolution * float(np.exp(rng.uniform(*np.log(self.augmentation.sides))))
        border = BORDER * resolution
        corner = []
        for place in (column, row):
            lowest = max(place + 1 - side, -border)
            highest = min(place, resolution + border - side)
            corner.append(float(rng.uniform(lowest, highest)))
        return corner[0], corner[1], side

    def _jittered(
        self, picture: UInt8[np.ndarray, "S S 4"], rng: np.random.Generator
    ) -> UInt8[np.ndarray, "S S 4"]:
        """A picture in other colours."""
        strength, hue = self.augmentation.colour, self.augmentation.hue
        if not (strength or hue):
            return picture
        change = colour_change(strength, hue, rng)
        rgb = picture[..., :3] @ change[:, :3].T + 255 * change[:, 3]
        return np.concatenate([rgb.clip(0, 255).astype(np.uint8), picture[..., 3:]], axis=-1)


def clickable(
    shard: Shard, picture: UInt8[np.ndarray, "H W 4"], links: Int[np.ndarray, "H W"]
) -> list[Int[np.ndarray, "N 2"]]:
    """The pixels (row, column) of each part that moves and that this view of a shard shows."""
    parts = np.append(part_of_links(shard.object), -1)[links]  # the background's link is -1
    parts[picture[..., 3] == 0] = -1
    there = np.flatnonzero(np.bincount(parts.ravel() + 1)[1:])
    return [np.argwhere(parts == part) for part in there]


def cropped(
    picture: UInt8[np.ndarray, "H W 4"],
    mask: Bool[np.ndarray, "H W"],
    left: float,
    top: float,
    side: float,
    size: int,
) -> tuple[UInt8[np.ndarray, "S S 4"], Bool[np.ndarray, "S S"]]:
    """A square of a picture and of a mask, resampled; it may reach over the edge by `BORDER`."""
    border = int(np.ceil(BORDER * max(mask.shape)))
    box = (left + border, top + border, left + border + side, top + border + side)
    # Pillow weighs colours by their alpha here.
    padded = Image.fromarray(np.pad(picture, ((border,) * 2, (border,) * 2, (0, 0))))
    shown = padded.resize((size, size), Image.Resampling.BILINEAR, box)
    centres = (np.arange(size) + 0.5) * side / size + border
    rows, columns = ((centres + offset).astype(int) for offset in (top, left))
    return np.asarray(shown), np.pad(mask, border)[rows[:, None], columns]


class ClickOutcome(NamedTuple):
    """Of one batch.

    Attributes:
        loss: to be minimised.
        parts: what it is the sum of, by name.
        logits: [B, S, S].
    """

    loss: Tensor
    parts: dict[str, Tensor]
    logits: Tensor


@dataclass(frozen=True)
class ClickTask(Task[ClickToPartNet, Click, ClickOutcome]):
    """The click-to-part network as it is trained.

    Attributes:
        held_out: measured at every checkpoint.
        device: of the network.
        autocast: makes the context in which the network computes.
    """

    held_out: list[Click]
    device: torch.device
    autocast: Callable[[], AbstractContextManager[None]]
    measure = IOU

    def hidden(self, network: ClickToPartNet) -> list[nn.Module]:
        return [network.down, network.attention, network.up]

    def loss(self, forward: nn.Module, batch: Click, step: int) -> ClickOutcome:
        pictures, _ = on_white(batch.picture)
        with self.autocast():
            logits = forward(pictures, batch.clicks)
        parts = {
            "cross_entropy": F.binary_cross_entropy_with_logits(logits, batch.mask.float()),
            "dice": dice_loss(logits, batch.mask),
        }
        return ClickOutcome(parts["cross_entropy"] + parts["dice"], parts, logits)

    def quality(self, outcome: ClickOutcome, batch: Click) -> float:
        return float(iou(outcome.logits > 0, batch.mask).mean())

    def pictures(self, outcome: ClickOutcome, batch: Click) -> dict[str, Tensor]:
        shown, _ = on_white(batch.picture)
        place = spots(shown, batch.clicks, (0.02,))
        masks = {"prediction": outcome.logits.sigmoid(), "truth": batch.mask.float()}
        return {
            "source": shown * (1 - place),
            **{name: mask[:, None].expand_as(shown) for name, mask in masks.items()},
        }

    @torch.no_grad()
    def validation(self, network: ClickToPartNet) -> float | None:
        if not self.held_out:
            return None
        values = []
        for sample in self.held_out:
            batch = sample.to(self.device)
            values.append(self.quality(self.loss(network, batch, 0), batch))
        return float(np.mean(values))


def dice_loss(logits: Float[Tensor, "B S S"], mask: Bool[Tensor, "B S S"]) -> Float[Tensor, ""]:
    """One minus the soft Dice coefficient, which weighs small parts like large ones."""
    share = logits.sigmoid().flatten(1)
    truth = mask.float().flatten(1)
    overlap = (share * truth).sum(dim=1)
    return (1 - (2 * overlap + 1) / (share.sum(dim=1) + truth.sum(dim=1) + 1)).mean()


def iou(a: Bool[Tensor, "B S S"], b: Bool[Tensor, "B S S"]) -> Float[Tensor, "B"]:
    """Intersection over union of masks; 0 where both are empty."""
    union = (a | b).flatten(1).sum(dim=1)
    return (a & b).flatten(1).sum(dim=1) / union.clamp(min=1)


def train_parts(config: TrainConfig, processes: Processes) -> Path:
    """Train the click-to-part network; its shape is `config.parts`.

    Returns:
        the file of its weights: their running mean over the steps.

    Raises:
        TrainingError, Interrupted, ResumeError: as `run.train_network` does.
        CheckpointError, ShardError, SplitError, ValueError: it cannot start as it is asked for.
    """
    size = config.parts.input_size
    folders = training_folders(config, size, "--parts.input-size")
    dataset = ClickDataset(as_one(folders), size, seed=config.seed)
    if config.shares:
        shards = [shard for shard, _ in dataset.items]
        dataset.chances = chances(shards, folders, config.shares)
    held_out = held_out_clicks(config) if processes.first else []
    torch.manual_seed(config.seed)
    network = starting_network(config.init, config.parts).train().to(processes.device)
    task = ClickTask(held_out, processes.device, autocast(config, processes.device))
    shape = {"parts": asdict(config.parts)}
    return train_network(config, NAME, network, task, dataset, processes, shape)


def starting_network(path: Path | None, config: ClickToPartConfig) -> ClickToPartNet:
    """A network to train: fresh, or with a checkpoint's weights.

    Raises:
        CheckpointError: the checkpoint is of another shape.
    """
    if path is None:
        return ClickToPartNet(config)
    network = ClickToPartNet.from_pretrained(path)
    if network.config != config:
        raise CheckpointError(f"{path} is another network: {network.config}, not {config}")
    return network


def held_out_clicks(config: TrainConfig) -> list[Click]:
    """An even choice of the held-out objects' samples, not augmented; none where there are none."""
    shards = held_out_shards(config)
    if not shards:
        return []
    dataset = ClickDataset(shards, config.parts.input_size, ClickAugmentation.none())
    return even_choice(dataset, config.val_samples)
