"""What each training stage asks of the network (PartRM, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from model.capture import Forward
from model.partrm import PartRM
from model.perceptual import Perceptual
from model.rendering import Rendering, render
from model.training.config import StageName, TrainConfig
from model.training.dataset import Sample, Task


def task_of(stage: StageName, config: TrainConfig) -> Task:
    """What the stage's samples hold."""
    if stage == "motion":
        return Task(moves=True, teacher=True, rendered=0)
    return Task(moves=stage == "appearance", teacher=False, rendered=config.rendered_views)


class Outcome(NamedTuple):
    """Of one batch.

    Attributes:
        loss: to be minimised.
        parts: what it is the sum of, by name.
        gaussians: [B, N, 14].
        rendering: of the target views, if the loss needed it.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    gaussians: Tensor
    rendering: Rendering | None


@dataclass(frozen=True)
class Stage:
    """A stage's loss.

    Attributes:
        network: gives drags their place; its weights are trained through `forward`.
        teacher: the frozen reconstructor of stage `motion`, as it is called, else None.
        perceptual: LPIPS or its stand-in, or None to leave it out.
        lpips_weight: of it in the loss.
        autocast: makes the context in which networks compute.
        lpips_views: so many of a sample's rendered views are compared by it.
    """

    network: PartRM
    teacher: Forward | None
    perceptual: Perceptual | None
    lpips_weight: float
    autocast: Callable[[], AbstractContextManager[None]]
    lpips_views: int = 8

    def loss(self, forward: Forward, batch: Sample, with_lpips: bool) -> Outcome:
        """The stage's loss of a batch."""
        gaussians = self.gaussians(forward, batch)
        if self.teacher is not None:
            loss = motion_loss(gaussians, self._taught(self.teacher, batch))
            return Outcome(loss, {"motion": loss}, gaussians, None)
        truth, alpha = batch.truth()
        drawn = render_like(gaussians, batch.target_cameras, batch.intrinsics, truth)
        parts = {"colour": F.mse_loss(drawn.colour, truth), "alpha": F.mse_loss(drawn.alpha, alpha)}
        loss = parts["colour"] + parts["alpha"]
        if self.perceptual is not None and with_lpips:
            compared = _evenly(truth.shape[1], self.lpips_views)
            pair = (pictures[:, compared].flatten(0, 1) for pictures in (drawn.colour, truth))
            with self.autocast():
                distance = self.perceptual(*pair)
            parts[self.perceptual.key] = distance.float().mean()
            loss = loss + self.lpips_weight * parts[self.perceptual.key]
        return Outcome(loss, parts, gaussians, drawn)

    def gaussians(self, forward: Forward, batch: Sample) -> Float[Tensor, "B N 14"]:
        """What the network makes of a batch's source states and drags."""
        drags = None
        if self.network.config.drag_levels:
            ends = (batch.drag_start, batch.drag_end, batch.drag_mask)
            drags = self.network.drags_of_view_0(*ends, batch.source.shape[1])
        with self.autocast():
            return forward(batch.shown().network_input(), drags)

    @torch.no_grad()
    def _taught(self, teacher: Forward, batch: Sample) -> Float[Tensor, "B N 14"]:
        """The teacher's Gaussians of the target states, from their pictures, on the fly."""
        with self.autocast():
            return teacher(batch.answer().network_input(), None)


def _evenly(views: int, chosen: int) -> list[int]:
    """So many of the views, or all there are: input views come first, so some of these and some of
    the others."""
    chosen = min(chosen, views)
    return [i * views // chosen for i in range(chosen)]


def motion_loss(
    gaussians: Float[Tensor, "B N 14"], taught: Float[Tensor, "B N 14"]
) -> Float[Tensor, ""]:
    """L2 on the 14 splatter channels of each pixel of each view (PartRM, equation 4)."""
    return F.mse_loss(gaussians, taught)


def render_like(
    gaussians: Float[Tensor, "B N 14"],
    camera_to_world: Float[Tensor, "B T 4 4"],
    intrinsics: Float[Tensor, "B 3 3"],
    pictures: Float[Tensor, "B T 3 S S"],
) -> Rendering:
    """Gaussians from these cameras, in the size of these pictures."""
    height, width = pictures.shape[-2:]
    return render(gaussians, camera_to_world, intrinsics[:, None], width, height)


@torch.no_grad()
def compared(
    outcome: Outcome, batch: Sample
) -> tuple[Float[Tensor, "B T 3 S S"], Float[Tensor, "B T 3 S S"]]:
    """Pictures of what the network made and the truth of the target state: in the rendered views,
    or, in stage `motion`, which renders none, in the input views."""
    if outcome.rendering is not None:
        return outcome.rendering.colour, batch.truth()[0]
    truth = batch.answer().pictures
    drawn = render_like(outcome.gaussians, batch.input_cameras, batch.intrinsics, truth)
    return drawn.colour, truth
