"""Pictures of each encoding as cv_bridge converts them, where a ROS distribution has it."""

import numpy as np
import pytest

from sphinx_ros.image.decode import decode_image

pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")
core = pytest.importorskip("cv_bridge.core", reason="cv_bridge of a ROS distribution is not here")

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
BAYER = ("bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8")


def both(encoding, picture):
    """Ours, and what CvBridge makes of the same message."""
    from sphinx_ros.ros import messages as m

    height, width = picture.shape[:2]
    step = picture.strides[0]
    data = picture.tobytes()
    message = m.Image(
        height=height,
        width=width,
        encoding=encoding,
        step=step,
        data=np.frombuffer(data, np.uint8),
    )
    theirs = core.CvBridge().imgmsg_to_cv2(message, desired_encoding="rgb8")
    return decode_image(data, width, height, encoding, step), theirs


@pytest.mark.parametrize("encoding", CHANNELS)
def test_plain_pictures_are_the_same(encoding):
    draw = np.random.default_rng(0)
    shape = (24, 32, CHANNELS[encoding]) if CHANNELS[encoding] > 1 else (24, 32)
    ours, theirs = both(encoding, draw.integers(0, 256, shape, dtype=np.uint8))
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("encoding", BAYER)
def test_bayer_pictures_agree_on_a_smooth_scene(encoding):
    """Both may interpolate in their own way; a smooth scene leaves little to differ in."""
    rows, columns = np.mgrid[0:48, 0:64]
    ours, theirs = both(encoding, (rows + 2 * columns).astype(np.uint8))
    inside = np.s_[2:-2, 2:-2]
    assert np.abs(ours[inside].astype(int) - theirs[inside]).max() <= 4
