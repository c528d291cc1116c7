"""A headless Blender in a child process, and the pictures it makes.

The child is `blender_scripts.worker`, run by this Python where it has the bpy wheel, or by an
installed Blender. Either way it stays alive from object to object.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import psutil
from jaxtyping import Float

from datagen.cameras import rig
from datagen.image_codec import Frame
from datagen.pool import WorkerLost
from datagen.render_settings import Device, RenderSettings
from datagen.source import ObjectFiles
from datagen.surface import Surface

WORKER = Path(__file__).resolve().parents[1] / "blender_scripts" / "worker.py"


class BlenderError(RuntimeError):
    """There is no Blender, or it refused what it was asked."""


class BlenderDied(WorkerLost):
    """Blender ended on its own; carries what it printed last."""


def blender_command(blender: str | None) -> list[str]:
    """How to start the worker: in the installed Blender named, else with the bpy wheel, else in the
    `blender` on the PATH.

    Raises:
        BlenderError: there is neither.
    """
    if blender is None and importlib.util.find_spec("bpy"):
        return [sys.executable, str(WORKER)]
    found = shutil.which(blender or "blender")
    if found is None:
        raise BlenderError(
            f"no Blender at {blender!r}"
            if blender
            else "no Blender: install the bpy wheel (Python 3.11: pip install bpy), or name an "
            "installed one with --blender"
        )
    return [found, "--background", "--factory-startup", "--python", str(WORKER)]


class Blender:
    """A running Blender with at most one object loaded.

    Args:
        blender: an installed Blender's program; None for the bpy wheel.
        device: what Cycles renders on.
        threads: processor threads for Cycles; 0 takes all.

    Raises:
        BlenderError: there is no Blender, or it has no such device.
        BlenderDied: it does not start.
    """

    def __init__(
        self, blender: str | None = None, device: Device = "CPU", threads: int = 0
    ) -> None:
        self.device, self.threads = device, threads or os.cpu_count() or 1
        self.render_seconds = 0.0
        self._folder = tempfile.TemporaryDirectory(prefix="partdrag4d-")
        self.folder = Path(self._folder.name)
        self._log = (self.folder / "blender.log").open("w+")
        self._process = subprocess.Popen(
            blender_command(blender),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        try:
            self.version = self._reply()["ready"]
            self._ask({"command": "check", "device": device})
        except (BlenderError, BlenderDied):
            self.close()
            raise

    @property
    def process(self) -> psutil.Process:
        """The running Blender, to measure it."""
        return psutil.Process(self._process.pid)

    def close(self) -> None:
        """End Blender and remove its temporary files."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream:
                stream.close()
        self._folder.cleanup()

    def __enter__(self) -> Blender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, files: ObjectFiles, surface: Surface) -> None:
        """Load an object, in place of the one before; `configure` comes next.

        Raises:
            BlenderError: Blender refuses.
            BlenderDied: Blender ended.
        """
        for old in self.folder.glob("texture_*"):
            old.unlink()
        materials = [asdict(m) for m in surface.materials]
        for index, material in enumerate(materials):
            if material["texture"]:
                suffix = Path(material["texture"]).suffix
                copy = self.folder / f"texture_{index}{suffix}"
                copy.write_bytes(files.read(material["texture"]))
                material["texture"] = str(copy)
        scene = self.folder / "scene.npz"
        np.savez(
            scene,
            triangles=surface.triangles.astype(np.float32),
            normals=surface.normals.astype(np.float32),
            uvs=surface.uvs.astype(np.float32),
            material=surface.material,
            link=surface.link,
            materials=np.array(json.dumps(materials)),
        )
        self._ask({"command": "load", "scene": str(scene)})

    def configure(self, settings: RenderSettings) -> None:
        """Choose how the loaded object is rendered.

        Raises:
            BlenderError: Blender refuses, for one because it has no such device.
        """
        options = {"device": self.device, "threads": self.threads, "fov": rig(settings.rig).fov}
        self._ask({"command": "configure", "settings": asdict(settings) | options})

    def render(
        self,
        poses: Float[np.ndarray, "links 4 4"],
        cameras: Float[np.ndarray, "views 4 4"],
    ) -> list[Frame]:
        """As `renderer.Renderer.render`: frames of the loaded object, its links at these poses.

        Raises:
            BlenderError: Blender refuses.
            BlenderDied: Blender ended.
        """
        paths = [self.folder / f"view_{i}.exr" for i in range(len(cameras))]
        reply = self._ask(
            {
                "command": "render",
                "poses": poses.tolist(),
                "cameras": cameras.tolist(),
                "files": [str(p) for p in paths],
            }
        )
        self.render_seconds += reply["render_seconds"]
        return [read_frame(path) for path in paths]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has ended: the reply says so
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith("{"):
                break
            self._log.write(line)  # an installed Blender greets, and says why a script failed
        else:
            status = self._process.wait()
            raise BlenderDied(
                f"Blender ended with status {status}; it printed last:\n{self._tail()}"
            )
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            self._log.write(reply["trace"])
            raise BlenderError(f"Blender: {reply['error']}")
        return reply

    def _tail(self, lines: int = 12) -> str:
        self._log.flush()
        return "\n".join((self.folder / "blender.log").read_text().splitlines()[-lines:])


def linear_to_srgb(linear: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The sRGB transfer function of IEC 61966-2-1; Blender's "Standard" view transform."""
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def read_frame(path: Path) -> Frame:
    """Read what the worker rendered: scene-linear premultiplied colour, depth and pass index."""
    with OpenEXR.File(str(path), separate_channels=True) as file:
        layers = {
            name.partition(".")[2]: channel.pixels for name, channel in file.channels().items()
        }
    link = np.round(layers["IndexOB.X"]).astype(np.int16) - 1
    depth = np.where(link < 0, np.inf, layers["Depth.Z"]).astype(np.float32)
    alpha = np.clip(layers["Combined.A"], 0.0, 1.0)
    covered = np.round(255 * alpha) > 0
    premultiplied = np.stack([layers[f"Combined.{c}"][covered] for c in "RGB"], axis=-1)
    opacity = alpha[covered][:, None]
    colour = np.zeros((*alpha.shape, 4), np.uint8)
    colour[covered, :3] = np.round(255 * linear_to_srgb(premultiplied / opacity))
    colour[covered, 3:] = np.round(255 * opacity)
    return Frame(colour, depth, link)
