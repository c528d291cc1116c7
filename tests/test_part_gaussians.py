"""Which Gaussians are of a part: a network is asked wherever a drag's start shows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.holding import drawn_depth
from model.part_gaussians import part_likelihood
from model.pulls import Pulls
from model.views import Views
from tests.ball import SIZE, SameColour, ball, two_halves


def asked(views: Views, splats: Tensor, starts: Tensor) -> tuple[Tensor, SameColour]:
    """Of splats [V, S, S]: what the network says, and the network."""
    network = SameColour()
    points = starts.double().numpy()
    camera, lens = (t[0, ...].double().numpy() for t in (views.camera_to_world, views.intrinsics))
    drags = Pulls(points, np.zeros((len(points), 2)), camera[0], lens, SIZE)
    drawn = drawn_depth(splats[0], views)
    likely = part_likelihood(network, splats[0], views, drawn, drags, layers=1)  # type: ignore[arg-type]
    return likely.reshape(4, SIZE, SIZE), network


def points_of(splats: Tensor) -> tuple[Tensor, Tensor]:
    """[V, S, S, 3] where splats are, and whether their pixels show the ball, [V, S, S]."""
    maps = splats.reshape(4, SIZE, SIZE, 14)
    return maps[..., :3], maps[..., 3] > 0


def test_the_part_is_told_in_every_view_that_shows_it() -> None:
    views, splats = ball(paint=two_halves)
    point, hit = points_of(splats)
    in_view_0 = point[0][hit[0] & (point[0, ..., 1] > 0.1)]
    likely, _ = asked(views, splats, in_view_0[::97])
    clear = hit & (point[..., 1].abs() > 0.05)
    part = clear & (point[..., 1] > 0)
    told = ~likely.isnan()
    assert told[0].all() and (told & part).sum() > 0.8 * part.sum()
    assert likely[told & part].min() > 0.9 and likely[told & clear & ~part].max() < 0.1


def test_views_that_are_not_there_are_not_asked_and_take_the_word_of_others() -> None:
    views, splats = ball(paint=two_halves)
    point, hit = points_of(splats)
    in_view_0 = point[0][hit[0] & (point[0, ..., 1] > 0.1)]
    likely, network = asked(views.first(1), splats, in_view_0[::97])
    assert len(network.clicks) == 1
    camera = views.camera_to_world[0, 0, :3, 3]
    faces = ((camera - point) * point).sum(dim=-1)  # view 0, if positive
    others = hit[1:] & (point[1:, ..., 1].abs() > 0.1)
    seen, hidden = others & (faces[1:] > 0.3), others & (faces[1:] < -0.2)
    assert seen.sum() > 100 and hidden.sum() > 100
    told = seen & ~likely[1:].isnan()
    assert told.sum() > 0.7 * seen.sum()
    right = (likely[1:][told] > 0.5) == (point[1:][told][:, 1] > 0)
    assert right.float().mean() > 0.95  # all but some at the ball's rim
    assert likely[1:][hidden].isnan().all()


def test_a_drag_that_starts_where_no_view_shows_anything_tells_nothing() -> None:
    views, splats = ball(paint=two_halves)
    likely, network = asked(views, splats, torch.tensor([[0.0, 0.0, 0.0]]))
    assert not network.clicks and likely.isnan().all()
