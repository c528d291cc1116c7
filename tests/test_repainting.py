"""Copies of objects in other colours."""

from pathlib import Path

import numpy as np
import pytest

from datagen.__main__ import BuildCommand
from datagen.build import BuildError
from datagen.partnet import read_object
from datagen.repainting import repainted
from datagen.samples import write_sample
from datagen.shard_maker import Sampling, read_as_asked
from datagen.source import ObjectFiles
from datagen.surface import Surface, read_surface


@pytest.fixture(scope="module")
def microwave(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample("Microwave", 0, tmp_path_factory.mktemp("objects"))


@pytest.fixture(scope="module")
def surface(microwave: Path) -> Surface:
    files = ObjectFiles(microwave)
    return read_surface(files, read_object(files))


def test_chance_says_how_many_materials_have_a_colour_of_their_own(surface: Surface) -> None:
    def painted(chance: float) -> int:
        copy = repainted(surface, chance, np.random.default_rng(1))
        assert copy.triangles is surface.triangles and copy.material is surface.material
        pairs = list(zip(surface.materials, copy.materials, strict=True))
        for before, after in pairs:
            assert after.opacity == before.opacity
            assert after == before or not after.texture
        return sum(before != after for before, after in pairs)

    assert painted(0) == 0
    assert painted(1) == len(surface.materials)
    assert 0 < painted(0.5) < len(surface.materials)


def test_a_repainted_object_is_a_copy_that_its_seed_names(microwave: Path) -> None:
    assert read_as_asked(microwave, Sampling(repaint=0.5, seed=7)).id == "microwave0000-7"
    assert read_as_asked(microwave, Sampling(seed=7)).id == "microwave0000"


def test_what_cannot_be_asked_for_is_refused(microwave: Path, tmp_path: Path) -> None:
    for wrong in ({"repaint": 1.5}, {"repaint": 0.5, "state_list": tmp_path / "list"}):
        with pytest.raises(BuildError, match="--repaint"):
            BuildCommand((microwave,), tmp_path / "out", **wrong).run()  # type: ignore[arg-type]
