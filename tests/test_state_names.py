"""The published names of states: read, written, and told apart where they can be read twice."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.articulation import ArticulatedObject, Joint, JointType, Link
from datagen.partnet import read_object
from datagen.state_names import Others, StateNameError, decode, encode

EXTREMES = ((0, 0), (0, 1), (1, 0), (1, 1))


def object_with(*parts: int) -> ArticulatedObject:
    """Sliders of a base, one for each part index."""
    links = tuple(Link(f"link_{i}", "", (), ()) for i in range(len(parts) + 1))
    joints = tuple(
        Joint(
            f"j{p}", JointType.PRISMATIC, 0, i, np.eye(4), np.array([1.0, 0, 0]), -p - 1, p + 1, p
        )
        for i, p in enumerate(parts, start=1)
    )
    return ArticulatedObject("41083", "Test", "", links, joints)


def read(names: list[str], *parts: int) -> list[tuple[int, int, Others]]:
    return [(s.part, s.k, s.others) for s in decode(object_with(*parts), names)]


def test_a_name_says_part_state_and_limits():
    (state,) = decode(object_with(0, 2, 3), ["41083_0_3_3021"])
    assert (state.part, state.k, state.others) == (0, 3, ((3, 0), (2, 1)))
    np.testing.assert_allclose(state.positions, [0.2, 3, -4])
    assert state.name == encode("41083", 0, 3, ((3, 0), (2, 1))) == "41083_0_3_3021"


def test_a_name_without_others_is_of_the_only_part():
    assert read(["41083_4_5"], 4) == [(4, 5, ())]


def test_parts_that_a_name_does_not_mention_rest():
    (state,) = decode(object_with(0, 2, 3, 5), ["41083_0_0_3021"])
    np.testing.assert_allclose(state.positions, [-1, 3, -4, 0])


@given(st.sets(st.integers(0, 24), min_size=1, max_size=25), st.data())
def test_all_names_of_a_part_are_read_as_they_were_written(parts, data):
    part = data.draw(st.sampled_from(sorted(parts)))
    others = data.draw(st.permutations(sorted(parts - {part})))[:2]
    groups = {tuple(zip(others, e, strict=False)) for e in EXTREMES}
    written = [(part, k, group) for group in sorted(groups) for k in range(6)]
    names = [encode("41083", *w) for w in written]
    assert len(names) == 6 * 2 ** min(2, len(parts) - 1)
    assert read(names, *parts) == written


def test_a_name_that_can_be_read_twice_is_read_with_those_of_its_part():
    """10110 is part 1 at 0 and 11 at 0, or part 10 at 1 and 1 at 0."""
    parts = (0, 1, 10, 11)
    with pytest.raises(StateNameError, match=r"'41083_0_0_10110' can be read in more than one way"):
        read(["41083_0_0_10110"], *parts)
    with pytest.raises(StateNameError, match="in more than one way"):
        read(["41083_0_0_10110", "41083_0_3_10110"], *parts)
    assert read(["41083_0_0_10110", "41083_0_0_11110"], *parts)[0] == (0, 0, ((1, 0), (11, 0)))
    assert read(["41083_0_0_10010", "41083_0_0_10110"], *parts)[1] == (0, 0, ((10, 1), (1, 0)))


def test_names_of_one_part_do_not_settle_those_of_another():
    with pytest.raises(StateNameError, match="'41083_0_0_10110' can be read in more than one way"):
        read(["41083_0_0_10110", "41083_2_0_10010"], 0, 1, 2, 10, 11)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("41084_0_0_2030", "of the form 41083_<part>_<k>_<others>"),
        ("41083", "of the form"),
        ("41083_0", "of the form"),
        ("41083_0_0_2030_0", "of the form"),
        ("41083_0_0_", "of the form"),
        ("41083__0_2030", "of the form"),
        ("41083_-1_0_2030", "of the form"),
        ("41083_00_0_2030", "of the form"),
        ("41083_\u0660_0_2030", "of the form"),
        (f"41083_{'9' * 5000}_0_2030", "of the form"),
        ("41083_0_6_2030", "state index 6 is over 5"),
        ("41083_1_0_2030", "no movable part 1"),
        ("41083_0_0", "'' does not name 2 other"),
        ("41083_0_0_20", "'20' does not name 2 other"),
        ("41083_0_0_2032", "does not name 2 other"),
        ("41083_0_0_2021", "does not name 2 other"),
        ("41083_0_0_0020", "does not name 2 other"),
        ("41083_0_0_2090", "does not name 2 other"),
        ("41083_0_0_203040", "does not name 2 other"),
    ],
)
def test_names_that_do_not_fit_are_refused(name, reason):
    with pytest.raises(StateNameError, match=rf"state '{name[:20]}.*{reason}"):
        read(["41083_0_0_2030", name], 0, 2, 3, 4)


def test_published_names_are_read_and_written_alike(
    real_objects: list[Path], published_states: dict[str, list[str]]
):
    known = [path for path in real_objects if path.stem in published_states]
    assert known
    incomplete = []
    for path in known:
        obj = read_object(path)
        names = published_states[obj.id]
        states = decode(obj, names)
        assert [encode(obj.id, s.part, s.k, s.others) for s in states] == names
        for state in states:
            assert (obj.lower <= state.positions).all(), state.name
            assert (state.positions <= obj.upper).all(), state.name
        expected = 6 * 2 ** min(2, len(obj.movable) - 1)
        moved, count = np.unique([s.part for s in states], return_counts=True)
        assert (count == expected).all(), obj.id
        if len(moved) < len(obj.movable):
            incomplete.append(obj.id)
    assert len(incomplete) <= 2, "the lists leave out parts of one or two objects"
