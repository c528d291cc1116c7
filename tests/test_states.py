"""Which states are sampled: from limit to limit, reproducibly, and without parts in one another."""

from pathlib import Path

import numpy as np
import pytest
from objects import BODY, DOOR, DRAWER, Part, object_files, write_folder

from datagen.articulation import ArticulatedObject
from datagen.collision import CollisionModel
from datagen.partnet import read_object
from datagen.source import ObjectFiles
from datagen.state_names import State, decode
from datagen.states import TOLERANCE, Plan, Scheme, collision_check, object_rng, sample

LONG_DRAWER = Part(
    "drawer", (-0.4, -0.4, -20), (0.4, 0.4, 0.4), "prismatic", (0, 0, 1), limits=(0, 10)
)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory):
    """The files and the object made of parts."""

    def write(*parts: Part) -> tuple[ObjectFiles, ArticulatedObject]:
        files = ObjectFiles(
            write_folder(tmp_path_factory.mktemp("object") / "1000", object_files(parts))
        )
        return files, read_object(files)

    return write


def anywhere(rows: np.ndarray) -> np.ndarray:
    """Nothing collides."""
    return np.zeros(rows.shape[1], bool)


def sliders(count: int) -> tuple[Part, ...]:
    limits = [(-0.5 * i, 1.0 + i) for i in range(count)]
    return (BODY, *(Part("slider", (0, 0, 0), (1, 1, 1), "prismatic", limits=at) for at in limits))


def plan_of(
    obj: ArticulatedObject, scheme: Scheme, seed: int = 0, draws: int = 4, blame=anywhere
) -> Plan:
    parts = [j.part for j in obj.movable]
    return sample(obj, parts, scheme, draws, object_rng(seed, obj.id, "states"), blame)


def sweeps(plan: Plan) -> list[list[State]]:
    """The states in sixes."""
    return [list(plan.states[i : i + 6]) for i in range(0, len(plan.states), 6)]


def rows_of(plan: Plan) -> np.ndarray:
    return np.array([state.positions for state in plan.states])


@pytest.mark.parametrize("scheme", ["uniform", "partdrag4d"])
def test_a_part_goes_from_limit_to_limit_while_the_others_hold_still(make, scheme):
    _, obj = make(*sliders(3))
    plan = plan_of(obj, scheme)
    assert len({state.name for state in plan.states}) == len(plan.states) == 3 * 4 * 6
    for sweep in sweeps(plan):
        rows, part = np.array([s.positions for s in sweep]), sweep[0].part
        column = [j.part for j in obj.movable].index(part)
        assert [(s.part, s.k) for s in sweep] == [(part, k) for k in range(6)]
        expected = np.linspace(obj.lower[column], obj.upper[column], 6)
        np.testing.assert_allclose(rows[:, column], expected)
        others = np.delete(rows, column, axis=1)
        assert (others == others[0]).all()
        assert (rows >= obj.lower).all()
        assert (rows <= obj.upper).all()


def test_uniform_puts_the_others_anywhere_in_their_range(make):
    _, obj = make(*sliders(3))
    plan = plan_of(obj, "uniform", draws=100)
    others = {tuple(np.delete(sweep[0].positions, sweep[0].part - 1)) for sweep in sweeps(plan)}
    assert len(others) == 300
    of_first = np.array([s[0].positions[1:] for s in sweeps(plan) if s[0].part == 1])
    share = (of_first - obj.lower[1:]) / (obj.upper - obj.lower)[1:]
    np.testing.assert_allclose(share.mean(axis=0), 0.5, atol=0.1)
    assert share.min() < 0.05
    assert share.max() > 0.95


@pytest.mark.parametrize("scheme", ["uniform", "partdrag4d"])
def test_the_seed_and_the_object_decide_the_plan(make, scheme):
    _, obj = make(*sliders(5))
    plan = plan_of(obj, scheme)
    again = plan_of(obj, scheme)
    assert [s.name for s in again.states] == [s.name for s in plan.states]
    np.testing.assert_array_equal(rows_of(again), rows_of(plan))
    assert (rows_of(plan_of(obj, scheme, seed=1)) != rows_of(plan)).any()
    streams = [(0, "1", "a"), (0, "2", "a"), (0, "1", "b"), (1, "1", "a")]
    assert len({object_rng(*stream).random() for stream in streams}) == 4


@pytest.mark.parametrize(("parts", "per_part"), [(1, 6), (2, 12), (3, 24), (6, 24)])
def test_partdrag4d_holds_as_many_states_as_published(make, parts, per_part):
    _, obj = make(*sliders(parts))
    plan = plan_of(obj, "partdrag4d")
    assert len(plan.states) == parts * per_part
    names = [state.name for state in plan.states]
    assert len(set(names)) == len(names)
    np.testing.assert_array_equal([s.positions for s in decode(obj, names)], rows_of(plan))


def test_partdrag4d_puts_two_others_at_all_their_extremes_and_the_rest_at_rest(make):
    _, obj = make(*sliders(5))
    pairs = set()
    plan = plan_of(obj, "partdrag4d")
    for start in range(0, len(plan.states), 24):
        group = plan.states[start : start + 24]
        (pair,) = {tuple(part for part, _ in state.others) for state in group}
        assert len({state.others for state in group}) == 4
        pairs.add(pair)
        untouched = [j.part not in (*pair, group[0].part) for j in obj.movable]
        for state in group:
            np.testing.assert_array_equal(state.positions[untouched], obj.rest[untouched])
    assert len(pairs) > 1


def test_an_object_with_one_part_has_six_states(make):
    _, obj = make(*sliders(1))
    plan = plan_of(obj, "uniform", blame=lambda rows: np.ones(rows.shape[1], bool))
    assert [state.name for state in plan.states] == [f"1000_1_{k}" for k in range(6)]
    assert plan.colliding == ()


def test_only_the_parts_asked_for_are_moved(make):
    _, obj = make(*sliders(4))
    plan = sample(obj, [2, 4], "uniform", 1, np.random.default_rng(0), anywhere)
    assert [sweep[0].part for sweep in sweeps(plan)] == [2, 4]


def test_penetration_is_that_of_the_boxes(make):
    """The door hangs shut 0.025 before the drawer, which slides straight through it."""
    files, obj = make(BODY, DOOR, DRAWER)
    with CollisionModel(files, obj) as model:
        for out, depth in ((0.0, 0), (0.02, 0), (0.045, 0.02), (0.065, 0.04)):
            found = model.penetration(np.array([0, out]))
            assert found[2, 3] == found[3, 2] == pytest.approx(depth, abs=3e-3)
        assert model.penetration(np.array([1.6, 0.7])).max() == 0


def excess(model: CollisionModel, obj: ArticulatedObject, state: State) -> float:
    """How much deeper parts stand in one another than where all rest."""
    return float((model.penetration(state.positions) - model.penetration(obj.rest)).max())


@pytest.mark.parametrize("scheme", ["uniform", "partdrag4d"])
def test_parts_never_stand_deeper_in_one_another_than_at_rest(make, scheme):
    files, obj = make(BODY, DOOR, DRAWER)
    with CollisionModel(files, obj) as model:
        unchecked = plan_of(obj, scheme)
        plan = plan_of(obj, scheme, blame=collision_check(model))
        assert max(excess(model, obj, state) for state in unchecked.states) > 10 * TOLERANCE
        assert max(excess(model, obj, state) for state in plan.states) <= TOLERANCE
    assert {state.part for state in plan.states} == {1, 2}
    assert len(plan.states) + len(plan.colliding) == len(unchecked.states)


def test_what_cannot_be_free_is_left_out_and_listed(make):
    """The door cannot be shut as long as the long drawer is far out."""
    files, obj = make(BODY, DOOR, LONG_DRAWER)
    with CollisionModel(files, obj) as model:
        plan = plan_of(obj, "partdrag4d", blame=collision_check(model))
    out_while_shut = [f"1000_1_{k}_21" for k in range(6)] + [f"1000_2_{k}_10" for k in range(6)]
    assert list(plan.colliding) == out_while_shut
    assert len(plan.states) == 12


def test_a_drawer_is_pulled_only_while_its_door_is_open(make):
    files, obj = make(BODY, DOOR, DRAWER)
    with CollisionModel(files, obj) as model:
        plan = plan_of(obj, "uniform", draws=8, blame=collision_check(model))
    doors = [sweep[0].positions[0] for sweep in sweeps(plan) if sweep[0].part == 2]
    assert len(doors) == 8
    assert min(doors) > 0.5


def test_only_joints_to_blame_are_drawn_again(make):
    """Part 2 collides over 0.1 of its range from -0.5 to 2: few draws would do, but none of 3's."""
    _, obj = make(*sliders(3))

    def blame(rows: np.ndarray) -> np.ndarray:
        return np.array([False, (np.abs(rows[:, 1]) > 0.1).any(), False])

    plan = plan_of(obj, "uniform", draws=50, blame=blame)
    rows = np.array([sweep[0].positions for sweep in sweeps(plan) if sweep[0].part == 1])
    assert len(rows) > 45
    assert np.abs(rows[:, 1]).max() <= 0.1
    assert np.ptp(rows[:, 2]) > 0.9 * (obj.upper - obj.lower)[2]


def test_a_sweep_that_nothing_frees_is_left_out(make):
    _, obj = make(*sliders(3))
    plan = plan_of(obj, "uniform", draws=2, blame=lambda rows: np.array([False, True, False]))
    assert {state.part for state in plan.states} == {2}
    assert len(plan.colliding) == 2 * 2 * 6


def test_partdrag4d_takes_the_pair_with_the_most_free_extremes(make):
    """Part 2 may not stir, and parts 3 and 4 not both be at their upper limits."""
    _, obj = make(*sliders(4))

    def blame(rows: np.ndarray) -> np.ndarray:
        bad = rows[0, 1] != obj.rest[1] or (rows[0, 2:] == obj.upper[2:]).all()
        return np.array([False, bad, bad, bad])

    for seed in range(5):
        plan = plan_of(obj, "partdrag4d", seed, blame=blame)
        states = [state for state in plan.states if state.part == 1]
        assert len(states) == 18
        assert {part for part, _ in states[0].others} == {3, 4}


def test_missing_collision_meshes_do_no_harm(make, tmp_path: Path):
    files = object_files((BODY, DOOR, DRAWER))
    del files["textured_objs/part-1.obj"]
    source = ObjectFiles(write_folder(tmp_path / "1000", files))
    with CollisionModel(source, read_object(source)) as model:
        assert model.penetration(np.array([0, 0.5])).max() == 0
