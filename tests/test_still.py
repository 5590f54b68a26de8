"""Whether a picture shows something new: noise is not new, what moves or grows is."""

import cv2
import numpy as np
import pytest

from sphinx_ros.errors import BadImage
from sphinx_ros.image.camera_noise import Noise
from sphinx_ros.image.still import AGE, CHANGE, FIRST, LIGHT, SIZE, Still, reduced


def scene(width=320, height=240, seed=0):
    """A picture with edges, gradients and texture, [H, W, 3] float32."""
    draw = np.random.default_rng(seed)
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = np.linspace(40, 200, width)[:, None]
    for _ in range(25):
        x, y = draw.integers(0, width - 40), draw.integers(0, height - 40)
        w, h = draw.integers(8, 40, 2)
        picture[y : y + h, x : x + w] = draw.uniform(10, 245, 3)
    return picture


class Camera:
    """Pictures of a scene with the noise of a camera."""

    def __init__(self, read=2.0, shot=0.0, jpeg=0, flicker=0.0, seed=0):
        self.read, self.shot, self.jpeg, self.flicker = read, shot, jpeg, flicker
        self.draw = np.random.default_rng(seed)

    def __call__(self, light):
        light = light * (1 + self.flicker * self.draw.uniform(-1, 1))
        sigma = np.sqrt(self.read**2 + self.shot * light)
        levels = light + sigma * self.draw.normal(size=light.shape)
        rgb = levels.round().clip(0, 255).astype(np.uint8)
        if self.jpeg:
            _, data = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, self.jpeg])
            rgb = cv2.imdecode(data, cv2.IMREAD_COLOR)
        return rgb


def looks(still, pictures):
    """The reasons of all looks, each of which is made."""
    reasons = []
    for rgb in pictures:
        if why := still.reason(rgb, 0.0):
            still.looked()
            reasons.append(why)
    return reasons


def settled(camera, light, side=320, pictures=8):
    """A Still that knows the camera, and looked at the scene."""
    still = Still(side)
    looks(still, [camera(light) for _ in range(pictures)])
    still.reason(camera(light), 0.0)
    still.looked()
    return still


@pytest.mark.parametrize(
    "camera",
    [
        Camera(read=0),
        Camera(read=0.5),
        Camera(read=6),
        Camera(read=1, shot=0.2),
        Camera(read=2, flicker=0.02),
        Camera(read=2, jpeg=85),
        Camera(read=0.3, jpeg=75),
        Camera(read=3, shot=0.05, jpeg=80, flicker=0.01),
    ],
    ids=lambda c: f"read {c.read} shot {c.shot} jpeg {c.jpeg} flicker {c.flicker}",
)
def test_noise_of_a_camera_is_nothing_new(camera):
    light = scene()
    reasons = looks(Still(320), [camera(light) for _ in range(40)])
    assert reasons[0] == FIRST and len(reasons) <= 2, reasons


@pytest.mark.parametrize("jpeg", [0, 85])
def test_a_small_thing_that_moves_by_a_pixel_is_new(jpeg):
    camera, light = Camera(read=2, jpeg=jpeg), scene()
    light[100:110, 50:60] = (250, 20, 20)
    moved = light.copy()
    moved[100:110, 50] = light[100:110, 49]
    moved[100:110, 60] = (250, 20, 20)
    still = settled(camera, light)
    assert still.reason(camera(moved), 0.0) == CHANGE


def test_a_faint_large_thing_is_new():
    camera, light = Camera(read=4), scene()
    still = settled(camera, light)
    light[40:120, 200:280] += 3  # less than the noise of a pixel
    assert still.reason(camera(light), 0.0) == CHANGE


def test_slow_changes_add_up_from_the_picture_looked_at():
    camera, light = Camera(read=2), scene()
    still = settled(camera, light)
    reasons = []
    for _ in range(60):
        light[40:120, 200:280] += 0.1
        reasons.append(still.reason(camera(light), 0.0))
    assert reasons[0] == "" and CHANGE in reasons


def test_a_thing_that_left_and_came_back_is_nothing_new():
    camera, light = Camera(), scene()
    still = settled(camera, light)
    there = light.copy()
    there[60:100, 60:100] = 250
    assert [still.reason(camera(x), 0.0) for x in (there, light)] == [CHANGE, ""]


def test_light_that_goes_on_is_new():
    camera, light = Camera(), scene()
    still = settled(camera, light)
    assert still.reason(camera(light * 1.1), 0.0) == LIGHT


def test_a_camera_in_motion_hides_nothing_when_it_slows_down():
    camera, wide = Camera(read=1), scene(width=480)
    still = Still(320)
    fast = [camera(wide[:, x : x + 320]) for x in range(0, 160, 8)]
    slow = [camera(wide[:, x : x + 320]) for x in range(160, 140, -1)]
    assert looks(still, fast + slow) == [FIRST] + [CHANGE] * (len(fast) + len(slow) - 1)


def test_size_age_and_forgetting_ask_for_a_look():
    still, picture = Still(320, seconds=10), scene().astype(np.uint8)
    assert still.reason(picture, 5.0) == FIRST
    assert still.reason(picture, 6.0) == FIRST, "nobody looked at the one before"
    still.looked()
    assert still.reason(picture, 15.9) == "" and still.reason(picture, 16.0) == AGE
    assert still.reason(picture[:100], 16.1) == SIZE
    still.looked()
    assert still.reason(picture[:100], 16.2) == ""
    still.forget()
    assert still.reason(picture[:100], 16.3) == FIRST


def test_noise_is_measured_per_brightness_and_size_of_block():
    light = np.empty((256, 256, 3), np.float32)
    light[:] = np.linspace(20, 230, 256)[:, None, None]
    camera, noise = Camera(read=1, shot=0.1), Noise()
    for _ in range(12):
        noise.add(reduced(camera(light), 256))
    pixel, block, _ = noise.deviations()
    middle = (np.arange(8) + 0.5) * 32
    true = np.sqrt(2 * (1 + 0.1 * middle))  # of a difference
    assert pixel[:, 1:7] == pytest.approx(np.broadcast_to(true[1:7], (3, 6)), rel=0.05)
    assert block[:, 1:7] == pytest.approx(np.broadcast_to(true[1:7] / 4, (3, 6)), rel=0.15)


def test_blocks_are_no_larger_than_the_pixels_of_the_model():
    rgb = scene(1920, 1080).astype(np.uint8)
    assert [level.shape for level in reduced(rgb, 512).levels] == [
        (360, 640, 3),
        (90, 160, 3),
        (23, 40, 3),
    ]
    backwards = np.ascontiguousarray(rgb[:, :, ::-1])[:, :, ::-1]  # how bgr8 is decoded
    for one, other in zip(reduced(rgb, 512).levels, reduced(backwards, 512).levels, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 3, 3), (17, 2000, 3)])
def test_pictures_of_any_size(shape):
    rgb = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    still = Still(224)
    assert looks(still, [rgb] * 4) == [FIRST]
    assert still.reason(255 - rgb, 0.0) in (CHANGE, LIGHT)


def test_what_is_no_picture_is_refused():
    with pytest.raises(BadImage, match="shape"):
        Still(224).reason(np.zeros((4, 4), np.uint8), 0.0)
