"""Gaussians of an object as it is, fitted to the pictures that show it so.

A network reconstructs what is unlike all that it was trained on a little off. The pictures of it
are there, though: a few steps of gradient descent, as by which 3D Gaussian splatting fits a scene
(Kerbl et al. 2023, and thousands there), mend what they show. The same splats after a drag take
what was corrected along.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from model.rendering import render_for_any_size
from model.views import Views

STEPS = 10
BETAS = (0.9, 0.95)
COLOUR = 1000.0  # times colours' mean squared error: what a fit makes small, ..
TRUST = 0.06  # .. together with that of corrections, in units of a step's


class Correction(NamedTuple):
    """How Gaussians are changed.

    Attributes:
        position: added, in world units.
        opacity: added to its logit.
        scale: added to its logarithm.
        colour: added.
    """

    position: Float[Tensor, "B N 3"]
    opacity: Float[Tensor, "B N 1"]
    scale: Float[Tensor, "B N 3"]
    colour: Float[Tensor, "B N 3"]


RATES = {"position": 0.02, "opacity": 1.0, "scale": 0.2, "colour": 0.03}
"""As far as steps can take them, if all go the same way."""


def fit(gaussians: Float[Tensor, "B N 14"], views: Views, steps: int = STEPS) -> Correction:
    """What makes Gaussians look more like the pictures of the views that are present.

    Args:
        gaussians: as in `splatter.gaussians_of_splatter`.
        views: of the state that they show.
        steps: of Adam; 1 or more.

    Raises:
        ValueError: fewer.
    """
    if steps < 1:
        raise ValueError(f"a fit of {steps} steps: 1 or more, or 0 to leave it out")
    shown = views.present.any(dim=0)  # in any sample: others are not rendered
    weight = views.present[:, shown].float()
    weight = COLOUR * weight / weight.sum(dim=1, keepdim=True)
    pictures, cameras = views.pictures[:, shown], views.camera_to_world[:, shown]
    height, width = pictures.shape[-2:]
    gaussians = gaussians.detach().float()
    correction = Correction(
        *(torch.zeros_like(gaussians[..., :n]).requires_grad_() for n in (3, 1, 3, 3))
    )
    rates = [rate / steps for rate in RATES.values()]
    groups = [{"params": [p], "lr": r} for p, r in zip(correction, rates, strict=True)]
    optimizer = torch.optim.Adam(groups, betas=BETAS, fused=gaussians.is_cuda)
    with torch.enable_grad(), torch.autocast(gaussians.device.type, enabled=False):
        for step in range(steps):
            optimizer.zero_grad()
            drawn = render_for_any_size(
                corrected(gaussians, correction),
                cameras,
                views.intrinsics[:, None],
                width,
                height,
                odd=step % 2 == 0,
            )
            error = (drawn.colour - pictures).square().mean(dim=(-3, -2, -1))
            sizes = [
                (change * (STEPS / rate)).square().mean()
                for change, rate in zip(correction, RATES.values(), strict=True)
            ]
            trust = TRUST * len(gaussians) * torch.stack(sizes).sum()
            ((weight * error).sum() + trust).backward()
            optimizer.step()
    return Correction(*(change.detach() for change in correction))


def corrected(
    gaussians: Float[Tensor, "B N 14"], correction: Correction
) -> Float[Tensor, "B N 14"]:
    """Those Gaussians, or the same ones after a drag, changed as a correction says."""
    position, opacity, scale, rotation, colour = gaussians.split((3, 1, 3, 4, 3), dim=-1)
    odds = opacity * correction.opacity.exp()
    return torch.cat(
        [
            position + correction.position,
            odds / (1 - opacity + odds),
            scale * correction.scale.exp(),
            rotation,
            (colour + correction.colour).clamp(0, 1),
        ],
        dim=-1,
    )
