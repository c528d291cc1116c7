"""What a prediction is made with: the networks that a person names, or those that come with us."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from datagen.cameras import RigName
from model.click_to_part import ClickToPartNet
from model.device import choose_device, placed
from model.fitting import STEPS
from model.holding import Rigid
from model.part_masks import load_part_mask
from model.partrm import PartRM
from model.picture import Framing
from model.prediction import OtherViews, Predictor
from model.weights import PARTRM, PARTS


@dataclass(frozen=True, kw_only=True)
class PredictorConfig:
    """The networks, and how they are used."""

    weights: Path = PARTRM
    """PartRM's checkpoint, ours or published."""
    reconstructor: Path | None = None
    """Checkpoint that makes the Gaussians before the drags. Default: the same, without drags."""
    spread: Literal["part", "none"] | None = None
    """part: each drag is repeated all over the part that it starts on, as far and in the same
    direction, as published; none: drags are taken as they are. Default: part for published weights,
    or with --sam; none for ours, which know better where the rest of a door goes."""
    parts: Path = PARTS
    """Weights of the click-to-part network (train.py --stage parts), which finds that part, and has
    a say in what is held together."""
    sam: Path | None = None
    """A checkpoint of Segment Anything, to find it instead."""
    zero123plus: str | None = None
    """Zero123++, fine-tuned to draw the rig's other input views: its folder, or its name on the
    hub. Default: the network makes do with the picture."""
    zero123plus_unet: Path | None = None
    """Its fine-tuned U-Net (train.py --stage views), where that is a file of its own."""

    fit: int = STEPS
    """Steps in which what the network makes of the picture is fitted to it, before any drag; 0:
    none. Of networks whose splats follow what they show, such as mini."""
    rigid: Rigid = "auto"
    """Hold what moved together, as one rigid body that takes the points of drags to their ends:
    sharp, where the network is not sure and makes a blur. auto: where they seem to be of one part.
    Of such networks alone, too."""
    rig: RigName | None = None
    """The cameras the network knows. Default: ring; for published weights partdrag4d."""
    frame: Framing = "auto"
    """keep: the picture is framed as a render of that rig; recentre: crop and scale the object to
    the frame; auto: keep squares with transparency, recentre all others."""
    device: str | None = None
    """cuda, cpu, …. Default: CUDA where there is one."""


def load_predictor(config: PredictorConfig) -> Predictor:
    """Load all networks that a prediction is made with.

    Raises:
        CheckpointError: a checkpoint does not fit.
        ImportError: a package is missing; says which.
        OSError: there is no such file.
        ValueError: the weights embed no drags, or options do not go together.
    """
    device = choose_device(config.device)
    network, reconstructor = (
        placed(PartRM.from_pretrained(path), device).eval().requires_grad_(False) if path else None
        for path in (config.weights, config.reconstructor)
    )
    assert network is not None
    if not network.config.drag_levels:
        raise ValueError(
            f"{config.weights} embeds no drags: it can be the --reconstructor, but moves nothing"
        )
    return Predictor(
        network,
        config.rig,
        config.frame,
        _other_views(config, device),
        reconstructor,
        load_part_mask(config.parts, config.sam, device) if _spreads(config, network) else None,
        fit=config.fit,
        rigid=config.rigid,
        parts=placed(ClickToPartNet.from_pretrained(config.parts), device).eval(),
    )


def _spreads(config: PredictorConfig, network: PartRM) -> bool:
    """Whether drags are repeated all over their parts."""
    if config.spread is not None:
        return config.spread == "part"
    return config.sam is not None or network.config.drag_style == "published"


def _other_views(config: PredictorConfig, device: torch.device) -> OtherViews | None:
    """What draws the views that the picture does not show, if anything is to."""
    if config.zero123plus is None:
        if config.zero123plus_unet:
            raise ValueError("--zero123plus-unet goes with --zero123plus")
        return None
    from model.zero123plus import Zero123Plus  # needs diffusers

    pipeline = Zero123Plus.from_pretrained(config.zero123plus, config.zero123plus_unet)
    return pipeline.to(device).other_views
