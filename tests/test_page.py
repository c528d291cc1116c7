"""The web page, in a real browser: pull, see it move, orbit, download, upload."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_evaluation import folder_of

from datagen.cameras import rig
from model.click_to_part import ClickToPartConfig, ClickToPartNet
from model.config import PRESETS
from model.partrm import PartRM
from model.ply import load_ply

viser = pytest.importorskip("viser", reason="no viser: pip install '.[page]'; the page not tested")
playwright = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: pip install playwright; the page not tested"
)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SOFTWARE_GL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
ROOT = Path(__file__).parent.parent
WAIT = 60_000  # ms


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that draws what can be seen, and two samples."""
    folder = tmp_path_factory.mktemp("page")
    torch.manual_seed(0)
    network = PartRM(PRESETS["nano"])
    with torch.no_grad():
        network.conv.get_parameter("bias")[1] = 2.0  # opacity
        for name, parameter in network.named_parameters():
            if name.endswith("fuse.weight"):
                parameter.mul_(20)  # so that drags are seen
    network.save_pretrained(folder / "weights.safetensors")
    parts = ClickToPartNet(ClickToPartConfig(channels=(8, 16), heads=2))
    with torch.no_grad():
        parts.conv_out.get_parameter("bias").fill_(9)  # all of the object moves along
    parts.save_pretrained(folder / "parts.safetensors")
    folder_of(folder / "shards", "cabinet", "cupboard")
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    Image.fromarray(noise).save(folder / "busy.png")
    plain = np.full((240, 320, 3), 235, np.uint8)
    plain[60:180, 100:220] = 200, 60, 40
    Image.fromarray(plain).save(folder / "plain.png")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "model.page", "--weights", folder / "weights.safetensors"]
    command += ["--data", folder / "shards", "--port", str(port), "--device", "cpu"]
    command += ["--spread", "part", "--parts", folder / "parts.safetensors"]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment["OMP_WAIT_POLICY"] = "passive"  # as make view does: the browser needs the cores too
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as server:
        assert server.stdout is not None
        lines = []
        for line in server.stdout:
            lines.append(line)
            if line.startswith("open http"):
                break
        else:
            pytest.fail("".join(lines))
        yield f"http://127.0.0.1:{port}"
        server.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no chromium: apt-get install chromium; the page not tested in a browser")
    with playwright.sync_playwright() as control:
        browser = control.chromium.launch(
            executable_path=found, args=[*SOFTWARE_GL, "--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1100, "height": 700})
    page.goto(address)
    page.get_by_text("Reconstructed in").wait_for(timeout=WAIT)
    yield page
    page.close()


def canvas(page: Any) -> np.ndarray:
    """What the canvas shows, [h, w, 3], without the panel and messages over it."""
    page.wait_for_timeout(1500)  # the browser sorts and draws
    picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
    box = page.locator("canvas").first.bounding_box()
    return np.asarray(picture.crop((250, 120, int(box["width"]), int(box["height"]))), float)


def back_to_the_picture(page: Any) -> None:
    """Let it be pulled at again."""
    page.get_by_role("button", name="Picture", exact=True).click()
    page.get_by_text("press the mouse on a part").wait_for(timeout=WAIT)
    page.wait_for_timeout(500)  # the browser draws


def pull(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Press the mouse at one place, let go at another: fractions of the canvas' height, from its
    middle."""
    box = page.locator("canvas").first.bounding_box()
    middle = np.array([box["width"], box["height"]]) / 2
    here, there = (middle + box["height"] * np.array(place) for place in (start, end))
    page.mouse.move(*here)
    page.mouse.down()
    for share in np.linspace(0, 1, 6):
        page.mouse.move(*(here + share * (there - here)))
        page.wait_for_timeout(60)
    page.mouse.up()


def test_a_pull_moves_the_object(page: Any, tmp_path: Path) -> None:
    picture = canvas(page)
    assert (picture.min(axis=2) < 200).mean() > 0.02
    pull(page, (0, 0), (-0.2, 0.1))
    status = page.get_by_text("Moved in")
    status.wait_for(timeout=WAIT)
    found = re.search(r"Moved in (\d+\.\d+) s \(drags: 10, Gaussians: 4,096\)", status.inner_text())
    assert found, status.inner_text()
    assert float(found[1]) < 2

    moved = canvas(page)
    assert (moved.min(axis=2) < 200).mean() > 0.02
    assert np.abs(moved - picture).mean() > 1
    how_far = page.locator("input[type=text]:visible").last
    how_far.fill("0.5")
    how_far.press("Enter")
    half_way = canvas(page)
    assert np.abs(half_way - moved).mean() > 0.1
    page.get_by_role("button", name="Before").click()
    before = canvas(page)
    assert np.abs(before - half_way).mean() > 0.1
    pull(page, (-0.4, 0.4), (0.1, 0.4))  # beside the object: the camera orbits
    assert np.abs(canvas(page) - before).mean() > 1

    page.get_by_role("button", name="After").click()
    with page.expect_download(timeout=WAIT) as download:
        page.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "after.ply")
    assert load_ply(tmp_path / "after.ply").shape == (4 * PRESETS["nano"].splat_size ** 2, 14)

    back_to_the_picture(page)
    again = np.abs(canvas(page) - picture).max(axis=2) > 40
    # The picture, from the front; on it the arrows of the last pull.
    assert 0 < again.mean() < 0.06

    page.get_by_text("Whole part").click()
    page.get_by_text("drags: 1,").wait_for(timeout=WAIT)


def test_pulls_add_up_if_they_are_to(page: Any) -> None:
    def pulled(start: tuple[float, float], end: tuple[float, float], drags: int) -> None:
        pull(page, start, end)
        page.get_by_text(f"drags: {drags},").wait_for(timeout=WAIT)
        back_to_the_picture(page)

    page.get_by_text("Whole part").click()
    pulled((0, 0), (-0.2, 0.1), 1)
    page.get_by_text("Several pulls").click()  # which leaves the picture where it is, to be pulled
    pulled((0.02, 0), (-0.2, 0.1), 2)
    pull(page, (-0.4, -0.2), (0, 0))
    page.get_by_text(re.compile("drag 3: .* on the background")).wait_for(timeout=WAIT)
    back_to_the_picture(page)
    pulled((0, 0.02), (-0.2, 0.1), 3)
    page.get_by_text("Several pulls").click()
    page.get_by_text("drags: 1,").wait_for(timeout=WAIT)


def test_a_pull_at_the_background_is_explained(page: Any) -> None:
    pull(page, (-0.4, -0.2), (0, 0))
    page.get_by_text(re.compile("on the background: start on the part")).wait_for(timeout=WAIT)
    pull(page, (0, 0), (0.1, 0.1))
    page.get_by_text("Moved in").wait_for(timeout=WAIT)


def test_uploads(page: Any, folder: Path) -> None:
    for name, answer in (("busy", "background is not plain"), ("plain", "Reconstructed in")):
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Upload").click()
        chooser.value.set_files(folder / f"{name}.png")
        page.get_by_text(re.compile(answer)).wait_for(timeout=WAIT)
    red = canvas(page)
    assert ((red[..., 0] > 180) & (red[..., 1] < 90)).mean() > 0.05
    pull(page, (0, 0), (0.2, 0))
    page.get_by_text("Moved in").wait_for(timeout=WAIT)


def test_the_plane_is_what_view_0_sees() -> None:
    from model.page import CANVAS, Plane

    plane = Plane(rig("ring"))
    pixels = np.array([[0, 0], [CANVAS, CANVAS], [100, 300.0]])
    points = plane.points(pixels)
    assert np.linalg.norm(points[1] - points[0]) == pytest.approx(plane.side * 2**0.5)
    np.testing.assert_allclose(points[:2].mean(axis=0), plane.centre, atol=1e-12)
    other_eye = plane.eye + np.array([0.2, 0.5, 0.3])
    for pixel, point in zip(pixels, points, strict=True):
        np.testing.assert_allclose(plane.pixel(point, plane.eye), pixel, atol=1e-9)
        nearer = other_eye + 0.7 * (point - other_eye)
        np.testing.assert_allclose(plane.pixel(nearer, other_eye), pixel, atol=1e-9)


def test_splats_are_the_gaussians_that_show() -> None:
    from model.page import splats

    gaussians = torch.zeros(2, 14)
    gaussians[:, 3] = torch.tensor([0.5, 0.001])
    gaussians[:, 4:7] = torch.tensor([0.1, 0.2, 0.3])
    gaussians[:, 7] = gaussians[:, 10] = 0.5**0.5  # a quarter turn around z
    sent = splats(gaussians)
    assert sent.centres.shape == (1, 3)
    np.testing.assert_allclose(sent.covariances[0], np.diag([0.04, 0.01, 0.09]), atol=1e-6)
