"""Masks of the part that was clicked on: their sources, the network, and its training."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

import train
from benchmarks.part_masks import clicks_on, scores, table
from datagen.shard_writer import write_manifest
from datagen.shards import Shard, open_shards
from model.checkpoint_layout import CheckpointError
from model.click_to_part import ClickToPartConfig, ClickToPartNet
from model.config import PRESETS
from model.part_masks import ClickToPart, SegmentAnything, TrueMask, nearest, part_of_links
from model.partrm import PartRM
from model.propagation import DragError, propagate
from model.training.checkpoints import ResumeError, checkpoints
from model.training.config import TrainConfig
from model.training.parts import (
    Click,
    ClickAugmentation,
    ClickDataset,
    ClickTask,
    clickable,
    iou,
    train_parts,
)
from model.training.processes import Processes
from tests.synthetic import LINKS, synthetic_shard

BODY, DRAWER, KNOB, LID = (LINKS.index(name) for name in ("body", "drawer", "knob", "lid"))
OPEN = 5  # the state with the drawer out
SMALL = ClickToPartConfig(64, (8, 16, 32), heads=2, norm_groups=4)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two shards; the one called `kept1` is held out by its name."""
    folder = tmp_path_factory.mktemp("shards")
    for name in ("trained", "kept1"):
        synthetic_shard(folder / f"{name}.h5")
    write_manifest(folder, {f"{name}.h5": {} for name in ("trained", "kept1")})
    return folder


@pytest.fixture(scope="module")
def shard(data: Path) -> Shard:
    return open_shards(data)["trained"]


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def on(shard: Shard, link: int) -> np.ndarray:
    """The centre of a pixel in the middle of a link."""
    pixels = np.argwhere(shard.link(OPEN, 0) == link)
    middle = pixels[np.abs(pixels - pixels.mean(axis=0)).sum(axis=1).argmin()]
    return middle[::-1] + 0.5


# The shard's true mask


@pytest.mark.parametrize(
    ("clicked", "moved"), [(KNOB, (DRAWER, KNOB)), (DRAWER, (DRAWER, KNOB)), (LID, (LID,))]
)
def test_the_true_mask_shows_what_moves_with_the_clicked_link(
    shard: Shard, clicked: int, moved: tuple[int, ...]
) -> None:
    mask = TrueMask(shard, OPEN)(shard.colour(OPEN, 0), on(shard, clicked))
    np.testing.assert_array_equal(mask, np.isin(shard.link(OPEN, 0), moved))


def test_of_parts_within_parts_the_one_that_moves_least_is_meant(shard: Shard) -> None:
    knob = shard.object.joints[2]
    turning = replace(knob, type=shard.object.joints[3].type, part=2)
    joints = tuple(turning if joint is knob else joint for joint in shard.object.joints)
    nested = replace(shard.object, joints=joints)
    assert part_of_links(nested).tolist() == [-1, -1, 0, 2, 1]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ((-1.0, 5.0), r"\(-1, 5\), outside of the picture of 64 x 64 pixels"),
        ((5.0, 64.0), r"\(5, 64\), outside of the picture"),
        ((float("nan"), 5.0), "outside of the picture"),
        ((0.5, 0.5), "on the background: start it on the part that is to move"),
        (None, "on body, which no joint moves"),
    ],
)
def test_clicks_that_mean_no_part_say_why(
    shard: Shard, place: tuple[float, float] | None, reason: str
) -> None:
    start = on(shard, BODY) if place is None else np.array(place)
    with pytest.raises(DragError, match=reason):
        TrueMask(shard, OPEN)(shard.colour(OPEN, 0), start)


def test_the_true_mask_fits_a_picture_of_another_size(shard: Shard) -> None:
    picture = shard.colour(OPEN, 0).repeat(2, axis=0).repeat(2, axis=1)
    mask = TrueMask(shard, OPEN)(picture, 2 * on(shard, LID))
    np.testing.assert_array_equal(nearest(mask, (64, 64)), shard.link(OPEN, 0) == LID)


def test_a_click_becomes_drags_all_over_the_part(shard: Shard) -> None:
    start = on(shard, KNOB)
    mask = TrueMask(shard, OPEN)(shard.colour(OPEN, 0), start)
    starts, ends = propagate(mask, start, start + np.array([3, -2]), 10, np.random.default_rng(0))
    assert all(mask[int(y), int(x)] for x, y in starts)
    np.testing.assert_allclose(ends - starts, np.tile([3, -2], (10, 1)))


# The network


def test_the_network_is_small_enough_to_ship() -> None:
    weights = sum(p.numel() for p in ClickToPartNet(ClickToPartConfig()).parameters())
    assert 2 * weights < 4e6  # bytes in half precision


@pytest.mark.parametrize("size", [(64, 64), (32, 96), (128, 16)])
def test_the_network_takes_any_multiple_of_its_stride(size: tuple[int, int]) -> None:
    network = ClickToPartNet(SMALL)
    assert network(torch.rand(2, 3, *size), torch.rand(2, 1, 2)).shape == (2, *size)
    with pytest.raises(ValueError, match=r"multiples of 8; these are \[2, 3, 60, 64\]"):
        network(torch.rand(2, 3, 60, 64), torch.rand(2, 1, 2))
    for wrong in ((1, 1, 2), (2, 2), (2, 0, 2)):
        with pytest.raises(ValueError, match=r"must be \[2, K, 2\], K one or more; these are"):
            network(torch.rand(2, 3, *size), torch.rand(*wrong))


def test_every_weight_counts_and_so_does_each_click_once() -> None:
    network, picture = ClickToPartNet(SMALL), torch.rand(1, 3, 64, 64)
    here, there = torch.tensor([[[0.2, 0.3]]]), torch.tensor([[[0.8, 0.6]]])
    assert not torch.allclose(network(picture, here), network(picture, there))
    both = network(picture, torch.cat([here, there], dim=1))
    assert not torch.allclose(both, network(picture, here))
    assert torch.equal(both, network(picture, torch.cat([there, here, here], dim=1)))
    network(picture, here).square().sum().backward()
    assert not [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]


def test_weights_and_configuration_are_read_as_written(tmp_path: Path) -> None:
    path, network = tmp_path / "net.safetensors", ClickToPartNet(SMALL)
    network.save_pretrained(path)
    assert path.stat().st_size < 2.5 * sum(p.numel() for p in network.parameters()) + 10_000
    read = ClickToPartNet.from_pretrained(path)
    assert read.config == SMALL
    picture, click = torch.rand(1, 3, 64, 64), torch.rand(1, 1, 2)
    torch.testing.assert_close(read(picture, click), network(picture, click), atol=1e-2, rtol=0)


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    with pytest.raises(FileNotFoundError):
        ClickToPart.from_pretrained(path)
    PartRM(PRESETS["nano"]).save_pretrained(path)
    with pytest.raises(CheckpointError, match="no click-to-part network"):
        ClickToPart.from_pretrained(path)
    network = ClickToPartNet(SMALL)
    network.stem = torch.nn.Conv2d(5, 8, 3)
    network.save_pretrained(path)
    with pytest.raises(CheckpointError, match=r"of another shape: stem\.weight"):
        ClickToPart.from_pretrained(path)


class _Left(torch.nn.Module):
    """Finds whatever is left of the middle, of pictures in the size it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.config, self.conv_out = SMALL, torch.nn.Conv2d(1, 1, 1)
        self.seen: list[torch.Size] = []

    def forward(self, pictures: torch.Tensor, clicks: torch.Tensor) -> torch.Tensor:
        self.seen.append(pictures.shape)
        return (pictures.shape[-1] / 2 - 0.5 - torch.arange(pictures.shape[-1])).expand(
            len(pictures), *pictures.shape[-2:]
        )


@pytest.mark.parametrize("size", [(64, 64), (100, 90), (31, 200)])
def test_the_networks_masks_fit_any_picture(size: tuple[int, int]) -> None:
    picture = np.full((*size, 4), 255, np.uint8)
    picture[:5, :, 3] = 0
    network: Any = _Left()
    source, start = ClickToPart(network), np.array([3.5, 20.5])
    mask = source(picture, start)
    assert mask[5:, : size[1] // 2].all() and not mask[:, -(size[1] // 2) :].any()
    assert not mask[:5].any()  # nothing is there
    assert max(network.seen[0][2:]) == SMALL.input_size
    with pytest.raises(DragError, match="on the background"):
        source(picture, np.array([3.5, 2.5]))
    with pytest.raises(DragError, match="the network sees no part that moves"):
        source(picture, np.array([size[1] - 3.5, 20.5]))


# Segment Anything


def sam_that_proposes(*masks: np.ndarray) -> Any:
    """The package, with a predictor that proposes these masks and notes what it was asked."""

    class Predictor:
        def __init__(self, model: Any) -> None:
            self.model = model

        def set_image(self, image: np.ndarray) -> None:
            self.model.image = image

        def predict(self, **asked: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            self.model.asked = asked
            return np.stack(masks), np.arange(len(masks)), np.empty(0)

    return SimpleNamespace(SamPredictor=Predictor)


def test_the_smallest_proposed_mask_that_holds_the_point_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    masks = np.zeros((3, 8, 8), bool)
    masks[0, 1:7, 1:7] = masks[1, 2:5, 2:5] = masks[2, 6, 6] = True
    monkeypatch.setitem(sys.modules, "segment_anything", sam_that_proposes(*masks))
    model: Any = SimpleNamespace()
    model.eval = lambda: model
    source = SegmentAnything(model)
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[1:, 1:, 3] = 255
    np.testing.assert_array_equal(source(picture, np.array([3.5, 2.5])), masks[1])
    assert model.asked["multimask_output"] and model.asked["point_labels"].tolist() == [1]
    assert model.asked["point_coords"].tolist() == [[3, 2]]  # as SAM counts
    assert model.image.dtype == np.uint8
    assert model.image[0, 0].tolist() == [255] * 3 and model.image[3, 2].tolist() == [0] * 3
    np.testing.assert_array_equal(source(picture, np.array([6.5, 5.5])), masks[0])
    with pytest.raises(DragError, match="none of Segment Anything's masks"):
        source(picture, np.array([7.5, 7.5]))
    with pytest.raises(DragError, match="on the background"):
        source(picture, np.array([0.5, 0.5]))


def test_without_its_package_what_to_install_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    with pytest.raises(ImportError, match="pip install segment-anything"):
        SegmentAnything.from_pretrained(tmp_path / "sam_vit_b.pth")


def tiny_sam(checkpoint: None = None) -> Any:
    """Segment Anything as published, but narrow, shallow, and for pictures of 64 pixels."""
    modeling = pytest.importorskip("segment_anything.modeling")
    return modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            img_size=64, embed_dim=768, depth=1, num_heads=2, out_chans=16, mlp_ratio=0.1
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=16, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_chans=4
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3,
            transformer=modeling.TwoWayTransformer(
                depth=1, embedding_dim=16, mlp_dim=16, num_heads=2
            ),
            transformer_dim=16,
        ),
    )


def test_segment_anything_itself_runs(
    shard: Shard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = pytest.importorskip("segment_anything")
    monkeypatch.setitem(package.sam_model_registry, "vit_b", tiny_sam)
    path = tmp_path / "any_name.pth"
    torch.save(tiny_sam().state_dict(), path)
    source, start = SegmentAnything.from_pretrained(path), on(shard, LID)
    mask = source(shard.colour(OPEN, 0), start)
    assert mask.shape == (64, 64) and mask.dtype == bool
    assert mask[int(start[1]), int(start[0])]
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="no checkpoint of Segment Anything"):
        SegmentAnything.from_pretrained(path)


# Training


def test_samples_follow_from_seed_epoch_and_index(shard: Shard) -> None:
    shards = {"trained": shard}
    one, two = ClickDataset(shards, 64), ClickDataset(shards, 64)
    assert len(one) == len(shard.states)
    for number in (3, 3 + len(one)):
        for a, b in zip(one[number], two[number], strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(one[3].clicks, one[3 + len(one)].clicks)
    assert not torch.equal(one[3].clicks, ClickDataset(shards, 64, seed=1)[3].clicks)


@pytest.mark.parametrize("size", [64, 32])
def test_clicks_lie_on_their_mask_however_it_is_augmented(shard: Shard, size: int) -> None:
    always = ClickAugmentation(alone=0, flip=1, crop=1)
    for augmentation in (always, replace(always, flip=0), ClickAugmentation.none()):
        dataset = ClickDataset({"trained": shard}, size, augmentation)
        for number in range(24):
            sample = dataset[number]
            assert sample.picture.shape == (4, size, size) and sample.picture.dtype == torch.uint8
            assert sample.mask.shape == (size, size) and sample.mask.dtype == torch.bool
            columns, rows = (sample.clicks * size).int().T
            assert sample.mask[rows, columns].all()
            shown = sample.mask & (sample.picture[3] == 0)
            assert shown.sum() <= 0.2 * sample.mask.sum() + 2  # picture and mask fit together


def test_without_augmentation_samples_are_the_shards_own(shard: Shard) -> None:
    dataset = ClickDataset({"trained": shard}, 64, ClickAugmentation.none(), views=(0,))
    sample = dataset[OPEN]
    picture = shard.colour(OPEN, 0)
    np.testing.assert_array_equal(sample.picture.permute(1, 2, 0), picture)
    truth = TrueMask(shard, OPEN)(picture, sample.clicks[0].numpy().astype(float) * 64)
    np.testing.assert_array_equal(sample.mask, truth)


def test_clicks_are_one_or_several(shard: Shard) -> None:
    def counts(alone: float) -> set[int]:
        augmentation = replace(ClickAugmentation.none(), alone=alone)
        dataset = ClickDataset({"trained": shard}, 64, augmentation)
        return {len(dataset[n].clicks.unique(dim=0)) for n in range(40)}

    assert counts(1) == {1}
    assert counts(0.5) >= {1, 2, 5, 9} and max(counts(0)) <= 10


def test_parts_are_clicked_on_and_what_stands_still_is_not(shard: Shard) -> None:
    links = shard.link(OPEN, 0)
    pixels = clickable(shard, shard.colour(OPEN, 0), links)
    found = [set(links[tuple(part.T)].tolist()) for part in pixels]
    assert found == [{DRAWER, KNOB}, {LID}]


def test_slivers_are_clicked_on_only_where_there_is_nothing_else(shard: Shard) -> None:
    lid = np.zeros((64, 64), int)
    lid[:20], lid[40, 40] = LID, DRAWER
    one: Any = SimpleNamespace(
        link=lambda state, view: lid if view == 0 else np.where(lid == LID, -1, lid),
        colour=lambda state, view: np.full((64, 64, 4), 255, np.uint8),
        object=shard.object,
        resolution=64,
        path=shard.path,
        states=shard.states,
        camera_to_world=shard.camera_to_world[:2],
        close=lambda: None,
    )
    both = ClickDataset({"one": one}, 64, ClickAugmentation.none())
    assert all(both[n].mask.sum() == 20 * 64 for n in range(12))
    tiny = ClickDataset({"one": one}, 64, ClickAugmentation.none(), views=(1,))
    assert all(tiny[n].mask.sum() == 1 for n in range(12))


def test_a_click_is_learnt_by_heart(shard: Shard) -> None:
    dataset = ClickDataset({"trained": shard}, 64, ClickAugmentation.none(), views=(0,))
    batch: Click = default_collate([dataset[OPEN]])
    network, task = ClickToPartNet(SMALL), ClickTask([batch], CPU, nullcontext)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    first = task.loss(network, batch, 0)
    for step in range(40):
        optimizer.zero_grad()
        outcome = task.loss(network, batch, step)
        outcome.loss.backward()
        optimizer.step()
    assert float(outcome.loss.detach()) < 0.3 * float(first.loss.detach())
    assert task.quality(outcome, batch) > max(0.8, task.quality(first, batch))
    assert task.validation(network) == pytest.approx(task.quality(outcome, batch), abs=0.1)
    assert set(task.pictures(outcome, batch)) == {"source", "prediction", "truth"}


def test_iou_of_masks() -> None:
    a = torch.tensor([[[True, True], [False, False]]])
    b = torch.tensor([[[True, False], [True, False]]])
    assert iou(a, a).tolist() == [1] and iou(a, ~a).tolist() == [0]
    assert iou(a, b).tolist() == pytest.approx([1 / 3]) and iou(a & False, a & False).tolist() == [
        0
    ]


def run_of_parts(data: Path, out: Path, **settings: Any) -> TrainConfig:
    return TrainConfig(
        data,
        out,
        stage="parts",
        parts=SMALL,
        device="cpu",
        batch_size=2,
        workers=0,
        **settings,
    )


def test_the_stage_parts_is_trained_goes_on_and_is_measured(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_of_parts(data, tmp_path / "run", steps=4, checkpoint_every=2, val_samples=2)
    train.train(config)
    weights = config.out / "parts" / "weights.safetensors"
    said = capsys.readouterr().out
    assert "parts: loss" in said and "IoU" in said and "IoU on held-out objects" in said
    before = weights.read_bytes()
    train.train(config)  # finished: nothing is left to do
    assert weights.read_bytes() == before
    wider = replace(config, parts=replace(SMALL, channels=(8, 16, 64)))
    with pytest.raises(ResumeError, match="parts: "):
        train_parts(wider, Processes(0, 1, CPU))
    with pytest.raises(CheckpointError, match="is another network"):
        train_parts(replace(wider, out=tmp_path / "other", init=weights), Processes(0, 1, CPU))


def test_the_stage_parts_is_trained_on_other_folders_too(data: Path, tmp_path: Path) -> None:
    again = shutil.copytree(data, tmp_path / "again")
    config = run_of_parts(data, tmp_path / "one", steps=2, val_samples=0)
    both = replace(config, out=tmp_path / "both", also=(again,), shares=(1.0, 3.0))
    samples = []
    for run in (config, both):
        weights = train_parts(run, Processes(0, 1, CPU))
        last = torch.load(checkpoints(weights.parent)[-1], weights_only=True)
        samples.append(last["settings"]["samples"])
    assert samples[1] == 2 * samples[0] > 0


def test_the_benchmark_measures_each_source(shard: Shard) -> None:
    clicks = clicks_on(shard, 5)
    assert len(clicks) == 5
    assert [c.start.tolist() for c in clicks] == [c.start.tolist() for c in clicks_on(shard, 5)]
    true = scores(lambda click: TrueMask(click.shard, click.state), clicks, "true")
    assert all(score.iou == 1 and not score.refused for score in true)
    network: Any = _Left()
    text = table({"true": true, "left": scores(lambda _: ClickToPart(network), clicks, "left")})
    assert "| true | 5 | 1.000 | 100% | 0% |" in text and "| Cabinet | 5 | 1.000 |" in text
