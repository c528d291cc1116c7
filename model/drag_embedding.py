"""The multi-scale drag embedding (PartRM, section 3.2): drags become a feature map at the input of
each encoder level.

Each end of a drag is Fourier-encoded, passed through a 3-layer MLP of that level, and splatted
onto a map of the size of the level's features; the maps M of starts and ends are then fused with
the features O, by the paper `I = O + Conv(M ⊕ O)`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

FREQUENCIES = 8
BLUR_REACH = 2  # the splats are 5x5 Gaussians of sigma 1 cell


class Drags(NamedTuple):
    """A padded set of drags for each view.

    Attributes:
        start, end: [B, V, D, 2] pixels (x, y) of that view, as fractions of its width and height:
            (0, 0) is the picture's upper left corner, (1, 1) its lower right one. An end outside of
            the picture is drawn at its border.
        mask: [B, V, D] true where there is a drag; what stands elsewhere has no effect.
    """

    start: Float[Tensor, "B V D 2"]
    end: Float[Tensor, "B V D 2"]
    mask: Bool[Tensor, "B V D"]

    @classmethod
    def from_pixels(
        cls,
        start: Float[Tensor, "B V D 2"],
        end: Float[Tensor, "B V D 2"],
        size: int,
        mask: Bool[Tensor, "B V D"] | None = None,
    ) -> Drags:
        """Drags in pixels of square pictures of this size, pixel centres at half-integers."""
        if mask is None:
            mask = torch.ones(start.shape[:-1], dtype=torch.bool, device=start.device)
        return cls(start / size, end / size, mask)

    def to(self, device: torch.device | str) -> Drags:
        return Drags(*(tensor.to(device) for tensor in self))

    @classmethod
    def in_view(
        cls,
        start: Float[Tensor, "B D 2"],
        end: Float[Tensor, "B D 2"],
        mask: Bool[Tensor, "B D"],
        view: int,
        views: int,
    ) -> Drags:
        """Drags that are known in one view only, as fractions of the picture."""
        repeated = cls.in_every_view(start, end, mask, views)
        known = (torch.arange(views, device=mask.device) == view)[:, None]
        return repeated._replace(mask=repeated.mask & known)

    @classmethod
    def in_every_view(
        cls,
        start: Float[Tensor, "B D 2"],
        end: Float[Tensor, "B D 2"],
        mask: Bool[Tensor, "B D"],
        views: int,
    ) -> Drags:
        """The same pixels in all views: what the published code makes of view 0's drags."""
        shape = (-1, views, -1, -1)
        return cls(
            start[:, None].expand(shape),
            end[:, None].expand(shape),
            mask[:, None].expand(shape[:-1]),
        )


def fourier_encoding(angles: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 32"]:
    """sin and cos of 100^(i/8) (x, y), i = 0…7; ordered by i, then sin and cos, then x and y."""
    exponents = torch.arange(FREQUENCIES, device=angles.device) / FREQUENCIES
    scaled = angles[..., None, :] * (100.0**exponents)[:, None]
    return torch.stack([scaled.sin(), scaled.cos()], dim=-2).flatten(-3)


def splat_profiles(size: int, device: torch.device) -> Float[Tensor, "{size} {size}"]:
    """What a unit impulse in each cell of a row becomes under a 5-tap Gaussian of sigma 1, where
    the row is reflected at both ends (the outermost cells are not repeated)."""
    row = torch.arange(size, device=device)
    centre, last = row[:, None], size - 1

    def gaussian(distance: Int[Tensor, "size size"]) -> Float[Tensor, "size size"]:
        taps = torch.exp(-0.5 * distance.float() ** 2)
        return torch.where(distance.abs() <= BLUR_REACH, taps, 0.0)

    total = sum(math.exp(-0.5 * tap**2) for tap in range(-BLUR_REACH, BLUR_REACH + 1))
    mirrored_left = torch.where(centre > 0, gaussian(row + centre), 0.0)
    mirrored_right = torch.where(centre < last, gaussian(2 * last - centre - row), 0.0)
    return (gaussian(row - centre) + mirrored_left + mirrored_right) / total


def with_convolved_splats(
    features: Float[Tensor, "N K H W"],
    kernels: Float[Tensor, "N D K 3 3"],
    x: Float[Tensor, "N D W"],
    y: Float[Tensor, "N D H"],
) -> Float[Tensor, "N K H W"]:
    """Features plus the sum over d of the splats `y[d] x[d]`, each convolved by its kernels with
    zeros around.

    A map of D splats is far from full rank: convolving their profiles instead spares both the map
    and a dense convolution of it.
    """
    x_taps = F.pad(x, (1, 1)).unfold(-1, x.shape[-1], 1)  # [N, D, 3, W]: x[w - 1], x[w], x[w + 1]
    y_taps = F.pad(y, (1, 1)).unfold(-1, y.shape[-1], 1)
    rows = torch.einsum("ndkij,ndjw->ndiwk", kernels, x_taps).flatten(3).flatten(1, 2)
    columns = y_taps.flatten(1, 2).mT
    lines = features.permute(0, 2, 3, 1)  # [N, H, W, K]
    summed = torch.baddbmm(lines.flatten(2), columns, rows).view(lines.shape).permute(0, 3, 1, 2)
    return summed.contiguous() if features.is_contiguous() else summed


class DragLayer(nn.Module):
    """Draws the drags at one encoder level and fuses them with its features, as in the paper.

    Angles of the Fourier encoding run from -π to π over the picture, so that the lowest frequency
    tells any two places apart. The fusion starts as `I = O + Conv(M)`: a fresh layer changes
    nothing where no drag is.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(4 * FREQUENCIES, 128),
            nn.SiLU(),
            nn.Linear(128, 256),
            nn.SiLU(),
            nn.Linear(256, channels // 2),
        )
        self.fuse = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.reset_fusion()

    def reset_fusion(self) -> None:
        features, _ = self.fuse.weight.chunk(2, dim=1)
        nn.init.zeros_(features)
        nn.init.zeros_(self.fuse.get_parameter("bias"))

    def angles(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """What of a point (x, y), as a fraction of the picture, is Fourier-encoded."""
        return math.pi * (2 * points - 1)

    def place(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Column and row of a point (x, y), as fractions of the map."""
        return points

    def fused(
        self, features: Float[Tensor, "BV C H W"], drags: Drags | None
    ) -> Float[Tensor, "BV C H W"]:
        """Conv(M ⊕ O), where M holds the starts in its first half of channels, the ends in its
        second: the sums of their Gaussian splats of 5x5 cells, each times its end's code."""
        on_features, on_map = self.fuse.weight.chunk(2, dim=1)
        convolved = F.conv2d(features, on_features, self.fuse.bias, padding=1)
        if drags is None or not drags.mask.shape[-1]:
            return convolved
        height, width = features.shape[-2:]
        mask = drags.mask.flatten(0, 1)[:, None, :, None]
        ends = torch.stack([drags.start, drags.end], dim=2).flatten(0, 1)  # [BV, 2, D, 2]
        ends = torch.where(mask, ends, 0.0)
        codes = self.mlp(fourier_encoding(self.angles(ends)).to(on_map.dtype)) * mask
        kernels = torch.einsum("nedc,kecij->nedkij", codes, on_map.unflatten(1, (2, -1)))
        column, row = self.place(ends).flatten(1, 2).unbind(-1)
        across = splat_profiles(width, ends.device).to(kernels.dtype)
        along = splat_profiles(height, ends.device).to(kernels.dtype) if height != width else across
        x, y = across[_cells(column, width)], along[_cells(row, height)]
        return with_convolved_splats(convolved, kernels.flatten(1, 2), x, y)

    def forward(
        self, features: Float[Tensor, "BV C H W"], drags: Drags | None
    ) -> Float[Tensor, "BV C H W"]:
        """I = O + Conv(M ⊕ O); I = O for samples without any drag."""
        if drags is None:
            return features
        dragged = drags.mask.flatten(1).any(dim=1).repeat_interleave(drags.mask.shape[1])
        change = self.fused(features, drags)
        return torch.addcmul(features, dragged[:, None, None, None].to(change.dtype), change)


class PublishedDragLayer(DragLayer):
    """The layer of the published code and checkpoints, which departs from the paper: maps are
    indexed [x, y], the fusion replaces the features, `I = Conv(M ⊕ O)`, drags or no drags, and the
    Fourier encoding is of raw pixels of pictures 512 pixels wide."""

    def reset_fusion(self) -> None:
        """The convolution starts as PyTorch initialises it."""

    def angles(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        return 512 * points

    def place(self, points: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        return points.flip(-1)

    def forward(
        self, features: Float[Tensor, "BV C H W"], drags: Drags | None
    ) -> Float[Tensor, "BV C H W"]:
        return self.fused(features, drags)


DRAG_LAYERS: dict[str, type[DragLayer]] = {"paper": DragLayer, "published": PublishedDragLayer}


def _cells(coordinate: Float[Tensor, "*batch"], size: int) -> Int[Tensor, "*batch"]:
    """The cell of a row of `size` cells that a coordinate in [0, 1] falls in."""
    return (coordinate * size).floor().clamp(0, size - 1).long()
