"""LPIPS: the package's own numbers, with weights from a file; its stand-in on HED's VGG-16; and
what is said without any."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import h5py
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from model.perceptual import Perceptual, PerceptualError
from tests.backbones import convolutions, write_hed

lpips = pytest.importorskip("lpips")
torchvision = pytest.importorskip("torchvision")


def test_weights_from_a_file_give_the_packages_own_number(
    random_vgg: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    vgg = torchvision.models.vgg16(pretrained=False)
    file = tmp_path / "vgg16.safetensors"
    save_file({f"features.{k}": v for k, v in vgg.features.state_dict().items()}, file)
    a, b = torch.rand(2, 2, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    ours = Perceptual(file)
    assert (ours.key, ours.name) == ("lpips", "LPIPS")
    monkeypatch.setattr("torchvision.models.vgg16", lambda pretrained: vgg)
    theirs = lpips.LPIPS(net="vgg", pnet_rand=True, spatial=True, verbose=False)
    torch.testing.assert_close(ours.map(a, b), theirs(2 * a - 1, 2 * b - 1)[:, 0])
    theirs.spatial = False
    expected = theirs(2 * a - 1, 2 * b - 1).flatten()
    assert (expected > 0).all()
    torch.testing.assert_close(ours(a, b), expected)
    assert (ours(a, a) == 0).all()
    assert not any(parameter.requires_grad for parameter in ours.parameters())


def hed_features(pictures: torch.Tensor, border: torch.Tensor) -> list[torch.Tensor]:
    """What HED makes of RGB pictures in [0, 1] that are surrounded by a colour in [0, 255]."""
    x = F.pad(pictures, [1] * 4) * 255
    x += F.pad(torch.zeros_like(pictures), [1] * 4, value=1.0) * border[:, None, None]
    x = x[:, [2, 1, 0]] - torch.tensor([104.00699, 116.66877, 122.67892])[:, None, None]
    features = []
    for number, block in enumerate(convolutions()):
        x = F.max_pool2d(x, 2) if number else x
        for place, (kernel, bias) in enumerate(block):
            x = F.relu(F.conv2d(x, kernel, bias, padding=int((number, place) != (0, 0))))
        features.append(x)
    return features


@torch.no_grad()
def test_hed_stands_in_for_vgg_with_its_own_features(random_vgg: None, tmp_path: Path) -> None:
    ours = Perceptual(write_hed(tmp_path / "hed.weights.h5"))
    assert (ours.key, ours.name) == ("lpips_hed", "LPIPS on HED's VGG-16")
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    found = ours.lpips.net(ours.lpips.scaling_layer(2 * pictures - 1))

    # HED's pictures are surrounded by its mean, which features far enough within do not see.
    theirs = hed_features(pictures, torch.tensor([122.67892, 116.66877, 104.00699]))
    for layer, margin in enumerate((2, 3, 5)):
        within = (..., slice(margin, -margin), slice(margin, -margin))
        a, b = found[layer][within], theirs[layer][within]
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.max()))
    # Surrounded by the scaling layer's colour, they have the same features everywhere.
    colour = 127.5 * (1 + torch.tensor([-0.030, -0.088, -0.188]))
    for a, b in zip(found, hed_features(pictures, colour), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.max()))

    a, b = pictures.split(1)
    assert float(ours(a, a)) == 0 and float(ours(a, b)) > 0
    unit = [f / f.norm(dim=1, keepdim=True) for f in found]
    calibrated = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).lins
    weights = [float(layer.model[-1].weight.mean()) for layer in calibrated]
    differences = [(u[0] - u[1]).square().sum(dim=0).mean() for u in unit]
    expected = sum(w * d for w, d in zip(weights, differences, strict=True))
    torch.testing.assert_close(ours(a, b)[0], expected)


def test_a_file_without_vggs_weights_is_refused(random_vgg: None, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"features.0.weight": torch.zeros(64, 3, 3, 3)}, other)
    neither = "neither torchvision's VGG-16.* nor HED's"
    with pytest.raises(
        PerceptualError, match=f"{other}: {neither}.* 25 of the 26 .*features.0.bias"
    ):
        Perceptual(other)
    keras = tmp_path / "other.weights.h5"
    with h5py.File(keras, "w") as file:
        file["layers/dense/vars/0"] = torch.zeros(4, 4)
    with pytest.raises(PerceptualError, match=f"{keras}: {neither}.* 26 of the 26 "):
        Perceptual(keras)
    keras.write_bytes(b"no HDF5")
    with pytest.raises(PerceptualError, match=f"--vgg-weights: {keras}: not a Keras file"):
        Perceptual(keras)
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
