"""Reading objects: real ones, ones with harmless faults, and ones that nobody should trust."""

import struct
import time
import tracemalloc
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from objects import CABINET, Part, box_obj, edit, object_files, write_folder, write_zip

from datagen.articulation import ArticulatedObject, JointType, link_poses
from datagen.obj_mesh import MeshError, parse_mtl, parse_obj
from datagen.partnet import read_object
from datagen.source import ObjectError, ObjectFiles, find_objects
from datagen.surface import Surface, read_surface

URDF = "mobility.urdf"
DOOR_OBJ = "textured_objs/part-1.obj"
MTL_FILE = "textured_objs/paint.mtl"


def read(path: Path, **limits: int) -> tuple[ArticulatedObject, Surface]:
    files = ObjectFiles(path)
    obj = read_object(files)
    surface = read_surface(files, obj, **limits)
    files.warn()
    return obj, surface


# What is right


def test_folder_and_zip_read_the_same(tmp_path, caplog):
    files = object_files()
    obj, surface = read(write_folder(tmp_path / "1000", files))
    for archive in (
        write_zip(tmp_path / "a.zip", files),
        write_zip(tmp_path / "1000.zip", files, ""),
    ):
        other, same = read(archive)
        assert (other.id, other.category) == (obj.id, obj.category) == ("1000", "StorageFurniture")
        assert [link.semantic for link in other.links] == [link.semantic for link in obj.links]
        poses = [link_poses(o, o.upper) for o in (obj, other)]
        np.testing.assert_array_equal(*poses)
        np.testing.assert_array_equal(same.triangles, surface.triangles)
        assert same.materials == surface.materials
    assert not caplog.records


def test_the_layout_is_understood(tmp_path):
    obj, surface = read(write_folder(tmp_path / "1000", object_files()))
    assert [(j.name, j.type, j.part) for j in obj.movable] == [
        ("joint_1", JointType.REVOLUTE, 1),
        ("joint_2", JointType.PRISMATIC, 2),
        ("joint_3", JointType.CONTINUOUS, 3),
    ]
    assert obj.lower.tolist() == [0, 0, 0]
    assert obj.upper.tolist() == [1.6, 0.7, 2 * np.pi]
    assert [link.semantic for link in obj.links] == ["", "body", "door", "drawer", "knob"]
    assert np.bincount(surface.link).tolist() == [0, 12, 12, 12, 12]
    (material,) = surface.materials
    assert (material.colour, material.texture) == ((0.8, 0.1, 0.1), "images/paint.png")


def test_parts_are_numbered_by_mobility_v2(tmp_path):
    files = object_files()
    files["mobility_v2.json"] = b'[{"id": 3}, {"id": 2}, {"id": 0}, {"id": 1}]'
    obj = read_object(write_folder(tmp_path / "1000", files))
    assert [j.name for j in obj.movable] == ["joint_3", "joint_2", "joint_1"]


def test_a_screw_lid_is_two_joints(tmp_path):
    """PartNet's URDFs turn the lid in a helper link without geometry, which slides."""
    lid = Part("lid", (-1, -1, 0), (1, 1, 1), "continuous", parent=0)
    helper = (
        '<link name="link_1_helper"/><joint name="joint_2" type="prismatic">'
        '<child link="link_1_helper"/><parent link="link_0"/><axis xyz="0 1 0"/>'
        '<limit lower="0" upper="0.1"/></joint></robot>'
    )
    files = edit(object_files((CABINET[0], lid)), URDF, "</robot>", helper)
    files = edit(files, URDF, '<parent link="link_0"/>', '<parent link="link_1_helper"/>')
    obj, _ = read(write_folder(tmp_path / "1000", files))
    assert [(j.name, j.part) for j in obj.movable] == [("joint_1", 1), ("joint_2", 2)]
    assert [len(obj.subtree(j)) for j in obj.movable] == [1, 2]


def test_names_of_other_case_are_found(tmp_path, caplog):
    files = object_files()
    for name in (DOOR_OBJ, MTL_FILE, "images/paint.png"):
        files[name.upper()] = files.pop(name)
    for path in (write_folder(tmp_path / "1000", files), write_zip(tmp_path / "1000.zip", files)):
        _, surface = read(path)
        assert len(surface) == 48
        assert surface.materials[0].texture == "IMAGES/PAINT.PNG"
    assert not caplog.records


def test_find_objects_takes_objects_and_folders_of_them(tmp_path):
    folder = write_folder(tmp_path / "many" / "1000", object_files())
    archive = write_zip(tmp_path / "many" / "2000.zip", object_files())
    assert find_objects([tmp_path / "many", folder]) == [folder, archive]
    for wrong in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(ObjectError, match=str(wrong)):
            find_objects([wrong])


def test_all_real_objects_are_read_with_one_warning_at_most(real_objects, caplog):
    faults = []
    for path in real_objects:
        before = len(caplog.records)
        obj, surface = read(path)
        moved = {link for joint in obj.movable for link in obj.subtree(joint)}
        if len(caplog.records) > before + 1 or not moved & set(surface.link.tolist()):
            faults.append(path.name)
        assert np.abs(np.linalg.norm(surface.normals, axis=2) - 1).max() < 1e-6, path.name
    assert not faults
    assert len(real_objects) > 0


# What is harmless


def test_missing_files_and_empty_meshes_are_one_warning_that_counts_them(tmp_path, caplog):
    files = object_files()
    for name in (DOOR_OBJ, "images/paint.png"):
        del files[name]
    files["textured_objs/part-3.obj"] = b"v 0 0 0\n"
    files["textured_objs/part-0.obj"] += b"usemtl marble\nf 1 2 3\nusemtl slate\nf 1 2 4\n"
    files[MTL_FILE] += b"newmtl marble\nmap_Kd m.png\nnewmtl slate\nmap_Kd s.png\n"
    files["textured_objs/m.png"] = b"no picture"
    files["textured_objs/s.png"] = object_files()["images/paint.png"][:20]
    _, surface = read(write_folder(tmp_path / "1000", files))
    assert set(surface.link) == {1, 3}
    (warning,) = caplog.records
    text = warning.getMessage()
    assert text.startswith("object 1000: left out: ")
    assert f"1 visual meshes that are not there (such as {DOOR_OBJ})" in text
    assert f"1 collision meshes that are not there (such as {DOOR_OBJ})" in text
    assert "1 meshes without faces (such as textured_objs/part-3.obj)" in text
    assert "2 textures that are no pictures (such as textured_objs/m.png)" in text
    assert "1 textures that are not there (such as textured_objs/../images/paint.png)" in text


def test_files_that_only_help_may_be_missing(tmp_path, caplog):
    files = object_files()
    for name in ("mobility_v2.json", "meta.json", "semantics.txt"):
        del files[name]
    obj, _ = read(write_folder(tmp_path / "1000", files))
    assert [j.part for j in obj.movable] == [1, 2, 3]
    assert (obj.category, obj.links[1].semantic) == ("", "")
    assert not caplog.records


# What is refused: which file, what is changed in it, and what the error says

BROKEN = {
    "no number": (URDF, '0" upper="1.6"', 'nan" upper="1.6"', "joint joint_1: limit lower"),
    "inverted limits": (URDF, 'upper="1.6"', 'upper="-1"', "joint joint_1: .*no range"),
    "no limits": (URDF, '<limit lower="0" upper="1.6"/>', "", "joint joint_1: no <limit>"),
    "no axis": (URDF, 'axis xyz="0 -1 0"', 'axis xyz="0 0 0"', "joint joint_1: its axis"),
    "endless axis": (
        URDF,
        'axis xyz="0 -1 0"',
        'axis xyz="0 1e200 1e200"',
        "joint joint_1: its axis",
    ),
    "short axis": (URDF, 'axis xyz="0 -1 0"', 'axis xyz="0 1"', "joint joint_1: axis is '0 1'"),
    "bad origin": (URDF, 'xyz="-0.5 0 0.45"', 'xyz="one two three"', "joint joint_1: origin xyz"),
    "joint type": (URDF, 'type="revolute"', 'type="ball"', "joint joint_1: joint type 'ball'"),
    "no type": (URDF, 'type="revolute"', "", "joint joint_1: .*no attribute 'type'"),
    "no parent": (
        URDF,
        'parent link="link_0"',
        'parent link="nil"',
        "joint joint_1: its parent link 'nil'",
    ),
    "no child": (URDF, '<child link="link_1"/>', "", "joint joint_1: no <child>"),
    "cycle": (URDF, '<parent link="base"/>', '<parent link="link_3"/>', "cycle"),
    "two roots": (
        URDF,
        '<link name="base"/>',
        '<link name="base"/><link name="b"/>',
        "root link: base, b",
    ),
    "two parents": (
        URDF,
        '<child link="link_3"/>',
        '<child link="link_2"/>',
        "link_2 is the child of two",
    ),
    "two links": (URDF, '<link name="link_2">', '<link name="link_1">', "link link_1: two links"),
    "two joints": (
        URDF,
        '<joint name="joint_2"',
        '<joint name="joint_1"',
        "joint joint_1: two joints",
    ),
    "nameless mesh": (URDF, 'filename="textured_objs/part-1.obj"', "", "link link_1: .*'filename'"),
    "not XML": (URDF, '<link name="link_0">', "<link name=>", r"mobility\.urdf, line 3, column"),
    "cut XML": (URDF, "</robot>", "", r"mobility\.urdf, line \d+, column"),
    "encoding": (
        URDF,
        "<robot",
        '<?xml version="1.0" encoding="no"?><robot',
        r"mobility\.urdf.*encoding",
    ),
    "JSON": (
        "mobility_v2.json",
        "]",
        "",
        r"mobility_v2\.json: not valid JSON: .*line 1 column \d+",
    ),
    "deep JSON": ("mobility_v2.json", "[", "[" * 100_000, r"mobility_v2\.json: not valid JSON"),
    "long number": ("mobility_v2.json", "0", "9" * 5000, r"mobility_v2\.json: not valid JSON"),
    "JSON of something": (
        "mobility_v2.json",
        "[",
        "[1, ",
        r"mobility_v2\.json: not a list of parts",
    ),
    "OBJ NaN": (DOOR_OBJ, "v 0 -0.5", "v nan -0.5", "part-1.obj, line 2: `v nan -0.5 -0.025`"),
    "OBJ word": (DOOR_OBJ, "v 0 -0.5", "v x -0.5", "part-1.obj, line 2: `v x -0.5 -0.025`"),
    "OBJ two corners": (DOOR_OBJ, "f 1/1 2/2 4/3", "f 1/1 2/2", "part-1.obj, line 15: .*2 corner"),
    "OBJ missing vertex": (
        DOOR_OBJ,
        "f 1/1",
        "f 9/1",
        "part-1.obj, line 15: .*not there .8 positions",
    ),
    "OBJ vertex 0": (DOOR_OBJ, "f 1/1", "f 0/1", "part-1.obj, line 15: "),
    "OBJ huge index": (DOOR_OBJ, "f 1/1", f"f {10**30}/1", "part-1.obj, line 15: "),
    "OBJ before the first": (DOOR_OBJ, "f 1/1", "f -9/1", "part-1.obj, line 15: .*not there"),
    "OBJ uv before the first": (DOOR_OBJ, "f 1/1", "f 1/-5", "part-1.obj, line 15: .*not there"),
    "OBJ garbage": (DOOR_OBJ, "mtllib", "\x89PNG\r\n\x1a\n\0\0\0", "part-1.obj, line 3: .*binary"),
    "MTL word": (MTL_FILE, "Kd 0.8", "Kd red", "paint.mtl, line 3: `Kd red"),
    "MTL NaN": (MTL_FILE, "d 1", "d nan", "paint.mtl, line 5: `d nan"),
    "MTL short": (MTL_FILE, "Ks 0.2 0.2 0.2", "Ks", "paint.mtl, line 4: `Ks`"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_content_is_refused_with_its_place(case, tmp_path):
    name, old, new, message = BROKEN[case]
    path = write_folder(tmp_path / "1000", edit(object_files(), name, old, new))
    with pytest.raises(ObjectError, match=f"^object 1000: .*{message}") as error:
        read(path)
    assert error.value.object_id == "1000"


LAUGHS = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in pairwise("abcdefghijk"))


@pytest.mark.parametrize(
    "prolog",
    [
        f'<!DOCTYPE r [<!ENTITY a "ha">{LAUGHS}]>',
        '<!DOCTYPE r [<!ENTITY k SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE r SYSTEM "http://example.invalid/r.dtd">',
    ],
    ids=["billion laughs", "outside file", "outside type"],
)
def test_document_types_and_entities_are_refused_at_once(prolog, tmp_path):
    files = edit(object_files(), URDF, "<robot", f"{prolog}<robot")
    files = edit(
        files, URDF, 'name="test">', 'name="test">&k;' if "ENTITY" in prolog else 'name="t">'
    )
    path = write_folder(tmp_path / "1000", files)
    start = time.perf_counter()
    with pytest.raises(
        ObjectError, match=r"object 1000: mobility\.urdf: a document type or entity"
    ):
        read_object(path)
    assert time.perf_counter() - start < 1


def test_more_faces_than_allowed_are_refused(tmp_path):
    path = write_folder(tmp_path / "1000", object_files())
    assert len(read(path, max_faces=48)[1]) == 48
    with pytest.raises(ObjectError, match=r"part-3\.obj, line \d+: more than"):
        read(path, max_faces=47)


def test_a_polygon_counts_as_the_triangles_it_is_cut_into():
    corners = "v 0 0 0\nf" + " 1" * 1000
    assert len(parse_obj(corners.encode(), 998).corners) == 998
    with pytest.raises(MeshError, match="more than the 997 triangles"):
        parse_obj(corners.encode(), 997)


def test_an_object_without_a_face_that_has_an_area_is_refused(tmp_path):
    flat = box_obj((0, 0, 0), (0, 0, 1)).encode()
    files = {n: flat if n.endswith(".obj") else d for n, d in object_files().items()}
    with pytest.raises(ObjectError, match=r"1000: mobility\.urdf: none of its visual meshes"):
        read(write_folder(tmp_path / "1000", files))


def test_meshes_are_not_read_from_outside_of_the_object(tmp_path, caplog):
    files = object_files()
    (tmp_path / "outside.obj").write_bytes(files[DOOR_OBJ])
    outside = (tmp_path / "outside.obj").as_posix()
    for i, name in enumerate(("../outside.obj", outside, f"textured_objs/../..{outside}")):
        path = write_folder(
            tmp_path / f"{i}", edit(files, URDF, f'filename="{DOOR_OBJ}"', f'filename="{name}"')
        )
        assert 2 not in read(path)[1].link
        assert name in caplog.records[-1].getMessage()
    assert len(caplog.records) == 3


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_links_that_leave_the_object_are_refused(kind, tmp_path):
    path = write_folder(tmp_path / "1000", object_files())
    (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        target, name = (path / DOOR_OBJ).rename(tmp_path / "elsewhere" / "door.obj"), DOOR_OBJ
    else:
        target, name = (path / "images").rename(tmp_path / "elsewhere" / "images"), "images"
    (path / name).symlink_to(target)
    with pytest.raises(ObjectError, match=f"object 1000: {name}: .*outside"):
        ObjectFiles(path)


def test_links_within_the_object_and_to_it_are_followed(tmp_path):
    path = write_folder(tmp_path / "real", object_files())
    (path / DOOR_OBJ).rename(path / "door.obj")
    (path / DOOR_OBJ).symlink_to("../door.obj")
    (path / "round").symlink_to(path)
    (tmp_path / "1000").symlink_to(path)
    obj, surface = read(tmp_path / "1000")
    assert (obj.id, len(surface)) == ("1000", 48)


@pytest.mark.parametrize(
    "entry", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil", "C:/evil", "\\evil"]
)
def test_zip_entries_that_point_outside_are_refused(entry, tmp_path):
    path = write_zip(tmp_path / "1000.zip", object_files())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, "x")
    with pytest.raises(
        ObjectError, match=r"object 1000: .*1000\.zip: entry .*evil.* points outside"
    ):
        ObjectFiles(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = write_zip(tmp_path / "1000.zip", object_files() | {"zeros": bytes(50_000_000)})
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    with pytest.raises(
        ObjectError, match=r"object 1000: .*1000\.zip: unpacks to .* over the limit"
    ):
        ObjectFiles(path, max_bytes=1_000_000)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_zip_that_lies_about_its_size_does_not_fill_the_memory(tmp_path):
    path = write_zip(tmp_path / "1000.zip", object_files() | {DOOR_OBJ: bytes(50_000_000)})
    truth, lie = struct.pack("<I", 50_000_000), struct.pack("<I", 100)
    path.write_bytes(path.read_bytes().replace(truth, lie))
    files = ObjectFiles(path, max_bytes=1_000_000)
    tracemalloc.start()
    with pytest.raises(ObjectError, match=f"object 1000: {DOOR_OBJ}: cannot be read: Bad CRC"):
        files.read(DOOR_OBJ)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_zips_of_compressions_that_cannot_be_bounded_are_refused(tmp_path):
    path = write_zip(tmp_path / "1000.zip", object_files())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("more", "x" * 100)
    with pytest.raises(ObjectError, match=r"object 1000: .*1000\.zip: entry 'more' is compressed"):
        ObjectFiles(path)


@pytest.mark.parametrize(("nth", "message"), [(0, "é.txt: cannot be read"), (1, "not a readable")])
def test_a_zip_with_a_broken_name_is_refused(nth, message, tmp_path):
    """Names are in a zip twice: before the entry and in the directory at the end."""
    path = write_zip(tmp_path / "1000.zip", object_files() | {"é.txt": b""})
    head, *tails = path.read_bytes().split("é.txt".encode())
    names = ["é.txt".encode()] * 2
    names[nth] = b"\xc3A.txt"
    path.write_bytes(head + names[0] + tails[0] + names[1] + tails[1])
    with pytest.raises(ObjectError, match=f"object 1000: .*{message}"):
        ObjectFiles(path).read("é.txt")


def test_what_is_no_object_is_refused(tmp_path):
    whole = write_zip(tmp_path / "1000.zip", object_files()).read_bytes()
    (tmp_path / "empty").mkdir()
    two = write_zip(tmp_path / "two.zip", {"a/mobility.urdf": b"", "b/mobility.urdf": b""}, "")
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "junk.zip").write_bytes(b"junk" * 100)
    for path, message in (
        (tmp_path / "empty", "no mobility.urdf"),
        (write_zip(tmp_path / "other.zip", {"readme": b""}), "no mobility.urdf"),
        (two, "more than one mobility.urdf"),
        (tmp_path / "cut.zip", "not a readable zip"),
        (tmp_path / "junk.zip", "not a readable zip"),
        (tmp_path / "none.zip", "no such file"),
    ):
        with pytest.raises(ObjectError, match=f"object {path.stem}: .*{path.name}: .*{message}"):
            ObjectFiles(path)


@given(data=st.data())
def test_a_damaged_zip_is_read_or_refused(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    damaged = bytearray(write_zip(path, object_files()).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    try:
        read(path)
    except ObjectError as error:
        assert str(error)


TOKENS = [
    "",
    *" \n\t/-0f<>&]{\0",
    '"',
    "é",
    "//",
    "-1",
    "nan",
    "1e999",
    "9" * 40,
    "v 1 2",
    "..",
    "null",
]


@given(
    st.sampled_from(sorted(object_files())),
    st.integers(0, 10_000),
    st.integers(0, 20),
    st.sampled_from(TOKENS),
)
def test_damaged_content_is_read_or_refused(tmp_path_factory, name, at, length, token):
    files = object_files()
    content = files[name]
    at %= len(content)
    files[name] = content[:at] + token.encode() + content[at + length :]
    try:
        read(write_zip(tmp_path_factory.getbasetemp() / "damaged.zip", files))
    except ObjectError as error:
        assert str(error)


# The OBJ and MTL grammar


def corners_of(*faces: str) -> list:
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nvt 0 0\nvt 1 1\nvn 0 0 1\n" + "\n".join(faces)
    return parse_obj(text.encode()).corners.tolist()


def test_all_forms_of_corners_are_read_also_mixed():
    full = [[0, 1, 0], [1, 0, 0], [2, 0, 0]]
    bare = [[0, -1, -1], [1, -1, -1], [2, -1, -1]]
    uv = [[0, 1, -1], [1, 0, -1], [2, 0, -1]]
    normal = [[0, -1, 0], [1, -1, 0], [2, -1, 0]]
    lines = {
        "f 1/2/1 2/1/1 3/1/1": full,
        "f 1 2 3": bare,
        "f 1/2 2/1 3/1": uv,
        "f 1//1 2//1 3//1": normal,
    }
    for line, expected in lines.items():
        assert corners_of(line) == [expected]
        for other, beside in lines.items():
            assert corners_of(line, other) == [expected, beside]
    assert corners_of("f 1/2/1 2/1 3") == [[[0, 1, 0], [1, 0, -1], [2, -1, -1]]]


def test_polygons_become_fans():
    assert corners_of("f 1 2 3 4") == [
        [[0, -1, -1], [1, -1, -1], [2, -1, -1]],
        [[0, -1, -1], [2, -1, -1], [3, -1, -1]],
    ]


def test_negative_indices_count_back_from_the_face():
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvn 0 0 1\nf -3/-1/-1 -2/-1/-1 -1/-1/-1\n"
    corners = parse_obj((text + text).encode()).corners
    assert corners.tolist() == [
        [[0, 0, 0], [1, 0, 0], [2, 0, 0]],
        [[3, 1, 1], [4, 1, 1], [5, 1, 1]],
    ]


def test_tabs_carriage_returns_and_extra_numbers_are_no_matter():
    mesh = parse_obj(b"v\t0 0 0 1\r\nv  1 0  0\r\nv 0 1 0\r\n# c\r\no x\r\nf  1\t2   3 \r\n")
    assert mesh.positions.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert mesh.corners[..., 0].tolist() == [[0, 1, 2]]


def test_faces_know_their_material():
    text = b"v 0 0 0\nf 1 1 1\nusemtl a b\nf 1 1 1\nusemtl c\nf 1 1 1 1\nusemtl a b\nf 1 1 1\n"
    mesh = parse_obj(text)
    names = [mesh.materials[m] for m in mesh.face_material]
    assert names == ["", "a b", "c", "c", "a b"]


def test_material_files_are_read():
    text = b"newmtl wood\nKd 2 0.5 -1\nKs 0.1 0.2 0.3\nNs 7\nmap_Kd a b.png\nnewmtl glass\nTr 0.9\n"
    wood, glass = parse_mtl(text).values()
    assert (wood.name, wood.colour, wood.shininess) == ("wood", (1, 0.5, 0), 7)
    assert wood.texture == "a b.png"
    assert wood.specular == pytest.approx(0.2)
    assert (glass.opacity, glass.texture) == (pytest.approx(0.1), "")
