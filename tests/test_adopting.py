"""Objects made of meshes in which nothing moves: pieces move whole, and nothing is lost."""

from pathlib import Path

import numpy as np
import pytest
from objects import read
from PIL import Image

from datagen.__main__ import AdoptCommand
from datagen.adopting import given_joint
from datagen.articulation import ArticulatedObject, link_poses
from datagen.build import BuildError
from datagen.surface import Surface

FACES = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
CARCASS = ((-3, 0, -2), (3, 8, 1.8))
DOOR = ((-2.9, 0.1, 1.9), (2.9, 7.9, 2.1))
HANDLE = ((2.2, 3, 2.15), (2.5, 5, 2.4))


def cuboid(name: str, material: str, low: tuple, high: tuple, first: int) -> list[str]:
    corners = [
        (x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])
    ]
    return [
        f"g {name}",
        *(f"v {x} {y} {z}" for x, y, z in corners),
        "vt 0 0",
        f"usemtl {material}",
        *("f " + " ".join(f"{first + i}/-1" for i in face) for face in FACES),
    ]


@pytest.fixture
def cupboard(tmp_path: Path) -> Path:
    """A cupboard with a door, on which there is a handle."""
    folder = tmp_path / "meshes"
    (folder / "maps").mkdir(parents=True)
    lines = ["mtllib cupboard.mtl"]
    lines += cuboid("carcass", "white", *CARCASS, 1)
    lines += cuboid("door", "wood", *DOOR, 9) + cuboid("handle", "steel", *HANDLE, 17)
    (folder / "cupboard.obj").write_text("\n".join(lines))
    materials = (
        "newmtl white\nKd 1 1 1\nnewmtl wood\nmap_Kd maps/wood.png\nnewmtl steel\nKd 0 0 1\n"
    )
    (folder / "cupboard.mtl").write_text(materials)
    Image.new("RGB", (4, 4), "brown").save(folder / "maps" / "wood.png")
    return folder / "cupboard.obj"


def at_rest(obj: ArticulatedObject, surface: Surface) -> np.ndarray:
    """Corners [F, 3, 3] in the object's frame."""
    poses = link_poses(obj, np.zeros(len(obj.movable)))[surface.link]
    return np.einsum("fij,fcj->fci", poses[:, :3, :3], surface.triangles) + poses[:, None, :3, 3]


def test_a_door_takes_its_handle_along_and_the_rest_stays_as_it_was(cupboard, tmp_path):
    moved = set()
    for seed in range(8):
        assert AdoptCommand((cupboard,), tmp_path / "out", parts=1, seed=seed).run() == 0
        obj, surface = read(tmp_path / "out" / f"cupboard-{seed}")
        assert len(surface) == 36
        corners = at_rest(obj, surface).reshape(-1, 3)
        size = np.ptp(corners, axis=0)
        assert np.linalg.norm(size) == pytest.approx(2, abs=1e-4)
        # z is up, the front is at -x, and nothing is stretched
        np.testing.assert_allclose(size / size[2], [4.4 / 8, 6 / 8, 1], atol=1e-4)
        (joint,) = obj.movable
        part = {surface.materials[m] for m in surface.material[0][surface.link == joint.child]}
        door_moves = any(material.texture for material in part)
        assert len(part) == 1 + door_moves  # of wood, with its handle of steel, or that alone
        moved.add(door_moves)
    assert True in moved


def test_what_is_one_piece_has_no_part(cupboard, tmp_path, capsys):
    lines = ["mtllib cupboard.mtl", *cuboid("carcass", "white", *CARCASS, 1)]
    cupboard.write_text("\n".join(lines))
    assert AdoptCommand((cupboard,), tmp_path / "out").run() == 0
    assert "no piece of it would do for a part" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seed", range(20))
def test_doors_swing_about_an_edge_and_away_from_the_body(seed):
    door, body = (np.array(box, float) for box in (DOOR, CARCASS))
    whole = np.minimum(door[0], body[0]), np.maximum(door[1], body[1])
    joint = given_joint((door[0], door[1]), whole, np.random.default_rng(seed))
    middle = door.mean(axis=0)
    if joint.type == "revolute":
        across = np.abs(joint.origin - middle)[:2] / np.ptp(door, axis=0)[:2]
        np.testing.assert_allclose(sorted(across), [0, 0.5], atol=1e-9)
        assert np.cross(joint.axis, middle - joint.origin)[2] > 0
    else:
        assert joint.axis[2] >= 0


def test_the_same_seed_gives_the_same_bytes(cupboard, tmp_path):
    for out in ("one", "two"):
        AdoptCommand((cupboard,), tmp_path / out, seed=5).run()
    files = sorted(p for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert len(files) >= 5
    for file in files:
        again = tmp_path / "two" / file.relative_to(tmp_path / "one")
        assert file.read_bytes() == again.read_bytes()


def test_meshes_of_one_name_are_refused(cupboard, tmp_path):
    (cupboard.parent / "more").mkdir()
    (cupboard.parent / "more" / "cupboard.obj").write_bytes(cupboard.read_bytes())
    with pytest.raises(BuildError, match="objects of one name"):
        AdoptCommand((cupboard.parent,), tmp_path / "out").run()


def test_a_mesh_that_cannot_be_read_is_left_out_and_told_of(cupboard, tmp_path, capsys):
    (cupboard.parent / "broken.obj").write_text("v 0 0 0\nf 1 2 3\n")
    assert AdoptCommand((cupboard.parent,), tmp_path / "out").run() == 1
    printed = capsys.readouterr()
    assert "broken" in printed.err and "line 2" in printed.err
    assert "cupboard-0" in printed.out


def test_pictures_outside_of_the_mesh_s_folder_are_not_copied(cupboard, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    mtl = cupboard.with_suffix(".mtl")
    mtl.write_text(mtl.read_text().replace("maps/wood.png", "../secret.png"))
    AdoptCommand((cupboard,), tmp_path / "out").run()
    assert not list((tmp_path / "out").rglob("secret.png"))
