"""A ball as a network that is right would have it: its views, and a splat for each pixel."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datagen.cameras import rig
from model.views import Views

SIZE = 64
RADIUS = 0.5
Paint = Callable[[Tensor], Tensor]
"""[..., 3] colours of [..., 3] points."""


def waves(points: Tensor) -> Tensor:
    """Another colour everywhere."""
    return 0.5 + 0.4 * torch.sin(9 * points)


def ball(off: float = 0.0, paint: Paint = waves) -> tuple[Views, Tensor]:
    """Four views of a ball, painted by where it is, and a splat for each of their pixels, off its
    surface by so much along the pixel's ray; they show nothing where the ball is not."""
    ring = rig("ring")
    cameras = torch.tensor(ring.camera_to_world[list(ring.input_views)]).float()[None]
    lens = torch.tensor(ring.intrinsics(SIZE)).float()[None]
    x = (torch.arange(SIZE) + 0.5 - lens[0, 0, 2]) / lens[0, 0, 0]
    local = torch.stack([*torch.meshgrid(x, x, indexing="xy"), torch.ones(SIZE, SIZE)], dim=-1)
    ray = F.normalize(torch.einsum("vij,hwj->vhwi", cameras[0, :, :3, :3], local), dim=-1)
    centre = cameras[0, :, None, None, :3, 3]
    along = -(centre * ray).sum(dim=-1, keepdim=True)
    inside = RADIUS**2 - (centre + along * ray).square().sum(dim=-1, keepdim=True)
    hit = inside > 0
    surface = centre + (along - inside.clamp(min=0).sqrt()) * ray
    colour = torch.where(hit, paint(surface), torch.ones(3))
    shape = torch.tensor([0.01, 0.01, 0.01, 1.0, 0.0, 0.0, 0.0]).expand(*hit.shape[:3], -1)
    splats = torch.cat([surface + off * ray, 0.99 * hit, shape, colour], dim=-1)
    pictures = colour.movedim(-1, 1)[None]
    present = torch.ones(1, len(cameras[0]), dtype=torch.bool)
    return Views(pictures, cameras, lens, present), splats.reshape(1, -1, 14)


def two_halves(points: Tensor) -> Tensor:
    """Red where y is positive, which is to be the part, and blue elsewhere."""
    red, blue = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9])
    return torch.where(points[..., 1:2] > 0, red, blue)


class SameColour(nn.Module):
    """Takes for the part what has the colour of the pixel that was clicked on."""

    def __init__(self) -> None:
        super().__init__()
        self.clicks: list[Tensor] = []

    def forward(self, pictures: Tensor, clicks: Tensor) -> Tensor:
        self.clicks.append(clicks)
        column, row = (clicks[:, 0] * SIZE).long().unbind(-1)
        colour = pictures[torch.arange(len(clicks)), :, row, column]
        same = (pictures - colour[:, :, None, None]).abs().amax(dim=1) < 0.1
        return torch.where(same, 10.0, -10.0)
