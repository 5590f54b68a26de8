"""The padded square: places, borders and the way back."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sphinx_ros.errors import BadImage
from sphinx_ros.image.letterbox import PADDING, Letterbox, pad_to_square
from sphinx_ros.image.shrink import shrunk_square

CASES = json.loads((Path(__file__).parent / "data" / "coords.json").read_text())

sides = st.integers(1, 5000)


@pytest.mark.parametrize(
    "size, expected",
    [
        ((640, 480), (640, 0, 80)),
        ((480, 640), (640, 80, 0)),
        ((500, 500), (500, 0, 0)),
        ((201, 120), (201, 0, 40)),  # 81 px of padding: 40 above, 41 below
        ((121, 200), (200, 39, 0)),
        ((1, 1), (1, 0, 0)),
        ((4000, 1), (4000, 0, 1999)),
    ],
)
def test_places(size, expected):
    place = Letterbox.of(*size)
    assert (place.side, place.x_origin, place.y_origin) == expected


@given(sides, sides, st.floats(-1, 2), st.floats(-1, 2))
def test_there_and_back(width, height, x, y):
    place = Letterbox.of(width, height)
    u, v = place.to_square(*place.to_source(x, y))
    assert abs(u - x) < 1e-9 and abs(v - y) < 1e-9


@given(sides, sides)
def test_the_picture_lies_inside_the_square(width, height):
    place = Letterbox.of(width, height)
    corners = place.box_to_square((0, 0, width, height))
    assert all(0 <= value <= 1 for value in corners)
    assert place.box_to_source(corners) == pytest.approx((0, 0, width, height), abs=1e-6)


def test_arrays_go_through_at_once():
    place = Letterbox.of(480, 640)
    points = np.array([[0.5, 0.5], [0.25, 0.75]])
    x, y = place.to_source(points[:, 0], points[:, 1])
    assert x.tolist() == [240.0, 80.0] and y.tolist() == [320.0, 480.0]


def test_ground_truth_shift_of_the_official_evaluation():
    for case in CASES["rec_eval"]:
        place = Letterbox.of(case["width"], case["height"])
        shifted = [value * place.side for value in place.box_to_square(case["gt_box_pixels"])]
        assert shifted == pytest.approx(case["gt_box_padded"], abs=1e-6)


@pytest.mark.parametrize("size", [(7, 4), (4, 7), (5, 5), (1, 6), (201, 120)])
def test_padding_keeps_every_pixel(size):
    width, height = size
    rgb = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    place, square = Letterbox.of(width, height), pad_to_square(rgb)
    assert square.shape == (place.side, place.side, 3)
    x, y = place.x_origin, place.y_origin
    assert np.array_equal(square[y : y + height, x : x + width], rgb)
    border = np.ones(square.shape[:2], bool)
    border[y : y + height, x : x + width] = False
    assert (square[border] == PADDING).all()


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_no_pixels(size):
    with pytest.raises(BadImage, match="at least 1 px"):
        Letterbox.of(*size)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)]
)
def test_not_a_picture(array):
    with pytest.raises(BadImage, match="uint8"):
        pad_to_square(array)


def test_empty_picture():
    with pytest.raises(BadImage):
        pad_to_square(np.zeros((0, 4, 3), np.uint8))


def padded_first(rgb, size):
    """The official order: the whole square, then Pillow's bicubic."""
    square = Image.fromarray(pad_to_square(rgb))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))


def noise(width, height, seed, hard):
    """Random pixels; hard: black and white alone, where a bicubic overshoots."""
    rgb = np.random.default_rng(seed).integers(0, 2 if hard else 256, (height, width, 3), np.uint8)
    return rgb * 255 if hard else rgb


short, long = st.integers(1, 40), st.integers(1, 900)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.tuples(short, long), st.tuples(long, short), st.tuples(short, short)),
       st.sampled_from([1, 7, 56, 168, 224]), st.integers(0, 99), st.booleans())  # fmt: skip
def test_shrinking_without_the_square_gives_the_same_bits(sides, size, seed, hard):
    rgb = noise(*sides, seed, hard)
    assert np.array_equal(shrunk_square(rgb, size), padded_first(rgb, size))


@pytest.mark.parametrize(
    "sides", [(641, 479), (479, 641), (2048, 1), (1, 2047), (1920, 1080), (2, 3001), (3000, 1000)]
)
@pytest.mark.parametrize("size", [168, 518])
def test_camera_sizes_and_strips_give_the_same_bits(sides, size):
    rgb = noise(*sides, 3, False)
    assert np.array_equal(shrunk_square(rgb, size), padded_first(rgb, size))


@pytest.mark.parametrize("sides", [(1_000_000, 1), (1, 400_000), (60_000, 20)])
def test_memory_follows_the_pixels(sides):
    """Their squares would take terabytes."""
    rgb = np.zeros((sides[1], sides[0], 3), np.uint8)
    assert shrunk_square(rgb, 56).shape == (56, 56, 3)


def test_sides_beyond_what_the_table_of_weights_is_made_for(monkeypatch):
    """Weights made line by line are the same numbers."""
    wide, tall = noise(3000, 11, 1, False), noise(11, 3000, 2, True)
    expected = [shrunk_square(rgb, 56) for rgb in (wide, tall)]
    monkeypatch.setattr("sphinx_ros.image.shrink.PILLOW_SIDE", 500)
    assert all(map(np.array_equal, expected, [shrunk_square(rgb, 56) for rgb in (wide, tall)]))
