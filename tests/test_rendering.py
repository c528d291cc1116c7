"""Rendering: the CPU rasterizer against equations written out, gsplat against the rasterizer."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from dense_rasterizer import dense_render
from numba.core.dispatcher import Dispatcher
from torch.nn.functional import normalize

from datagen.cameras import project, rig
from model.rasterizer import blending, projection, tiles
from model.rendering import Rendering, render

BACKGROUND = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
CHANNELS = {
    "position": slice(0, 3),
    "opacity": slice(3, 4),
    "scale": slice(4, 7),
    "rotation": slice(7, 11),
    "colour": slice(11, 14),
}


def random_gaussians(batch, count, seed=0, size=0.1):
    """Float64 Gaussians around the unit sphere, of opacities 0 to 1."""
    generator = torch.Generator().manual_seed(seed)

    def draw(channels, law=torch.randn):
        return law(batch, count, channels, generator=generator, dtype=torch.float64)

    return torch.cat(
        [
            0.5 * draw(3),
            draw(1, torch.rand),
            size * torch.exp(0.5 * draw(3)),
            normalize(draw(4), dim=-1),
            draw(3, torch.rand),
        ],
        dim=-1,
    )


def cameras(batch, views, width, height):
    """Cameras of the ring, different for each batch item, and intrinsics off the centre."""
    views_of_ring = torch.from_numpy(rig("ring").camera_to_world)
    chosen = torch.arange(batch * views) * 5 % 12
    intrinsics = torch.tensor(
        [[1.1 * width, 0, 0.52 * width], [0, 1.2 * width, 0.45 * height], [0, 0, 1]],
        dtype=torch.float64,
    )
    return views_of_ring[chosen].view(batch, views, 4, 4), intrinsics


def one_camera():
    """At the origin, looking along z: 32 x 24 pixels, 30 pixels to a world unit at depth 1."""
    intrinsics = torch.tensor([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]], dtype=torch.float64)
    return torch.eye(4, dtype=torch.float64)[None, None], intrinsics


def gaussian(position, opacity=0.8, scale=0.05, rotation=(1, 0, 0, 0), colour=(1, 0, 0)):
    scales = np.broadcast_to(scale, 3)
    return [*position, opacity, *scales, *(np.array(rotation) / np.linalg.norm(rotation)), *colour]


def scene(*gaussians):
    return torch.tensor([gaussians], dtype=torch.float64)


def dense(gaussians, camera_to_world, intrinsics, width, height):
    pictures = [
        [dense_render(g, camera, intrinsics, width, height, BACKGROUND) for camera in cameras]
        for g, cameras in zip(gaussians, camera_to_world, strict=True)
    ]
    return Rendering(
        *(
            torch.stack([torch.stack([p[kind] for p in row]) for row in pictures])
            for kind in range(3)
        )
    )


def loss(rendering, seed=1):
    """A scalar that every pixel of every picture has its own part in."""
    generator = torch.Generator().manual_seed(seed)
    return sum(
        (picture.double().cpu() * torch.randn(picture.shape, generator=generator)).sum()
        for picture in rendering
    )


def assert_same(gaussians, camera_to_world, intrinsics, width, height):
    """Values within 1e-4, gradients within 1e-3 of the largest of their kind."""
    view = (camera_to_world, intrinsics, width, height)
    ours, reference = (gaussians.clone().requires_grad_() for _ in range(2))
    pictures, expected = render(ours, *view, BACKGROUND), dense(reference, *view)
    for picture, target in zip(pictures, expected, strict=True):
        torch.testing.assert_close(picture, target, rtol=0, atol=1e-4)
    loss(pictures).backward()
    loss(expected).backward()
    for name, channels in CHANNELS.items():
        mine, target = ours.grad[..., channels], reference.grad[..., channels]
        worst = (mine - target).abs().max().item()
        assert worst <= 1e-3 * target.abs().max().item(), f"{name}: off by {worst}"


def test_a_picture_of_half_the_size_with_a_quarter_of_the_blur_shows_what_the_whole_one_shows():
    """At its pixels' corners, which are the larger one's between four pixels: the mean of them."""
    camera, intrinsics = one_camera()
    splats = scene(gaussian((0.1, 0.05, 1), scale=0.15), gaussian((-0.2, 0, 1.5), scale=0.2))
    small = render(splats, camera, intrinsics, 32, 24, blur=0.05)
    wide = torch.tensor([[2.0], [2.0], [1.0]], dtype=torch.float64)
    large = render(splats, camera, intrinsics * wide, 64, 48, blur=0.2)
    halved = torch.nn.functional.avg_pool2d(large.colour[0], 2)[None]
    torch.testing.assert_close(halved, small.colour, rtol=0, atol=0.004)
    other = render(splats, camera, intrinsics, 32, 24, blur=1.8)
    assert (halved - other.colour).abs().max() > 0.02


def test_random_scenes_match_the_dense_reference():
    """Batch and views at once, several tiles, sides that no tile divides."""
    assert_same(random_gaussians(2, 80), *cameras(2, 2, 40, 35), 40, 35)


@pytest.mark.parametrize("size", [1e-4, 0.01, 1.0])
def test_gaussians_of_any_size_match(size):
    assert_same(random_gaussians(1, 60, seed=2, size=size), *cameras(1, 1, 33, 20), 33, 20)


FRONT = gaussian(
    (0.1, 0, 2), colour=(0, 1, 0), scale=(0.1, 0.02, 0.05), rotation=(0.8, 0.1, 0.2, 0.5)
)
SPECIAL = {
    "overlapping": [FRONT, gaussian((0.15, 0.02, 3)), gaussian((0.1, 0, 2.5), scale=0.2)],
    "given from back to front": [gaussian((0, 0, 4 - k / 5), 0.5, 0.2) for k in range(8)],
    "behind the camera": [FRONT, gaussian((0, 0, -2)), gaussian((0, 0, 0.005))],
    "beside the frustum": [FRONT, gaussian((3, 0, 2)), gaussian((0, -5, 2), scale=0.3)],
    "reaching in from outside": [FRONT, gaussian((1.9, 0, 2), scale=(0.6, 0.1, 0.3))],
    "outside, with a clamped Jacobian": [FRONT, gaussian((-0.5, 0.9, 0.5), scale=0.3)],
    "smaller than a pixel": [FRONT, gaussian((0.01, 0.02, 3), 0.9, 1e-6)],
    "flat": [FRONT, gaussian((0, 0, 3), 0.9, (0.3, 0.2, 0), rotation=(0.5, 0.5, 0.1, 0.2))],
    "as large as the picture": [FRONT, gaussian((0, 0, 3), 0.9, 50)],
    "transparent": [FRONT, gaussian((0, 0, 3), 0.0), gaussian((0, 0, 1), 0.0039)],
    "opaque": [
        gaussian((0, 0, 2 + k / 10), 1.0, 0.2 + k / 50, colour=(k / 9, 0, 1)) for k in range(6)
    ],
    "more than the light lasts": [gaussian((0, 0, 2 + k / 9), 0.6, 0.3) for k in range(30)],
    "a rotation of another length": [FRONT, [*gaussian((0, 0, 3))[:7], 3, 1, 0, 2, 1, 1, 0]],
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_cases_match_the_dense_reference(name):
    assert_same(scene(*SPECIAL[name]), *one_camera(), 32, 24)


def test_a_gaussian_is_where_the_camera_module_projects_it():
    views, size = rig("ring"), 64
    point = np.array([0.3, -0.2, 0.4])
    gaussians = scene(gaussian(point, 0.9, 0.02))
    poses = torch.from_numpy(views.camera_to_world)[None]
    intrinsics = views.intrinsics(size)
    rendering = render(gaussians, poses, torch.from_numpy(intrinsics), size, size)
    y, x = torch.meshgrid(*[torch.arange(size, dtype=torch.float64) + 0.5] * 2, indexing="ij")
    for view, camera in enumerate(views.camera_to_world):
        (pixel,), (depth,) = project(point[None], camera, intrinsics)
        alpha = rendering.alpha[0, view, 0]
        centre = [(alpha * axis).sum() / alpha.sum() for axis in (x, y)]
        np.testing.assert_allclose(centre, pixel, atol=0.02)
        assert rendering.depth[0, view, 0][alpha > 0].numpy() == pytest.approx(depth)


def test_one_gaussian_in_closed_form():
    """At the middle of pixel (16, 12): its alpha there, 3 pixels aside, and in the corner."""
    camera, intrinsics = one_camera()
    intrinsics[:2, 2] += 0.5
    rendering = render(scene(gaussian((0, 0, 3), 0.8, 0.2)), camera, intrinsics, 32, 24, 0.25)
    variance = (30 * 0.2 / 3) ** 2 + 0.3
    row = rendering.alpha[0, 0, 0, 12]
    assert row[16].item() == pytest.approx(0.8)
    assert row[19].item() == pytest.approx(0.8 * np.exp(-9 / 2 / variance))
    assert rendering.alpha[0, 0, 0, 0, 0] == 0
    assert rendering.depth[0, 0, 0, 0, 0] == 0
    assert rendering.colour[0, 0, :, 12, 16].tolist() == pytest.approx([0.85, 0.05, 0.05])
    assert rendering.colour[0, 0, :, 0, 0].tolist() == [0.25, 0.25, 0.25]


def test_float32_gives_the_same_and_stays_float32():
    gaussians, view = random_gaussians(1, 50), cameras(1, 2, 40, 40)
    exact = render(gaussians, *view, 40, 40)
    for dtype in (torch.float32, torch.bfloat16):
        assert all(
            picture.dtype == torch.float32 for picture in render(gaussians.to(dtype), *view, 40, 40)
        )
    single = gaussians.float().requires_grad_()
    rendering = render(single, *view, 40, 40)
    torch.testing.assert_close(rendering.colour.double(), exact.colour, rtol=0, atol=1e-4)
    loss(rendering).backward()
    assert single.grad.dtype == torch.float32


def test_results_do_not_depend_on_the_number_of_threads():
    view = cameras(2, 2, 50, 50)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            gaussians = random_gaussians(2, 300).requires_grad_()
            rendering = render(gaussians, *view, 50, 50)
            loss(rendering).backward()
            results.append((*rendering, gaussians.grad))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("module", [projection, tiles, blending], ids=lambda m: m.__name__)
def test_kernels_use_nothing_of_another_file(module):
    """Else numba's cache would keep their old code when that file changes."""
    statements = ast.parse(Path(module.__file__).read_text()).body
    imports = [s for s in statements if isinstance(s, ast.ImportFrom) and "model" in s.module]
    foreign = {name.asname or name.name for statement in imports for name in statement.names}
    kernels = [value for value in vars(module).values() if isinstance(value, Dispatcher)]
    assert "compiled" in foreign and len(kernels) >= 4
    for kernel in kernels:
        assert kernel.py_func.__module__ == module.__name__
        assert not foreign & set(kernel.py_func.__code__.co_names)


def test_what_is_not_finite_or_nothing_is_not_drawn():
    broken = scene(FRONT, *[FRONT] * 14)
    for channel in range(11):
        broken[0, 1 + channel, channel] = float("nan")
    broken[0, 12, :3] = float("inf")
    broken[0, 13, 4] = float("inf")
    broken[0, 14, 7:11] = 0
    view = (*one_camera(), 32, 24)
    broken.requires_grad_()
    rendering = render(broken, *view)
    torch.testing.assert_close(rendering.colour, render(scene(FRONT), *view).colour)
    loss(rendering).backward()
    assert not broken.grad[0, 1:].any()
    assert (render(torch.zeros(1, 0, 14), *view).colour == 1).all()


def test_intrinsics_and_background_may_differ_by_camera():
    gaussians, (poses, intrinsics) = random_gaussians(2, 20), cameras(2, 3, 20, 20)
    lenses = intrinsics.expand(2, 3, 3, 3).clone()
    lenses[..., 0, 0] *= torch.arange(1, 7).view(2, 3)
    backgrounds = torch.rand(2, 3, 3, dtype=torch.float64)
    together = render(gaussians, poses, lenses, 20, 20, backgrounds)
    for item in range(2):
        for view in range(3):
            pose, lens = poses[item, view][None, None], lenses[item, view]
            alone = render(gaussians[item][None], pose, lens, 20, 20, backgrounds[item, view])
            assert torch.equal(together.colour[item, view], alone.colour[0, 0])


def test_shapes_that_do_not_fit_are_refused():
    gaussians, (poses, intrinsics) = random_gaussians(2, 5), cameras(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"gaussians: \(2, 5, 13\) is not \[batch, n, 14\]"):
        render(gaussians[..., :13], poses, intrinsics, 8, 8)
    with pytest.raises(
        ValueError, match=r"camera_to_world: \(3, 3, 4, 4\) is not \[2, views, 4, 4\]"
    ):
        render(gaussians, torch.cat([poses, poses[:1]]), intrinsics, 8, 8)
    with pytest.raises(ValueError, match=r"camera_to_world: \(3, 4, 4\)"):
        render(gaussians, poses[0], intrinsics, 8, 8)
    with pytest.raises(ValueError, match=r"intrinsics: \(2, 2\) does not fit \(2, 3, 3, 3\)"):
        render(gaussians, poses, intrinsics[:2, :2], 8, 8)
    with pytest.raises(ValueError, match=r"background: \(4,\) does not fit \(2, 3, 3\)"):
        render(gaussians, poses, intrinsics, 8, 8, torch.ones(4))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_gsplat_renders_the_same():
    """Alpha near 1/255 may fall on either side in float32: a few pixels may differ by that much."""
    pytest.importorskip("gsplat")
    gaussians, view = random_gaussians(2, 2000, size=0.05).float(), cameras(2, 3, 100, 90)
    ours, theirs = gaussians.clone().requires_grad_(), gaussians.cuda().requires_grad_()
    pictures = render(ours, *view, 100, 90, BACKGROUND)
    on_gpu = render(theirs, *(tensor.cuda() for tensor in view), 100, 90, BACKGROUND.cuda())
    for picture, target in zip(on_gpu, pictures, strict=True):
        error = (picture.detach().cpu() - target.detach()).abs()
        assert error.max() < 1e-2
        assert (error > 1e-4).float().mean() < 1e-3
    loss(pictures).backward()
    loss(on_gpu).backward()
    for name, channels in CHANNELS.items():
        mine, target = theirs.grad[..., channels].cpu(), ours.grad[..., channels]
        assert (mine - target).norm() < 1e-3 * target.norm(), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_without_gsplat_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", None)
    poses, intrinsics = cameras(1, 1, 8, 8)
    with pytest.raises(ImportError, match="pip install 'gsplat"):
        render(random_gaussians(1, 5).cuda(), poses.cuda(), intrinsics.cuda(), 8, 8)
