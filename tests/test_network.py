"""The network: published layouts and the golden output, what drags do to it, checkpoints."""

import json
import math
import os
import pickle
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from datagen.cameras import rig, unproject
from model.checkpoint_layout import CheckpointError, to_published
from model.config import PRESETS, PartRMConfig, Positions
from model.drag_embedding import DragLayer, Drags, PublishedDragLayer, fourier_encoding
from model.partrm import PartRM
from model.splatter import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    network_input,
    plucker_rays,
    positions_on_rays,
)

NANO = PRESETS["nano"]


@pytest.fixture(scope="module")
def golden() -> Path:
    """The folder of reference numbers, from GOLDEN_DIR: by default `golden` beside
    PARTNET_MOBILITY_DIR."""
    name = os.environ.get("GOLDEN_DIR")
    if not name and os.environ.get("PARTNET_MOBILITY_DIR"):
        name = str(Path(os.environ["PARTNET_MOBILITY_DIR"]).parent / "golden")
    if not name:
        pytest.skip("neither GOLDEN_DIR nor PARTNET_MOBILITY_DIR is set: golden output not tested")
    if not (Path(name) / "partrm_small.safetensors").is_file():
        pytest.skip(f"GOLDEN_DIR: no {name}/partrm_small.safetensors: golden output not tested")
    return Path(name)


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def lens(size: int) -> torch.Tensor:
    """The default rig's intrinsics."""
    return torch.tensor(rig("ring").intrinsics(size))


def images(batch: int = 1, size: int = NANO.input_size, seed: int = 1) -> torch.Tensor:
    """Noise seen by the four input views of the default rig."""
    ring = rig("ring")
    cameras = torch.tensor(ring.camera_to_world[list(ring.input_views)], dtype=torch.float32)
    noise = torch.rand(batch, 4, 3, size, size, generator=torch.Generator().manual_seed(seed))
    rays = plucker_rays(cameras, lens(size), size).expand(batch, -1, -1, -1, -1)
    return network_input(noise, rays)


def drags(batch: int = 1, count: int = 3, seed: int = 2) -> Drags:
    generator = torch.Generator().manual_seed(seed)
    start, end = torch.rand(2, batch, 4, count, 2, generator=generator)
    return Drags(start, end, torch.ones(batch, 4, count, dtype=torch.bool))


def published_tiny(levels: tuple[int, ...] = (0, 1, 2)) -> PartRM:
    """A network of the published layout, small enough for a test."""
    return PartRM(
        PartRMConfig(
            down_channels=(32, 32, 64),
            down_attention=(False, False, True),
            up_channels=(64, 32),
            up_attention=(True, False),
            drag_levels=levels,
            drag_style="published" if levels else "paper",
        )
    )


def test_gaussians_start_with_the_colours_that_their_pixels_show() -> None:
    network = PartRM(NANO)
    torch.nn.init.zeros_(network.conv.weight)
    given = images()
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    pictures = given[0, :, :3] * std + mean
    expected = F.avg_pool2d(pictures, 2).permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(network(given)[0, :, 11:], expected, atol=1e-5, rtol=0)


# Published networks


def test_golden_output_is_reproduced(golden: Path, tmp_path: Path) -> None:
    with safe_open(golden / "partrm_small.safetensors", framework="pt") as file:
        case = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        published = json.loads(file.metadata()["config"])
    path = tmp_path / "published.safetensors"
    save_file({k.removeprefix("weights/"): v for k, v in case.items() if "weights/" in k}, path)

    network = PartRM.from_pretrained(path)
    assert list(network.config.down_channels) == published["down_channels"]
    assert list(network.config.down_attention) == published["down_attention"]
    assert list(network.config.up_channels) == published["up_channels"]
    assert list(network.config.up_attention) == published["up_attention"]
    assert network.config.drag_style == "published"

    given = Drags.from_pixels(case["input/drags_start"], case["input/drags_end"], 512)
    with torch.no_grad():
        gaussians = network(case["input/images"], given)
    torch.testing.assert_close(gaussians, case["output/gaussians"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("lgm_big", replace(PRESETS["big"], drag_levels=())),
        ("partrm_big", replace(PRESETS["big"], drag_style="published")),
    ],
)
def test_big_has_the_published_names_and_shapes(
    golden: Path, name: str, config: PartRMConfig
) -> None:
    with torch.device("meta"):
        weights = to_published(PartRM(config).state_dict())
    shapes = json.loads((golden / f"{name}_state_dict.json").read_text())
    assert {name: list(tensor.shape) for name, tensor in weights.items()} == shapes


@pytest.mark.parametrize("levels", [(), (0, 1, 2)])
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_a_published_checkpoint_tells_its_configuration(
    tmp_path: Path, levels: tuple[int, ...], suffix: str
) -> None:
    network = published_tiny(levels)
    weights = {name: tensor.half() for name, tensor in to_published(network.state_dict()).items()}
    path = tmp_path / f"published{suffix}"
    if suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save({"model": weights}, path)
    loaded = PartRM.from_pretrained(path)
    assert loaded.config == network.config
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.half().float())


def test_presets() -> None:
    splats = {"big": 128, "small": 64, "tiny": 64, "mini": 128, "nano": 32}
    assert {name: config.splat_size for name, config in PRESETS.items()} == splats
    with torch.device("meta"):
        sizes = {
            name: sum(parameter.numel() for parameter in PartRM(config).parameters())
            for name, config in PRESETS.items()
        }
    assert sizes["mini"] <= 8_000_000
    assert sizes["nano"] <= 250_000
    assert sizes["tiny"] < sizes["small"] < sizes["big"]


# Shapes and ranges


@pytest.mark.parametrize(
    ("positions", "layers", "fine"),
    [("free", 1, 1), ("ray", 1, 1), ("displaced", 2, 1), ("displaced", 2, 2)],
)
def test_gaussians_are_in_range(positions: Positions, layers: int, fine: int) -> None:
    network = PartRM(replace(NANO, positions=positions, layers=layers, fine=fine))
    with torch.no_grad():
        gaussians = network(images(2), drags(2))
    assert gaussians.shape == (2, 4 * layers * (32 * fine) ** 2, 14)
    position, opacity, scale, rotation, colour = gaussians.split([3, 1, 3, 4, 3], dim=-1)
    assert position.norm(dim=-1).max() <= 2.5
    assert opacity.min() >= 0 and opacity.max() <= 1
    assert scale.min() >= 0
    torch.testing.assert_close(rotation.norm(dim=-1), torch.ones(gaussians.shape[:2]))
    assert colour.min() >= 0 and colour.max() <= 1


def test_patches_leave_no_pixel_out() -> None:
    network = PartRM(replace(NANO, patch=2))
    assert network.config.splat_size == 16 and network.config.level_sizes == (32, 16, 8)
    given = images(1).requires_grad_()
    network(given).square().sum().backward()
    assert given.grad is not None and given.grad[:, :, :3].abs().sum(dim=2).min() > 0


def test_fewer_views_and_other_sizes() -> None:
    network = PartRM(NANO)
    with torch.no_grad():
        assert network(images(1)[:, :1]).shape == (1, 32 * 32, 14)
        assert network(images(1, 128)).shape == (1, 4 * 64 * 64, 14)


def test_rays_are_those_of_the_cameras() -> None:
    size, ring = 8, rig("ring")
    cameras = torch.tensor(ring.camera_to_world)
    moment, direction = plucker_rays(cameras, lens(size), size).split(3, dim=1)
    column, row = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    pixels = np.broadcast_to(np.stack([column, row], -1).reshape(-1, 2), (12, size * size, 2))
    points = unproject(pixels, np.ones((12, size**2)), ring.camera_to_world, ring.intrinsics(size))
    seen = torch.tensor(points) - cameras[:, None, :3, 3]
    seen = F.normalize(seen, dim=-1).mT.unflatten(-1, (size, size))
    torch.testing.assert_close(direction, seen)
    origin = cameras[:, :3, 3, None, None].expand_as(direction)
    torch.testing.assert_close(moment, torch.linalg.cross(origin, seen, dim=1))


def test_positions_lie_on_the_rays_of_the_splats() -> None:
    ring = rig("ring")
    cameras = torch.tensor(ring.camera_to_world[None, :4])
    depth = torch.randn(1, 4, 1, 16, 16, dtype=torch.float64)
    position = positions_on_rays(
        depth, plucker_rays(cameras, lens(16), 16).double(), depth_range=1.0
    )
    rays = plucker_rays(cameras, lens(16), 16)[:, :, 3:]
    from_camera = F.normalize(position - cameras[..., :3, 3, None, None], dim=2)
    torch.testing.assert_close(from_camera, rays, atol=1e-6, rtol=0)
    # 0 is the point nearest to the origin; the range reaches from there.
    nearest = positions_on_rays(depth * 0, plucker_rays(cameras, lens(16), 16), 1.0)
    assert (nearest * rays).sum(2).abs().max() < 1e-6
    torch.testing.assert_close((position - nearest).norm(dim=2), depth[:, :, 0].tanh().abs())
    # A splat of 2x2 pixels lies on a ray through the same camera.
    coarse = positions_on_rays(depth[..., ::2, ::2], plucker_rays(cameras, lens(16), 16), 1.0)
    middle = plucker_rays(cameras, lens(8), 8)[:, :, 3:]
    from_camera = F.normalize(coarse - cameras[..., :3, 3, None, None], dim=2)
    torch.testing.assert_close(from_camera, middle, atol=2e-3, rtol=0)


@pytest.mark.parametrize("fine", [1, 2])
def test_a_fresh_network_displaces_nothing_and_all_layers_start_on_the_same_rays(
    fine: int,
) -> None:
    network = PartRM(replace(NANO, positions="displaced", layers=2, fine=fine))
    given, size = images(1), (32 * fine, 32 * fine)
    with torch.no_grad():
        position = network(given)[..., :3].unflatten(1, (4, 2, *size))  # views, layers
    rays = F.adaptive_avg_pool2d(given[0, :, 3:], size)
    moment, direction = (rays / rays[:, 3:].norm(dim=1, keepdim=True)).split(3, dim=1)
    for layer in range(2):
        crossed = torch.linalg.cross(position[0, :, layer].movedim(-1, 1), direction, dim=1)
        torch.testing.assert_close(crossed, moment, atol=1e-4, rtol=1e-4)


def test_a_fine_splat_has_the_colour_of_its_own_pixel() -> None:
    network = PartRM(replace(NANO, layers=2, fine=2))
    with torch.no_grad():
        network.conv.weight.zero_()
        network.conv.get_parameter("bias").zero_()
        pictures = torch.rand(1, 4, 3, 64, 64)
        given = network_input(pictures, images(1)[:, :, 3:])
        colour = network(given)[..., 11:].unflatten(1, (4, 2, 64, 64)).movedim(-1, 3)
    expected = pictures.clamp(0.005, 0.995)[:, :, None].expand_as(colour)
    torch.testing.assert_close(colour, expected, atol=1e-3, rtol=0)


def test_weights_from_before_there_were_layers_patches_and_fine_splats_have_one() -> None:
    config = json.loads(NANO.to_json())
    del config["layers"], config["patch"], config["fine"]
    assert PartRMConfig.from_json(json.dumps(config)) == NANO
    del config["heads"]
    with pytest.raises(ValueError, match="missing settings: heads"):
        PartRMConfig.from_json(json.dumps(config))


def test_wrong_shapes_are_refused() -> None:
    network = PartRM(NANO)
    with pytest.raises(ValueError, match=r"multiples of 4; these are \[1, 4, 9, 66, 66\]"):
        network(torch.zeros(1, 4, 9, 66, 66))
    with pytest.raises(ValueError, match=r"\[1, 4, 3, 64, 64\]"):
        network(torch.zeros(1, 4, 3, 64, 64))
    with pytest.raises(ValueError, match="drags of 1 samples in 4 views"):
        network(images(1), drags(2))
    with pytest.raises(ValueError, match="no level of this network embeds them"):
        PartRM(replace(NANO, drag_levels=()))(images(1), drags(1))
    with pytest.raises(ValueError, match="drag_levels"):
        replace(NANO, drag_levels=(3,))


# Drags


@pytest.fixture(params=["paper", "published"])
def network(request: pytest.FixtureRequest) -> PartRM:
    return PartRM(replace(NANO, drag_style=request.param)).eval()


def test_different_drags_give_different_gaussians(network: PartRM) -> None:
    pictures, given = images(), drags()
    with torch.no_grad():
        before, other = network(pictures, given), network(pictures, drags(seed=3))
        moved_end = network(pictures, given._replace(end=1 - given.end))
    assert (before - other).abs().max() > 1e-4
    assert (before - moved_end).abs().max() > 1e-4


def test_masked_drags_have_no_effect(network: PartRM) -> None:
    pictures, given, others = images(), drags(count=2), drags(count=3, seed=3)
    padding = torch.full_like(others.start, math.nan)
    padding[..., 0, :] = others.start[..., 0, :]
    padded = Drags(
        torch.cat([padding, given.start], dim=2),
        torch.cat([padding, given.end], dim=2),
        torch.cat([torch.zeros_like(others.mask), given.mask], dim=2),
    )
    with torch.no_grad():
        torch.testing.assert_close(network(pictures, padded), network(pictures, given))


def test_no_drags_are_the_same_however_they_are_said(network: PartRM) -> None:
    pictures, given = images(2), drags(2)
    with torch.no_grad():
        said = network(pictures)
        torch.testing.assert_close(network(pictures, drags(2, count=0)), said, atol=0, rtol=0)
        masked = given._replace(mask=torch.zeros_like(given.mask))
        torch.testing.assert_close(network(pictures, masked), said, atol=0, rtol=0)


def test_zero_drags_are_exactly_the_static_network() -> None:
    static = PartRM(replace(NANO, drag_levels=()))
    dragged = static.with_drag_levels((0, 1, 2))
    for parameter in dragged.unet.drag_layers.parameters():
        torch.nn.init.normal_(parameter)
    pictures, given = images(2), drags(2)
    one_dragged = given._replace(mask=given.mask & torch.tensor([True, False])[:, None, None])
    with torch.no_grad():
        expected = static(pictures)
        assert torch.equal(dragged(pictures), expected)
        assert torch.equal(dragged(pictures, drags(2, count=0)), expected)
        mixed = dragged(pictures, one_dragged)
    assert not torch.allclose(mixed[0], expected[0])
    torch.testing.assert_close(mixed[1], expected[1])
    with pytest.raises(ValueError, match="already"):
        dragged.with_drag_levels((0,))


def test_the_order_of_drags_does_not_matter(network: PartRM) -> None:
    pictures, given = images(), drags(count=5)
    permuted = Drags(*(tensor.roll(2, dims=2) for tensor in given))
    with torch.no_grad():
        torch.testing.assert_close(
            network(pictures, permuted), network(pictures, given), atol=1e-5, rtol=1e-4
        )


def test_samples_do_not_see_each_other(network: PartRM) -> None:
    pictures, given = images(2), drags(2)
    with torch.no_grad():
        both = network(pictures, given)
        alone = network(pictures[1:], Drags(*(tensor[1:] for tensor in given)))
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)


def test_views_see_each_other() -> None:
    network, pictures = PartRM(NANO), images()
    changed = pictures.clone()
    changed[:, 3] += 1
    with torch.no_grad():
        before, after = (network(x)[:, : 32 * 32] for x in (pictures, changed))
    assert (before - after).abs().max() > 1e-4


@pytest.mark.parametrize(("positions", "layers"), [("free", 1), ("ray", 1), ("displaced", 2)])
def test_gradients_reach_every_parameter(
    network: PartRM, positions: Positions, layers: int
) -> None:
    network = PartRM(replace(network.config, positions=positions, layers=layers))
    gaussians = network(images(), drags())
    (gaussians * torch.randn_like(gaussians)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("levels", [(), (1,), (0, 2), (2,)])
def test_a_subset_of_levels_embeds_drags(levels: tuple[int, ...]) -> None:
    network = PartRM(replace(NANO, drag_levels=levels))
    assert set(network.unet.drag_layers) == {str(level) for level in levels}
    if levels:
        with torch.no_grad():
            given, none = network(images(), drags()), network(images())
        assert (given - none).abs().max() > 1e-4


def drag_map(layer: DragLayer, given: Drags, size: int) -> torch.Tensor:
    """M, [BV, C, size, size]: what the layer convolves, seen through a convolution that copies."""
    channels = layer.fuse.out_channels
    with torch.no_grad():
        layer.fuse.weight.zero_()
        layer.fuse.weight[:, channels:, 1, 1] = torch.eye(channels)
        layer.fuse.get_parameter("bias").zero_()
        return layer.fused(torch.zeros(given.mask.shape[:2].numel(), channels, size, size), given)


@pytest.mark.parametrize(
    ("layer", "row", "column"), [(DragLayer, 9, 5), (PublishedDragLayer, 5, 9)]
)
def test_a_drag_lands_on_its_pixel(layer: type[DragLayer], row: int, column: int) -> None:
    start = torch.tensor([5.5, 9.5]).expand(1, 1, 1, 2)
    given = Drags.from_pixels(start, torch.tensor([12.5, 2.5]).expand(1, 1, 1, 2), 16)
    starts, ends = drag_map(layer(8), given, 16)[0].abs().unflatten(0, (2, 4)).sum(1)
    assert divmod(int(starts.argmax()), 16) == (row, column)
    assert divmod(int(ends.argmax()), 16) == ((2, 12) if layer is DragLayer else (12, 2))
    assert (starts > 0).sum() == 25


def test_fusion_is_the_convolution_of_blurred_impulses() -> None:
    """Against the map drawn impulse by impulse, blurred, and convolved as a dense one."""
    layer, size = DragLayer(6), 8
    torch.nn.init.normal_(layer.fuse.weight)
    given, features = drags(count=6), torch.randn(4, 6, size, size)
    given.start[0, 0, :3] = torch.tensor([[0.0, 1.0], [0.99, 0.06], [1.4, -0.2]])

    impulses = torch.zeros(4, 6, size, size)
    for channels, points in ((slice(0, 3), given.start[0]), (slice(3, 6), given.end[0])):
        codes = layer.mlp(fourier_encoding(math.pi * (2 * points - 1)))
        cells = (points * size).floor().clamp(0, size - 1).int()
        for view in range(4):
            for (x, y), code in zip(cells[view].tolist(), codes[view], strict=True):
                impulses[view, channels, y, x] += code
    taps = torch.exp(-0.5 * torch.arange(-2.0, 3) ** 2)
    kernel = (taps[:, None] * taps / taps.sum() ** 2).expand(6, 1, 5, 5)
    blurred = F.conv2d(F.pad(impulses, (2, 2, 2, 2), mode="reflect"), kernel, groups=6)
    expected = features + layer.fuse(torch.cat([features, blurred], dim=1))
    torch.testing.assert_close(layer(features, given), expected, atol=1e-5, rtol=1e-4)


def test_drags_known_in_one_view() -> None:
    start, end = torch.rand(2, 2, 3, 2)
    given = Drags.in_view(start, end, torch.ones(2, 3, dtype=torch.bool), view=1, views=4)
    assert given.mask.sum(dim=(0, 2)).tolist() == [0, 6, 0, 0]
    assert torch.equal(given.start[:, 1], start) and torch.equal(given.end[:, 1], end)


def test_forward_is_one_graph() -> None:
    """Nothing in it depends on the values of tensors: torch.compile has no reason to break it."""
    network = PartRM(NANO).eval()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images(), drags()), network(images(), drags()))


def test_it_runs_under_bfloat16_autocast(network: PartRM) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        gaussians = network(images(), drags())
    assert gaussians.dtype == torch.float32 and gaussians.isfinite().all()


# Checkpoints


def test_save_and_load_are_exact(network: PartRM, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    network.save_pretrained(path)
    loaded = PartRM.from_pretrained(path, expected=network.config).eval()
    assert loaded.config == network.config
    assert loaded.state_dict().keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    with torch.no_grad():
        assert torch.equal(loaded(images(), drags()), network(images(), drags()))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_another_preset_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    PartRM(NANO).save_pretrained(path)
    with pytest.raises(CheckpointError, match=r"depth_range: 1.5, 1.0") as refusal:
        PartRM.from_pretrained(path, expected=replace(NANO, depth_range=1.5))
    assert "down_channels" not in str(refusal.value)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    weights = to_published(published_tiny().state_dict())
    del weights["unet.norm_out.bias"]
    weights["unet.extra"] = torch.zeros(2)
    weights["conv.weight"] = torch.zeros(14, 13, 1, 1)
    save_file(weights, tmp_path / "wrong.safetensors")
    with pytest.raises(CheckpointError) as refusal:
        PartRM.from_pretrained(tmp_path / "wrong.safetensors")
    message = str(refusal.value)
    assert "1 missing: unet.norm_out.bias [32]" in message
    assert "1 not expected: unet.extra [2]" in message
    assert "conv.weight [14, 13, 1, 1] instead of [14, 14, 1, 1]" in message


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    save_file({"encoder.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"neither .* nor .*encoder\.weight"):
        PartRM.from_pretrained(tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"not one")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        PartRM.from_pretrained(tmp_path / "broken.safetensors")
    (tmp_path / "network.txt").write_text("")
    with pytest.raises(CheckpointError, match="ends in"):
        PartRM.from_pretrained(tmp_path / "network.txt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="no state dict"):
        PartRM.from_pretrained(tmp_path / "list.pt")
    save_file({}, tmp_path / "odd.safetensors", metadata={"partrm_config": '{"heads": 2, "x": 1}'})
    with pytest.raises(CheckpointError, match="unknown settings: x"):
        PartRM.from_pretrained(tmp_path / "odd.safetensors")
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "none.pt"))):
        PartRM.from_pretrained(tmp_path / "none.pt")


class Malice:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("save", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x, 2))])
def test_a_malicious_pickle_is_not_executed(tmp_path: Path, save) -> None:  # type: ignore[no-untyped-def]
    trap, path = tmp_path / "trap", tmp_path / "malicious.pt"
    save({"model": Malice(trap)}, path)
    with pytest.raises(CheckpointError, match="more than tensors"):
        PartRM.from_pretrained(path)
    assert not trap.exists()
