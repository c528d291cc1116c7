"""A good shard has no fault; each way to spoil one is found, and named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from synthetic import LINKS, synthetic_shard

from datagen.image_codec import decode_link, encode_colour, encode_link
from datagen.shard_writer import sha256, write_manifest
from datagen.shards import MANIFEST, Shard
from datagen.verification import ATTRIBUTES, DATASETS, verify_folder, verify_shard

NAME = "cabinet.h5"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_shard(tmp_path_factory.mktemp("verification") / NAME)


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    """A copy to spoil, in a folder with its manifest."""
    path = Path(shutil.copy(good, tmp_path))
    data = path.read_bytes()
    entry = {"sha256": sha256(data), "bytes": len(data), "states": 12, "views": 144}
    write_manifest(tmp_path, {NAME: entry})
    return path


def test_good_shard(copy: Path) -> None:
    assert verify_folder(copy.parent) == {NAME: []}


def test_schema_covers_all_that_is_written(good: Path) -> None:
    with h5py.File(good) as file:
        names: list[str] = []
        file.visit(names.append)
        assert {n for n in names if isinstance(file[n], h5py.Dataset)} == set(DATASETS)
        assert all(set(file[group].attrs) == set(names) for group, names in ATTRIBUTES.items())


def move_a_joint(file: h5py.File) -> None:
    file["states/positions"][3, 1] += 0.01


def move_the_swept_joint(file: h5py.File) -> None:
    file["states/positions"][3, 0] -= 0.01


def leave_the_limits(file: h5py.File) -> None:
    file["states/positions"][3, 1] = -0.2


def bend_a_pose(file: h5py.File) -> None:
    file["states/link_poses"][4, LINKS.index("lid"), 0, 3] += 1e-4


def mirror_a_camera(file: h5py.File) -> None:
    file["views/camera_to_world"][2, :3, 0] *= -1


def repeat_a_name(file: h5py.File) -> None:
    file["states/name"][1] = file["states/name"][0]


def drop_a_dataset(file: h5py.File) -> None:
    del file["points/link"]


def drop_a_point(file: h5py.File) -> None:
    links = file["points/link"][1:]
    del file["points/link"]
    file["points/link"] = links


def point_at_no_link(file: h5py.File) -> None:
    file["points/link"][7] = len(LINKS)


def close_the_tree(file: h5py.File) -> None:
    file["joints/parent"][0] = LINKS.index("lid")


def shift_the_bits(file: h5py.File) -> None:
    file["frames/visible"][5, 9] = np.roll(file["frames/visible"][5, 9], 3)


def replace_picture(
    kind: str, state: int, view: int, change: Callable[[bytes], bytes]
) -> Callable[[h5py.File], None]:
    """Change one encoded picture, and move the ends of the others."""

    def spoil(file: h5py.File) -> None:
        data, ends = file[f"frames/{kind}"][()].tobytes(), file[f"frames/{kind}_end"][()]
        end = ends[state, view]
        start = max(ends[ends < end], default=0)
        new = change(data[start:end])
        data = data[:start] + new + data[end:]
        del file[f"frames/{kind}"]
        file[f"frames/{kind}"] = np.frombuffer(data, np.uint8)
        file[f"frames/{kind}_end"][()] = np.where(ends < end, ends, ends + len(new) - (end - start))

    return spoil


def half(picture: bytes) -> bytes:
    return picture[: len(picture) // 2]


def blank(_: bytes) -> bytes:
    return encode_colour(np.zeros((64, 64, 4), np.uint8))


def small(_: bytes) -> bytes:
    return encode_colour(np.zeros((32, 32, 4), np.uint8))


def call_the_drawer_lid(picture: bytes) -> bytes:
    link = decode_link(picture)
    return encode_link(np.where(link == LINKS.index("drawer"), LINKS.index("lid"), link))


@pytest.mark.parametrize(
    "spoil, faults",
    [
        (move_a_joint, ["state cabinet_0_3_u0: the pose of link lid differs by"]),
        (move_the_swept_joint, ["joint joint_drawer is at 0.26; state index 3 would be 0.27"]),
        (leave_the_limits, ["joint joint_lid is at -0.2, outside of 0 to 1.5708"]),
        (bend_a_pose, ["state cabinet_0_4_u0: the pose of link lid differs by 0.0001"]),
        (mirror_a_camera, ["view 2 is not orthonormal and right-handed"]),
        (repeat_a_name, ["another state has the same name", "unlike its name"]),
        (drop_a_dataset, ["points/link: missing"]),
        (drop_a_point, ["points/link: has shape [1599], not [P]"]),
        (point_at_no_link, ["points/link: not every index is within 0 to 4"]),
        (close_the_tree, ["cannot be read: ValueError: joint joint_body is part of a cycle"]),
        (
            shift_the_bits,
            ["state cabinet_0_5_u0, view 9:", "are not what the depth and link maps show"],
        ),
        (
            replace_picture("colour", 2, 3, half),
            ["state cabinet_0_2_u0, view 3: its colour does not"],
        ),
        (
            replace_picture("depth", 2, 3, half),
            ["state cabinet_0_2_u0, view 3: its depth does not"],
        ),
        (replace_picture("link", 2, 3, half), ["state cabinet_0_2_u0, view 3: its link does not"]),
        (replace_picture("colour", 7, 0, blank), ["view 0: its colour and link map differ"]),
        (
            replace_picture("colour", 7, 0, small),
            ["view 0: its colour is (32, 32, 4), not (64, 64, 4)"],
        ),
    ],
    ids=lambda value: getattr(value, "__name__", "reported"),
)
def test_faults_inside_are_named(
    copy: Path, spoil: Callable[[h5py.File], None], faults: list[str]
) -> None:
    with h5py.File(copy, "r+") as file:
        spoil(file)
    found = verify_shard(Shard(copy))
    assert all(any(fault in line for line in found) for fault in faults), found
    assert all(line.startswith(f"{copy}: ") for line in found)


def test_only_the_spoiled_view_is_named(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        shift_the_bits(file)
    (fault,) = verify_shard(Shard(copy))
    assert "state cabinet_0_5_u0, view 9" in fault


def test_points_on_the_wrong_part(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        for state, view in np.ndindex(6, 12):
            replace_picture("link", state, view, call_the_drawer_lid)(file)
    faults = verify_shard(Shard(copy))
    assert all("are not what the depth and link maps show" in fault for fault in faults)
    assert any("state cabinet_0_0_u0, view 0:" in fault for fault in faults)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def rename(path: Path) -> None:
    path.rename(path.with_name("other.h5"))


def break_the_manifest(path: Path) -> None:
    (path.parent / MANIFEST).write_text("{")


@pytest.mark.parametrize(
    "spoil, faults",
    [
        (flip_a_byte, {NAME: "its SHA-256 is"}),
        (cut_short, {NAME: "not a readable HDF5 file"}),
        (Path.unlink, {NAME: "in the manifest, but not in the folder"}),
        (rename, {NAME: "not in the folder", "other.h5": "not in the manifest"}),
        (break_the_manifest, {MANIFEST: "broken", NAME: "not in the manifest"}),
    ],
)
def test_folder_against_its_manifest(
    copy: Path, spoil: Callable[[Path], object], faults: dict[str, str]
) -> None:
    spoil(copy)
    found = verify_folder(copy.parent)
    assert found.keys() == faults.keys()
    assert all(any(fault in line for line in found[name]) for name, fault in faults.items()), found
