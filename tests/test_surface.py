"""The rendered surface: coincident faces become one with two sides, and points are drawn on it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from objects import CABINET, box_obj, object_files, write_folder

from datagen.partnet import read_object
from datagen.source import ObjectFiles
from datagen.surface import Surface, face_normals, read_surface, sample_points

HEADER = "mtllib paint.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nvn 0 0 1\n"
MATERIALS = b"newmtl wood\nKd 0.5 0.3 0.1\nnewmtl white\nKd 1 1 1\n"
WOOD, WHITE = (0.5, 0.3, 0.1), (1, 1, 1)


@pytest.fixture(scope="module")
def surface_of(tmp_path_factory):
    """Reads the surface of an object that is one link with the given OBJ."""

    def read(*lines: str, header: str = HEADER) -> Surface:
        files = object_files(CABINET[:1])
        files["textured_objs/part-0.obj"] = (header + "\n".join(lines)).encode()
        files["textured_objs/paint.mtl"] = MATERIALS
        source = ObjectFiles(write_folder(tmp_path_factory.mktemp("surface") / "1", files))
        return read_surface(source, read_object(source))

    return read


def colours(surface: Surface) -> list[list[tuple[float, float, float]]]:
    """Of front and back, those of all triangles."""
    return [[surface.materials[m].colour for m in side] for side in surface.material]


@pytest.mark.parametrize("turned", ["1/1 3/2 2/3", "3/2 2/3 1/1", "2/3 1/1 3/2"])
def test_a_face_and_its_reverse_are_one_triangle_with_two_looks(surface_of, turned):
    surface = surface_of("usemtl wood", "f 1/1 2/2 3/3", "usemtl white", f"f {turned}")
    assert surface.triangles.tolist() == [[[0, 0, 0], [1, 0, 0], [0, 1, 0]]]
    assert colours(surface) == [[WOOD], [WHITE]]
    assert surface.uvs[0].tolist() == [[[0, 0], [1, 0], [0, 1]]]
    assert surface.uvs[1].tolist() == [[[0, 0], [0, 1], [1, 0]]]


def test_of_faces_that_coincide_on_one_side_the_first_is_kept(surface_of):
    faces = ("f 1/1 2/2 3/3", "f 1/1 3/2 2/3")
    surface = surface_of(
        *("usemtl wood", *faces, "usemtl white", "f 2/1 3/1 1/1", *faces, "f 2 4 3")
    )
    assert colours(surface) == [[WOOD, WHITE], [WOOD, WHITE]]
    assert surface.uvs[0, 0].tolist() == [[0, 0], [1, 0], [0, 1]]


def test_a_single_face_looks_alike_on_both_sides(surface_of):
    surface = surface_of("usemtl wood", "f 1/1 2/2 3/3", "usemtl white", "f 2/1 4/2 3/3")
    assert colours(surface) == [[WOOD, WHITE]] * 2
    np.testing.assert_array_equal(surface.uvs[0], surface.uvs[1])


def test_faces_without_area_are_dropped(surface_of):
    surface = surface_of("v 0.5 0 0", "f 1 2 3", "f 1 1 2", "f 1 2 5", "f 4 4 4")
    assert surface.triangles.tolist() == [[[0, 0, 0], [1, 0, 0], [0, 1, 0]]]


def test_coincident_faces_of_different_links_stay_apart(tmp_path):
    files = object_files(CABINET[:3])
    for i in (1, 2):
        files[f"textured_objs/part-{i}.obj"] = files["textured_objs/part-0.obj"]
    source = ObjectFiles(write_folder(tmp_path / "1", files))
    surface = read_surface(source, read_object(source))
    assert np.bincount(surface.link).tolist() == [0, 12, 12, 12]


@given(st.lists(st.integers(1, 60), min_size=3, max_size=3), st.integers(0, 100))
def test_no_triangle_of_a_box_is_taken_for_another(surface_of, size, shift):
    low, high = -np.array(size) / 100 + shift / 100, np.array(size) / 100 + shift / 100
    assert len(surface_of(box_obj(tuple(low), tuple(high)), header="")) == 12


def test_normals_are_of_unit_length_and_on_the_front(surface_of):
    """The file's normal may point to the back, lie in the face, be zero, or be missing."""
    surface = surface_of(
        *("vn 0 3 4", "vn 0 0 -2", "vn 1 0 0", "vn 0 0 0"),
        *("f 1//2 2//3 3//4", "f 2//5 4 3//1", "f 1//1 4//1 2//1"),
    )
    flat = face_normals(surface.triangles)
    np.testing.assert_allclose(np.linalg.norm(surface.normals, axis=2), 1)
    assert ((surface.normals * flat[:, None]).sum(axis=2) > 0).all()
    np.testing.assert_allclose(surface.normals[0], [[0, 0.6, 0.8], [0, 0, 1], [0, 0, 1]])
    np.testing.assert_allclose(surface.normals[2], [[0, 0, -1]] * 3)


def test_points_fall_on_the_surface_in_proportion_to_area(surface_of):
    surface = surface_of("v 3 0 1", "v 0 0 1", "v 0 1 1", "f 1 2 3", "f 5 6 7")
    points, links = sample_points(surface, 4000, np.random.default_rng(0))
    assert (links == 1).all()
    assert len(points) == len(links) == 4000
    x, y, z = points.round(9).T
    assert np.isin(z, (0, 1)).all()
    assert ((x >= 0) & (y >= 0) & (x / np.where(z == 1, 3, 1) + y <= 1 + 1e-8)).all()
    assert (z == 1).mean() == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(points[z == 1].mean(axis=0), [1, 1 / 3, 1], atol=0.05)


def test_points_depend_on_the_seed_alone(surface_of):
    surface = surface_of("f 1 2 4 3")
    first, again, other = (
        sample_points(surface, 8, np.random.default_rng(seed))[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_every_link_with_a_surface_gets_its_points(tmp_path):
    source = ObjectFiles(write_folder(tmp_path / "1", object_files()))
    surface = read_surface(source, read_object(source))
    points, links = sample_points(surface, 10, np.random.default_rng(0))
    assert np.bincount(links).tolist() == [0, 10, 10, 10, 10]
    for link, part in enumerate(CABINET, start=1):
        inside = points[links == link]
        assert (inside >= np.array(part.low) - 1e-9).all()
        assert (inside <= np.array(part.high) + 1e-9).all()
