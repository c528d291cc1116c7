"""Building shards with a real Blender, at the smallest settings."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from datagen.build import Build, BuildError, build
from datagen.cameras import project
from datagen.drags import moved_points
from datagen.render_settings import PRESETS, RenderSettings
from datagen.samples import write_sample
from datagen.shard_maker import Sampling
from datagen.shards import Shard, open_shards, read_manifest
from datagen.verification import verify_folder
from datagen.visibility import TOLERANCE

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = replace(PRESETS["preview"], resolution=64, samples=1, bounces=0, denoiser="none")
SETTINGS = (
    *("--preset", "preview", "--resolution", "64"),
    *("--samples", "1", "--bounces", "0", "--denoiser", "none"),
)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    for category in ("Laptop", "Microwave"):
        write_sample(category, 0, folder)
    return folder


def request(
    objects: Path, out: Path, workers: int = 1, render: RenderSettings = TINY, **more: object
) -> Build:
    return Build((objects,), out, (), Sampling(), render, workers=workers, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shards(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed run with two workers makes."""
    out = tmp_path_factory.mktemp("shards")
    assert build(request(objects, out, workers=2)).complete
    return out


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder; the lock is no part of the result."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != ".lock"
    }


def command(objects: Path, out: Path, *more: str) -> list[str]:
    program = [sys.executable, "-m", "datagen", "build", "--objects", str(objects)]
    return [*program, "--out", str(out), "--workers", "1", *SETTINGS, *more]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def wait_for(condition: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_shards_pass_their_own_verification(shards: Path) -> None:
    reports = verify_folder(shards)
    assert sorted(reports) == ["laptop0000.h5", "microwave0000.h5"]
    assert not any(reports.values()), reports


def test_points_that_the_depth_map_shows_land_on_their_part_of_the_link_mask(shards: Path) -> None:
    landed, visible = [], []
    for shard in open_shards(shards).values():
        for s, state in enumerate(shard.states):
            moved = moved_points(shard, state.part)
            points = shard.world_points(s)[moved]
            for view, camera in enumerate(shard.camera_to_world):
                pixels, distance = project(points, camera, shard.intrinsics)
                column, row = np.floor(pixels).astype(int).T
                in_front = np.abs(shard.depth(s, view)[row, column] - distance) < TOLERANCE
                on_mask = shard.link(s, view)[row, column] == shard.point_link[moved]
                landed += list(on_mask[in_front])
                visible += list(shard.visible(s, view)[moved] == (in_front & on_mask))
    assert len(landed) > 10_000
    assert np.mean(landed) > 0.99
    assert np.mean(visible) > 0.999


def test_the_number_of_workers_does_not_change_a_byte(
    objects: Path, shards: Path, tmp_path: Path
) -> None:
    assert build(request(objects, tmp_path, workers=1)).complete
    assert content(tmp_path) == content(shards)


def test_a_run_killed_in_mid_object_goes_on_to_the_same_bytes(
    objects: Path, shards: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        command(objects, tmp_path), cwd=REPOSITORY, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: len(list(tmp_path.glob(".work/*/*.npz"))) >= 3)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not any(p.is_running() and p.status() != "zombie" for p in family), 10)
    assert not list(tmp_path.glob("*.h5"))

    done = build(request(objects, tmp_path))
    assert done.complete and done.resumed_states >= 3
    assert content(tmp_path) == content(shards)

    again = build(request(objects, tmp_path))
    assert again.complete and not again.made and len(again.resumed) == 2


def test_a_blender_that_dies_is_replaced_and_its_object_made(
    objects: Path, shards: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        command(objects, tmp_path), cwd=REPOSITORY, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: list(tmp_path.glob(".work/*/*.npz")))
    family = psutil.Process(process.pid).children(recursive=True)
    [blender] = [p for p in family if any("blender_scripts" in word for word in p.cmdline())]
    blender.kill()
    assert process.wait(timeout=120) == 0
    assert content(tmp_path) == content(shards)


def test_an_unusable_object_is_reported_and_the_others_are_made(
    objects: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "objects"
    shutil.copytree(objects / "laptop0000", mixed / "laptop0000")
    shutil.copytree(objects / "laptop0000", mixed / "broken")
    mesh = next(p for p in sorted((mixed / "broken").rglob("*.obj")) if b"\nf " in p.read_bytes())
    mesh.write_bytes(mesh.read_bytes() + b"\nf 1 2 99999\n")
    ended = run(*command(mixed, tmp_path / "out"))
    assert ended.returncode == 1
    assert f"object broken: textured_objs/{mesh.name}, line " in ended.stdout
    assert list(read_manifest(tmp_path / "out")) == ["laptop0000.h5"]


def test_a_state_list_renders_just_its_states(objects: Path, tmp_path: Path) -> None:
    names = ["laptop0000_0_4", "laptop0000_0_1"]
    (tmp_path / "list.txt").write_text("\n".join(names))
    done = build(request(objects, tmp_path / "out", state_list=tmp_path / "list.txt"))
    assert done.complete
    shard = Shard(tmp_path / "out" / "laptop0000.h5")
    assert [state.name for state in shard.states] == names
    [joint] = shard.object.movable
    assert [float(s.positions[0]) for s in shard.states] == [joint.position(4), joint.position(1)]


def test_an_object_of_a_state_list_that_is_not_there_counts_as_not_made(
    objects: Path, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text("laptop0000_0_0\n7120_0_0\n")
    done = build(request(objects, tmp_path / "out", state_list=tmp_path / "list.txt"))
    assert not done.complete
    assert list(done.skipped) == ["7120"]


def test_an_unknown_category_names_the_known_ones(objects: Path, tmp_path: Path) -> None:
    wrong = replace(request(objects, tmp_path), categories=("Toaster",))
    with pytest.raises(BuildError, match=r"Toaster; there are: Laptop \(1\), Microwave \(1\)"):
        build(wrong)


def test_shards_of_other_settings_are_not_mixed(objects: Path, shards: Path) -> None:
    with pytest.raises(BuildError, match="made with other settings"):
        build(request(objects, shards, render=replace(TINY, samples=2)))


def test_one_build_at_a_time_writes_to_a_folder(objects: Path, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BuildError, match="another build is writing"):
            build(request(objects, tmp_path))


def test_a_full_disk_stops_the_run_and_leaves_only_whole_shards(
    objects: Path, shards: Path, tmp_path: Path
) -> None:
    size = sum(entry["bytes"] for entry in read_manifest(shards).values())
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={int(0.8 * size)}", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        ended = run(*command(objects, small))
        assert ended.returncode == 1
        assert "no space left" in ended.stderr and "start again to go on" in ended.stderr
        assert not list(small.glob(".*.partial"))
        kept = {name: data for name, data in content(small).items() if name.endswith(".h5")}
        assert kept.items() <= content(shards).items()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_an_installed_blender_works_in_the_wheels_place(
    objects: Path, shards: Path, tmp_path: Path
) -> None:
    if shutil.which("blender") is None:
        pytest.skip("no installed Blender on the PATH")
    one = request(objects / "laptop0000", tmp_path, blender="blender")
    assert build(one).complete
    theirs, ours = Shard(tmp_path / "laptop0000.h5"), Shard(shards / "laptop0000.h5")
    same = [np.mean(theirs.link(s, 0) == ours.link(s, 0)) for s in range(len(ours.states))]
    assert min(same) > 0.98
