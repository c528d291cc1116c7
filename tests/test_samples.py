"""The sample objects: deterministic, consistent with themselves, and free to move."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from datagen.partnet import read_object
from datagen.samples import CATEGORIES, KINDS, shapes, write_sample
from datagen.source import ObjectFiles
from datagen.surface import read_surface

pybullet = pytest.importorskip("pybullet")
CLEARANCE = 0.003  # PartNet units: the object's bounding box has a diagonal of 2.
URDF_TYPE = {"hinge": "revolute", "slider": "prismatic", "heavy": "fixed", "free": "fixed"}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("samples")
    return {category: write_sample(category, 0, out) for category in KINDS}


@pytest.fixture(scope="module")
def world():
    client = pybullet.connect(pybullet.DIRECT)
    yield
    pybullet.disconnect(client)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("category", KINDS)
def test_seed_decides_every_byte(objects, tmp_path, category):
    again = write_sample(category, 0, tmp_path)
    assert again.name == objects[category].name == f"{category.lower()}0000"
    assert contents(again) == contents(objects[category])
    other = write_sample(category, 1, tmp_path)
    assert contents(other) != contents(again)
    assert sorted(path.name for path in tmp_path.iterdir()) == [again.name, other.name]


@pytest.mark.parametrize("category", KINDS)
def test_files_agree(objects, category):
    folder = objects[category]
    robot = ElementTree.parse(folder / "mobility.urdf").getroot()
    records = json.loads((folder / "mobility_v2.json").read_text())
    semantics = [line.split() for line in (folder / "semantics.txt").read_text().splitlines()]
    joints = {joint.find("child").get("link"): joint for joint in robot.findall("joint")}
    expected = [[f"link_{record['id']}", record["joint"], record["name"]] for record in records]
    assert semantics == expected
    assert json.loads((folder / "meta.json").read_text())["model_cat"] == category
    assert {link.get("name") for link in robot.findall("link")} == {"base", *joints}

    for (link, _, _), record in zip(semantics, records, strict=True):
        joint, data = joints[link], record["jointData"]
        parent = "base" if record["parent"] == -1 else f"link_{record['parent']}"
        assert joint.find("parent").get("link") == parent
        free = bool(data) and data["limit"]["noLimit"]
        assert joint.get("type") == ("continuous" if free else URDF_TYPE[record["joint"]])
        if data and not free:
            low, high = (float(joint.find("limit").get(end)) for end in ("lower", "upper"))
            turn = np.rad2deg if record["joint"] == "hinge" else float
            assert low == data["limit"]["a"] == 0.0 < high
            assert turn(high) == pytest.approx(data["limit"]["b"], abs=1e-3)
    for mesh in robot.iter("mesh"):
        assert (folder / mesh.get("filename")).is_file()


def closest(body: int, link: int) -> float:
    """Signed distance to the closest other link: negative where they interpenetrate."""
    others = set(range(-1, pybullet.getNumJoints(body))) - {link}
    points = (pybullet.getClosestPoints(body, body, 0.0, link, other) for other in others)
    return min((point[8] for found in points for point in found), default=0.0)


@pytest.mark.parametrize("category", CATEGORIES)
def test_parts_move_freely(objects, world, category):
    """Each part clears the others over its range: while they are closed, or the doors open."""
    body = pybullet.loadURDF(str(objects[category] / "mobility.urdf"))
    names = [line.split()[2] for line in (objects[category] / "semantics.txt").open()]
    limits, doors = {}, {}
    for joint in range(pybullet.getNumJoints(body)):
        info = pybullet.getJointInfo(body, joint)
        if info[2] != pybullet.JOINT_FIXED:
            limits[joint] = info[9] if info[9] > info[8] else 2 * np.pi
            if "door" in names[int(info[12].decode().removeprefix("link_"))]:
                doors[joint] = limits[joint]
    assert len(limits) == len(names) - 1
    for link, upper in limits.items():
        clear = []
        for opened in ({}, doors):
            for joint in limits:
                pybullet.resetJointState(body, joint, opened.get(joint, 0.0))
            depths = []
            for position in np.linspace(0, upper, 9):
                pybullet.resetJointState(body, link, position)
                depths.append(closest(body, link))
            clear.append(min(depths) > -CLEARANCE)
        assert clear[0] or (any(clear) and link not in doors), f"link {link} is blocked"


@pytest.mark.parametrize("category", KINDS)
def test_solids_face_outwards(objects, category):
    for path in (objects[category] / "textured_objs").glob("*.obj"):
        rows = [line.split() for line in path.read_text().splitlines()]
        vertices = np.array([row[1:] for row in rows if row[0] == "v"], float)
        faces = [
            [int(corner.split("/")[0]) - 1 for corner in row[1:]] for row in rows if row[0] == "f"
        ]
        assert shapes.signed_volume(vertices, np.array(faces)) > 0, path.name


def test_contraptions_of_any_seed_move_and_can_be_read(tmp_path, caplog):
    kinds = set()
    for seed in range(40):
        files = ObjectFiles(write_sample("Contraption", seed, tmp_path))
        obj = read_object(files)
        assert 1 <= len(obj.movable) <= 40
        files.warn()
        assert not caplog.records
        assert (obj.lower < obj.upper).all()
        moved = {link for joint in obj.movable for link in obj.subtree(joint)}
        assert moved <= set(np.unique(read_surface(files, obj).link))
        kinds |= {joint.type for joint in obj.movable}
    assert len(kinds) == 3


def test_cylinder_has_its_volume():
    solid = shapes.cylinder((0, 0, 0), 2, 1, 0.5, segments=256)
    volume = shapes.signed_volume(solid.vertices, solid.faces)
    assert volume == pytest.approx(np.pi / 2, rel=1e-3)
