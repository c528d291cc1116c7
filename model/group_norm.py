"""Group norm, with SiLU after it or without: what stands before every convolution of the U-Net.

On CUDA it is three kernels in Triton, and three more backward, on features whose channels are last
in memory, as convolutions run fastest: features are read twice and written once in their own type,
where PyTorch's norm and SiLU under autocast are apart, and in float32.

Sums over pixels are split among programs; what a group's mean and deviation make of each channel is
an affine map of it, for each picture, so that all else is arithmetic of one pixel:
`y = silu(slope x + shift)`, and `dx = on_dz dz + on_x x + constant` with `dz` the gradient at the
norm's output (Wu & He 2018, Group Normalization, differentiated).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

try:
    import triton
    import triton.language as tl
except ImportError:  # as it comes with builds of PyTorch for CUDA alone
    triton = None

CHANNELS = 64  # of a tile, at most
TILE, SUMMED_TILE = 4096, 2048  # its numbers: channels times pixels
PER_PROGRAM = 1024  # pixels whose sums one program takes


def group_norm(
    x: Float[Tensor, "N C H W"], norm: nn.GroupNorm, silu: bool
) -> Float[Tensor, "N C H W"]:
    """`norm` of x, and SiLU of that if so asked, in the type of x."""
    # torch.compile fuses them its own way.
    if x.is_cuda and triton is not None and not torch.compiler.is_compiling():
        return fused_group_norm(x, norm.weight, norm.bias, norm.num_groups, norm.eps, silu)
    y = norm(x)
    return F.silu(y) if silu else y


def fused_group_norm(
    x: Float[Tensor, "N C H W"],
    weight: Float[Tensor, "C"],
    bias: Float[Tensor, "C"],
    groups: int,
    eps: float,
    silu: bool,
) -> Float[Tensor, "N C H W"]:
    """As `group_norm`, by Triton's kernels. Sums are in float32."""
    return _FusedGroupNorm.apply(x, weight, bias, groups, eps, silu)


class _FusedGroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float, silu: bool
    ) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        n, c = x.shape[:2]
        moments = _reduced(x, x, None, silu)
        line = torch.empty(2, n, c, device=x.device)  # slope and shift of each channel
        about = torch.empty(2, n, groups, device=x.device)  # mean, 1 / deviation
        size = c // groups
        _line_of_moments[(n, groups)](
            moments, weight, bias, line, about, n, c, groups, x[0, 0].numel(), eps,
            moments.shape[1], size, triton.next_power_of_2(size),
        )  # fmt: skip
        y = torch.empty_like(x)
        grid, rows, columns = _tiles(x)
        _apply_line[grid](x, line, y, n, c, x[0, 0].numel(), silu, rows, columns)
        ctx.save_for_backward(x, weight, line, about)
        ctx.silu = silu
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, line, about = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        (n, c), groups = x.shape[:2], about.shape[-1]
        sums = _reduced(x, gradient, line, ctx.silu)
        maps = torch.empty(3, n, c, device=x.device)  # on dz, on x, constant
        parameters = torch.empty(2, n, c, device=x.device)
        size = c // groups
        _maps_of_sums[(n, groups)](
            sums, weight, about, maps, parameters, n, c, groups, x[0, 0].numel(),
            sums.shape[1], size, triton.next_power_of_2(size),
        )  # fmt: skip
        on_x = torch.empty_like(x)
        grid, rows, columns = _tiles(x)
        _apply_maps[grid](
            x, gradient, line, maps, on_x, n, c, x[0, 0].numel(), ctx.silu, rows, columns
        )
        on_weight, on_bias = parameters.sum(dim=1).to(weight.dtype)
        return on_x, on_weight, on_bias, None, None, None


def _columns(channels: int) -> int:
    """Channels of a tile, a power of 2."""
    return min(CHANNELS, triton.next_power_of_2(channels))


def _tiles(x: Float[Tensor, "N C H W"]) -> tuple[tuple[int, int, int], int, int]:
    """The grid over pictures and tiles of pixels and channels; and a tile's pixels and channels."""
    n, c, height, width = x.shape
    columns = _columns(c)
    rows = TILE // columns
    return (n, triton.cdiv(height * width, rows), triton.cdiv(c, columns)), rows, columns


def _reduced(
    x: Float[Tensor, "N C H W"],
    gradient: Float[Tensor, "N C H W"],
    line: Float[Tensor, "2 N C"] | None,
    silu: bool,
) -> Float[Tensor, "2 splits N C"]:
    """Each split's sums over pixels: of x and x², or, with a line, of dz and dz x."""
    n, c, height, width = x.shape
    columns = _columns(c)
    splits = triton.cdiv(height * width, PER_PROGRAM)
    sums = torch.empty(2, splits, n, c, device=x.device)
    backward = line is not None
    _sum[(n, splits, triton.cdiv(c, columns))](
        x, gradient, line if backward else x, sums, n, c, height * width, splits,
        backward, silu, PER_PROGRAM, SUMMED_TILE // columns, columns,
    )  # fmt: skip
    return sums


if triton is not None:

    @triton.jit
    def _gradient_of_norm(x, gradient, slope, shift, silu: tl.constexpr):  # type: ignore[no-untyped-def]
        """dz of dy: back through SiLU, if there is one."""
        if silu:
            z = x * slope + shift
            s = tl.sigmoid(z)
            gradient = gradient * s * (1 + z * (1 - s))
        return gradient

    @triton.jit
    def _sum(  # type: ignore[no-untyped-def]
        x_at, gradient_at, line_at, sums_at, n, c, pixels, splits,
        backward: tl.constexpr, silu: tl.constexpr, per_program: tl.constexpr,
        rows: tl.constexpr, columns: tl.constexpr,
    ):  # fmt: skip
        picture, split = tl.program_id(0), tl.program_id(1)
        channel = tl.program_id(2) * columns + tl.arange(0, columns)
        inside = channel < c
        of_channel = picture * c + channel
        first = tl.zeros([rows, columns], tl.float32)
        second = tl.zeros([rows, columns], tl.float32)
        slope = tl.zeros([1, columns], tl.float32)
        shift = tl.zeros([1, columns], tl.float32)
        if backward:
            slope = tl.load(line_at + of_channel, inside, 0.0)[None, :]
            shift = tl.load(line_at + n * c + of_channel, inside, 0.0)[None, :]
        base = picture.to(tl.int64) * pixels * c
        for start in range(0, per_program, rows):
            pixel = split * per_program + start + tl.arange(0, rows)
            there = (pixel[:, None] < pixels) & inside[None, :]
            at = base + pixel[:, None] * c + channel[None, :]
            x = tl.load(x_at + at, there, 0.0).to(tl.float32)
            if backward:
                dy = tl.load(gradient_at + at, there, 0.0).to(tl.float32)
                dz = _gradient_of_norm(x, dy, slope, shift, silu)
                first += dz
                second += dz * x
            else:
                first += x
                second += x * x
        at = (split * n + picture) * c + channel
        tl.store(sums_at + at, tl.sum(first, 0), inside)
        tl.store(sums_at + splits * n * c + at, tl.sum(second, 0), inside)

    @triton.jit
    def _line_of_moments(  # type: ignore[no-untyped-def]
        moments_at, weight_at, bias_at, line_at, about_at, n, c, groups, pixels, eps, splits,
        size, columns: tl.constexpr,
    ):  # fmt: skip
        picture, group = tl.program_id(0), tl.program_id(1)
        within = tl.arange(0, columns)
        inside = within < size
        channel = group * size + within
        first = tl.zeros([columns], tl.float32)
        second = tl.zeros([columns], tl.float32)
        for split in range(splits):
            at = (split * n + picture) * c + channel
            first += tl.load(moments_at + at, inside, 0.0)
            second += tl.load(moments_at + splits * n * c + at, inside, 0.0)
        count = size * pixels
        mean = tl.sum(first, 0) / count
        variance = tl.maximum(tl.sum(second, 0) / count - mean * mean, 0.0)
        rate = 1 / tl.sqrt(variance + eps)
        slope = rate * tl.load(weight_at + channel, inside, 0.0)
        shift = tl.load(bias_at + channel, inside, 0.0) - mean * slope
        tl.store(line_at + picture * c + channel, slope, inside)
        tl.store(line_at + (n + picture) * c + channel, shift, inside)
        tl.store(about_at + picture * groups + group, mean)
        tl.store(about_at + (n + picture) * groups + group, rate)

    @triton.jit
    def _maps_of_sums(  # type: ignore[no-untyped-def]
        sums_at, weight_at, about_at, maps_at, parameters_at, n, c, groups, pixels, splits,
        size, columns: tl.constexpr,
    ):  # fmt: skip
        picture, group = tl.program_id(0), tl.program_id(1)
        within = tl.arange(0, columns)
        inside = within < size
        channel = group * size + within
        dz = tl.zeros([columns], tl.float32)
        dz_x = tl.zeros([columns], tl.float32)
        for split in range(splits):
            at = (split * n + picture) * c + channel
            dz += tl.load(sums_at + at, inside, 0.0)
            dz_x += tl.load(sums_at + splits * n * c + at, inside, 0.0)
        mean = tl.load(about_at + picture * groups + group)
        rate = tl.load(about_at + (n + picture) * groups + group)
        weight = tl.load(weight_at + channel, inside, 0.0).to(tl.float32)
        dz_normed = rate * (dz_x - mean * dz)  # sums over pixels of dz times the normed x
        count = size * pixels
        level = tl.sum(weight * dz, 0) / count
        along = tl.sum(weight * dz_normed, 0) / count
        at = picture * c + channel
        zero = tl.zeros([columns], tl.float32)
        constant = rate * (rate * mean * along - level)
        tl.store(maps_at + at, rate * weight, inside)
        tl.store(maps_at + n * c + at, zero - rate * rate * along, inside)
        tl.store(maps_at + 2 * n * c + at, zero + constant, inside)
        tl.store(parameters_at + at, dz_normed, inside)
        tl.store(parameters_at + n * c + at, dz, inside)

    @triton.jit
    def _apply_line(  # type: ignore[no-untyped-def]
        x_at, line_at, y_at, n, c, pixels, silu: tl.constexpr,
        rows: tl.constexpr, columns: tl.constexpr,
    ):  # fmt: skip
        picture = tl.program_id(0)
        pixel = tl.program_id(1) * rows + tl.arange(0, rows)
        channel = tl.program_id(2) * columns + tl.arange(0, columns)
        inside = channel < c
        slope = tl.load(line_at + picture * c + channel, inside, 0.0)[None, :]
        shift = tl.load(line_at + (n + picture) * c + channel, inside, 0.0)[None, :]
        there = (pixel[:, None] < pixels) & inside[None, :]
        at = picture.to(tl.int64) * pixels * c + pixel[:, None] * c + channel[None, :]
        z = tl.load(x_at + at, there, 0.0).to(tl.float32) * slope + shift
        if silu:
            z = z * tl.sigmoid(z)
        tl.store(y_at + at, z.to(y_at.dtype.element_ty), there)

    @triton.jit
    def _apply_maps(  # type: ignore[no-untyped-def]
        x_at, gradient_at, line_at, maps_at, on_x_at, n, c, pixels, silu: tl.constexpr,
        rows: tl.constexpr, columns: tl.constexpr,
    ):  # fmt: skip
        picture = tl.program_id(0)
        pixel = tl.program_id(1) * rows + tl.arange(0, rows)
        channel = tl.program_id(2) * columns + tl.arange(0, columns)
        inside = channel < c
        of_channel = picture * c + channel
        slope = tl.load(line_at + of_channel, inside, 0.0)[None, :]
        shift = tl.load(line_at + n * c + of_channel, inside, 0.0)[None, :]
        on_dz = tl.load(maps_at + of_channel, inside, 0.0)[None, :]
        on_x = tl.load(maps_at + n * c + of_channel, inside, 0.0)[None, :]
        constant = tl.load(maps_at + 2 * n * c + of_channel, inside, 0.0)[None, :]
        there = (pixel[:, None] < pixels) & inside[None, :]
        at = picture.to(tl.int64) * pixels * c + pixel[:, None] * c + channel[None, :]
        x = tl.load(x_at + at, there, 0.0).to(tl.float32)
        dy = tl.load(gradient_at + at, there, 0.0).to(tl.float32)
        dz = _gradient_of_norm(x, dy, slope, shift, silu)
        dx = on_dz * dz + on_x * x + constant
        tl.store(on_x_at + at, dx.to(on_x_at.dtype.element_ty), there)
