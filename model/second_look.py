"""A second look: what a network's first answer shows, told to it before it answers again.

A network that sees new things is a little off, and does not see by how much: its views attend to
each other on coarse cells alone. Its first answer tells where each pixel's surface is about, and so
where in the other views to look for it. What is seen there, what the answer looks like from where
the pictures were taken, and by how much these differ, is what the second answer may go by: errors
of renderings, as in ReSplat (Xu et al. 2025), where learned gradient descent has gradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from model.rendering import Rendering, render
from model.splatter import first_splats
from model.views import NEAR, Views, projected

if TYPE_CHECKING:
    from model.capture import Forward
    from model.config import PartRMConfig

OFFSETS = (-0.04, 0.0, 0.04)
"""Along each pixel's ray, from where the first answer has its surface, in world units: as far as
that is often off."""
OTHERS = 3
"""So many other views are looked at from each: the next ones in turn, around again."""
LOOK_CHANNELS = 5 + OTHERS * len(OFFSETS) * 5
DEPTH = 0.1  # world units: errors of depth of so much are told as 1
FARTHEST = 2.0  # of these units: larger ones are told as this


@torch.no_grad()
def seen(forward: Forward, config: PartRMConfig, views: Views) -> Float[Tensor, "B V C S S"]:
    """What a network takes to answer: colours and rays, and, if it takes a second look, what that
    shows of its first answer.

    Args:
        forward: the network as it is called.
        config: its shape.
        views: of the state that it is shown.
    """
    images = views.network_input()
    if not config.second_look:
        return images
    return torch.cat([images, look(views, forward(images, None), config.layers)], dim=2)


def look(
    views: Views, gaussians: Float[Tensor, "B N 14"], layers: int
) -> Float[Tensor, "B V {LOOK_CHANNELS} S S"]:
    """What Gaussians look like beside the pictures that they were made of.

    Args:
        views: what the network was shown, from the cameras that it was told of.
        gaussians: what it made of them, one for each layer and splat of each view.
        layers: of these; the first is taken for the surface.

    Returns:
        of each pixel: how the drawn colour differs from the seen one, in deviations of ImageNet's;
        the drawn alpha; how far behind the first splat the drawn surface is; then, for each other
        view and offset, by how much the colour there differs from the pixel's own, how far behind
        the point that view's drawn surface is, and 1 if it shows the point. Where it does not, or
        is not present, 0 for all of these.
    """
    with torch.autocast(gaussians.device.type, enabled=False):
        colours = views.network_input()[:, :, :3]
        size = colours.shape[-1]
        cameras, lenses = views.camera_to_world, views.intrinsics[:, None]
        gaussians = gaussians.float()
        drawn = render(gaussians, cameras, lenses, size, size)
        drawn_colours = views._replace(
            pictures=drawn.colour, present=torch.ones_like(views.present)
        ).network_input()[:, :, :3]
        surface = first_splats(gaussians, cameras.shape[1], layers, size)
        centre = cameras[:, :, None, None, :3, 3]
        ray = F.normalize(surface - centre, dim=-1)
        own_depth = projected(surface.flatten(2, 3), cameras, lenses)[1].view(drawn.depth.shape)
        behind = _told(drawn.depth - own_depth, drawn.alpha)
        told = [drawn_colours - colours, drawn.alpha, behind]
        for other in range(1, OTHERS + 1):
            for offset in OFFSETS:
                point = surface + offset * ray
                told.append(_there(point, other, colours, drawn, views))
        return torch.cat(told, dim=2)


def _told(
    error: Float[Tensor, "*shape"], alpha: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """An error of depth in units of `DEPTH`; it counts as much as something is drawn there."""
    return (error / DEPTH).clamp(-FARTHEST, FARTHEST) * alpha


def _there(
    point: Float[Tensor, "B V S S 3"],
    other: int,
    colours: Float[Tensor, "B V 3 S S"],
    drawn: Rendering,
    views: Views,
) -> Float[Tensor, "B V 5 S S"]:
    """What the view after so many others shows where a point is, beside what this one shows."""
    count, size = colours.shape[1], colours.shape[-1]
    if other >= count:
        return colours.new_zeros(*colours.shape[:2], 5, size, size)

    def turned(of_views: Tensor) -> Tensor:
        return of_views.roll(-other, dims=1)

    pixel, depth = projected(
        point.flatten(2, 3), turned(views.camera_to_world), views.intrinsics[:, None]
    )
    place, z = pixel.view(*point.shape[:4], 2) * (2 / size) - 1, depth.view(point.shape[:4])
    shows = (z > NEAR) & (place.abs() < 1).all(dim=-1)
    shows = (shows & turned(views.present)[..., None, None])[:, :, None].float()
    pictures = turned(torch.cat([colours, drawn.alpha, drawn.alpha * drawn.depth], dim=2))
    sampled = F.grid_sample(
        pictures.flatten(0, 1), place.flatten(0, 1), padding_mode="border", align_corners=False
    ).unflatten(0, (-1, count))
    colour, alpha, weighted = sampled.split((3, 1, 1), dim=2)
    behind = _told(weighted / alpha.clamp(min=1e-3) - z[:, :, None], alpha)
    return torch.cat([colour - colours, behind, torch.ones_like(alpha)], dim=2) * shows
