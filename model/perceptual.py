"""LPIPS (Zhang et al. 2018, The Unreasonable Effectiveness of Deep Features), on VGG-16.

The `lpips` package carries its own linear layers; the backbone's ImageNet weights are
torchvision's, downloaded once, or read from a file.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from urllib.error import URLError

from jaxtyping import Float
from torch import Tensor, nn

from model.checkpoint_layout import CheckpointError, read_tensors


class PerceptualError(RuntimeError):
    """LPIPS cannot be had as asked for; says why, and what can be done."""


class Perceptual(nn.Module):
    """LPIPS between pictures. Its weights are frozen."""

    def __init__(self, vgg_weights: Path | None = None) -> None:
        """
        Args:
            vgg_weights: torchvision's VGG-16 state dict (its `features.*` are used), as
                .safetensors or a pickle; None downloads it, unless torch.hub's folder has it.

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
            weights = None if vgg_weights is None else read_tensors(vgg_weights)[1]
        except (CheckpointError, FileNotFoundError) as error:
            raise PerceptualError(f"--vgg-weights: {error}") from error
        # The package tells of its weights on stdout and warns about torchvision's renamed options.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                self.lpips = lpips.LPIPS(net="vgg", pnet_rand=weights is not None)
            except (URLError, OSError, RuntimeError) as error:
                raise PerceptualError(
                    f"VGG-16's ImageNet weights, which LPIPS rests on, could not be downloaded: "
                    f"{error}. Give torchvision's file (vgg16-397923af.pth) with --vgg-weights "
                    "FILE, or leave LPIPS out: --no-lpips"
                ) from error
        if weights is not None:
            _load_backbone(self.lpips.net, weights, vgg_weights)
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


def _load_backbone(backbone: nn.Module, weights: dict[str, Tensor], source: Path | None) -> None:
    """Give the package's VGG, whose slices keep torchvision's layer numbers, its weights."""
    own = backbone.state_dict()
    theirs = {name: f"features.{name.split('.', 1)[1]}" for name in own}
    given = {name: weights.get(theirs[name]) for name in own}
    wrong = [theirs[n] for n, w in given.items() if w is None or w.shape != own[n].shape]
    if wrong:
        raise PerceptualError(
            f"{source}: no state dict of torchvision's VGG-16: {len(wrong)} of its {len(own)} "
            f"convolutions' tensors are missing or of another shape, {wrong[0]} first"
        )
    backbone.load_state_dict(given)
