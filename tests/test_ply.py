"""Gaussians on disk, as viewers expect them and as they were."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.ply import load_ply, save_ply

VIEWER = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"]
VIEWER += ["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]


def random_gaussians(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    gaussians = torch.rand(count, 14, generator=generator)
    gaussians[:, :3] = torch.randn(count, 3, generator=generator)
    gaussians[:, 4:7] = torch.exp(4 * torch.randn(count, 3, generator=generator) - 5)
    rotation = torch.randn(count, 4, generator=generator)
    gaussians[:, 7:11] = torch.nn.functional.normalize(rotation, dim=-1)
    return gaussians


def write_like_a_trainer(path, columns, kind="float"):
    """A file as other programs write it, from a structured array's worth of columns."""
    dtype = np.dtype([(name, "<f8" if kind == "double" else "<f4") for name in columns])
    rows = np.zeros(len(next(iter(columns.values()))), dtype)
    for name, values in columns.items():
        rows[name] = values
    lines = ["ply", "format binary_little_endian 1.0", "comment by hand"]
    lines += [f"element vertex {len(rows)}", *(f"property {kind} {name}" for name in columns)]
    path.write_bytes("\n".join([*lines, "end_header\n"]).encode() + rows.tobytes())


def bits(tensor):
    return tensor.numpy().view(np.int32)


def test_the_round_trip_is_exact_to_the_bit(tmp_path):
    gaussians = random_gaussians(20_000)
    gaussians[:9, 3] = torch.tensor([0, 1, 1e-45, 1e-30, 1e-7, 1 - 2**-24, 0.5, 1 / 255, 0.999])
    gaussians[:5, 4] = torch.tensor([0, 1e-45, 1e-20, 1, 1e30])
    gaussians[:6, 11] = torch.tensor([0, 1, 1e-30, 0.5, -0.25, 7.5])
    save_ply(tmp_path / "a.ply", gaussians)
    np.testing.assert_array_equal(bits(load_ply(tmp_path / "a.ply")), bits(gaussians))


@given(
    opacity=arrays(np.float32, 3, elements=st.floats(0, 1, width=32)),
    rest=arrays(np.float32, (3, 6), elements=st.floats(0, 2**100, width=32)),
)
def test_any_opacity_scale_and_colour_come_back(tmp_path_factory, opacity, rest):
    gaussians = random_gaussians(3)
    gaussians[:, 3], gaussians[:, 4:7] = torch.from_numpy(opacity), torch.from_numpy(rest[:, :3])
    gaussians[:, 11:] = torch.from_numpy(rest[:, 3:])
    path = tmp_path_factory.getbasetemp() / "any.ply"
    save_ply(path, gaussians)
    torch.testing.assert_close(load_ply(path), gaussians, rtol=0, atol=0)


def test_viewers_find_what_they_expect(tmp_path):
    gaussians = random_gaussians(50)
    path = tmp_path / "a.ply"
    save_ply(path, gaussians)
    header, _, body = path.read_bytes().partition(b"end_header\n")
    lines = header.decode().splitlines()
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", "element vertex 50"]
    assert all(line.startswith("property float ") for line in lines[3:])
    names = [line.split()[-1] for line in lines[3:]]
    assert names[: len(VIEWER)] == VIEWER
    columns = dict(zip(names, np.frombuffer(body, "<f4").reshape(50, -1).T, strict=True))
    position, opacity, scale, rotation, colour = gaussians.double().split((3, 1, 3, 4, 3), dim=1)
    for prefix, values in {
        "xyz": position.T,
        ("nx", "ny", "nz"): torch.zeros(3, 50),
        ("f_dc_0", "f_dc_1", "f_dc_2"): (colour.T - 0.5) / 0.28209479177387814,
        ("opacity",): torch.logit(opacity.T),
        ("scale_0", "scale_1", "scale_2"): scale.T.log(),
        ("rot_0", "rot_1", "rot_2", "rot_3"): rotation.T,
    }.items():
        for name, expected in zip(prefix, values, strict=True):
            np.testing.assert_allclose(columns[name], expected, rtol=1e-6, atol=1e-7)


def test_no_infinity_reaches_a_viewer(tmp_path):
    gaussians = random_gaussians(2)
    gaussians[:, 3], gaussians[0, 4:7] = torch.tensor([0.0, 1.0]), 0
    save_ply(tmp_path / "a.ply", gaussians)
    body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")[2]
    assert np.isfinite(np.frombuffer(body, "<f4")).all()


@pytest.mark.parametrize("kind", ["float", "double"])
def test_files_of_other_programs_are_activated(tmp_path, kind):
    columns = {name: np.zeros(2) for name in (*VIEWER, "f_rest_0")}
    columns["x"] = [1, 2]
    columns["opacity"] = [0, 2]
    columns["scale_1"] = [-3, 1]
    columns["f_dc_2"] = [0, 1]
    columns["rot_0"], columns["rot_3"] = [3, 1], [4, 0]
    write_like_a_trainer(tmp_path / "a.ply", columns, kind)
    expected = torch.zeros(2, 14)
    expected[:, 0] = torch.tensor([1, 2])
    expected[:, 3] = torch.tensor([0, 2.0]).sigmoid()
    expected[:, 4:7] = torch.tensor([[0, -3, 0], [0, 1.0, 0]]).exp()
    expected[:, 7:11] = torch.tensor([[0.6, 0, 0, 0.8], [1, 0, 0, 0]])
    expected[:, 11:] = 0.5
    expected[1, 13] += 0.28209479
    torch.testing.assert_close(load_ply(tmp_path / "a.ply"), expected)


def test_an_edit_of_what_viewers_see_counts(tmp_path):
    path = tmp_path / "a.ply"
    gaussians = random_gaussians(3)
    save_ply(path, gaussians)
    header, marker, body = path.read_bytes().partition(b"end_header\n")
    rows = np.frombuffer(body, "<f4").reshape(3, -1).copy()
    rows[1, VIEWER.index("scale_0")] = np.log(0.25)
    path.write_bytes(header + marker + rows.tobytes())
    gaussians[1, 4] = 0.25
    torch.testing.assert_close(load_ply(path), gaussians, rtol=1e-6, atol=0)


def test_no_gaussians_at_all(tmp_path):
    save_ply(tmp_path / "a.ply", torch.zeros(0, 14))
    assert load_ply(tmp_path / "a.ply").shape == (0, 14)


def test_errors_say_what_is_wrong(tmp_path):
    path = tmp_path / "a.ply"
    with pytest.raises(ValueError, match=r"\(3, 13\) is not \[n, 14\]"):
        save_ply(path, torch.zeros(3, 13))
    save_ply(path, random_gaussians(4))
    content = path.read_bytes()
    for broken, message in (
        (b"solid", "not a binary little-endian"),
        (content.replace(b"binary_little_endian", b"ascii"), "not a binary little-endian"),
        (content.replace(b"element vertex", b"element edge"), "first element"),
        (content.replace(b"float nz", b"half nz"), "property half nz"),
        (content.replace(b"rot_3", b"spare"), "no property rot_3"),
        (content[:-1], "cut short"),
    ):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=message):
            load_ply(path)
