"""LPIPS: the package's own numbers, with weights from a file; and what is said without any."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file

from model.perceptual import Perceptual, PerceptualError

lpips = pytest.importorskip("lpips")
torchvision = pytest.importorskip("torchvision")


@pytest.fixture
def random_vgg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every VGG-16 that is made has random weights, and no classifier to wait for."""
    vgg = torchvision.models.vgg
    monkeypatch.setattr(
        "torchvision.models.vgg16",
        lambda pretrained: SimpleNamespace(features=vgg.make_layers(vgg.cfgs["D"])),
    )


def test_weights_from_a_file_give_the_packages_own_number(
    random_vgg: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    vgg = torchvision.models.vgg16(pretrained=False)
    file = tmp_path / "vgg16.safetensors"
    save_file({f"features.{k}": v for k, v in vgg.features.state_dict().items()}, file)
    a, b = torch.rand(2, 2, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    ours = Perceptual(file)
    monkeypatch.setattr("torchvision.models.vgg16", lambda pretrained: vgg)
    theirs = lpips.LPIPS(net="vgg", pnet_rand=True, spatial=True, verbose=False)
    torch.testing.assert_close(ours.map(a, b), theirs(2 * a - 1, 2 * b - 1)[:, 0])
    theirs.spatial = False
    expected = theirs(2 * a - 1, 2 * b - 1).flatten()
    assert (expected > 0).all()
    torch.testing.assert_close(ours(a, b), expected)
    assert (ours(a, a) == 0).all()
    assert not any(parameter.requires_grad for parameter in ours.parameters())


def test_a_file_without_vggs_weights_is_refused(random_vgg: None, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"features.0.weight": torch.zeros(64, 3, 3, 3)}, other)
    with pytest.raises(PerceptualError, match=r"other.safetensors.*25 of its 26.*features.0.bias"):
        Perceptual(other)
    with pytest.raises(PerceptualError, match=r"--vgg-weights: .*absent.pth"):
        Perceptual(tmp_path / "absent.pth")


def test_without_a_network_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(PerceptualError, match=r"no route to host.*--vgg-weights FILE.*--no-lpips"):
        Perceptual()
