"""How a picture is made: the rig, the size and what Cycles spends on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from datagen.cameras import RigName

Device = Literal["CPU", "CUDA", "OPTIX", "HIP", "METAL", "ONEAPI"]
Denoiser = Literal["none", "fast", "balanced", "high"]
Light = Literal["studio", "partdrag4d"]


@dataclass(frozen=True)
class RenderSettings:
    """What decides a picture's pixels, apart from the device.

    Attributes:
        rig: where the cameras stand.
        resolution: width and height in pixels.
        samples: paths per pixel; with adaptive sampling, at most.
        adaptive_threshold: noise at which a pixel is done; 0 takes all samples everywhere.
        denoiser: OpenImageDenoise's quality, or none.
        bounces: of light between surfaces.
        light: `studio` (white sky and soft sun) or `partdrag4d` (the published light).
    """

    rig: RigName
    resolution: int
    samples: int
    adaptive_threshold: float
    denoiser: Denoiser
    bounces: int
    light: Light


PRESETS: dict[str, RenderSettings] = {
    "preview": RenderSettings("ring", 128, 3, 0.0, "fast", 1, "studio"),
    "standard": RenderSettings("ring", 256, 6, 0.0, "fast", 3, "studio"),
    "partdrag4d": RenderSettings("partdrag4d", 512, 128, 0.0, "high", 4, "partdrag4d"),
}
"""`preview` to look at, `standard` to train on (chosen by benchmarks/render_quality.py),
`partdrag4d` to compare with the published pictures."""
