"""What tests share: the real objects, where there are any, hypothesis' settings, a quick VGG-16."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings

settings.register_profile("partdrag4d", deadline=None, database=None, derandomize=True)
settings.load_profile("partdrag4d")


@pytest.fixture
def random_vgg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every VGG-16 that is made has random weights, and no classifier to wait for."""
    vgg = pytest.importorskip("torchvision").models.vgg
    monkeypatch.setattr(
        "torchvision.models.vgg16",
        lambda pretrained: SimpleNamespace(features=vgg.make_layers(vgg.cfgs["D"])),
    )


@pytest.fixture(scope="session")
def partnet_mobility() -> Path:
    """The folder with `objects/*.zip` and `splits.json`, named by PARTNET_MOBILITY_DIR."""
    name = os.environ.get("PARTNET_MOBILITY_DIR")
    if not name:
        pytest.skip("PARTNET_MOBILITY_DIR is not set: real objects not tested")
    if not (Path(name) / "objects").is_dir():
        pytest.skip(f"PARTNET_MOBILITY_DIR: no folder {name}/objects: real objects not tested")
    return Path(name)


@pytest.fixture(scope="session")
def real_objects(partnet_mobility: Path) -> list[Path]:
    """The zips of all real objects."""
    return sorted((partnet_mobility / "objects").glob("*.zip"))


@pytest.fixture(scope="session")
def published_states(partnet_mobility: Path) -> dict[str, list[str]]:
    """Object id to the names of its published states, from PARTDRAG4D_DIR: by default the folder
    `partdrag4d` beside PARTNET_MOBILITY_DIR."""
    folder = Path(os.environ.get("PARTDRAG4D_DIR") or partnet_mobility.parent / "partdrag4d")
    if not (folder / "train_states.txt").is_file():
        pytest.skip(f"PARTDRAG4D_DIR: no {folder}/train_states.txt: published lists not tested")
    names: dict[str, list[str]] = {}
    for split in ("train", "val"):
        for name in (folder / f"{split}_states.txt").read_text().split():
            names.setdefault(name.partition("_")[0], []).append(name)
    return names
