"""Depth messages, their pairing with pictures, and where things are by them."""

import array
import gc
import math
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from sphinx_ros.errors import BadImage, BadRequest
from sphinx_ros.image.depth import DepthPicture
from sphinx_ros.ros.depth_pairs import KEPT, DepthPairs
from sphinx_ros.ros.locating import Scene
from sphinx_ros.types import Keypoint, Visibility
from sphinx_ros.world.camera_facts import calibration
from sphinx_ros.world.truth import Camera

FOCAL = 500.0
CAMERA = Camera(640, 480, FOCAL, FOCAL, 320.0, 240.0)
INFO = SimpleNamespace(**calibration(CAMERA))


def picture(depth, encoding="32FC1", **fields):
    return DepthPicture(depth.tobytes(), depth.shape[1], depth.shape[0], encoding, **fields)


def scene(depth, info=INFO, size=(640, 480)):
    return Scene(picture(depth.astype("<f4")), info, size, "camera")


def wall(metres):
    return np.full((480, 640), metres, "<f4")


def with_ball(middle, radius, behind=3.0):
    """Depth of a ball in front of a wall, and the box around it."""
    rows, columns = np.mgrid[:480, :640] + 0.5
    rays = np.stack([(columns - 320) / FOCAL, (rows - 240) / FOCAL, np.ones((480, 640))], -1)
    # |t ray - middle| = radius, the nearer of two
    a, b = (rays**2).sum(-1), rays @ middle
    inside = b * b - a * (np.dot(middle, middle) - radius**2)
    depth = np.where(inside > 0, (b - np.sqrt(np.maximum(inside, 0))) / a, behind)
    seen = np.argwhere(inside > 0)
    (y0, x0), (y1, x1) = seen.min(0), seen.max(0) + 1
    return depth, tuple(map(float, (x0, y0, x1, y1)))


# Messages


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_encodings_of_rep_118_become_metres_and_what_was_not_measured_nan(order):
    big = order == ">"
    millimetres = np.array([[0, 1500], [65535, 1]], order + "u2")
    found = picture(millimetres, "16UC1", is_bigendian=big).metres(0, 2, 0, 2)
    assert np.allclose(found, [[np.nan, 1.5], [65.535, 0.001]], equal_nan=True)
    metres = np.array([[np.nan, 1.5], [np.inf, -1.0]], order + "f4")
    found = picture(metres, "32fc1", is_bigendian=big).metres(0, 2, 0, 2)
    assert np.allclose(found, [[np.nan, 1.5], [np.nan, np.nan]], equal_nan=True)


def test_rows_with_padding_and_any_buffer_are_read_without_a_copy():
    padded = np.zeros((3, 5), "<f4")
    padded[:, :4] = np.arange(1, 13).reshape(3, 4)
    data = array.array("B", padded.tobytes())
    for kind in (data, memoryview(data), bytes(data), padded):
        depth = DepthPicture(kind, 4, 3, "32FC1", step=20)
        assert np.array_equal(depth.metres(1, 3, 1, 3), [[6, 7], [10, 11]])
    shared = DepthPicture(data, 4, 3, "32FC1", step=20)
    data[:4] = array.array("B", np.float32(99).tobytes())
    assert shared.metres(0, 1, 0, 1)[0, 0] == 99, "nothing was copied"


def test_cut_outs_are_clipped_and_large_ones_thinned():
    depth = picture(np.arange(1, 101, dtype="<f4").reshape(10, 10))
    assert depth.metres(-5, 2, 8, 40).tolist() == [[9, 10], [19, 20]]
    assert depth.metres(20, 30, 0, 5).size == 0 and depth.metres(5, 2, 0, 5).size == 0
    assert depth.metres(0, 10, 0, 10, most=4).tolist()[0] == [1, 4, 7, 10]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"encoding": "rgb8"}, "is no depth"),
        ({"width": 0}, "at least 1 pixel"),
        ({"height": 9}, "needs"),
        ({"step": 7}, "step is 7"),
        ({"data": b""}, "no data"),
        ({"data": "words"}, "image data of type str"),
        ({"width": 20_000, "height": 20_000}, "pixels; the limit is"),
    ],
)
def test_messages_that_are_no_depth_are_refused_with_a_reason(fields, said):
    good = {"data": bytes(4 * 4 * 3), "width": 4, "height": 3, "encoding": "32FC1"}
    DepthPicture(**good)
    with pytest.raises(BadImage, match=said):
        DepthPicture(**{**good, **fields})


# Pairs


def test_a_picture_gets_the_depth_of_its_stamp_or_the_nearest_within_half_a_period():
    pairs = DepthPairs()
    for number in range(4):
        pairs.offer(f"depth {number}", 10 + 0.04 * number)
    assert pairs.claim(10.04).message() == "depth 1"
    assert pairs.claim(10.055).message() == "depth 1"
    assert pairs.claim(10.067).message() == "depth 2"
    assert pairs.claim(10.12 + 0.03).message() is None, "more than half a period"
    slow = DepthPairs()
    slow.offer("early", 10.0)
    slow.offer("late", 11.0)
    assert slow.claim(10.04).message() == "early" and slow.claim(10.06).message() is None
    assert slow.claim(math.nan).message() is None, "a picture without a stamp"


def test_depth_that_comes_after_its_picture_is_taken_and_waited_for():
    pairs = DepthPairs()
    pairs.offer("before", 9.98)
    claim = pairs.claim(10.0)
    assert claim.message() == "before"
    late = threading.Timer(0.05, pairs.offer, ("exact", 10.0))
    late.start()
    assert claim.message(wait=5.0) == "exact"
    late.join()
    pairs.offer("after", 10.01)
    assert claim.message(wait=5.0) == "exact", "and does not wait for what can't be nearer"


def test_a_claim_keeps_its_depth_for_a_model_that_thinks_for_long():
    pairs = DepthPairs()
    pairs.offer("mine", 10.0)
    claim = pairs.claim(10.0)
    for number in range(1, 3 * KEPT):
        pairs.offer(number, 10 + 0.033 * number)
    assert claim.message() == "mine"
    assert pairs.claim(10.0).message() is None, "the newest few are kept, no more"


def test_depth_that_nobody_waits_for_is_let_go():
    class Message:
        alive = 0

        def __init__(self):
            Message.alive += 1

        def __del__(self):
            Message.alive -= 1

    pairs = DepthPairs()
    for number in range(200):
        pairs.offer(Message(), 0.033 * number)
        claim = pairs.claim(0.033 * number)
    del claim
    gc.collect()
    assert Message.alive == KEPT


def test_a_recording_that_begins_anew_and_stamps_of_zero_pair_with_nothing_old(monkeypatch):
    monkeypatch.setattr("sphinx_ros.ros.depth_pairs.ALIVE", 3600.0)
    pairs = DepthPairs()
    for number in range(5):
        pairs.offer(f"first {number}", 100 + 0.1 * number)
    pairs.offer("again", 50.0)
    assert pairs.claim(50.0).message() == "again"
    assert pairs.claim(100.4).message() is None
    pairs.offer("no clock", math.nan)
    assert pairs.claim(0.0).message() is None
    assert pairs.alive and pairs.patience > 0 and DepthPairs().patience == 0


def test_waiting_for_depth_has_an_end():
    pairs = DepthPairs()
    pairs.offer("old", 5.0)
    assert pairs.claim(10.0).message(pairs.patience) is None


# Where things are


def test_a_ball_is_where_it_is_and_as_large_as_it_is():
    middle, radius = np.array([0.2, -0.1, 1.0]), 0.05
    depth, box = with_ball(middle, radius)
    place = scene(depth).place(box)
    assert place.known and math.dist(place.position, middle) < 0.01
    assert place.size[:2] == pytest.approx((0.1, 0.1), abs=0.004)
    assert 0.06 < place.size[2] < 0.11
    assert 0.93 < place.surface[2] < 0.99, "what the camera sees of it"


def test_a_flat_thing_stays_where_it_is_seen_slanted_or_not():
    depth = wall(3.0)
    depth[100:380, 200:440] = 1.0
    place = scene(depth).place((200, 100, 440, 380))
    assert place.position == pytest.approx((0, 0, 1.0), abs=1e-3)
    assert place.size == pytest.approx((0.48, 0.56, 0), abs=2e-3)
    columns = (np.arange(640) + 0.5 - 320) / FOCAL
    depth[100:380, 200:440] = (1 / (1 - 0.8 * columns))[200:440]  # a plane that turns away
    place = scene(depth).place((200, 100, 440, 380))
    assert place.position[2] == pytest.approx(1.0, abs=0.02)


def test_holes_noise_and_background_do_not_move_a_thing():
    rng = np.random.default_rng(3)
    middle = np.array([-0.1, 0.05, 1.0])
    depth, (x0, y0, x1, y1) = with_ball(middle, 0.05)
    depth = depth * (1 + rng.normal(0, 0.005, depth.shape))
    depth[rng.random(depth.shape) < 0.4] = np.nan
    depth[:, :40] = np.inf
    place = scene(depth).place((x0 - 8, y0 - 8, x1 + 8, y1 + 8))
    assert math.dist(place.position, middle) < 0.02


def test_what_cannot_be_known_is_nan():
    depth, box = with_ball(np.array([0, 0, 1.0]), 0.05)
    hollow = depth.copy()
    hollow[depth < 2] = np.nan  # glass: nothing but the wall behind it around
    for one, where in (
        (scene(hollow), box),
        (scene(depth), (700.0, 10.0, 720.0, 30.0)),
        (scene(depth), (math.nan,) * 4),
        (scene(depth, SimpleNamespace(**{**calibration(CAMERA), "k": [0.0] * 9})), box),
    ):
        place = one.place(where)
        assert not place.known and all(map(math.isnan, (*place.position, *place.size)))
    for x, y in ((-1.0, 5.0), (5.0, 480.0), (math.nan, 5.0), (320.0, math.inf)):
        assert all(map(math.isnan, scene(depth).point(x, y)))
    assert all(map(math.isnan, scene(hollow).point(320.0, 240.0)))


def test_points_are_on_the_surface_and_hidden_joints_unknown():
    depth = wall(2.0)
    found = scene(depth).point(420.0, 240.0)
    assert found == pytest.approx((0.4, 0.0, 2.0), abs=1e-6)
    speckled = depth.copy()
    speckled[238:241, 420] = 0.3
    assert scene(speckled).point(420.0, 240.0)[2] == 2.0
    hidden = Keypoint("nose", 420.0, 240.0, visibility=Visibility.OCCLUDED)
    assert all(map(math.isnan, scene(depth).joint(hidden)))
    assert scene(depth).joint(Keypoint("nose", 420.0, 240.0)) == pytest.approx(found)


def test_boxes_and_points_of_less_than_a_depth_pixel_have_a_place():
    small = scene(np.full((48, 64), 2.0))
    assert small.place((320.0, 240.0, 320.5, 240.5)).known
    assert small.point(639.9, 479.9)[2] == 2.0
    assert not small.place((320.0, 240.0, 320.0, 240.0)).known, "an empty box has no thing"


def test_depth_of_another_size_is_scaled_and_of_another_shape_refused():
    middle = np.array([0.2, -0.1, 1.0])
    depth, box = with_ball(middle, 0.05)
    assert math.dist(scene(depth[::2, ::2]).place(box).position, middle) < 0.015
    with pytest.raises(BadImage, match=r"640x360 .* 640x480.*registered"):
        scene(depth[:360])


def test_a_distorted_camera_is_rectified():
    """A pixel that the lens moved is found at the place it shows."""
    import cv2

    d = [-0.3, 0.1, 0.001, -0.001, 0.0]
    info = SimpleNamespace(**{**calibration(CAMERA), "d": d})
    there = np.array([[0.5, -0.35, 1.0]])
    k = np.array(info.k).reshape(3, 3)
    (pixel,) = cv2.projectPoints(there, np.zeros(3), np.zeros(3), k, np.array(d))[0][0] + 0.5
    found = scene(wall(1.0), info).point(*map(float, pixel))
    assert found == pytest.approx(tuple(there[0]), abs=2e-3)
    assert math.dist(scene(wall(1.0)).point(*map(float, pixel)), there[0]) > 0.05


def test_things_of_the_simulated_tabletop_are_found_to_two_centimetres():
    """The goal for boxes, at whatever distance; bench/depth.py has the numbers."""
    try:
        from sphinx_ros.world.scenes import World

        world = World()
    except (ImportError, OSError, BadRequest) as error:
        pytest.skip(f"no OpenGL here: {error}")
    middles, surfaces = [], []
    for seed in range(710_000, 710_012):
        seen = world.observe(seed, depth=True)
        there = scene(seen.depth, SimpleNamespace(**calibration(seen.camera)))
        for item in seen.objects:
            place = there.place(item.box)
            middles.append(math.dist(place.position, item.position))
            surfaces.append(math.dist(place.surface, item.position))
    world.close()
    assert len(middles) > 30 and np.median(middles) < 0.015
    assert np.median(surfaces) > 0.02, "what is seen of a thing is not its middle"
