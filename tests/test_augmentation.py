"""Augmentations keep to what they promise, in closed form."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datagen.cameras import rig
from model.training.augmentation import (
    camera_jitter,
    colour_change,
    grid_distortion,
    still_warp,
    tinted,
    warped,
)

SEEDS = st.integers(0, 2**32 - 1)
CAMERAS = rig("ring").camera_to_world


def random_pictures(size: int) -> torch.Tensor:
    return torch.rand(2, 3, 3, size, size, generator=torch.Generator().manual_seed(0))


def as_warp(x: np.ndarray, y: np.ndarray) -> torch.Tensor:
    """The same warp for all of `random_pictures`."""
    return torch.from_numpy(np.stack([x, y])).expand(2, 3, 2, len(x))


@pytest.mark.parametrize("size, error", [(64, 0), (256, 0), (33, 1e-5)])
def test_a_still_warp_gives_the_pictures_back(size: int, error: float) -> None:
    pictures = random_pictures(size)
    still = torch.from_numpy(still_warp(3, size)).expand(2, 3, 2, size)
    torch.testing.assert_close(warped(pictures, still), pictures, rtol=0, atol=error)


def test_a_warp_has_columns_first_then_rows() -> None:
    pictures, line = random_pictures(16), still_warp(1, 16)[0, 0]
    turned, shifted = as_warp(-line, line), as_warp(line, line + 2 * 3 / 16)
    torch.testing.assert_close(warped(pictures, turned), pictures.flip(-1), rtol=0, atol=1e-5)
    below = warped(pictures, shifted)[..., :13, :]
    torch.testing.assert_close(below, pictures[..., 3:, :], rtol=0, atol=1e-5)


@given(SEEDS, st.floats(0, 0.9), st.integers(16, 256))
def test_grid_distortion_keeps_order_and_borders(seed: int, strength: float, size: int) -> None:
    """Lines move by up to half of `strength` cells, of which there are at least 7."""
    warp = grid_distortion(3, size, strength, np.random.default_rng(seed)).astype(float)
    still = still_warp(3, size)
    assert warp.shape == (3, 2, size)
    assert (np.diff(warp) > 0).all()
    assert np.abs(warp - still).max() <= strength / 2 * 2 / 7 + 1e-6
    for gap in (1 + warp[..., 0], 1 - warp[..., -1]):  # the outermost pixels' centres
        assert ((1 / size) / (1 + strength / 2) - 1e-6 <= gap).all()
        assert (gap <= (1 / size) / (1 - strength / 2) + 1e-6).all()


@given(SEEDS, st.floats(0, 0.3))
def test_camera_jitter_turns_cameras_around_the_origin(seed: int, strength: float) -> None:
    told = camera_jitter(CAMERAS, strength, np.random.default_rng(seed))
    before, after = CAMERAS[:, :3, :3], told[:, :3, :3]
    np.testing.assert_allclose(after @ after.swapaxes(-1, -2), [np.eye(3)] * 12, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(after), 1)
    assert (told[:, 3] == [0, 0, 0, 1]).all()
    # In a camera's own coordinates the origin stays where it was: distance, and pixel.
    origin = [(pose[:3, :3].T @ pose[:3, 3]) for pose in (*CAMERAS, *told)]
    np.testing.assert_allclose(origin[12:], origin[:12], atol=1e-12)
    cosine = (np.einsum("vij,vij->v", before, after) - 1) / 2
    assert (np.arccos(np.clip(cosine, -1, 1)) <= 1.5 * np.pi * strength + 1e-6).all()


def test_camera_jitter_turns_around_the_upright_axis_twice_as_far() -> None:
    views = np.repeat(CAMERAS[:1], 4000, axis=0)
    told = camera_jitter(views, 0.02, np.random.default_rng(0))
    moved = (told[:, :3, 3] - views[:, :3, 3]) @ views[0, :3, :3]  # right, down, forward
    distance = np.linalg.norm(views[0, :3, 3])
    np.testing.assert_allclose(np.abs(moved[:, 0]).max(), 0.02 * np.pi * distance, rtol=0.01)
    np.testing.assert_allclose(np.abs(moved[:, 1]).max(), 0.01 * np.pi * distance, rtol=0.01)


def test_a_changed_object_stands_before_the_same_white() -> None:
    colour = torch.tensor([0.2, 0.5, 0.6])[:, None, None].expand(3, 4, 4)
    alpha = torch.zeros(1, 4, 4)
    alpha[:, :2], alpha[:, 2] = 1, 0.5
    change = torch.tensor([[0.5, 0, 0.1, 0.1], [0, 1, 0, 0.05], [0.2, 0, 0.9, 0]])
    changed = torch.tensor([0.1 + 0.06 + 0.1, 0.55, 0.04 + 0.54])[:, None, None]
    white = 1 + alpha * (colour - 1)
    shown = tinted(white[None, None], alpha[None, None], change[None])[0, 0]
    torch.testing.assert_close(shown, 1 + alpha * (changed - 1))


def test_changes_of_colour_keep_grey_grey_and_no_change_keeps_all() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        change = colour_change(0.3, 0.2, rng)
        for grey in (0.0, 0.3, 1.0):
            assert np.ptp(change[:, :3] @ np.full(3, grey) + change[:, 3]) < 1e-6
    np.testing.assert_allclose(colour_change(0, 0, rng), np.eye(3, 4), atol=1e-6)
