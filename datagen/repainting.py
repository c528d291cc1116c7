"""Copies of objects in other colours: more looks of few."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np

from datagen.obj_mesh import Material
from datagen.surface import Surface


def repainted(surface: Surface, chance: float, rng: np.random.Generator) -> Surface:
    """A surface of whose materials some have one colour of their own, in place of the colour or
    texture that they had.

    Args:
        surface: what is painted.
        chance: that a material is.
        rng: decides which and how.
    """

    def painted(material: Material) -> Material:
        hue, saturation, value = rng.random(3)
        if rng.random() >= chance:
            return material
        colour = colorsys.hsv_to_rgb(hue, saturation, np.sqrt(value))
        return replace(material, colour=colour, texture="")

    return replace(surface, materials=tuple(painted(m) for m in surface.materials))
