"""The weights that come with the project load, are as small as promised, and are the default."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.click_to_part import ClickToPartNet
from model.partrm import PartRM
from model.weights import PARTRM, PARTS
from predict import main

CHECKPOINTS = ((PARTRM, PartRM, 8e6), (PARTS, ClickToPartNet, 3e6))


@pytest.mark.parametrize(("path", "kind", "most"), CHECKPOINTS)
def test_they_are_small(path: Path, kind: type[PartRM | ClickToPartNet], most: float) -> None:
    assert path.stat().st_size <= 16e6
    assert sum(tensor.numel() for tensor in kind.from_pretrained(path).parameters()) <= most


def test_a_picture_and_a_drag_are_all_that_a_prediction_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = np.full((200, 200, 3), 255, np.uint8)
    picture[40:160, 40:160] = 150, 110, 70
    picture[60:110, 55:145] = 190, 150, 100  # a drawer's front
    Image.fromarray(picture).save(tmp_path / "drawer.png")
    words = ["--image", "drawer.png", "--drag", "100,85,90,110", "--out", "out", "--no-video"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["predict.py", *words, "--spread", "none"])
    assert main() == 0
    assert (tmp_path / "out" / "after.ply").stat().st_size > 0
