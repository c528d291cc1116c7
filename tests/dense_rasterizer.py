"""The rasterizer's equations written out for every Gaussian and pixel: the reference it is tested
against. No tiles, no boxes, no analytic gradients, and memory for
[n, height, width]."""

import torch
from torch import Tensor


def rotation_matrix(quaternion: Tensor) -> Tensor:
    """[..., 3, 3] from [..., 4]: (w, x, y, z), of any length, by q v q*."""
    w, *vector = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    v = torch.stack(vector, dim=-1)
    outer = v[..., :, None] * v[..., None, :]
    zero = torch.zeros_like(w)
    x, y, z = vector
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    identity = torch.eye(3, dtype=v.dtype)
    scalar = (w**2 - (v**2).sum(dim=-1))[..., None, None]
    return scalar * identity + 2 * outer + 2 * w[..., None, None] * cross


def project(
    gaussians: Tensor, camera_to_world: Tensor, intrinsics: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor, Tensor]:
    """[n, 2] centres in pixels, [n, 2, 2] covariances in the picture and [n] depths."""
    position, _, scale, rotation, _ = gaussians.split((3, 1, 3, 4, 3), dim=-1)
    world_to_camera = torch.linalg.inv(camera_to_world)
    turn = world_to_camera[:3, :3]
    local = position @ turn.mT + world_to_camera[:3, 3]
    depth = local[:, 2]
    focal = torch.stack([intrinsics[0, 0], intrinsics[1, 1]])
    principal, size = intrinsics[:2, 2], torch.tensor([width, height]).to(focal)
    slope = local[:, :2] / depth[:, None]
    # 1.3 times the half field of view, counted from the picture's middle.
    margin = 0.3 * 0.5 * size / focal
    inside = slope.clamp(-principal / focal - margin, (size - principal) / focal + margin)
    jacobian = torch.cat(
        [torch.diag_embed(focal / depth[:, None]), -(focal / depth[:, None] * inside)[..., None]],
        dim=-1,
    )
    axes = jacobian @ turn @ rotation_matrix(rotation) @ torch.diag_embed(scale)
    blur = 0.3 * torch.eye(2, dtype=gaussians.dtype)
    return slope * focal + principal, axes @ axes.mT + blur, depth


def dense_render(
    gaussians: Tensor,
    camera_to_world: Tensor,
    intrinsics: Tensor,
    width: int,
    height: int,
    background: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """One picture of `gaussians` [n, 14]: colour [3, h, w], alpha and expected depth [1, h, w]."""
    centre, covariance, depth = project(gaussians, camera_to_world, intrinsics, width, height)
    visible = (depth >= 0.01) & (depth <= 1e10)
    order = depth.argsort(stable=True)
    order = order[visible[order]]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y], dim=-1) + 0.5
    offset = pixels - centre[order, None, None]
    sigma = 0.5 * torch.einsum(
        "nhwi,nij,nhwj->nhw", offset, torch.linalg.inv(covariance[order]), offset
    )
    alpha = (gaussians[order, 3, None, None] * torch.exp(-sigma)).clamp(max=0.999)
    alpha = torch.where(alpha >= 1 / 255, alpha, 0.0)
    # A pixel ends before the Gaussian that would leave it no more than 1e-4 of the light.
    alpha = torch.where(torch.cumprod(1 - alpha, dim=0) > 1e-4, alpha, 0.0)
    left = torch.cumprod(1 - alpha, dim=0)
    before = torch.cat([torch.ones_like(left[:1]), left])
    weight = alpha * before[:-1]
    colour = torch.einsum("nhw,nc->chw", weight, gaussians[order, 11:])
    total = 1 - before[-1:]
    far = torch.einsum("nhw,n->hw", weight, depth[order])[None]
    return colour + before[-1] * background[:, None, None], total, far / total.clamp(min=1e-10)
