"""Samples to train on: the same in every process, true to their shards, view 0 left alone."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from synthetic import RIG, synthetic_shard
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from datagen.cameras import project
from datagen.drags import draggable_pairs, moved_links, moved_points, sample_drags, state_pairs
from datagen.shards import Shard
from model.splatter import plucker_rays
from model.training.augmentation import Augmentation, still_warp
from model.training.dataset import Sample, StateDataset, Stream, Task
from model.views import check_resolution, intrinsics, on_white, read_pictures

RECONSTRUCT, MOTION = Task(False, False, 8, 40), Task(True, True, 0, 40, follows=True)
APPEARANCE = Task(True, False, 8, 40)
ALWAYS = Augmentation.of(1)
SIZE = 32
EVERY = 10_000


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shard]:
    folder = tmp_path_factory.mktemp("shards")
    return {name: Shard(synthetic_shard(folder / f"{name}.h5")) for name in ("one", "two")}


@pytest.fixture(scope="module")
def shard(shards: dict[str, Shard]) -> Shard:
    return shards["one"]


def assert_equal(a: Sample, b: Sample) -> None:
    for name, x, y in zip(Sample._fields, a, b, strict=True):
        assert torch.equal(x, y), name


def views_of(cameras: Tensor) -> list[int]:
    """Which of the rig's views these cameras are."""
    poses = torch.from_numpy(RIG.camera_to_world).float()
    return [int((poses == camera).all(dim=(1, 2)).nonzero().item()) for camera in cameras]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_samples_are_the_same_in_every_process(shards: dict[str, Shard], start: str) -> None:
    """Bit for bit, with the files open here already."""
    dataset = StateDataset(shards, APPEARANCE, SIZE, augmentation=ALWAYS)
    numbers = [2, 70, len(dataset) + 2]
    here = [dataset[n] for n in numbers]
    again = StateDataset(shards, APPEARANCE, SIZE, augmentation=ALWAYS)
    for n, sample in zip(numbers, here, strict=True):
        assert_equal(again[n], sample)
    loader = DataLoader(
        dataset, batch_size=None, sampler=numbers, num_workers=1, multiprocessing_context=start
    )
    for sample, expected in zip(loader, here, strict=True):
        assert_equal(sample, expected)


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_surface_points_are_told_where_the_target_has_them(
    shards: dict[str, Shard], mirror: float
) -> None:
    """Also from other sides: what is moved starts where its pixel shows it, as the motion says."""
    sides = replace(Augmentation.of(0), mirror=mirror, turn=1)
    dataset = StateDataset(shards, MOTION, SIZE, augmentation=sides)
    there, moving = [], []
    for number in range(0, len(dataset), 7):
        sample = dataset[number]
        column, row = (sample.surface_pixel * SIZE).long().clamp(0, SIZE - 1).unbind(-1)
        moves = sample.moved[torch.arange(len(column))[:, None], row, column].numpy()
        w, x, y, z, *shift = sample.motion.double().tolist()
        end = sample.surface_point.double().numpy()
        start = Rotation.from_quat([x, y, z, w]).inv().apply((end - shift).reshape(-1, 3))
        start = np.where(moves[..., None], start.reshape(end.shape), end)
        poses = sample.input_cameras.double().numpy()
        pixel, _ = project(start, poses, sample.intrinsics.double().numpy())
        error = np.abs(pixel / SIZE - sample.surface_pixel.numpy()).max(axis=-1)
        there += (error < 1e-4)[sample.surface_seen.numpy()].tolist()
        moving += moves.ravel().tolist()
    assert np.mean(there) > 0.9  # pixels on edges are of both
    assert 0.1 < np.mean(moving) < 0.9


def test_every_epoch_and_seed_draws_anew(shards: dict[str, Shard]) -> None:
    straight = replace(ALWAYS, turn=0)
    dataset = StateDataset(shards, APPEARANCE, SIZE, augmentation=straight)
    first, next_epoch = dataset[5], dataset[5 + len(dataset)]
    other_seed = StateDataset(shards, APPEARANCE, SIZE, augmentation=straight, seed=1)[5]
    for other in (next_epoch, other_seed):
        assert torch.equal(first.source, other.source)
        for name in ("drag_start", "warp", "told_cameras", "target_cameras", "tint"):
            assert not torch.equal(getattr(first, name), getattr(other, name)), name


@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 100), st.integers(0, 3))
def test_a_stream_is_dealt_out_to_all_processes_and_goes_on_anywhere(
    length: int, processes: int, start: int, seed: int
) -> None:
    whole = list(islice(Stream(length, seed), 250))
    for epoch in range(250 // length):
        numbers = whole[epoch * length : (epoch + 1) * length]
        assert sorted(numbers) == list(range(epoch * length, (epoch + 1) * length))
    parts = [islice(Stream(length, seed, start, rank, processes), 30) for rank in range(processes)]
    dealt = [number for step in zip(*parts, strict=True) for number in step]
    assert dealt == whole[start : start + len(dealt)]


def test_a_stream_of_samples_with_chances_goes_on_anywhere_and_never_repeats_itself() -> None:
    chances = np.array([1.0, 0.0, 3.0])
    whole = list(islice(Stream(3, chances=chances), 400))
    assert len(set(whole)) == 400
    assert np.bincount([number % 3 for number in whole])[2] == pytest.approx(300, abs=30)
    assert not any(number % 3 == 1 for number in whole)
    parts = [islice(Stream(3, 0, 50, rank, 2, chances), 30) for rank in range(2)]
    assert [n for step in zip(*parts, strict=True) for n in step] == whole[50:110]


def test_a_stream_has_another_order_every_epoch_and_seed() -> None:
    first, second = np.array(list(islice(Stream(50), 100))).reshape(2, 50)
    assert (first != second - 50).any()
    assert list(first) != list(islice(Stream(50, seed=1), 50))


def test_drags_lead_from_the_moved_part_to_where_the_target_has_it(
    shards: dict[str, Shard],
) -> None:
    dataset = StateDataset(shards, APPEARANCE, SIZE, 6, Augmentation.of(0))
    counts = set()
    for number in range(0, len(dataset), 9):
        shard, source, target = dataset.items[number]
        sample = dataset[number]
        count = int(sample.drag_mask.sum())
        counts.add(count)
        assert sample.drag_mask.tolist() == [True] * count + [False] * (6 - count)
        starts, ends = (
            project(shard.world_points(state), shard.camera_to_world[0], shard.intrinsics)[0]
            for state in (source, target)
        )
        links = moved_links(shard, shard.states[source].part)
        points = np.flatnonzero(moved_points(shard, shard.states[source].part))
        for start, end in zip(sample.drag_start[:count], sample.drag_end[:count], strict=True):
            column, row = (start * shard.resolution).int()
            assert shard.link(source, 0)[row, column] in links
            pixel = start.numpy() * shard.resolution
            point = points[np.linalg.norm(starts[points] - pixel, axis=-1).argmin()]
            np.testing.assert_allclose(pixel, starts[point], atol=1e-4)
            np.testing.assert_allclose(end * shard.resolution, ends[point], atol=1e-4)
    assert min(counts) < 3 and max(counts) == 6


@pytest.mark.parametrize("mirror", [0.0, 1.0])
def test_from_another_side_drags_start_and_end_on_what_moves(
    shards: dict[str, Shard], mirror: float
) -> None:
    """Where it ends, the target's picture shows the moved part, unless something is before it."""
    dataset = StateDataset(
        shards, MOTION, SIZE, 10, replace(Augmentation.of(0), mirror=mirror, turn=1)
    )
    ended, turned = [], 0
    for number in range(0, len(dataset), 5):
        shard, source, target = dataset.items[number]
        sample = dataset[number]
        shown = sample.source[0].flip(-1) if mirror else sample.source[0]
        pictures = read_pictures(shard, source, range(12), SIZE)
        (view,) = (v for v in range(12) if torch.equal(pictures[v], shown))
        turned += view != 0

        def on_part(
            state: int, points: Tensor, shard: Shard = shard, view: int = view
        ) -> list[bool]:
            links = moved_links(shard, shard.states[state].part)
            moves = np.isin(shard.link(state, view), links)
            pixels = (points.numpy() * shard.resolution).astype(int)
            columns, rows = pixels.clip(0, shard.resolution - 1).T
            return (moves[:, ::-1] if mirror else moves)[rows, columns].tolist()

        assert all(on_part(source, sample.drag_start[sample.drag_mask]))
        ended += on_part(target, sample.drag_end[sample.drag_mask])
    assert turned > 3 and np.mean(ended) > 0.5


def test_noise_is_added_to_the_ends_of_drags_alone(shards: dict[str, Shard]) -> None:
    noisy = replace(Augmentation.of(0), drag_noise=1, noise_strength=0.03)
    drawn = []
    for augmentation in (noisy, Augmentation.of(0)):
        dataset = StateDataset(shards, MOTION, SIZE, 10, augmentation)
        drawn.append([dataset[n] for n in range(0, len(dataset), 4)])
    errors = []
    for rough, exact in zip(*drawn, strict=True):
        assert torch.equal(rough.drag_start, exact.drag_start)
        errors.append((rough.drag_end - exact.drag_end)[exact.drag_mask])
    error = torch.cat(errors)
    assert error.std().item() == pytest.approx(0.03, rel=0.2)
    assert abs(error.mean().item()) < 0.006


def test_samples_that_stay_still_have_no_drags_and_are_their_own_target(
    shards: dict[str, Shard],
) -> None:
    still = replace(Augmentation.of(0), still=1)
    dataset = StateDataset(shards, APPEARANCE, SIZE, 10, still)
    for sample in (dataset[0], dataset[len(dataset) // 2]):
        assert not sample.drag_mask.any()
        assert torch.equal(sample.target[: len(sample.source)], sample.source)
        assert torch.allclose(sample.motion, torch.tensor([1.0, 0, 0, 0, 0, 0, 0]))


def test_a_drag_may_be_alone(shards: dict[str, Shard]) -> None:
    def counts(single: float) -> set[int]:
        chances = replace(Augmentation.of(0), single=single)
        dataset = StateDataset(shards, MOTION, SIZE, 10, chances)
        return {int(dataset[n].drag_mask.sum()) for n in range(0, len(dataset), 9)}

    assert counts(1) == {1} and len(counts(0)) > 1


def test_view_0_is_never_changed_and_all_others_are(shards: dict[str, Shard]) -> None:
    dataset = StateDataset(shards, APPEARANCE, SIZE, augmentation=replace(ALWAYS, tint=0))
    missing = set()
    for number in range(0, len(dataset), 9):
        sample = dataset[number]
        shown = default_collate([sample]).shown()
        torch.testing.assert_close(shown.pictures[0, 0], on_white(sample.source[0])[0])
        assert torch.equal(sample.told_cameras[0], sample.input_cameras[0])
        assert torch.equal(sample.warp[0], torch.from_numpy(still_warp(1, SIZE)[0]))
        for view in (1, 2, 3):
            assert not torch.equal(sample.told_cameras[view], sample.input_cameras[view])
            assert not torch.equal(sample.warp[view], sample.warp[0])
        assert sample.present[0]
        missing.add(int((~sample.present).sum()))
    assert missing == {1, 2, 3}


def test_without_augmentation_views_are_shown_as_they_are(shards: dict[str, Shard]) -> None:
    sample = StateDataset(shards, MOTION, SIZE, augmentation=Augmentation.of(0))[0]
    shown = default_collate([sample]).shown()
    torch.testing.assert_close(shown.pictures[0], on_white(sample.source)[0])
    assert torch.equal(sample.told_cameras, sample.input_cameras)
    assert sample.present.all()


def test_a_missing_view_keeps_its_rays_and_shows_one_colour(shards: dict[str, Shard]) -> None:
    sample = StateDataset(shards, MOTION, SIZE, augmentation=ALWAYS)[0]
    batch = default_collate([sample])
    seen = batch.shown().network_input()[0]
    rays = plucker_rays(sample.told_cameras, sample.intrinsics, SIZE)
    torch.testing.assert_close(seen[:, 3:], rays)
    for view, present in enumerate(sample.present):
        assert seen[view, :3].any() == present
    assert batch.answer().present.all()
    assert batch.shown().first(1).present.tolist() == [[True, False, False, False]]


@pytest.mark.parametrize("task", [RECONSTRUCT, MOTION, APPEARANCE])
def test_a_task_gets_the_states_and_views_it_asks_for(shards: dict[str, Shard], task: Task) -> None:
    dataset = StateDataset(shards, task, SIZE)
    assert len(dataset) == (120 if task.moves else 24)
    number = len(dataset) - 7
    shard, source, target = dataset.items[number]
    assert (source != target) == task.moves
    sample, inputs = dataset[number], shard.input_views
    assert torch.equal(sample.source, read_pictures(shard, source, inputs, SIZE))
    assert views_of(sample.input_cameras) == list(inputs)
    views = views_of(sample.target_cameras)
    assert len(set(views)) == len(views) == task.rendered
    assert sample.target.shape == (task.rendered, 4, SIZE, SIZE)
    if task.rendered:
        assert views[:4] == list(inputs)
        assert torch.equal(sample.target, read_pictures(shard, target, views, SIZE))
    if task.teacher:
        assert torch.equal(sample.target_inputs, read_pictures(shard, target, inputs, SIZE))
    assert len(sample.target_inputs) == (4 if task.teacher else 0)
    assert sample.drag_mask.any() == task.moves
    batch = default_collate([sample, dataset[0]])
    assert isinstance(batch, Sample) and batch.target.shape[:2] == (2, task.rendered)


def test_draggable_pairs_are_those_whose_part_shows(shard: Shard) -> None:
    """From the side the shut drawer is hidden, and can be dragged shut."""
    for view in (0, 4):
        draggable = draggable_pairs(shard, view)
        for source, target in state_pairs(shard):
            rng = np.random.default_rng(0)
            drags = sample_drags(shard, source, target, EVERY, rng, view)
            assert ((source, target) in draggable) == (len(drags.point) > 0)
        assert draggable == sorted(set(draggable))
    assert draggable_pairs(shard) == state_pairs(shard)
    assert (0, 1) not in draggable_pairs(shard, 4) and (1, 0) in draggable_pairs(shard, 4)


def test_few_shards_are_open_at_once(
    shards: dict[str, Shard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.training.dataset.OPEN_SHARDS", 1)
    dataset = StateDataset(shards, RECONSTRUCT, SIZE)
    for number in (0, 12, 1, 13):
        assert torch.equal(dataset[number].source, dataset[number].source)
        names = [Path(file.path).name for file in psutil.Process().open_files()]
        assert names.count("one.h5") + names.count("two.h5") == 1


def test_nothing_that_moves_is_refused() -> None:
    with pytest.raises(ValueError, match="without a part that moves and shows"):
        StateDataset({}, MOTION, SIZE)


def test_smaller_pictures_keep_their_mean_under_alpha(shard: Shard) -> None:
    large, small = (read_pictures(shard, 3, (0, 5), size).double() for size in (64, 16))
    assert 0 < large[:, 3].mean() < 255
    for pictures in (large, small):
        pictures[:, :3] *= pictures[:, 3:] / 255
    means = (pictures.mean(dim=(-2, -1)) for pictures in (large, small))
    torch.testing.assert_close(*means, rtol=0, atol=0.5)


def test_smaller_pictures_take_no_colour_from_what_is_transparent(shard: Shard) -> None:
    """Nothing is black in the shard: the edges of its boxes must not darken."""
    large, small = (read_pictures(shard, 0, (0,), size)[0] for size in (64, 16))
    edge = (small[3] > 60) & (small[3] < 195)
    assert edge.sum() > 3
    assert (large[:3, large[3] == 0] == 0).all()
    darkest = large[:3, large[3] > 0].amin(dim=1)
    assert (small[:3, edge].amin(dim=1) >= darkest - 3).all()


def test_intrinsics_are_of_the_smaller_pictures(shard: Shard) -> None:
    large, small = intrinsics(shard, 64).double().numpy(), intrinsics(shard, 16).double().numpy()
    np.testing.assert_allclose(large, shard.intrinsics, rtol=1e-6)
    points, camera = np.random.default_rng(0).uniform(-0.5, 0.5, (9, 3)), shard.camera_to_world[2]
    pixels = [project(points, camera, lens)[0] for lens in (large, small)]
    np.testing.assert_allclose(pixels[0] / 64, pixels[1] / 16, rtol=1e-6)


def test_shards_of_too_few_pixels_are_refused_by_name(shard: Shard) -> None:
    with pytest.raises(ValueError, match=r"one.h5 holds pictures of 64 pixels, not 65"):
        read_pictures(shard, 0, (0,), 65)
    with pytest.raises(ValueError, match=r"one.h5 holds pictures of 64 .*tiny takes 128.*PRESET="):
        check_resolution([shard], 128, "tiny")
    check_resolution([shard], 64, "tiny")
