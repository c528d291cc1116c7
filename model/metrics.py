"""How alike two pictures are: PSNR and SSIM, over whole pictures and over the region that changed.

Pictures are sRGB in [0, 1] on white, channels first. These are the definitions of PartRM's
published evaluation, whose SSIM is that of `pytorch_msssim`. LPIPS is in `perceptual.py`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

WINDOW, SIGMA = 11, 1.5  # pixels
REACH = WINDOW // 2
K1, K2 = 0.01, 0.03
REGION_THRESHOLD = 0.1


def psnr(
    pictures: Float[Tensor, "*batch 3 H W"], truth: Float[Tensor, "*batch 3 H W"]
) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio of each picture, in dB; infinite where the two are equal."""
    return decibels((pictures - truth).square().mean(dim=(-3, -2, -1)))


def decibels(squared_error: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """A mean squared error of values in [0, 1] as a peak signal-to-noise ratio."""
    return -10 * squared_error.log10()


def ssim(
    pictures: Float[Tensor, "*batch 3 H W"], truth: Float[Tensor, "*batch 3 H W"]
) -> Float[Tensor, "*batch"]:
    """Structural similarity of each picture, 1 where the two are equal (Wang et al. 2004, Image
    Quality Assessment): the mean over channels and over the pixels whose window lies within the
    picture.

    Raises:
        ValueError: the pictures are smaller than the window of 11 pixels.
    """
    return ssim_of_map(ssim_map(pictures, truth))


def ssim_map(
    pictures: Float[Tensor, "*batch 3 H W"], truth: Float[Tensor, "*batch 3 H W"]
) -> Float[Tensor, "*batch H W"]:
    """Structural similarity at each pixel, the mean over channels.

    The five pixels along each border, whose window would reach out of the picture, have the value
    of the nearest pixel whose window does not.

    Raises:
        ValueError: the pictures are smaller than the window of 11 pixels.
    """
    within = _ssim_within(pictures.double(), truth.double()).to(pictures.dtype)
    batch = within.shape[:-2]
    padded = F.pad(within.reshape(-1, 1, *within.shape[-2:]), [REACH] * 4, "replicate")
    return padded.reshape(*batch, *padded.shape[-2:])


def ssim_of_map(similarity: Float[Tensor, "*batch H W"]) -> Float[Tensor, "*batch"]:
    """Structural similarity of pictures, of what `ssim_map` says of their pixels."""
    return similarity[..., REACH:-REACH, REACH:-REACH].mean(dim=(-2, -1))


def changed_region(
    source: Float[Tensor, "*batch 3 H W"],
    target: Float[Tensor, "*batch 3 H W"],
    threshold: float = REGION_THRESHOLD,
) -> Bool[Tensor, "*batch H W"]:
    """The pixels at which pictures of two states differ by more than this in some channel."""
    return (source - target).abs().amax(dim=-3) > threshold


def region_mean(
    values: Float[Tensor, "*batch H W"], region: Bool[Tensor, "*batch H W"]
) -> Float[Tensor, "*batch"]:
    """The mean over each picture's region; not a number where that is empty."""
    return (values * region).sum(dim=(-2, -1)) / region.sum(dim=(-2, -1))


def _ssim_within(a: Tensor, b: Tensor) -> Float[Tensor, "*batch h w"]:
    """SSIM at the pixels whose window lies within the pictures, h = H - 10 and w = W - 10."""
    if min(a.shape[-2:]) < WINDOW:
        raise ValueError(f"SSIM needs pictures of {WINDOW} pixels or more: {list(a.shape)}")
    c1, c2 = K1**2, K2**2
    mean_a, mean_b, aa, bb, ab = _windowed(torch.stack([a, b, a * a, b * b, a * b]))
    variances = aa + bb - mean_a**2 - mean_b**2
    covariance = ab - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return (luminance * (2 * covariance + c2) / (variances + c2)).mean(dim=-3)


def _windowed(x: Float[Tensor, "*batch H W"]) -> Float[Tensor, "*batch h w"]:
    """Means over the Gaussian window, in float64: variances are small differences of these. As
    convolutions of one channel they would take a CPU four times as long."""
    offset = torch.arange(WINDOW, dtype=torch.float64) - REACH
    weight = torch.exp(-(offset**2) / (2 * SIGMA**2))
    weights = (weight / weight.sum()).tolist()
    for dim in (-2, -1):
        length = x.shape[dim] - WINDOW + 1
        total = torch.zeros_like(x.narrow(dim, 0, length))
        for start, share in enumerate(weights):
            total.add_(x.narrow(dim, start, length), alpha=share)
        x = total
    return x
