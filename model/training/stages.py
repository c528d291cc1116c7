"""What each training stage asks of the network (PartRM, section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from model.capture import Forward
from model.config import PartRMConfig
from model.metrics import changed_region
from model.partrm import PartRM
from model.perceptual import Perceptual
from model.rendering import Rendering, render, render_for_any_size
from model.second_look import LOOK_CHANNELS, look, seen
from model.splatter import moved_by
from model.training.config import StageName, TrainConfig
from model.training.dataset import Sample, Task
from model.views import Views

AT_FIRST_SIGHT = 0.25  # of a batch
FEWEST_CHANGED = 64  # pixels: fewer count as fewer


def task_of(stage: StageName, config: TrainConfig, network: PartRMConfig) -> Task:
    """What the stage's samples hold."""
    return Task(
        moves=stage != "reconstruct",
        teacher=stage == "motion",
        rendered=0 if stage == "motion" else config.rendered_views,
        surface=config.surface_points if config.surface_weight else 0,
        follows=network.follows,
    )


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
        surface_weight: of the distance of splats from the surface in the loss.
        changed_weight: of the error where the states differ in the loss.
        for_any_size: whether renderings are to be right in larger pictures, too.
        glance: the network as it is called for answers that it is only told of, and from which
            nothing is learnt; by default as it is.
    """

    network: PartRM
    teacher: Forward | None
    perceptual: Perceptual | None
    lpips_weight: float
    autocast: Callable[[], AbstractContextManager[None]]
    lpips_views: int = 8
    surface_weight: float = 0.0
    changed_weight: float = 0.0
    for_any_size: bool = True
    glance: Forward | None = None

    def loss(self, forward: Forward, batch: Sample, with_lpips: bool) -> Outcome:
        """The stage's loss of a batch."""
        gaussians = self.gaussians(forward, batch)
        rendering: Rendering | None = None
        if self.teacher is not None:
            parts = {"motion": self._motion_loss(gaussians, self.teacher, batch)}
        else:
            rendering, parts = self._rendered(gaussians, batch, with_lpips)
        if self.surface_weight:
            parts["surface"] = surface_loss(gaussians, batch, self.network.config.layers)
        weights = {"changed": self.changed_weight, "surface": self.surface_weight}
        if self.perceptual is not None:
            weights[self.perceptual.key] = self.lpips_weight
        loss = torch.stack([weights.get(name, 1) * part for name, part in parts.items()]).sum()
        return Outcome(loss, parts, gaussians, rendering)

    def _rendered(
        self, gaussians: Float[Tensor, "B N 14"], batch: Sample, with_lpips: bool
    ) -> tuple[Rendering, dict[str, Tensor]]:
        """Renderings of the target views, and how far they are from the truth."""
        truth, alpha = batch.truth()
        height, width = truth.shape[-2:]
        draw = render_for_any_size if self.for_any_size else render
        drawn = draw(gaussians, batch.target_cameras, batch.intrinsics[:, None], width, height)
        parts = {"colour": F.mse_loss(drawn.colour, truth), "alpha": F.mse_loss(drawn.alpha, alpha)}
        if self.changed_weight:
            parts["changed"] = changed_loss(drawn.colour, truth, batch.question().pictures)
        if self.perceptual is not None and with_lpips:
            compared = _evenly(truth.shape[1], self.lpips_views)
            pair = (pictures[:, compared].flatten(0, 1) for pictures in (drawn.colour, truth))
            with self.autocast():
                distance = self.perceptual(*pair)
            parts[self.perceptual.key] = distance.float().mean()
        return drawn, parts

    def gaussians(self, forward: Forward, batch: Sample) -> Float[Tensor, "B N 14"]:
        """What the network makes of a batch's source states and drags."""
        drags = None
        if self.network.config.drag_levels:
            ends = (batch.drag_start, batch.drag_end, batch.drag_mask)
            drags = self.network.drags_of_view_0(*ends, batch.source.shape[1])
        with self.autocast():
            return forward(self._seen(batch.shown()), drags)

    @torch.no_grad()
    def _seen(self, views: Views) -> Float[Tensor, "B V C S S"]:
        """What the network is given of a batch. Its first samples are answered at first sight, so
        that the network still can."""
        images = views.network_input()
        if not self.network.config.second_look:
            return images
        told = images.new_zeros(*images.shape[:2], LOOK_CHANNELS, *images.shape[3:])
        again = slice(int(AT_FIRST_SIGHT * len(images)), None)
        first = (self.glance or self.network)(images[again], None)
        shown = Views(*(tensor[again] for tensor in views))
        told[again] = look(shown, first, self.network.config.layers)
        return torch.cat([images, told], dim=2)

    def _motion_loss(
        self, gaussians: Float[Tensor, "B N 14"], teacher: Forward, batch: Sample
    ) -> Float[Tensor, ""]:
        """L2 on the 14 splatter channels (PartRM, equation 4), against the teacher's Gaussians.

        They are those of the target state, made on the fly of its pictures. Where splats follow
        what they show, they are those of the source state, moved as the truth has it.
        """
        follows = self.network.config.follows
        views = batch.question() if follows else batch.answer()
        with torch.no_grad(), self.autocast():
            taught = teacher(seen(teacher, self.network.config, views), None)
        if not follows:
            return F.mse_loss(gaussians, taught)
        moved = moved_splats(batch.moved, self.network.config)[..., None]
        return F.mse_loss(gaussians, torch.where(moved, moved_by(taught, batch.motion), taught))


def _evenly(views: int, chosen: int) -> list[int]:
    """So many of the views, or all there are: input views come first, so some of these and some of
    the others."""
    chosen = min(chosen, views)
    return [i * views // chosen for i in range(chosen)]


def moved_splats(moved: Bool[Tensor, "B V S S"], config: PartRMConfig) -> Bool[Tensor, "B N"]:
    """Which of a network's Gaussians are of pixels most of which show what moves."""
    cells = F.adaptive_avg_pool2d(moved.float(), config.splat_size) > 0.5
    return cells.flatten(2).repeat_interleave(config.layers, dim=1).flatten(1)


def changed_loss(
    drawn: Float[Tensor, "B T 3 S S"],
    truth: Float[Tensor, "B T 3 S S"],
    source: Float[Tensor, "B V 3 S S"],
) -> Float[Tensor, ""]:
    """The squared error over the pixels of the input views, the first V of the T, at which the
    source and the target state differ: the mean of samples' means, however few they are."""
    views = min(source.shape[1], truth.shape[1])
    drawn, truth, source = drawn[:, :views], truth[:, :views], source[:, :views]
    changed = changed_region(source, truth)
    errors = ((drawn - truth).square().mean(dim=2) * changed).sum(dim=(1, 2, 3))
    return (errors / changed.sum(dim=(1, 2, 3)).clamp(min=FEWEST_CHANGED)).mean()


def surface_loss(
    gaussians: Float[Tensor, "B N 14"], batch: Sample, layers: int
) -> Float[Tensor, ""]:
    """How far, in world units, the first splats of pixels are from the surface point that the
    pixel shows, where that is in the target state."""
    views = batch.source.shape[1]
    position = gaussians[..., :3].unflatten(1, (views, layers, -1))[:, :, 0]
    side = math.isqrt(position.shape[2])
    column, row = (batch.surface_pixel * side).long().clamp(0, side - 1).unbind(-1)
    splat = (row * side + column)[..., None].expand_as(batch.surface_point)
    distance = (position.gather(2, splat) - batch.surface_point).norm(dim=-1)
    seen = batch.surface_seen
    return (distance * seen).sum() / seen.sum().clamp(min=1)


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
