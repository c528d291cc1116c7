"""The tracer: light, shadow, depth and coverage against closed forms, and Blender's pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datagen.articulation import link_poses
from datagen.blender import Blender
from datagen.build import Build, BuildError, build
from datagen.cameras import look_at, rig
from datagen.image_codec import Frame
from datagen.obj_mesh import Material
from datagen.packing import psnr_on_white
from datagen.partnet import read_object
from datagen.render_settings import PRESETS
from datagen.samples import write_sample
from datagen.shard_maker import Sampling
from datagen.shards import open_shards
from datagen.source import ObjectFiles
from datagen.surface import Surface, face_normals, read_surface
from datagen.tracing import Tracer, lamps
from datagen.verification import verify_folder
from datagen.world import extent_points, world_from_object

SIZE = 32
FEW = replace(PRESETS["standard"], resolution=SIZE, samples=64)
ABOVE = look_at(np.array([0.0, -1e-6, 3.0]), np.zeros(3))
RIG = rig("ring")
RED, GREY = Material(colour=(1.0, 0.0, 0.0)), Material(colour=(0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def tracer() -> Tracer:
    return Tracer()


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> ObjectFiles:
    return ObjectFiles(write_sample("Laptop", 0, tmp_path_factory.mktemp("objects")))


def plate(height: float, half: float, link: int = 0, x: float = 0.0) -> np.ndarray:
    """Two triangles that face up, each [3, 3]."""
    a, b, c, d = ([x + half * i, half * j, height] for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1)))
    return np.array([[a, b, c], [a, c, d]], float)


def surface(plates: list[np.ndarray], materials: list[Material]) -> Surface:
    """Plates, each of a link and a material of its own."""
    triangles = np.concatenate(plates)
    which = np.repeat(np.arange(len(plates)), 2)
    normals = face_normals(triangles)
    unit = normals / np.linalg.norm(normals, axis=1, keepdims=True)
    return Surface(
        triangles,
        np.repeat(unit[:, None], 3, axis=1),
        np.zeros((2, len(triangles), 3, 2)),
        np.stack([which, which]),
        which,
        tuple(materials),
    )


def seen(
    tracer: Tracer, files: ObjectFiles, plates: list[np.ndarray], materials: list[Material]
) -> Frame:
    """Plates from straight above."""
    tracer.load(files, surface(plates, materials))
    tracer.configure(FEW)
    (frame,) = tracer.render(np.tile(np.eye(4), (len(plates), 1, 1)), ABOVE[None])
    return frame


def srgb(linear: float) -> float:
    return 255 * (1.055 * linear ** (1 / 2.4) - 0.055)


def linear(byte: float) -> float:
    return float(((byte / 255 + 0.055) / 1.055) ** 2.4)


def test_an_open_plate_has_the_light_of_the_sky_and_the_sun(
    tracer: Tracer, nothing: ObjectFiles
) -> None:
    frame = seen(tracer, nothing, [plate(0, 9)], [GREY])
    light = lamps("studio")
    matt = linear(127.5) * (light.sky + light.sun * light.towards[2] / np.pi)
    assert frame.colour[..., 3].min() == 255
    # A matt surface mirrors a little, too: within 4 %.
    assert linear(frame.colour[..., :3].mean()) == pytest.approx(matt, rel=0.04)
    assert frame.colour[..., :3].std() < 2


def test_what_covers_it_takes_the_sun_away(tracer: Tracer, nothing: ObjectFiles) -> None:
    """A small roof far above the plate, towards the sun, is out of the picture and hides it."""
    light = lamps("studio")
    roof = plate(0, 0.6) + 3.5 * np.array(light.towards)
    open_light, shadow = (
        seen(tracer, nothing, plates, [GREY, GREY][: len(plates)]).colour[16, 16, 0]
        for plates in ([plate(0, 9)], [plate(0, 9), roof])
    )
    share = light.sky / (light.sky + light.sun * light.towards[2] / np.pi)
    assert linear(shadow) / linear(open_light) == pytest.approx(share, abs=0.06)


def test_depth_and_link_are_of_what_is_in_front(tracer: Tracer, nothing: ObjectFiles) -> None:
    frame = seen(tracer, nothing, [plate(0, 0.7), plate(0.5, 0.2)], [GREY, RED])
    focal = RIG.intrinsics(SIZE)[0, 0]
    half = {link: focal * w / (3 - h) for link, w, h in ((0, 0.7, 0.0), (1, 0.2, 0.5))}
    offset = np.abs(np.arange(SIZE) + 0.5 - SIZE / 2)
    far = np.maximum(offset[:, None], offset[None])
    expected = np.where(far < half[1], 1, np.where(far < half[0], 0, -1))
    np.testing.assert_array_equal(frame.link, expected)
    distance = np.array([3.0, 2.5, np.inf])[expected]
    np.testing.assert_allclose(frame.depth, distance, rtol=1e-5)
    assert (frame.colour[expected == 1, 0] > 100 + frame.colour[expected == 1, 1]).all()
    assert not frame.colour[far > half[0] + 1].any()


def test_alpha_is_the_share_of_a_pixel_that_is_covered(
    tracer: Tracer, nothing: ObjectFiles
) -> None:
    frame = seen(tracer, nothing, [plate(0, 0.61)], [GREY])
    side = 2 * 0.61 * RIG.intrinsics(SIZE)[0, 0] / 3
    assert frame.colour[..., 3].sum() / 255 == pytest.approx(side**2, rel=0.02)


def test_a_pane_shows_half_of_what_is_behind_it(tracer: Tracer, nothing: ObjectFiles) -> None:
    pane = Material(colour=(0.0, 0.0, 0.0), opacity=0.5)
    alone = seen(tracer, nothing, [plate(0.5, 9)], [pane])
    assert alone.colour[..., 3].mean() == pytest.approx(127.5, abs=4)
    assert (alone.link == 0).all()
    bare = linear(seen(tracer, nothing, [plate(0, 9)], [RED]).colour[..., 0].mean())
    behind = seen(tracer, nothing, [plate(0, 9), plate(0.5, 9)], [RED, pane])
    assert (behind.link == 1).all()
    # Half of the camera's rays end at the pane; so does half of the light on its way in.
    assert linear(behind.colour[..., 0].mean()) == pytest.approx(0.25 * bare, rel=0.15)


def test_links_move_and_the_same_object_gives_the_same_bytes(
    tracer: Tracer, nothing: ObjectFiles
) -> None:
    plates = [plate(0, 0.5)]
    still = seen(tracer, nothing, plates, [GREY])
    again = seen(tracer, nothing, plates, [GREY])
    np.testing.assert_array_equal(again.colour, still.colour)
    up = np.eye(4)
    up[2, 3] = 1.0
    (moved,) = tracer.render(up[None], ABOVE[None])
    assert moved.depth.min() == pytest.approx(2.0)
    assert (moved.link == 0).sum() > 2 * (still.link == 0).sum()


@pytest.mark.parametrize("category", ["Microwave", "StorageFurniture"])
def test_pictures_are_blenders(tracer: Tracer, tmp_path: Path, category: str) -> None:
    """Textures, gloss, glass and light between surfaces, on an object half open."""
    pytest.importorskip("bpy")
    files = ObjectFiles(write_sample(category, 0, tmp_path))
    obj = read_object(files)
    faces = read_surface(files, obj)
    half = np.array([[joint.position(2.5) for joint in obj.movable]])
    poses = world_from_object("ring", extent_points(obj, faces, half)) @ link_poses(obj, half)[0]
    cameras = RIG.camera_to_world[[0, 5]]
    settings = replace(FEW, resolution=64, samples=64, denoiser="none")
    frames = []
    with Blender() as blender:
        for renderer in (blender, tracer):
            renderer.load(files, faces)
            renderer.configure(settings)
            frames.append(renderer.render(poses, cameras))
    for theirs, ours in zip(*frames, strict=True):
        assert psnr_on_white(ours.colour, theirs.colour) > 35
        assert (ours.link == theirs.link).mean() > 0.998
        both = np.isfinite(ours.depth) & np.isfinite(theirs.depth)
        # Blender's depth is taken anywhere in a pixel.
        assert np.median(np.abs(ours.depth[both] - theirs.depth[both])) < 0.01


def test_a_build_with_it_makes_whole_shards(tmp_path: Path) -> None:
    write_sample("Contraption", 1, tmp_path / "objects")
    tiny = replace(FEW, samples=1, bounces=0)
    sampling = Sampling(collisions=False)
    job = Build((tmp_path / "objects",), tmp_path / "out", (), sampling, tiny, workers=1)
    assert build(replace(job, renderer="tracer")).complete
    assert not any(verify_folder(tmp_path / "out").values())
    (shard,) = open_shards(tmp_path / "out").values()
    assert shard.config["renderer"] == "tracer"
    assert shard.config["sampling"]["collisions"] is False
    with pytest.raises(BuildError, match="made with other settings"):
        build(job)
    with pytest.raises(BuildError, match="no METAL device here"):
        build(replace(job, out=tmp_path / "metal", renderer="tracer", device="METAL"))
