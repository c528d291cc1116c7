"""The grid of Zero123++: which views are its cells, tiling, splitting, their background."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.ndimage import binary_propagation
from torch import Tensor

from datagen.cameras import Rig

ROWS, COLUMNS = 3, 2

# The cameras of the published v1.2's cells, in degrees. Azimuths are relative to the condition's
# camera, elevations are absolute. Fine-tuned checkpoints have others: see `grid_views`.
AZIMUTHS = (30, 90, 150, 210, 270, 330)
ELEVATIONS = (20, -10, 20, -10, 20, -10)
FIELD_OF_VIEW = 30


def tile(views: Float[Tensor, "*batch 6 C S S"]) -> Float[Tensor, "*batch C 3*S 2*S"]:
    """Views, row by row, as one picture of three rows and two columns."""
    cells = views.unflatten(-4, (ROWS, COLUMNS))
    return cells.movedim((-3, -5, -4), (-5, -4, -2)).flatten(-4, -3).flatten(-2)


def split(grid: Float[Tensor, "*batch C 3*S 2*S"]) -> Float[Tensor, "*batch 6 C S S"]:
    """The inverse of `tile`."""
    cells = grid.unflatten(-1, (COLUMNS, -1)).unflatten(-3, (ROWS, -1))
    return cells.movedim((-5, -4, -2), (-3, -5, -4)).flatten(-5, -4)


def grid_views(rig: Rig) -> tuple[int, ...]:
    """Which views of a rig fine-tuning on it puts into the grid's six cells, view 0 being the
    condition: the other input views first, then the first that are left.

    So the four views PartRM takes are the condition and the first three cells. For `partdrag4d`
    these are views 1 to 6, as in PartRM's fine-tuning.
    """
    inputs = rig.input_views[1:]
    others = [view for view in range(1, len(rig.camera_to_world)) if view not in inputs]
    return (*inputs, *others)[: ROWS * COLUMNS]


def remove_background(
    views: Float[Tensor, "*batch 3 H W"], tolerance: float = 0.06
) -> Float[Tensor, "*batch 4 H W"]:
    """Give views drawn on a plain background straight alpha.

    A view's background colour is the median of its border. The background is what differs from it
    by less than `tolerance` in every channel and hangs together with the border. The pixels next to
    it are taken for mixtures of that colour and the farthest from it among their neighbours, and
    unmixed; all others are opaque. So holes in an object stay filled, and an object of the
    background's colour that has no darker edge is lost.
    """
    flat = views.reshape(-1, *views.shape[-3:])
    border = torch.ones(views.shape[-2:], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    colour = flat[:, :, border.to(flat.device)].median(dim=-1).values[..., None, None]
    distance = (flat - colour).abs().amax(dim=1, keepdim=True)
    near = (distance < tolerance).squeeze(1).cpu().numpy()
    outside = torch.stack(
        [torch.from_numpy(binary_propagation(border.numpy() & mask, mask=mask)) for mask in near]
    )[:, None].to(flat.device)
    edge = F.max_pool2d(outside.float(), 3, stride=1, padding=1).bool() & ~outside
    mixed = distance / F.max_pool2d(distance, 3, stride=1, padding=1).clamp(min=tolerance)
    alpha = torch.where(edge, mixed, (~outside).float())
    unmixed = (colour + (flat - colour) / alpha.clamp(min=tolerance)).clamp(0, 1)
    return torch.cat([torch.where(edge, unmixed, flat), alpha], dim=1).reshape(
        *views.shape[:-3], 4, *views.shape[-2:]
    )
