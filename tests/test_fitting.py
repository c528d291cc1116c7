"""Gaussians come closer to the pictures they were made of, and to others of the same object."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from datagen.cameras import rig
from model.fitting import Correction, corrected, fit
from model.rendering import render
from model.splatter import moved_by
from model.views import Views

SIZE = 32
RING = rig("ring")


def ball(count: int, seed: int) -> Tensor:
    """Opaque Gaussians on a ball, coloured by where they are."""
    direction = torch.randn(1, count, 3, generator=torch.Generator().manual_seed(seed))
    direction = torch.nn.functional.normalize(direction, dim=-1)
    shape = torch.tensor([0.9, 0.05, 0.05, 0.05, 1.0, 0.0, 0.0, 0.0]).expand(1, count, -1)
    return torch.cat([0.4 * direction, shape, 0.5 + 0.4 * direction], dim=-1)


def seen(gaussians: Tensor, views: list[int]) -> Views:
    """Pictures of Gaussians from views of a rig."""
    cameras = torch.from_numpy(RING.camera_to_world[views]).float()[None]
    cameras = cameras.expand(len(gaussians), -1, -1, -1)
    lens = torch.from_numpy(RING.intrinsics(SIZE)).float().expand(len(gaussians), 3, 3)
    pictures = render(gaussians, cameras, lens[:, None], SIZE, SIZE).colour
    present = torch.ones(cameras.shape[:2], dtype=torch.bool)
    return Views(pictures, cameras, lens, present)


def error(gaussians: Tensor, views: Views) -> float:
    drawn = render(gaussians, views.camera_to_world, views.intrinsics[:, None], SIZE, SIZE)
    return float((drawn.colour - views.pictures).square().mean())


@pytest.fixture(scope="module")
def rough() -> Tensor:
    """The ball, as a network may have it that never saw one."""
    return moved_by(ball(600, 0), torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.03, -0.02, 0.02]]))


def test_what_is_fitted_looks_better_from_views_that_it_was_not_fitted_to_too(
    rough: Tensor,
) -> None:
    truth = ball(600, 0)
    shown, others = seen(truth, list(RING.input_views)), seen(truth, [3, 5, 7, 9])
    fitted = corrected(rough, fit(rough, shown))
    assert error(fitted, shown) < 0.5 * error(rough, shown)
    assert error(fitted, others) < 0.8 * error(rough, others)
    assert fitted[..., 3].max() < 1 and fitted[..., 11:].min() >= 0


def test_neither_other_samples_nor_views_that_are_missing_have_a_say(rough: Tensor) -> None:
    both = torch.cat([rough, ball(600, 1)])
    views = seen(torch.cat([ball(600, 0)] * 2), [0, 3, 6])
    views.present[0, 2] = False
    views.pictures[0, 2] = 0
    two = seen(ball(600, 0), [0, 3])
    for one, alone in zip(fit(both, views, steps=3), fit(rough, two, steps=3), strict=True):
        torch.testing.assert_close(one[:1], alone, rtol=1e-3, atol=1e-5)


def test_no_correction_changes_nothing(rough: Tensor) -> None:
    nothing = Correction(*(torch.zeros_like(rough[..., :n]) for n in (3, 1, 3, 3)))
    torch.testing.assert_close(corrected(rough, nothing), rough)


def test_a_fit_of_no_steps_is_refused(rough: Tensor) -> None:
    with pytest.raises(ValueError, match="-1 steps: 1 or more"):
        fit(rough, seen(rough, [0]), steps=-1)
