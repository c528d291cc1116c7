"""One picture and drags in, Gaussians before and after out: what `predict.py` and the page run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from datagen.cameras import Rig, RigName, rig
from model.capture import Forward
from model.click_to_part import ClickToPartNet
from model.device import timed
from model.fitting import STEPS, Correction, corrected, fit
from model.holding import Rigid, hold_together, should_hold
from model.part_masks import PartMask
from model.picture import FILL, Framing, ImageLike, Picture, read_picture
from model.propagation import DragError, check_drag, propagate
from model.rigid_part import RigidPart
from model.second_look import seen
from model.video import turntable
from model.views import Views, on_white

if TYPE_CHECKING:
    from model.partrm import PartRM

OtherViews = Callable[[UInt8[Tensor, "4 S S"]], Float[Tensor, "V C S S"]]
"""Pictures of an object from the rig's input views but the first, made from the first, which comes
with straight alpha: in [0, 1], of 3 channels on white, or of 4 with straight alpha."""

VIEWS = 8
"""Views that are rendered of an object: so many in a turn, the first as it was pictured."""


@dataclass(frozen=True)
class Scene:
    """An object as a network sees it.

    Attributes:
        picture: in the frame.
        views: the rig's input views, of which the first is the picture; a batch of one.
        images: what the network takes of them.
        before: its Gaussians, in the world of the rig.
        seconds: by phase: read, views, reconstruct, fit.
        correction: what the Gaussians were changed by to fit the picture; None if they were not.
    """

    picture: Picture
    views: Views
    images: Float[Tensor, "1 V C S S"]
    before: Float[Tensor, "N 14"]
    seconds: dict[str, float]
    correction: Correction | None = None

    def turntable(
        self, gaussians: Float[Tensor, "N 14"], size: int, frames: int = VIEWS
    ) -> UInt8[np.ndarray, "frames {size} {size} 3"]:
        """Pictures on white, sRGB, from all around the object, the first from where it was
        pictured."""
        lens = self.views.intrinsics[0].clone()
        lens[:2] *= size / self.views.pictures.shape[-1]
        return turntable(gaussians[None], self.views.camera_to_world[0, 0], lens, size, frames)[0]


@dataclass(frozen=True)
class Dragged:
    """An object once dragged.

    Attributes:
        scene: as it was.
        after: Gaussians in the world of the rig: position 3, opacity 1, scale 3 (standard
            deviations in world units), rotation 4 (w, x, y, z), colour 3 (sRGB).
        drags: all that the network was given: start and end (x, y), in pixels of `scene.picture`.
        seconds: by phase: those of the scene, propagate, network.
        part: what moved, and how; None where that is not known.
    """

    scene: Scene
    after: Float[Tensor, "N 14"]
    drags: Float[np.ndarray, "D 2 2"]
    seconds: dict[str, float]
    part: RigidPart | None = None

    @property
    def before(self) -> Float[Tensor, "N 14"]:
        """As `after`, before the drags."""
        return self.scene.before


@dataclass(frozen=True)
class Predictor:
    """A network and how it is used.

    Attributes:
        network: embeds drags.
        rig_name: the cameras it is told of; by default the one that it was trained on: `ring`, and
            `partdrag4d` for published weights.
        framing: as in `picture.read_picture`.
        other_views: draws the views that the picture does not show. Without, the network is told
            of their cameras alone.
        reconstructor: gives the Gaussians before the drags; by default the network itself, without
            drags. (The published layers do compute something without drags: give those an LGM.)
        part_mask: finds the part that a drag starts on, on all of which it is then repeated, as far
            and in the same direction: as published, true of drawers, and not of doors. Without, the
            drags are taken as given.
        count: drags that each of them becomes then; PartRM is trained on up to 10.
        seed: decides where those start.
        forward: how the network is called; by default as it is. `capture.Captured(network)` answers
            several times as fast on CUDA, once it was called with as many drags.
        fit: steps in which the Gaussians before are fitted to the picture (`fitting`), so that
            those after are closer to it, too; 0: none. It takes time once for a picture, and hardly
            any for drags. Views that were drawn are not fitted to: they do not agree with each
            other. Only splats that follow what they show can be, those of one network before and
            after.
        rigid: whether what moved is held together as a rigid body, which takes the points of the
            given drags to their ends (`rigid_part`): sharp, and the better the more drags are
            given; auto: where they seem to be of one part (`holding`). Of such splats alone, too.
        parts: tells that, and what is of the part (`part_gaussians`); without, the network alone
            does.
    """

    network: PartRM
    rig_name: RigName | None = None
    framing: Framing = "auto"
    other_views: OtherViews | None = None
    reconstructor: PartRM | None = None
    part_mask: PartMask | None = None
    count: int = 10
    seed: int = 0
    forward: Forward | None = None
    fit: int = STEPS
    rigid: Rigid = "auto"
    parts: ClickToPartNet | None = None

    @property
    def device(self) -> torch.device:
        return self.network.conv.weight.device

    @property
    def _knows_splats(self) -> bool:
        """Whether Gaussians before and after are the same ones."""
        return self.network.config.follows and self.reconstructor is None

    @cached_property
    def rig(self) -> Rig:
        """The cameras, as the network has them: it was published to read the pictures of
        `partdrag4d` as if they were taken with the lens of `ring`."""
        published = self.network.config.drag_style == "published"
        chosen = rig(self.rig_name or ("partdrag4d" if published else "ring"))
        return replace(chosen, fov=rig("ring").fov) if published else chosen

    @torch.no_grad()
    def see(self, image: ImageLike) -> Scene:
        """Read a picture and reconstruct the object, as it is.

        Args:
            image: as in `picture.read_picture`.

        Raises:
            PictureError: it shows no object; says what to do.
            OSError: there is no such file.
        """
        seconds: dict[str, float] = {}
        size = self.network.config.input_size
        with timed("read", seconds, self.device):
            picture = read_picture(image, size, FILL[self.rig.name], self.framing)
        with timed("views", seconds, self.device):
            views = self._views(picture)
        with timed("reconstruct", seconds, self.device), self._precision():
            forward = self.forward or self.network
            images = seen(forward, self.network.config, views)
            if self.reconstructor is None:
                before = forward(images, None)
            else:
                other = self.reconstructor
                before = other(seen(other, other.config, views), None)
        correction = None
        if self.fit and self._knows_splats:
            with timed("fit", seconds, self.device):
                correction = fit(before, views.first(1), self.fit)
                before = corrected(before, correction)
        return Scene(picture, views, images, before[0], seconds, correction)

    @torch.no_grad()
    def drag(self, scene: Scene, drags: Sequence[Sequence[float]]) -> Dragged:
        """Move the object of a scene.

        Args:
            scene: from `see`.
            drags: x0, y0, x1, y1 of each, in pixels of the given picture (x right, y down): from a
                point on the part to where it goes. Several are pulled at once.

        Raises:
            DragError: a drag starts off the object or the picture, or has no length; says which.
        """
        seconds = dict(scene.seconds)
        with timed("propagate", seconds, self.device):
            placed = self.check(scene, drags)
            starts, ends = self._spread(scene.picture, placed)
        size = self.network.config.input_size
        start, end = (
            torch.from_numpy(points / size).float()[None].to(self.device)
            for points in (starts, ends)
        )
        given = torch.ones(start.shape[:-1], dtype=torch.bool, device=self.device)
        with timed("network", seconds, self.device):
            images = scene.images
            embedded = self.network.drags_of_view_0(start, end, given, images.shape[1])
            with self._precision():
                after = (self.forward or self.network)(images, embedded)
            if scene.correction is not None:
                after = corrected(after, scene.correction)
            after, part = after[0], None
            first, last = np.moveaxis(placed / size, 1, 0)
            if self._knows_splats and should_hold(self.rigid, scene.views, first, self.parts):
                layers = self.network.config.layers
                after, part = hold_together(
                    scene.before, after, scene.views, first, last, layers, self.parts
                )
        return Dragged(scene, after, np.stack([starts, ends], axis=1), seconds, part)

    def check(self, scene: Scene, drags: Sequence[Sequence[float]]) -> Float[np.ndarray, "D 2 2"]:
        """The drags' starts and ends in pixels of the scene's picture.

        Raises:
            DragError: as in `drag`.
        """
        points = np.asarray(drags, float)
        if points.size == 0 or points.ndim != 2 or points.shape[1] != 4:
            raise DragError(f"drags are rows of x0, y0, x1, y1, one or more; not {drags}")
        picture, points = scene.picture, points.reshape(-1, 2, 2)
        width, height = picture.given_size
        placed = picture.place(points)
        # One pixel that is all object: what `check_drag` asks of the given picture is its size.
        everywhere = np.broadcast_to(np.True_, (height, width))
        for number, (given, (start, _)) in enumerate(zip(points, placed, strict=True), 1):
            if not np.isfinite(given).all():
                raise DragError(f"drag {number}: {given.ravel().tolist()} are no coordinates")
            try:
                check_drag(everywhere, *given)
            except DragError as error:
                raise DragError(f"drag {number}: {error}") from error
            if not _shows_object(picture, start):
                x, y = given[0]
                raise DragError(
                    f"drag {number}: the drag starts at ({x:g}, {y:g}), on the background: start "
                    "on the part that is to move"
                )
        return placed

    def _views(self, picture: Picture) -> Views:
        """The rig's input views, as the network is shown them."""
        rgba = torch.from_numpy(picture.pixels.transpose(2, 0, 1).copy())
        shown, size = on_white(rgba)[0], rgba.shape[-1]
        inputs = list(self.rig.input_views)
        pictures = shown.expand(len(inputs), -1, -1, -1).clone()
        if self.other_views is not None:
            others = self.other_views(rgba).detach().float().cpu()
            expected = [(len(inputs) - 1, channels, size, size) for channels in (3, 4)]
            if tuple(others.shape) not in expected:
                raise ValueError(f"other_views gave {tuple(others.shape)}, not {expected[0]}")
            colour, alpha = others[:, :3], others[:, 3:]
            pictures[1:] = colour if alpha.shape[1] == 0 else 1 + alpha * (colour - 1)
        cameras = torch.from_numpy(self.rig.camera_to_world[inputs]).float()
        lens = torch.from_numpy(self.rig.intrinsics(size)).float()
        present = torch.ones(1, len(inputs), dtype=torch.bool)
        views = Views(pictures[None], cameras[None], lens[None], present)
        if self.other_views is None:
            views = views.first(1)
        return Views(*(tensor.to(self.device) for tensor in views))

    def _spread(
        self, picture: Picture, drags: Float[np.ndarray, "D 2 2"]
    ) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, "N 2"]]:
        """Starts and ends of the drags, each repeated all over its part."""
        if self.part_mask is None:
            return drags[:, 0], drags[:, 1]
        rng = np.random.default_rng(self.seed)
        spread = []
        for number, (start, end) in enumerate(drags, 1):
            try:
                mask = self.part_mask(picture.pixels, start)
                spread.append(propagate(mask, start, end, self.count, rng))
            except DragError as error:
                raise DragError(f"drag {number}: {error}") from error
        starts, ends = zip(*spread, strict=True)
        return np.concatenate(starts), np.concatenate(ends)

    def _precision(self) -> torch.autocast:
        """bf16 on CUDA, float32 elsewhere, as in evaluation."""
        kind = self.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda")


def _shows_object(picture: Picture, point: Float[np.ndarray, "2"]) -> bool:
    """Whether this pixel of the framed picture is not background."""
    column, row = (int(v) for v in np.floor(point))
    size = len(picture.pixels)
    inside = 0 <= column < size and 0 <= row < size
    return inside and bool(picture.pixels[row, column, 3] > 0)
