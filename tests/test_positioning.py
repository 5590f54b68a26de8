"""Depth, calibration and answers to positions: what is missing, TF, and a node over real DDS."""

import gc
import math
import re
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

from patience import until
from rclpy.clock import ROSClock
from rclpy.time import Time
from ros_support import CHECKPOINT, UNHURRIED, Client, clip_pictures, process
from sensor_msgs.msg import RegionOfInterest

from sphinx_ros.errors import Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.outcomes import Frame, Look, Outcome
from sphinx_ros.ros.positioning import Positioning
from sphinx_ros.ros.positions import Place, Positions
from sphinx_ros.ros.quiet import QuietLog
from sphinx_ros.ros.transforms import Transforms, moved, tf2_ros
from sphinx_ros.ros.world_camera import depth_message
from sphinx_ros.tasks import Task
from sphinx_ros.types import Detection, Results
from sphinx_ros.world.camera_facts import calibration
from sphinx_ros.world.clip import read_truth
from sphinx_ros.world.truth import Camera

CAMERA = Camera(640, 480, 500.0, 500.0, 320.0, 240.0)
BOX = (370.0, 190.0, 470.0, 290.0)
FLAT = np.full((480, 640), 2.0, np.float32)


def header(seconds=7, frame="camera"):
    return m.Header(stamp=m.Time(sec=seconds), frame_id=frame)


AHEAD = depth_message(FLAT, header())


def calibrated(frame="camera", **changes):
    return m.CameraInfo(header=header(frame=frame), **{**calibration(CAMERA), **changes})


class Told(list):
    """A positioning with a camera's messages in it, and the warnings that were written."""

    def __init__(self, info=None, depth=None):
        super().__init__()
        self.positioning = Positioning("", QuietLog(self.append), Transforms(None))
        if info is not None:
            self.positioning.calibrate(info)
        if depth is not None:
            self.positioning.on_depth(depth)

    def look(self, of):
        frame = Frame(lambda: None, 0.0, m.seconds(of.stamp), of)
        return Look(self.positioning.claim(frame), np.zeros((480, 640, 3), np.uint8))

    def locate(self, look=None, **options):
        look = self.look(header()) if look is None else look
        of = look.frame.header
        found = Results([Detection("mug", BOX)])
        query = Query(Task.GROUND, "mug")
        outcome = Outcome(query, Status.OK, result=found, header=of, width=640, height=480)
        (outcome,) = self.positioning.locate(look, [outcome], **options)
        return outcome.positions


def test_a_box_with_depth_and_calibration_has_a_position(monkeypatch):
    monkeypatch.setattr("sphinx_ros.ros.depth_pairs.ALIVE", 3600.0)
    told = Told(calibrated(), depth_message(FLAT, header()))
    found = told.locate()
    assert found.frame == "camera"
    assert found.box(0).position == pytest.approx((0.4, 0.0, 2.0))
    assert found.box(0).size == pytest.approx((0.4, 0.4, 0.0), abs=1e-6)
    facts = told.positioning.facts()
    assert facts["depth"] == "arriving" and facts["pictures with depth"] == 1 and not told


def test_without_depth_nothing_is_said_and_nothing_is_known():
    told = Told(calibrated())
    assert told.locate() == Positions() and not told
    assert told.positioning.facts() == {"depth": "never"}


@pytest.mark.parametrize(
    ("info", "depth", "said"),
    [
        (None, depth_message(FLAT, header()), "remap the topic camera_info"),
        (calibrated(k=[0.0] * 9), depth_message(FLAT, header()), "not calibrated"),
        (calibrated(k=[1e-30, 0, 320, 0, 1e-30, 240, 0, 0, 1]), AHEAD, "K has the focal lengths"),
        (calibrated(k=[1e30, 0, 320, 0, 500, 240, 0, 0, 1]), AHEAD, "0.01 to 1000 times"),
        (calibrated(k=[500, 0, 1e30, 0, 500, 240, 0, 0, 1]), AHEAD, "K has its centre at 1e.30"),
        (
            calibrated(p=[500, 0, 320, 0, 0, 1e-9, 240, 0, 0, 0, 1, 0]),
            AHEAD,
            "P has the focal lengths",
        ),
        (calibrated(width=2**31), AHEAD, "calibrated picture is 2147483648x480"),
        (calibrated(), depth_message(FLAT * 1e38, header()), "2e.38 m in the median; up to 1000"),
        (calibrated(), depth_message(FLAT * 700, header()), "millimetres are sent as 16UC1"),
        (calibrated(), depth_message(FLAT, header(9)), "do both have one clock"),
        (calibrated(), depth_message(FLAT, header(0)), "do both have one clock"),
        (calibrated(), depth_message(FLAT, header(7, "infra")), "'infra' .* registered"),
        (calibrated(), depth_message(FLAT[:300], header()), "640x300 .* registered"),
        (
            calibrated(),
            m.Image(header=header(), encoding="rgb8", width=4, height=4),
            "is no depth",
        ),
        (calibrated(), m.Image(header=header(), encoding="16UC1", width=4, height=3), "no data"),
    ],
)
def test_what_keeps_positions_from_being_known_is_said_once(info, depth, said):
    told = Told(info, depth)
    for _ in range(3):
        assert told.locate() == Positions()
    (line,) = told
    assert line.startswith("no positions: ")
    assert re.search(said, line), line
    assert told.positioning.facts()["positions"].startswith("unknown: ")


def test_a_number_beyond_all_depth_is_no_measurement():
    holed = FLAT.copy()
    holed[230:240] = 1e38
    told = Told(calibrated(), depth_message(holed, header()))
    assert told.locate().box(0).position[2] == pytest.approx(2.0)


def test_a_picture_with_several_answers_is_counted_once():
    told = Told(calibrated(), depth_message(FLAT, header()))
    look = told.look(header())
    for _ in range(3):
        assert told.locate(look).frame
    assert told.positioning.facts()["pictures with depth"] == 1


class StandInTf:
    """In place of tf2_ros, as it is from Jazzy on (handle) and was before."""

    def __init__(self, handle):
        self.live = live = []  # what is registered somewhere

        class Part:
            def __init__(self, buffer, node):
                live.append(self)

            def unregister(self):
                live.remove(self)

        class Buffer:
            def __init__(self, cache_time=None, node=None):
                assert node is None, "it would offer a service for as long as the node lives"
                self.cleared = 0
                if handle:
                    self.jump_handle = Part(self, None)

            def clear(self):
                self.cleared += 1

        self.Buffer, self.TransformListener = Buffer, Part


@pytest.mark.parametrize("handle", [False, True])
def test_nothing_of_tf_stays_when_it_is_not_heard_any_more(monkeypatch, handle):
    tf = StandInTf(handle)
    monkeypatch.setattr("sphinx_ros.ros.transforms.tf2_ros", tf)
    clock = ROSClock()
    clock._set_ros_time_is_active(True)
    heard = Transforms(SimpleNamespace(get_clock=lambda: clock))
    for _ in range(2):
        heard.listen()
        heard.listen()
        buffer = heard._buffer
        assert len(tf.live) == 1 + handle
        for second in (7, 8, 2):
            clock.set_ros_time_override(Time(seconds=second, clock_type=clock.clock_type))
        assert buffer.cleared, "what was heard is of another time"
        heard.close()
        heard.close()
        assert not tf.live
        buffer = weakref.ref(buffer)
        gc.collect()
        assert buffer() is None, "the node's clock holds it no more"


def test_an_unknown_target_frame_leaves_positions_unknown():
    told = Told(calibrated(), depth_message(FLAT, header()))
    assert told.locate(target_frame="map") == Positions()
    (line,) = told
    assert "target_frame needs tf2_ros" in line or "TF is not heard" in line
    assert told.locate(target_frame="camera").frame == "camera", "which needs no TF"


@pytest.mark.parametrize("target", ["", "map"])
def test_pictures_without_the_name_of_a_frame_have_no_positions(target):
    """They would go out as places in no frame, or in one that they are not in."""
    told = Told(calibrated(frame=""), depth_message(FLAT, header(frame="")))
    look = told.look(header(frame=""))
    assert told.locate(look, target_frame=target) == Positions()
    (line,) = told
    assert "have no frame_id" in line and "driver" in line
    told.positioning.on_depth(depth_message(FLAT, header(8, "camera")))
    assert told.locate(told.look(header(8, ""))).frame == "camera", "its depth says the frame"


def test_a_camera_that_is_heard_no_more_leaves_no_calibration():
    told = Told(calibrated(), depth_message(FLAT, header()))
    assert told.locate().frame
    told.positioning.forget()
    told.positioning.on_depth(depth_message(FLAT, header()))
    assert told.locate() == Positions()
    assert "no camera info has come" in told.pop()
    told.positioning.calibrate(calibrated())
    assert told.locate().frame


def test_a_part_of_the_sensor_is_where_it_is():
    """A region of interest of 320x240 in the middle of the sensor, as CameraInfo tells of it."""
    part = RegionOfInterest(x_offset=160, y_offset=120, width=320, height=240)
    told = Told(calibrated(roi=part), depth_message(FLAT[:240, :320], header()))
    frame = told.positioning.claim(Frame(lambda: None, 0.0, 7.0, header()))
    look = Look(frame, np.zeros((240, 320, 3), np.uint8))
    x0, y0, x1, y1 = BOX
    inside = (x0 - 160, y0 - 120, x1 - 160, y1 - 120)
    found = Results([Detection("mug", inside)])
    one = Outcome(Query(Task.GROUND, "mug"), Status.OK, result=found, header=header())
    (one,) = told.positioning.locate(look, [one])
    assert one.positions.box(0).position == pytest.approx((0.4, 0.0, 2.0))
    assert one.positions.box(0).size == pytest.approx((0.4, 0.4, 0.0), abs=1e-6)


def test_points_are_turned_and_shifted_and_sizes_are_not():
    """A camera 1 m above the base that looks ahead: its z is the base's x (REP 103)."""
    transform = SimpleNamespace(
        rotation=SimpleNamespace(x=-0.5, y=0.5, z=-0.5, w=0.5),
        translation=SimpleNamespace(x=0.1, y=0.0, z=1.0),
    )
    place = Place((0.2, 0.3, 2.0), (0.1, 0.2, 0.3), (0.2, 0.3, 1.9))
    unknown = (math.nan,) * 3
    where = Positions("camera", (0, 0, 0, 1), (place, Place()), ((0.0, 0.0, 1.0), unknown))
    found = moved(where, transform, "base")
    assert found.frame == "base" and found.orientation == (-0.5, 0.5, -0.5, 0.5)
    assert found.box(0).position == pytest.approx((2.1, -0.2, 0.7))
    assert found.box(0).surface == pytest.approx((2.0, -0.2, 0.7))
    assert found.box(0).size == (0.1, 0.2, 0.3)
    assert found.point(0) == pytest.approx((1.1, 0.0, 1.0))
    assert not found.box(1).known and all(map(math.isnan, found.point(1)))


# Over real DDS


class Robot:
    """A camera with depth on one picture of the clip; asks a node called `deep`."""

    def __init__(self):
        self.client = Client("robot", "deep")
        (self.rgb, self.truth), *_ = clip_pictures(1)
        clip = read_truth()
        self.camera = Camera(clip["width"], clip["height"], **clip["camera"])
        make = self.client.node.create_publisher
        self.image = make(m.Image, "/camera/image_raw", 1)
        self.info = make(m.CameraInfo, "/camera/camera_info", 1)
        self.depth = make(m.Image, "/camera/depth/image_raw", 1)

    def shine(self):
        """One picture with all that belongs to it."""
        stamp = self.client.node.get_clock().now().to_msg()
        head = m.Header(stamp=stamp, frame_id="camera")
        self.info.publish(m.CameraInfo(header=head, **calibration(self.camera)))
        self.depth.publish(depth_message(FLAT, head))
        self.image.publish(m.image_message(self.rgb, head))
        self.client.until(lambda: False, 0.1)

    def ground(self, text):
        """The first answer that has positions, or the last one if none has."""
        found = []

        def placed():
            self.shine()
            found.append(self.client.ground(text=text))
            return found[-1].position_frame

        until(placed)
        return found[-1]


@pytest.mark.ros
def test_a_node_says_where_things_are(apart, tmp_path):
    words = ["-r", "__node:=deep", "-p", f"checkpoint:={CHECKPOINT}", *UNHURRIED]
    words += ["-r", "image:=/camera/image_raw", "-r", "depth:=/camera/depth/image_raw"]
    with process("sphinx_ros.ros.node", *words, log=tmp_path / "log"):
        robot = Robot()
        boxes = robot.client.listen(m.DetectionArray, "/deep/detections")
        item = next(o for o in robot.truth["objects"] if o["kind"] != "person")
        result = robot.ground(f"the {item['colour']} {item['kind']}")
        assert result.status.code == Status.OK, (tmp_path / "log").read_text()
        assert result.position_frame == "camera" == result.header.frame_id
        (found, *_) = result.detections
        x = ((found.box.x0 + found.box.x1) / 2 - robot.camera.cx) / robot.camera.fx
        y = ((found.box.y0 + found.box.y1) / 2 - robot.camera.cy) / robot.camera.fy
        at = found.position
        assert (at.x, at.y, at.z) == pytest.approx((2 * x, 2 * y, 2.0), abs=1e-3)
        wide = 2 * (found.box.x1 - found.box.x0) / robot.camera.fx
        assert found.size.x == pytest.approx(wide, abs=1e-3)
        robot.client.call("set_queries", m.SetQueries, queries=["detect: objects"])

        def standing():
            robot.shine()
            return any(one.position_frame for one in boxes)

        assert robot.client.until(standing), "standing queries have positions as well"
        robot.client.close()


@pytest.mark.ros
@pytest.mark.skipif(tf2_ros is None, reason="tf2_ros is not installed (it is not on PyPI)")
def test_positions_are_in_the_target_frame_where_there_is_tf(apart, tmp_path):
    from geometry_msgs.msg import TransformStamped
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from tf2_msgs.msg import TFMessage

    words = ["-r", "__node:=deep", "-p", f"checkpoint:={CHECKPOINT}", *UNHURRIED]
    words += ["-p", "target_frame:=base"]
    words += ["-r", "image:=/camera/image_raw", "-r", "depth:=/camera/depth/image_raw"]
    with process("sphinx_ros.ros.node", *words, log=tmp_path / "log"):
        robot = Robot()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        frames = robot.client.node.create_publisher(TFMessage, "/tf_static", latched)
        one = TransformStamped(header=m.Header(frame_id="base"), child_frame_id="camera")
        turn = one.transform.rotation
        turn.x, turn.y, turn.z, turn.w = -0.5, 0.5, -0.5, 0.5
        one.transform.translation.z = 1.0
        frames.publish(TFMessage(transforms=[one]))
        item = next(o for o in robot.truth["objects"] if o["kind"] != "person")
        result = robot.ground(f"the {item['colour']} {item['kind']}")
        assert result.position_frame == "base", (tmp_path / "log").read_text()
        assert result.header.frame_id == "camera"
        assert result.detections[0].position.x == pytest.approx(2.0, abs=1e-3)
        robot.client.close()
