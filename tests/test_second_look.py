"""A second look: what a first answer shows of itself, and who is told it."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.data import default_collate

from datagen.shards import Shard
from model.config import PRESETS
from model.partrm import INPUT_CHANNELS, PartRM
from model.second_look import LOOK_CHANNELS, OFFSETS, OTHERS, look, seen
from model.splatter import IMAGENET_STD
from model.training.dataset import Sample, StateDataset, Task
from model.training.stages import AT_FIRST_SIGHT, Stage
from model.views import Views
from tests.ball import SIZE, ball
from tests.synthetic import synthetic_shard

NANO = PRESETS["nano"]
LOOKS = replace(NANO, second_look=True)


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def by_view_and_offset(told: Tensor) -> Tensor:
    """[V, OTHERS, offsets, 5, S, S] of what is told of other views."""
    return told[0, :, 5:].unflatten(1, (OTHERS, len(OFFSETS), 5))


@pytest.mark.parametrize("off", OFFSETS)
def test_it_tells_which_way_a_surface_is_off(off: float) -> None:
    views, splats = ball(off)
    elsewhere = by_view_and_offset(look(views, splats, layers=1))[:, 0]  # the next view
    truth = ball()[1].unflatten(1, (4, SIZE, SIZE))[0]
    surface, hit = truth[..., :3], truth[..., 3] > 0
    camera = views.camera_to_world[0, [1, 2, 3, 0], None, None, :3, 3]
    faces = ((camera - surface) * surface).sum(dim=-1) > 0.2  # the next camera, too
    shows = (hit & faces)[:, None]
    errors = (elsewhere[:, :, :3].abs().mean(dim=2) * shows).sum(dim=(0, 2, 3))
    best = OFFSETS[int((errors).argmin())]
    assert best == -off


def test_colours_that_are_off_are_told() -> None:
    views, splats = ball()
    told = look(views, splats, layers=1)
    splats[..., 11:] += 0.1
    brighter = look(views, splats, layers=1)
    opaque = told[:, :, 3] > 0.99
    assert opaque.sum() > 500
    for channel, deviation in enumerate(IMAGENET_STD):
        change = (brighter - told)[:, :, channel][opaque]
        torch.testing.assert_close(
            change, torch.full_like(change, 0.1 / deviation), atol=0.01, rtol=0
        )


def test_a_view_that_is_not_there_tells_nothing() -> None:
    views, splats = ball()
    views.present[0, 2] = False
    views.pictures[0, 2] = 0
    elsewhere = by_view_and_offset(look(views, splats, layers=1))
    of_view = {view: [(view + 1 + n) % 4 for n in range(OTHERS)] for view in range(4)}
    for view, others in of_view.items():
        for number, other in enumerate(others):
            assert elsewhere[view, number].any() == (other != 2)


def test_without_one_the_network_takes_pictures_alone() -> None:
    views, _ = ball()
    network = PartRM(NANO)
    assert torch.equal(seen(network, NANO, views), views.network_input())


def test_a_network_that_gets_one_answers_as_before_until_it_has_learnt_to_use_it() -> None:
    views, _ = ball()
    before = PartRM(NANO)
    network = before.with_second_look()
    images = seen(network, network.config, views)
    assert images.shape[2] == INPUT_CHANNELS + LOOK_CHANNELS
    first = before(views.network_input())
    torch.testing.assert_close(network(images), first)
    torch.nn.init.normal_(network.unet.look.conv2.weight)
    assert not torch.allclose(network(images), first)
    torch.testing.assert_close(network(views.network_input()), first)
    with pytest.raises(ValueError, match="already"):
        network.with_second_look()


def test_a_network_without_refuses_what_one_shows() -> None:
    views, _ = ball()
    network = PartRM(NANO)
    with pytest.raises(ValueError, match=r"images must be \[B, V, 9, H, W\]"):
        network(seen(network, LOOKS, views))


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    path = tmp_path_factory.mktemp("shards") / "thing.h5"
    synthetic_shard(path)
    dataset = StateDataset({"thing": Shard(path)}, Task(True, False, 4), NANO.input_size)
    return default_collate([dataset[7 * i] for i in range(4)])


def test_the_first_of_a_batch_are_answered_at_first_sight(batch: Sample) -> None:
    network = PartRM(LOOKS)
    given: list[Tensor] = []

    def forward(images: Tensor, drags: object) -> Tensor:
        given.append(images)
        return network(images)

    Stage(network, None, None, 0.0, nullcontext).loss(forward, batch, with_lpips=False)
    first = int(AT_FIRST_SIGHT * len(given[0]))
    assert first == 1
    assert not given[0][:first, :, INPUT_CHANNELS:].any()
    others = Views(*(tensor[first:] for tensor in batch.shown()))
    torch.testing.assert_close(given[0][first:], seen(network, LOOKS, others))


def test_gradients_reach_all_of_it(batch: Sample) -> None:
    network = PartRM(LOOKS)
    torch.nn.init.normal_(network.unet.look.conv2.weight, std=0.01)
    stage = Stage(network, None, None, 0.0, nullcontext)
    stage.loss(network, batch, with_lpips=False).loss.backward()
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead
