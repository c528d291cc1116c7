"""The grid of Zero123++: its order, whose views it holds, and what is behind them."""

import pytest
import torch

from datagen.cameras import rig
from model.view_grid import grid_views, remove_background, split, tile


def test_tiling_goes_row_by_row_and_splitting_is_its_inverse() -> None:
    views = torch.rand(2, 6, 3, 4, 4)
    grid = tile(views)
    assert grid.shape == (2, 3, 12, 8)
    assert torch.equal(grid[:, :, :4, 4:], views[:, 1])
    assert torch.equal(grid[:, :, 8:, :4], views[:, 4])
    assert torch.equal(split(grid), views)
    assert torch.equal(split(grid[0]), views[0])


def test_the_first_cells_are_the_other_input_views() -> None:
    assert grid_views(rig("partdrag4d")) == (1, 2, 3, 4, 5, 6)  # as PartRM was fine-tuned
    assert grid_views(rig("ring")) == (3, 6, 9, 1, 2, 4)


@pytest.mark.parametrize("background", [127 / 255, 1.0, 0.0])
def test_a_plain_background_becomes_alpha(background: float) -> None:
    x, y = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="xy")
    alpha = (20 - torch.hypot(x - 30, y - 34) + 0.5).clamp(0, 1)  # a disc, anti-aliased
    colour = torch.tensor([0.7, 0.2, 0.1])[:, None, None]
    view = background + alpha * (colour - background)
    seeded = torch.Generator().manual_seed(0)
    noisy = (view + 0.01 * torch.randn(2, 3, 64, 64, generator=seeded)).clamp(0, 1)
    cut = remove_background(noisy)
    assert cut.shape == (2, 4, 64, 64)
    assert (cut[:, 3] - alpha).abs().max() < 0.15
    assert (cut[:, 3] - alpha).abs().mean() < 0.005
    assert (cut[:, 3, alpha == 0] == 0).all()
    # No fringe: where half a pixel is background, its colour is the disc's all the same.
    assert (cut[:, :3] - colour)[..., alpha > 0.5].abs().max() < 0.15


def test_what_is_enclosed_is_no_background() -> None:
    view = torch.full((3, 32, 32), 0.5)
    view[:, 8:24, 8:24] = 0.9
    view[:, 12:20, 12:20] = 0.5
    alpha = remove_background(view)[3]
    assert (alpha[8:24, 8:24] == 1).all()
    assert alpha.sum() == 16 * 16


def test_a_view_of_nothing_is_all_background() -> None:
    assert (remove_background(torch.full((3, 8, 8), 0.5))[3] == 0).all()
