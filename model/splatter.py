"""From pictures with their rays to splatter images, and from these to 3D Gaussians.

Conventions are those of `datagen.cameras`: OpenCV camera-to-world matrices, intrinsics in pixels,
pixel centres at half-integers, square pictures.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

GAUSSIAN_CHANNELS = 14  # position 3, opacity 1, scale 3, rotation 4, colour 3
SHAPE_CHANNELS = (1, 3, 4, 3)  # all of these but the position
SCALE = 0.1  # world units
BRIGHTEST = 0.99  # of ±1: colours that a tanh reaches
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def plucker_rays(
    camera_to_world: Float[Tensor, "*batch 4 4"],
    intrinsics: Float[Tensor, "*#batch 3 3"],
    size: int,
) -> Float[Tensor, "*batch 6 {size} {size}"]:
    """Plücker coordinates (o x d, d) of each pixel's ray in the world: its origin o is the camera,
    its direction d a unit vector.

    Args:
        camera_to_world: OpenCV matrices (x right, y down, z forward).
        intrinsics: in pixels of pictures of this size; no skew.
        size: pixels along a side.
    """
    centres = torch.arange(size, device=camera_to_world.device, dtype=camera_to_world.dtype) + 0.5
    intrinsics = intrinsics.to(camera_to_world)
    x = (centres - intrinsics[..., 0, 2, None]) / intrinsics[..., 0, 0, None]
    y = (centres - intrinsics[..., 1, 2, None]) / intrinsics[..., 1, 1, None]
    x, y = torch.broadcast_tensors(x[..., None, :], y[..., :, None])
    local = F.normalize(torch.stack([x, y, torch.ones_like(x)], dim=-3), dim=-3)
    right, down, forward, origin = camera_to_world[..., :3, :, None, None].unbind(-3)
    across, along, ahead = local[..., None, :, :].unbind(-4)
    direction = right * across + down * along + forward * ahead
    origin = origin.expand_as(direction)
    return torch.cat([torch.linalg.cross(origin, direction, dim=-3), direction], dim=-3)


def network_input(
    pictures: Float[Tensor, "*batch 3 S S"],
    rays: Float[Tensor, "*batch 6 S S"],
    present: Bool[Tensor, "*batch"] | None = None,
) -> Float[Tensor, "*batch 9 S S"]:
    """What the network takes: sRGB colours in [0, 1] on white, normalised by ImageNet's mean and
    deviation, then the rays. A view that is not present keeps its rays, and shows the mean colour
    all over, which no picture of an object does."""
    mean, std = _imagenet(pictures.device)
    colours = (pictures - mean) / std
    if present is not None:
        colours = colours * present[..., None, None, None]
    return torch.cat([colours, rays], dim=-3)


def _imagenet(device: torch.device) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
    """ImageNet's mean and deviation, made of scalars: a CUDA graph cannot copy them there."""
    mean, std = (
        torch.stack([torch.full((1, 1), value, device=device) for value in values])
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return mean, std


def positions_on_rays(
    raw: Float[Tensor, "B VL 1 h w"], rays: Float[Tensor, "B V 6 H W"], depth_range: float
) -> Float[Tensor, "B VL 3 h w"]:
    """World positions `d x (o x d) + depth_range tanh(raw) d` on the rays of the splats.

    The first term is the ray's point nearest to the world's origin, about as far from the camera as
    the object is. A splat that stands for several pixels lies on their mean ray; so do all L layers
    of a view, which come one after the other.
    """
    mean = _pooled(rays.float(), raw)
    moment, direction = (mean / mean[:, :, 3:].norm(dim=2, keepdim=True)).split(3, dim=2)
    nearest = torch.linalg.cross(direction, moment, dim=2)
    return nearest + depth_range * raw.tanh() * direction


def with_seen_colours(
    raw_shape: Float[Tensor, "B VL 11 h w"], images: Float[Tensor, "B V 9 H W"]
) -> Float[Tensor, "B VL 11 h w"]:
    """Raw colours that, were the network's 0, would show what `network_input` shows there.

    A splat that stands for several pixels has their mean colour; one of a view that is not present
    has the mean colour that stands in for it. Layers are as in `positions_on_rays`.
    """
    mean, std = _imagenet(images.device)
    pictures = images[:, :, :3].float() * std + mean
    seen = _pooled(pictures, raw_shape)
    logits = (2 * seen - 1).clamp(-BRIGHTEST, BRIGHTEST).atanh()
    shape, colour = raw_shape.split((sum(SHAPE_CHANNELS[:-1]), SHAPE_CHANNELS[-1]), dim=2)
    return torch.cat([shape, colour + logits], dim=2)


def _pooled(
    pictures: Float[Tensor, "B V C H W"], raw: Float[Tensor, "B VL _ h w"]
) -> Float[Tensor, "B VL C h w"]:
    """The mean over the pixels of each splat, for every layer."""
    means = F.adaptive_avg_pool2d(pictures.flatten(0, 1), (raw.shape[-2], raw.shape[-1]))
    views = pictures.shape[1]
    return means.unflatten(0, (-1, views)).repeat_interleave(raw.shape[1] // views, dim=1)


def first_shape(spacing: float) -> Float[Tensor, "11"]:
    """What raw shapes had best be before any training, for splats that far apart (world units):
    half as wide, and hardly opaque. Wide opaque ones are a fog that takes long to clear."""
    scale = math.log(math.expm1(0.5 * spacing / SCALE))
    return torch.tensor([-2.0, *[scale] * 3, 0, 0, 0, 0, 0, 0, 0])


def gaussians_of_splatter(
    position: Float[Tensor, "B VL 3 h w"], raw_shape: Float[Tensor, "B VL 11 h w"]
) -> Float[Tensor, "B N 14"]:
    """One Gaussian for each pixel of each view's splatter images, N = V L h w, row by row.

    Returns:
        position (world), opacity in (0, 1), scale (standard deviations, in world units), rotation
        (unit quaternion w, x, y, z), colour (sRGB in (0, 1)).
    """
    opacity, scale, rotation, colour = raw_shape.split(SHAPE_CHANNELS, dim=2)
    splatter = torch.cat(
        [
            position,
            opacity.sigmoid(),
            SCALE * F.softplus(scale),
            F.normalize(rotation, dim=2),
            0.5 * colour.tanh() + 0.5,
        ],
        dim=2,
    )
    return splatter.permute(0, 1, 3, 4, 2).flatten(1, 3)


def first_splats(
    gaussians: Float[Tensor, "B N 14"], views: int, layers: int, size: int
) -> Float[Tensor, "B V S S 3"]:
    """Where each pixel's first splat is, or lies between those of the pixels around.

    Args:
        gaussians: of each view, of each layer, row by row.
        views: how many.
        layers: of the Gaussians.
        size: of the views' pictures.
    """
    position = gaussians[..., :3].unflatten(1, (views, layers, -1))[:, :, 0]
    side = round(position.shape[2] ** 0.5)
    if side == size:
        return position.unflatten(2, (size, size))
    picture = position.flatten(0, 1).mT.unflatten(2, (side, side))
    resized = F.interpolate(picture, (size, size), mode="bilinear", align_corners=False)
    return resized.permute(0, 2, 3, 1).unflatten(0, (-1, views))


def moved_by(
    gaussians: Float[Tensor, "B N 14"], motion: Float[Tensor, "B 7"]
) -> Float[Tensor, "B N 14"]:
    """Gaussians after a rigid motion of the world.

    Args:
        gaussians: as in `gaussians_of_splatter`.
        motion: of each sample, x -> R x + t: R's unit quaternion w, x, y, z, then t.
    """
    position, opacity_scale, rotation, colour = gaussians.split((3, 4, 4, 3), dim=-1)
    turn, shift = motion[:, None].split((4, 3), dim=-1)
    position = turned(position, turn) + shift
    w, axis = turn.split((1, 3), dim=-1)
    axis = axis.expand_as(position)
    own_w, own_axis = rotation.split((1, 3), dim=-1)
    scalar = w * own_w - (axis * own_axis).sum(dim=-1, keepdim=True)
    vector = w * own_axis + own_w * axis + torch.linalg.cross(axis, own_axis, dim=-1)
    return torch.cat([position, opacity_scale, scalar, vector, colour], dim=-1)


def turned(points: Float[Tensor, "B N 3"], turn: Float[Tensor, "B 1 4"]) -> Float[Tensor, "B N 3"]:
    """Points after a rotation about the origin: each sample's, a unit quaternion w, x, y, z."""
    w, axis = turn.split((1, 3), dim=-1)
    axis = axis.expand_as(points)
    across = 2 * torch.linalg.cross(axis, points, dim=-1)
    return points + w * across + torch.linalg.cross(axis, across, dim=-1)
