"""What drags move is held together where they are of one part."""

from __future__ import annotations

import numpy as np
import pytest

from model.holding import SURE, Rigid, should_hold
from tests.ball import SameColour, ball, two_halves

RED, BLUE = (0.6, 0.45), (0.4, 0.5)  # of two parts


@pytest.mark.parametrize(
    ("rigid", "starts", "held"),
    [
        ("auto", [], False),
        ("auto", [RED], True),
        ("auto", [RED, RED, RED], True),
        ("auto", [RED, BLUE], False),
        ("auto", [RED, RED, BLUE, RED], False),
        ("auto", SURE * [RED] + [BLUE], True),  # that shows by the motion
        ("always", [], False),
        ("always", [RED, BLUE], True),
        ("never", SURE * [RED], False),
    ],
)
def test_what_drags_of_one_part_move_is_held_together(
    rigid: Rigid, starts: list[tuple[float, float]], held: bool
) -> None:
    views, _ = ball(paint=two_halves)
    places = np.reshape(starts, (-1, 2))
    assert should_hold(rigid, views, places, SameColour()) is held  # type: ignore[arg-type]


def test_a_few_drags_are_taken_to_be_of_several_parts_where_nothing_tells() -> None:
    views, _ = ball(paint=two_halves)
    drags = range(1, SURE + 1)
    held = [should_hold("auto", views, np.full((d, 2), 0.5), None) for d in drags]
    assert held == [True, *(SURE - 2) * [False], True]
