"""A person's picture becomes the network's: cut out, framed, or refused with advice."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datagen.image_codec import downscaled
from model.picture import PictureError, read_picture

RNG = np.random.default_rng(0)
RED, GREEN = (200, 40, 30), (30, 160, 60)


def box(width=160, height=120, left=30, top=40, right=70, bottom=60, background=(240, 240, 235)):
    """A red box, whose right half is green, before a plain background."""
    picture = np.full((height, width, 3), background, np.uint8)
    picture[top:bottom, left:right] = RED
    picture[top:bottom, (left + right) // 2 : right] = GREEN
    return picture


def transparent(picture, background=(240, 240, 235)):
    alpha = 255 * (picture != background).any(axis=2).astype(np.uint8)
    return np.dstack([picture, alpha])


def outline(pixels):
    """Left, top, right, bottom of what is solid, as fractions of the frame."""
    rows, columns = np.nonzero(pixels[..., 3] >= 128)
    ends = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return np.array(ends) / len(pixels)


def test_a_square_with_transparency_is_kept_as_shards_are() -> None:
    given = transparent(box(128, 128))
    read = read_picture(given, 32)
    np.testing.assert_array_equal(read.pixels, downscaled(given, 32))
    np.testing.assert_allclose(read.place(np.array([[0, 0], [128, 64]])), [[0, 0], [32, 16]])
    assert read.given_size == (128, 128)


@pytest.mark.parametrize("opaque", [True, False])
def test_others_are_cut_out_and_recentred(opaque: bool) -> None:
    given = box() if opaque else transparent(box())
    read = read_picture(given, 100, fill=0.5)
    np.testing.assert_allclose(outline(read.pixels), [0.25, 0.375, 0.75, 0.625], atol=0.015)
    # A pixel of the given picture is where it was: the colours' border, the box's corner.
    np.testing.assert_allclose(read.place(np.array([50.0, 50])), [50, 50], atol=1)
    np.testing.assert_allclose(read.place(np.array([30.0, 40])), [25, 37.5], atol=1)
    np.testing.assert_allclose(read.given(read.place(np.array([3.0, 7]))), [3, 7])
    assert tuple(read.pixels[50, 40]) == (*RED, 255)
    assert tuple(read.pixels[50, 60]) == (*GREEN, 255)
    assert read.pixels[5, 5, 3] == 0


def test_keep_pads_to_a_square_and_recentre_is_for_squares_too() -> None:
    read = read_picture(box(), 160, framing="keep")
    np.testing.assert_allclose(read.place(np.array([0.0, 0])), [0, 20])
    np.testing.assert_allclose(outline(read.pixels), np.array([30, 60, 70, 80]) / 160)
    square = read_picture(transparent(box(128, 128)), 100, 0.5, "recentre")
    np.testing.assert_allclose(outline(square.pixels), [0.25, 0.375, 0.75, 0.625], atol=0.015)


def test_all_ways_to_give_a_picture_are_one(tmp_path: Path) -> None:
    given = box()
    Image.fromarray(given).save(tmp_path / "box.png")
    with_alpha = Image.fromarray(np.dstack([given, np.full(given.shape[:2], 255, np.uint8)]))
    expected = read_picture(given, 64).pixels
    path = tmp_path / "box.png"
    for same in (str(path), path, Image.open(path), path.read_bytes(), with_alpha):
        np.testing.assert_array_equal(read_picture(same, 64).pixels, expected)


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    turned = Image.fromarray(box()).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise to be seen
    turned.save(tmp_path / "photo.png", exif=exif)
    read = read_picture(tmp_path / "photo.png", 64)
    assert read.given_size == (160, 120)
    np.testing.assert_array_equal(read.pixels, read_picture(box(), 64).pixels)


def test_large_pictures_and_dust_change_nothing() -> None:
    large = np.kron(box(), np.ones((20, 20, 1), np.uint8))
    large[100:103, 3000:3003] = 0
    read = read_picture(large, 100, fill=0.5)
    np.testing.assert_allclose(outline(read.pixels), [0.25, 0.375, 0.75, 0.625], atol=0.015)
    assert read.given_size == (3200, 2400)
    np.testing.assert_allclose(read.place(np.array([1000.0, 1000])), [50, 50], atol=1)


def test_noise_of_a_camera_is_no_object() -> None:
    noisy = np.clip(box() + RNG.normal(0, 2.5, (120, 160, 3)), 0, 255).astype(np.uint8)
    read = read_picture(noisy, 100, fill=0.5)
    np.testing.assert_allclose(outline(read.pixels), [0.25, 0.375, 0.75, 0.625], atol=0.03)


@pytest.mark.parametrize(
    ("picture", "advice"),
    [
        (RNG.integers(0, 255, (90, 120, 3), np.uint8), r"not plain: .*%.* cut the object out"),
        (np.full((90, 120, 3), 77, np.uint8), "shows no object: .* cut the object out"),
        (np.zeros((90, 90, 4), np.uint8), "shows no object"),
        (box(20, 20, 5, 5, 15, 15), "20 x 20 pixels is too small: give one of 32 x 32 or more"),
        (box(right=38, bottom=46), "only 8 pixels large"),
        (np.zeros((90, 90, 3), np.float32), r"float32 \[90, 90, 3\] is no picture"),
        (np.zeros((90, 90), np.uint8), r"uint8 \[90, 90\] is no picture"),
        (b"not a picture", "not a picture that can be read: give a PNG or JPEG"),
    ],
)
def test_other_pictures_are_refused_with_advice(picture: object, advice: str) -> None:
    with pytest.raises(PictureError, match=advice):
        read_picture(picture, 64)  # type: ignore[arg-type]


def test_broken_and_missing_files(tmp_path: Path) -> None:
    path = tmp_path / "box.png"
    Image.fromarray(RNG.integers(0, 255, (90, 120, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(PictureError, match=r"box.png is not a picture that can be read"):
        read_picture(path, 64)
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "none.png", 64)
