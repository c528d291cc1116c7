"""One drag becomes several on the same part, or is refused with a reason."""

import numpy as np
import pytest

from model.propagation import DragError, propagate

MASK = np.zeros((20, 30), bool)
MASK[5:9, 10:20] = True
START, END = np.array([12.3, 6.8]), np.array([40.3, -1.2])


def test_all_start_on_the_part_and_move_alike() -> None:
    starts, ends = propagate(MASK, START, END, 10, np.random.default_rng(0))
    assert starts.shape == ends.shape == (10, 2)
    np.testing.assert_allclose(starts[0], START)
    np.testing.assert_allclose(ends - starts, np.tile(END - START, (10, 1)))
    column, row = np.floor(starts).astype(int).T
    assert MASK[row, column].all()
    assert len(set(zip(column, row, strict=True))) == 10
    again, _ = propagate(MASK, START, END, 10, np.random.default_rng(0))
    np.testing.assert_array_equal(starts, again)


@pytest.mark.parametrize(("asked", "made"), [(1, 1), (39, 39), (40, 40), (1000, 40)])
def test_no_pixel_is_taken_twice(asked: int, made: int) -> None:
    starts, _ = propagate(MASK, START, END, asked, np.random.default_rng(0))
    assert len({tuple(np.floor(start)) for start in starts}) == len(starts) == made


@pytest.mark.parametrize(
    ("start", "end", "reason"),
    [
        ((30.0, 6.0), (1, 1), r"outside of the picture of 30 x 20 pixels"),
        ((12.0, -0.1), (1, 1), "outside of the picture"),
        ((9.9, 6.0), (1, 1), r"\(9.9, 6\), off the part, whose mask covers 40 pixel"),
        ((12.0, 6.0), (12.0, 6.0), "ends there as well"),
    ],
)
def test_drags_that_say_nothing_are_refused(
    start: tuple[float, float], end: tuple[float, float], reason: str
) -> None:
    with pytest.raises(DragError, match=reason):
        propagate(MASK, np.array(start), np.array(end), 5, np.random.default_rng(0))
    with pytest.raises(DragError, match="off the part, whose mask covers no pixel at all"):
        propagate(MASK & False, START, END, 5, np.random.default_rng(0))
