"""Objects of the parts of several: these fit, hang and move as those that they replace."""

from pathlib import Path

import numpy as np
import pytest
from objects import BODY, CABINET, DOOR, Part, edit, object_files, read, write_folder

from datagen.__main__ import MixCommand
from datagen.articulation import link_poses
from datagen.mixing import parts_of, placement
from datagen.surface import Surface, face_normals

SLAB = Part(
    "door", (-0.6, -0.3, 0), (0, 0.3, 0.06), "revolute", (0, 1, 0), (0.3, 0, 0.45), (0, 1)
)  # hung at its right, DOOR at its left


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "objects" / "1000", object_files(CABINET))
    write_folder(tmp_path / "objects" / "2000", object_files((BODY, SLAB)))
    return tmp_path / "objects"


def box(surface: Surface, link: int) -> np.ndarray:
    points = surface.triangles[surface.link == link].reshape(-1, 3)
    return np.stack([points.min(axis=0), points.max(axis=0)])


def test_a_part_takes_the_place_and_the_motion_of_the_one_it_replaces(folder, tmp_path, capsys):
    assert MixCommand((folder,), tmp_path / "out", share=1.0, seed=3).run() == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / f"{i}000-3") for i in (1, 2)]
    for name, host in (("1000-3", "1000"), ("2000-3", "2000")):
        (old, before), (new, after) = read(folder / host), read(tmp_path / "out" / name)
        door = [link.semantic for link in old.links].index("door")
        np.testing.assert_allclose(box(after, door), box(before, door), atol=1e-9)
        np.testing.assert_array_equal(link_poses(new, new.upper), link_poses(old, old.upper))
        others = before.link != door
        assert (after.link != door).sum() == others.sum()
        assert len({m.texture for m in after.materials}) == 2  # the other's came along
        assert [link.semantic for link in new.links] == [link.semantic for link in old.links]


def test_a_part_that_hung_on_the_other_side_is_mirrored_and_still_faces_outwards(folder, tmp_path):
    (slot,) = (p for p in parts_of(folder / "1000") if p.link.semantic == "door")
    (slab,) = parts_of(folder / "2000")
    np.testing.assert_array_equal(np.sign(np.diag(placement(slot, slab))), [-1, 1, 1, 1])
    MixCommand((folder,), tmp_path / "out", share=1.0).run()
    for mixed in sorted((tmp_path / "out").iterdir()):
        obj, surface = read(mixed)
        door = surface.link == [link.semantic for link in obj.links].index("door")
        triangles = surface.triangles[door]
        middle = triangles.reshape(-1, 3).mean(axis=0)
        outwards = ((triangles.mean(axis=1) - middle) * face_normals(triangles)).sum(axis=1)
        assert (outwards > 0).all()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "lid"},
        {"joint": "continuous"},
        {"axis": (1, 0, 0)},
        {"high": (0, -0.2, 0.06)},  # a strip
    ],
)
def test_what_is_something_else_moves_otherwise_or_would_be_distorted_does_not_fit(
    folder, tmp_path, change
):
    other = Part(**{**SLAB.__dict__, **change})
    write_folder(tmp_path / "3000", object_files((BODY, other)))
    (slot,) = (p for p in parts_of(folder / "1000") if p.link.semantic == "door")
    assert placement(slot, parts_of(folder / "2000")[0]) is not None
    assert placement(slot, parts_of(tmp_path / "3000")[0]) is None


def test_files_are_found_as_the_object_spells_them_and_broken_pieces_come_along(folder, tmp_path):
    mesh = '<mesh filename="textured_objs/part-1.obj"/>'
    files = edit(object_files((BODY, SLAB)), "mobility.urdf", mesh, mesh.replace("/part", "\\PART"))
    collision = mesh.replace("part-1", "broken")
    files = edit(files, "mobility.urdf", f"<geometry>{mesh}", f"<geometry>{collision}")
    files["textured_objs/broken.obj"] = b"v 0 0 0\nf 1 2 9\n"
    write_folder(folder / "2000", files)
    MixCommand((folder,), tmp_path / "out", share=1.0).run()
    _, surface = read(tmp_path / "out" / "1000-0")
    door = box(surface, 2)
    np.testing.assert_allclose(door, box(read(folder / "1000")[1], 2), atol=1e-9)
    assert (tmp_path / "out/1000-0/2000/textured_objs/broken.obj").exists()


def test_an_object_alone_is_not_mixed(tmp_path, capsys):
    lonely = write_folder(tmp_path / "1000", object_files((BODY, DOOR)))
    assert MixCommand((lonely,), tmp_path / "out").run() == 0
    assert "1000, seed 0: no part replaced" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
