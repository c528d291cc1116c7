"""A pack is read as its shards are, is theirs but for colour and depth, and is always the same."""

import shutil
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
import torch
from synthetic import synthetic_shard
from torch.utils.data import DataLoader

from datagen.__main__ import main
from datagen.image_codec import decode_colour, encode_colour_lossy
from datagen.inspection import contact_sheet
from datagen.packing import pack, psnr_on_white, report
from datagen.shard_writer import sha256, write_manifest
from datagen.shards import MANIFEST, Shard, ShardError, open_shards, read_manifest
from datagen.verification import verify_folder
from model.training.dataset import StateDataset, Task
from model.training.parts import ClickDataset

NAMES = ("one", "three", "two")
SIZE = 32
QUALITY = 90
LARGE = 60_000_000
KEPT = ("link_poses", "points", "point_link", "camera_to_world", "intrinsics")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards."""
    folder, entries = tmp_path_factory.mktemp("shards"), {}
    for name in NAMES:
        data = synthetic_shard(folder / f"{name}.h5", SIZE).read_bytes()
        entry = {"sha256": sha256(data), "bytes": len(data), "states": 12, "views": 144}
        entries[f"{name}.h5"] = entry
    write_manifest(folder, entries)
    return folder


@pytest.fixture(scope="module")
def packed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pack")
    pack(folder, out, QUALITY, LARGE, workers=2)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_all_but_colour_and_depth_is_kept(folder: Path, packed: Path) -> None:
    shards, again = open_shards(folder), open_shards(packed)
    assert list(again) == list(shards) == list(NAMES)
    assert list(open_shards(packed / "pack-0000.h5")) == list(NAMES)
    for name, shard in shards.items():
        copy, decibels = again[name], []
        for attribute in KEPT:
            np.testing.assert_equal(getattr(copy, attribute), getattr(shard, attribute))
        assert [s.name for s in copy.states] == [s.name for s in shard.states]
        assert (copy.id, copy.object.category) == (name, shard.object.category)
        for state, view in np.ndindex(12, 12):
            assert (copy.link(state, view) == shard.link(state, view)).all()
            assert (copy.visible(state, view) == shard.visible(state, view)).all()
            colours = copy.colour(state, view), shard.colour(state, view)
            assert (colours[0][..., 3] == colours[1][..., 3]).all()
            decibels.append(psnr_on_white(*colours))
        packing = copy.config.pop("packing")
        assert copy.config == shard.config
        assert packing["quality"] == QUALITY
        assert packing["psnr_mean"] == pytest.approx(np.mean(decibels), abs=0.01)
        assert packing["psnr_worst"] == pytest.approx(min(decibels), abs=0.01)
        assert min(decibels) > 25  # of so few pixels, many are edges
    with pytest.raises(ShardError, match=r"pack-0000.h5/one: packed without depth; the shard"):
        again["one"].depth(0, 0)


def dataset(path: Path, kind: str = "states", size: int = SIZE) -> StateDataset | ClickDataset:
    shards = open_shards(path)
    if kind == "clicks":
        return ClickDataset(shards, size)
    task = Task(moves=True, teacher=True, rendered=8, surface=16, follows=True)
    return StateDataset(shards, task, size)


@pytest.mark.parametrize("kind", ["states", "clicks"])
def test_samples_are_those_of_the_shards_in_other_colours(
    folder: Path, packed: Path, kind: str
) -> None:
    exact, lossy = dataset(folder, kind), dataset(packed, kind)
    assert len(lossy) == len(exact)
    for number in range(0, 2 * len(lossy), 29):
        for name, values in lossy[number]._asdict().items():
            expected = getattr(exact[number], name)
            if values.dtype == torch.uint8 and kind == "states":
                assert not torch.equal(values, expected)
                values, expected = values[:, 3], expected[:, 3]
            if values.dtype != torch.uint8 or kind == "states":
                assert torch.equal(values, expected), name


def test_smaller_pictures_make_the_samples_that_the_shards_make_in_that_size(
    folder: Path, tmp_path: Path
) -> None:
    size = SIZE // 2
    pack(folder, tmp_path, QUALITY, LARGE, workers=1, resolution=size)
    exact, small = dataset(folder, size=size), dataset(tmp_path, size=size)
    assert open_shards(tmp_path)["one"].resolution == size
    for number in range(0, len(exact), 29):
        for name, values in small[number]._asdict().items():
            expected = getattr(exact[number], name)
            if name in ("source", "target_inputs", "target"):
                values, expected = values[:, 3], expected[:, 3]
            torch.testing.assert_close(values, expected, rtol=1e-6, atol=1e-6, msg=name)
    assert not any(verify_folder(tmp_path).values())
    with pytest.raises(ShardError, match=rf"holds pictures of {SIZE} pixels, of which none of 64"):
        pack(folder, tmp_path, QUALITY, LARGE, workers=1, resolution=2 * SIZE)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_samples_are_the_same_in_every_process(packed: Path, start: str) -> None:
    """With the file open here already, by every object."""
    samples = dataset(packed)
    numbers = range(0, len(samples), 23)
    here = [samples[n] for n in numbers]
    loader = DataLoader(
        samples, batch_size=None, sampler=numbers, num_workers=1, multiprocessing_context=start
    )
    for expected, sample in zip(here, loader, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(sample, expected, strict=True))


def test_objects_of_a_file_share_it_and_close_alone(packed: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(packed / "pack-0000.h5", tmp_path / "shared.h5"))

    def times_open() -> int:
        return [Path(file.path) for file in psutil.Process().open_files()].count(path)

    shards = [Shard(path, name) for name in NAMES]
    first = [shard.colour(0, 0) for shard in shards]
    assert times_open() == 1
    shards[0].close()
    for shard, colour in zip(shards, first, strict=True):
        assert (shard.colour(0, 0) == colour).all()
        shard.close()
    assert times_open() == 0


def test_files_are_filled_up_to_the_limit_and_a_run_goes_on_where_it_stopped(
    folder: Path, packed: Path, tmp_path: Path
) -> None:
    limit = int(0.8 * (packed / "pack-0000.h5").stat().st_size)
    pack(folder, tmp_path, QUALITY, limit, workers=1)
    whole, manifest = contents(tmp_path), read_manifest(tmp_path)
    assert [list(entry["objects"]) for entry in manifest.values()] == [["one", "three"], ["two"]]
    assert all(entry["bytes"] == len(whole[name]) <= limit for name, entry in manifest.items())
    assert list(open_shards(tmp_path)) == list(NAMES)
    # As if killed after the first file, while the second was written.
    write_manifest(tmp_path, {"pack-0000.h5": manifest["pack-0000.h5"]})
    (tmp_path / "pack-0001.h5").unlink()
    (tmp_path / ".pack-0001.h5.1.partial").write_bytes(b"half")
    first = (tmp_path / "pack-0000.h5").stat()
    pack(folder, tmp_path, QUALITY, limit, workers=2)
    assert contents(tmp_path) == whole
    assert (tmp_path / "pack-0000.h5").stat().st_mtime_ns == first.st_mtime_ns
    assert report(tmp_path).startswith("packed   3 object(s) into 2 file(s): 432 views, ")


def test_what_cannot_be_packed_is_refused(
    folder: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ShardError, match="is a pack already; pack the shards"):
        pack(packed, tmp_path, QUALITY, LARGE)
    with pytest.raises(ShardError, match=r"object one: has 0\.\d+ MB .* the 0.01 MB .*--max-mb"):
        pack(folder, tmp_path, QUALITY, 10_000, workers=1)
    before = contents(packed), contents(folder)
    for out, quality in ((packed, 80), (folder, QUALITY)):
        with pytest.raises(
            ShardError, match=f"{out / MANIFEST}: is of other shards, .*another --out"
        ):
            pack(folder, out, quality, LARGE)
    assert before == (contents(packed), contents(folder))
    assert run("pack", str(folder), "--out", str(tmp_path), "--quality", "101") == 1
    assert "error: --quality 101: it goes from 0 to 100" in capsys.readouterr().err


def run(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["datagen", *arguments])
        return main()


def test_a_pack_is_looked_at_and_checked(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("verify", str(packed)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["pack-0000.h5: good", "pack-0000.h5/one: good"]
    assert "has no depth, its points were checked by link maps alone" in lines[-1]
    assert run("inspect", str(packed)) == 0
    assert f"quality {QUALITY}" in capsys.readouterr().out
    assert contact_sheet(open_shards(packed)["two"], views=[0], states=[1], cell=SIZE).width > SIZE


def test_faults_in_a_pack_are_named(packed: Path, tmp_path: Path) -> None:
    for name, data in contents(packed).items():
        (tmp_path / name).write_bytes(data)
    with h5py.File(tmp_path / "pack-0000.h5", "r+") as file:
        file["three/frames/visible"][5, 9] = np.roll(file["three/frames/visible"][5, 9], 3)
        del file["two"]
    (tmp_path / "pack-0001.h5").write_bytes(b"no HDF5")
    found = verify_folder(tmp_path)
    assert "SHA-256" in " ".join(found["pack-0000.h5"])
    assert any("object two is in the manifest alone" in fault for fault in found["pack-0000.h5"])
    assert found["pack-0000.h5/one"] == []
    (fault,) = found["pack-0000.h5/three"]
    assert "pack-0000.h5/three: state three_0_5_u0, view 9:" in fault
    assert "not in the manifest" in found["pack-0001.h5"][0]
    assert "not a readable HDF5 file" in found["pack-0001.h5"][1]
    with pytest.raises(ShardError, match=r"needed, this is \('PartDrag-4D pack', 1\)"):
        Shard(tmp_path / "pack-0000.h5").id  # noqa: B018


def test_a_higher_quality_is_closer(folder: Path) -> None:
    picture = open_shards(folder)["one"].colour(0, 0)
    lossy = [encode_colour_lossy(picture, quality) for quality in (10, 50, 95)]
    decibels = [psnr_on_white(decode_colour(data), picture) for data in lossy]
    assert all(a < b for a, b in pairwise(decibels)) and psnr_on_white(picture, picture) == 100
