"""Metrics against independent implementations, and over regions against arithmetic."""

import math

import numpy as np
import pytest
import torch
import torchmetrics.functional.image as theirs
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from model.metrics import changed_region, decibels, psnr, region_mean, ssim, ssim_map


@pytest.fixture(scope="module")
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    """Three pairs, from nearly the same to unlike: smooth shapes on white, and noise."""
    row, column = torch.meshgrid(torch.arange(40.0), torch.arange(48.0), indexing="ij")
    shape = torch.stack([torch.sin(row / 5), torch.cos(column / 7), torch.sin((row + column) / 9)])
    a = torch.where((row - 20).hypot(column - 24) < 15, 0.5 + 0.5 * shape, 1.0).expand(
        3, -1, -1, -1
    )
    noise = torch.randn(a.shape, generator=torch.Generator().manual_seed(0))
    b = (a + torch.tensor([0.01, 0.1, 1.0])[:, None, None, None] * noise).clamp(0, 1)
    return a.contiguous(), b


def channels_last(picture: torch.Tensor) -> np.ndarray:
    return picture.movedim(0, -1).double().numpy()


def test_psnr_is_that_of_others(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    for a, b, ours in zip(*pictures, psnr(*pictures), strict=True):
        expected = peak_signal_noise_ratio(channels_last(a), channels_last(b), data_range=1)
        assert ours == pytest.approx(expected, abs=1e-4)
        assert ours == pytest.approx(float(theirs.peak_signal_noise_ratio(b, a, 1.0)), abs=1e-4)
    assert psnr(pictures[0], pictures[0]).isposinf().all()


def test_ssim_is_that_of_others(pictures: tuple[torch.Tensor, torch.Tensor]) -> None:
    for a, b, ours in zip(*pictures, ssim(*pictures), strict=True):
        expected, expected_map = structural_similarity(
            channels_last(a),
            channels_last(b),
            channel_axis=-1,
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        # torchmetrics' mean has the borders in it, where windows meet reflected pixels.
        _, other = theirs.structural_similarity_index_measure(
            b[None], a[None], data_range=1.0, return_full_image=True
        )
        assert ours == pytest.approx(expected, abs=1e-4)
        assert ours == pytest.approx(float(other[..., 5:-5, 5:-5].mean()), abs=1e-4)
        within = expected_map.mean(axis=-1)[5:-5, 5:-5]
        np.testing.assert_allclose(ssim_map(a, b)[5:-5, 5:-5], within, atol=1e-4)


def test_the_map_of_ssim_has_the_pictures_size_and_repeats_its_border(
    pictures: tuple[torch.Tensor, torch.Tensor],
) -> None:
    found = ssim_map(*pictures)
    assert found.shape == (3, 40, 48)
    assert (found[:, :5] == found[:, 5:6]).all() and (found[..., -5:] == found[..., -6:-5]).all()
    with pytest.raises(ValueError, match="11 pixels or more"):
        ssim(torch.rand(3, 10, 20), torch.rand(3, 10, 20))


def test_the_region_is_what_changed_in_some_channel() -> None:
    source, target = torch.ones(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    target[0, 1, 2, 3] = 0.85
    target[0, :, 0, 0] = 0.95
    region = changed_region(source, target)
    assert region.nonzero().tolist() == [[0, 2, 3]]
    error = (source - target).square().mean(dim=-3)
    of_region = decibels(region_mean(error, region))
    assert float(of_region[0]) == pytest.approx(-10 * math.log10(0.15**2 / 3), abs=1e-4)
    assert of_region[1].isnan()  # an empty region has no mean
