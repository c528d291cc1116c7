"""Pictures without Blender: paths traced with Warp, on a GPU a hundred times as fast.

Made for datasets larger than Blender renders in a night. It knows what a picture here is made of:
textures, gloss, panes of glass, the sky and the sun, and light between surfaces. It has no
denoiser; benchmarks/renderers.py tells how close it comes.
"""

from __future__ import annotations

import io
import math
import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import warp as wp
from jaxtyping import Float
from PIL import Image

from datagen.cameras import rig
from datagen.image_codec import Frame
from datagen.render_settings import Device, Light, RenderSettings
from datagen.source import ObjectFiles
from datagen.surface import Surface
from datagen.tracing_kernels import Scene, draw, place

LARGEST_TEXTURE = 256
"""Texels along a side that textures are averaged down to: pictures have no more to show."""


class TracerError(RuntimeError):
    """There is no device to trace on."""


@dataclass(frozen=True)
class Lamps:
    """White light from everywhere, and from a disc far away.

    Attributes:
        sky: radiance.
        sun: irradiance of a surface that faces the disc.
        towards: unit vector to it.
        spread: tangent of its angular radius.
    """

    sky: float
    sun: float
    towards: tuple[float, float, float]
    spread: float


def lamps(light: Light) -> Lamps:
    """What `blender_scripts.scene.set_light` sets up; its point light is as far as a sun is, as
    objects are small."""
    place = (5.0, 5.0, 5.0) if light == "partdrag4d" else (-1.0, 0.6, 1.8)
    distance = math.hypot(*place)
    x, y, z = (coordinate / distance for coordinate in place)
    if light == "partdrag4d":
        return Lamps(1.0, 10.0 / (4 * math.pi * distance**2), (x, y, z), 0.0)
    return Lamps(0.55, 1.6, (x, y, z), math.tan(0.35 / 2))


class Tracer:
    """A renderer with at most one object loaded.

    Args:
        device: `CPU`, or `CUDA`: where there are several GPUs, processes share them out by their
            numbers.

    Raises:
        TracerError: there is no such device.
    """

    def __init__(self, device: Device = "CPU") -> None:
        wp.init()
        devices = {"CPU": [wp.get_device("cpu")], "CUDA": wp.get_cuda_devices()}.get(device)
        if not devices:
            raise TracerError(f"the tracer finds no {device} device here; choose another --device")
        self.device = devices[os.getpid() % len(devices)]
        self.render_seconds = 0.0

    def close(self) -> None:
        """There is nothing to free."""

    def load(self, files: ObjectFiles, surface: Surface) -> None:
        """Load an object, in place of the one before; `configure` comes next."""
        texels: list[np.ndarray] = []
        spans, start = [], 0
        for material in surface.materials:
            pixels = _texels(files, material.texture) if material.texture else np.empty((0, 0, 3))
            spans.append((start, pixels.shape[1], pixels.shape[0]))
            texels.append(pixels.reshape(-1, 3))
            start += len(texels[-1])
        colours = _linear(np.array([m.colour for m in surface.materials]))
        self._corners = self._array(surface.triangles.reshape(-1, 3), wp.vec3)
        self._normals = self._array(surface.normals.reshape(-1, 3), wp.vec3)
        self._link = self._array(surface.link, int)
        self._placed = wp.empty_like(self._corners)
        self._indices = self._array(np.arange(3 * len(surface)), int)
        scene = Scene()
        scene.normals = wp.empty_like(self._normals)
        scene.uvs = self._array(surface.uvs.reshape(2, -1, 2), wp.vec2)
        scene.material = self._array(surface.material, int)
        scene.link = self._link
        scene.colour = self._array(colours, wp.vec3)
        scene.opacity = self._array([m.opacity for m in surface.materials], float)
        gloss = [(0.08 * m.specular, _roughness(m.shininess) ** 2) for m in surface.materials]
        scene.gloss = self._array(gloss, wp.vec2)
        scene.texture = self._array(spans, wp.vec3i)
        scene.texels = self._array(np.concatenate([*texels, np.zeros((1, 3))]), wp.vec3)
        self._scene = scene

    def configure(self, settings: RenderSettings) -> None:
        """Choose how the loaded object is rendered."""
        self._settings = settings
        light = lamps(settings.light)
        self._scene.sky, self._scene.sun = light.sky, light.sun
        self._scene.towards, self._scene.spread = wp.vec3(*light.towards), light.spread

    def render(
        self,
        poses: Float[np.ndarray, "links 4 4"],
        cameras: Float[np.ndarray, "views 4 4"],
    ) -> list[Frame]:
        """As `renderer.Renderer.render`: frames of the loaded object, its links at these poses."""
        start = time.perf_counter()
        scene, size = self._scene, self._settings.resolution
        with wp.ScopedDevice(self.device):
            wp.launch(
                place,
                len(self._corners),
                inputs=[
                    self._corners,
                    self._normals,
                    self._link,
                    self._array(poses, wp.mat44),
                ],
                outputs=[self._placed, scene.normals],
            )
            mesh = wp.Mesh(self._placed, self._indices)
            scene.mesh = mesh.id
            shape = (len(cameras), size, size)
            colour = wp.empty(shape, wp.vec4ub)
            depth, link = wp.empty(shape, float), wp.empty(shape, int)
            focal = rig(self._settings.rig).intrinsics(size)[0, 0]
            wp.launch(
                draw,
                shape,
                inputs=[
                    scene,
                    self._array(cameras, wp.mat44),
                    float(focal),
                    size,
                    self._settings.samples,
                    self._settings.bounces,
                ],
                outputs=[colour, depth, link],
            )
            pictures = zip(colour.numpy(), depth.numpy(), link.numpy(), strict=True)
        frames = [Frame(rgba, far, owner.astype(np.int16)) for rgba, far, owner in pictures]
        self.render_seconds += time.perf_counter() - start
        return frames

    def _array(self, values: Any, dtype: Any) -> wp.array:
        return wp.array(np.ascontiguousarray(values), dtype=dtype, device=self.device)


def _texels(files: ObjectFiles, texture: str) -> Float[np.ndarray, "H W 3"]:
    """A texture's scene-linear colours, from its top row down."""
    picture = Image.open(io.BytesIO(files.read(texture))).convert("RGB")
    picture.thumbnail((LARGEST_TEXTURE, LARGEST_TEXTURE), Image.Resampling.BOX)
    return _linear(np.asarray(picture) / 255)


def _roughness(shininess: float) -> float:
    """Blender's, as `blender_scripts.scene` takes it from a Phong exponent."""
    return float(max(1 - min(shininess / 1000, 1) ** 0.5, 0.05))


def _linear(srgb: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
