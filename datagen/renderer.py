"""What makes pictures of objects: Blender, or the tracer."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from jaxtyping import Float

from datagen.image_codec import Frame
from datagen.render_settings import RenderSettings
from datagen.source import ObjectFiles
from datagen.surface import Surface

RendererName = Literal["blender", "tracer"]


class Renderer(Protocol):
    """It has at most one object loaded, and stays from object to object.

    Attributes:
        render_seconds: time it has spent on pictures.
    """

    render_seconds: float

    def load(self, files: ObjectFiles, surface: Surface) -> None:
        """Load an object, in place of the one before; `configure` comes next."""

    def configure(self, settings: RenderSettings) -> None:
        """Choose how the loaded object is rendered."""

    def render(
        self,
        poses: Float[np.ndarray, "links 4 4"],
        cameras: Float[np.ndarray, "views 4 4"],
    ) -> list[Frame]:
        """Move the links of the loaded object and render it.

        Args:
            poses: link frame to world; a scale is allowed.
            cameras: camera to world.

        Returns:
            One frame a camera.
        """

    def close(self) -> None:
        """Free what it holds."""
