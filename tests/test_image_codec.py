"""What goes into the bytes of a picture comes out again."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from datagen.image_codec import (
    DEPTH_STEPS,
    decode_colour,
    decode_depth,
    decode_link,
    encode_colour,
    encode_depth,
    encode_link,
)

sizes = array_shapes(min_dims=2, max_dims=2, max_side=9)


@given(arrays(np.uint8, sizes.map(lambda s: (*s, 4))))
def test_colour_comes_back_also_under_alpha_0(rgba):
    np.testing.assert_array_equal(decode_colour(encode_colour(rgba)), rgba)


def test_noise_comes_back_whole():
    rgba = np.random.default_rng(0).integers(0, 256, (64, 64, 4), np.uint8)
    rgba[:32, :, 3] = 0
    np.testing.assert_array_equal(decode_colour(encode_colour(rgba)), rgba)
    rgba[..., 3] = 255
    np.testing.assert_array_equal(decode_colour(encode_colour(rgba)), rgba)


@given(
    arrays(np.float32, sizes, elements=st.floats(0, 1, width=32)),
    st.floats(0.01, 10),
    st.floats(0.1, 10),
    st.data(),
)
def test_depth_comes_back_within_half_a_step_and_infinity_as_it_is(share, near, span, data):
    far = near + span
    depth = np.clip(near + share.astype(float) * span, near, far)
    empty = data.draw(arrays(bool, depth.shape))
    depth[empty] = np.inf
    decoded = decode_depth(encode_depth(depth, near, far), near, far)
    np.testing.assert_array_equal(np.isinf(decoded), empty)
    half_step = span / DEPTH_STEPS / 2 + np.finfo(np.float32).eps * far
    assert np.abs(decoded[~empty] - depth[~empty]).max(initial=0) <= half_step


def test_the_ends_of_the_depth_range_are_in_it():
    decoded = decode_depth(encode_depth(np.array([[1.0, 3.0]]), 1, 3), 1, 3)
    np.testing.assert_allclose(decoded, [[1, 3]], rtol=1e-6)


@pytest.mark.parametrize("wrong", [0.99, 3.01, -5.0, np.nan])
def test_depth_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match=r"not in 1…3"):
        encode_depth(np.array([[2.0, np.inf, wrong]]), 1, 3)


def test_an_empty_depth_range_is_refused():
    with pytest.raises(ValueError, match=r"no depth is in 2…2"):
        encode_depth(np.full((2, 2), 2.0), 2, 2)


@given(
    st.sampled_from([3, 254, 255, 1000]).flatmap(
        lambda top: arrays(np.int16, sizes, elements=st.integers(-1, top))
    )
)
def test_links_come_back_however_many_there_are(link):
    np.testing.assert_array_equal(decode_link(encode_link(link)), link)


@pytest.mark.parametrize("index", [-1, 0, 253, 254, 255, 256, 32766])
def test_links_at_the_edges_of_the_formats_come_back(index):
    link = np.array([[-1, index]])
    np.testing.assert_array_equal(decode_link(encode_link(link)), link)
