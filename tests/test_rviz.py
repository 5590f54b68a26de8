"""Markers as rviz takes them: drawn on the boxes, nothing refused, and things where they are."""

import math
import random

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

from rviz_support import camera_display, complaints, in_window

from sphinx_ros.draw import label_colour
from sphinx_ros.errors import Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.markers import REQUEST, STANDING, clear_markers, marker_array
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.ros.positions import UNKNOWN, Place, Positions
from sphinx_ros.tasks import Task
from sphinx_ros.types import COCO_KEYPOINTS, Answer, Detection, Keypoint, Pose, Results

HEADER = m.Header(frame_id="camera", stamp=m.Time(sec=12, nanosec=345))


def camera(width, height, p=None, d=()):
    """A camera info with the middle of its picture in (cx, cy)."""
    k = [0.8 * width, 0.0, width / 2 - 0.5, 0.0, 0.82 * width, height / 2 - 0.5, 0.0, 0.0, 1.0]
    plain = [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0]
    return m.CameraInfo(
        width=width,
        height=height,
        distortion_model="plumb_bob",
        k=k,
        d=[*d],
        r=np.eye(3).ravel(),
        p=plain if p is None else p,
    )


def outcome(result, size, positions=None, task=Task.DETECT):
    return Outcome(
        Query(task, "x"),
        Status.OK,
        result=result,
        header=HEADER,
        width=size[0],
        height=size[1],
        positions=positions or Positions(),
    )


def stereo(width, height):
    """The P of a right camera: other focal lengths and middle than K, and both baseline terms."""
    f, g = 0.75 * width, 0.77 * width
    return [f, 0.0, 0.48 * width, -0.12 * f, 0.0, g, 0.53 * height, 0.05 * g, 0.0, 0.0, 1.0, 0.0]


CAMERAS = [
    ((640, 480), {}),
    ((1920, 1080), {}),
    ((320, 240), {"p": stereo(320, 240)}),
    ((640, 480), {"p": stereo(640, 480)}),
    ((1280, 960), {"p": stereo(1280, 960), "d": (0.1, -0.05, 0.001, 0.0, 0.0)}),
    ((640, 480), {"p": [0.0] * 12}),
]


def shown_at(pixels, info):
    """Where the Camera display has a pixel: of image_rect, where the camera is distorted."""
    places = np.array(pixels, float).reshape(-1, 2) - 0.5
    if not len(info.d):
        return places
    k, p = np.array(info.k).reshape(3, 3), np.array(info.p).reshape(3, 4)
    return cv2.undistortPoints(places[:, None], k, np.array(info.d), P=p[:, :3]).reshape(-1, 2)


@pytest.mark.parametrize("depth", [0.02, 1.0, 60.0])
@pytest.mark.parametrize("size, facts", CAMERAS)
def test_the_camera_display_draws_boxes_on_their_pixels(size, facts, depth):
    width, height = size
    info = camera(width, height, **facts)
    boxes = {
        "red mug": (0.2 * width, 0.3 * height, 0.45 * width, 0.6 * height),
        "can": (0.6 * width, 0.15 * height, 0.8 * width, 0.5 * height),
    }
    found = Results(tuple(Detection(name, box, 0.8) for name, box in boxes.items()))
    made = marker_array([outcome(found, size)], info, depth)
    frames = [one for one in made.markers if one.type == m.Marker.LINE_STRIP]
    picture = camera_display(frames, info)
    for name, (x0, y0, x1, y1) in boxes.items():
        corners = shown_at([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], info)
        ink = (np.abs(picture.astype(int) - label_colour(name)) <= 1).all(axis=2)
        rows, columns = np.nonzero(ink)
        drawn = (columns.min(), rows.min(), columns.max(), rows.max())
        assert np.allclose(drawn, (*corners.min(axis=0), *corners.max(axis=0)), atol=1.0)
        x, y = corners.mean(axis=0).astype(int)
        assert not ink[y - 5 : y + 5, x - 5 : x + 5].any()


@pytest.mark.parametrize("size, facts", CAMERAS)
def test_points_and_joints_are_drawn_on_their_pixels(size, facts):
    width, height = size
    info = camera(width, height, **facts)
    spot = Keypoint("tip", 0.4 * width, 0.3 * height, 0.9)
    joints = [
        Keypoint(n, (0.3 + 0.02 * i) * width, (0.7 - 0.01 * i) * height)
        for i, n in enumerate(COCO_KEYPOINTS)
    ]
    pointed = outcome(Answer("here", (), (spot,)), size, task=Task.ASK)
    posed = outcome(Results((Pose(tuple(joints)),)), size, task=Task.POSE)
    made = marker_array([pointed, posed], info, 1.0).markers
    cross, bones = (
        in_window([(q.x, q.y, q.z) for q in one.points], info) for one in made if one.points
    )
    assert np.allclose(cross.mean(axis=0), shown_at((spot.x, spot.y), info), atol=1.0)
    for joint in joints:
        away = np.abs(bones - shown_at((joint.x, joint.y), info)).max(axis=1)
        assert away.min() < 1.0, joint.name


def test_a_binned_picture_is_drawn_on_the_pixels_of_the_calibrated_one():
    info = camera(640, 480)
    half = outcome(Results((Detection("mug", (50.0, 60.0, 100.0, 200.0)),)), (320, 240))
    frame = next(one for one in marker_array([half], info, 1.0).markers if one.points)
    corners = in_window([(q.x, q.y, q.z) for q in frame.points], info)
    assert np.allclose(corners.min(axis=0), (100, 120), atol=1.0)
    assert np.allclose(corners.max(axis=0), (200, 400), atol=1.0)


# Where the things are

MUG = Detection("red mug", (300.0, 200.0, 380.0, 300.0), 0.834)
NEAR_MUG = Positions(
    "camera", boxes=(Place((0.12, -0.031, 1.04), (0.08, 0.1, 0.08), (0.12, -0.031, 1.0)),)
)


def of_kind(made, kind, names=STANDING.space):
    return [one for one in made.markers if one.type == kind and one.ns == names and one.id]


def test_a_thing_with_a_position_is_a_box_of_its_size_there_with_its_words_on_top():
    made = marker_array([outcome(Results((MUG,)), (640, 480), NEAR_MUG)], camera(640, 480), 1.0)
    (edges,) = of_kind(made, m.Marker.LINE_LIST)
    assert edges.header.frame_id == "camera" and edges.header.stamp == HEADER.stamp
    at = edges.pose.position
    assert (at.x, at.y, at.z) == pytest.approx((0.12, -0.031, 1.04))
    ends = np.array([(q.x, q.y, q.z) for q in edges.points])
    assert len(ends) == 24 and np.allclose(np.ptp(ends, axis=0), (0.08, 0.1, 0.08))
    assert np.allclose(np.abs(ends), (0.04, 0.05, 0.04)), "all ends are corners"
    sides = ends[1::2] - ends[::2]
    assert ((np.abs(sides) > 1e-9).sum(axis=1) == 1).all(), "all lines are edges"
    (text,) = of_kind(made, m.Marker.TEXT_VIEW_FACING)
    assert text.text == "red mug 0.83 (0.12, -0.03, 1.04 m)"
    assert text.pose.position.y < -0.031 - 0.05, "above, as y of the optical frame points down"
    flat = [t.text for t in of_kind(made, m.Marker.TEXT_VIEW_FACING, STANDING.flat)]
    assert flat == ["red mug 0.83", "(0.12, -0.03, 1.04 m)"]


def test_a_box_in_another_frame_is_turned_as_the_camera_looks():
    """A camera that looks along x of the target frame: right is -y, down is -z."""
    turn = (-0.5, 0.5, -0.5, 0.5)
    place = Place((2.0, 0.3, 0.5), (0.1, 0.2, 0.3))
    where = Positions("base", turn, boxes=(place,))
    made = marker_array([outcome(Results((MUG,)), (640, 480), where)], camera(640, 480), 1.0)
    (edges,) = of_kind(made, m.Marker.LINE_LIST)
    assert edges.header.frame_id == "base"
    q = edges.pose.orientation
    assert (q.x, q.y, q.z, q.w) == turn
    (text,) = of_kind(made, m.Marker.TEXT_VIEW_FACING)
    at = text.pose.position
    assert (at.x, at.y) == pytest.approx((2.0, 0.3)) and at.z > 0.5 + 0.1


def test_points_joints_and_things_of_unknown_size():
    spot = Keypoint("handle", 100.0, 100.0)
    person = Pose(tuple(Keypoint(n, 5.0 * i, 7.0 * i) for i, n in enumerate(COCO_KEYPOINTS)))
    joints = ((0.0, 0.0, 1.0), (0.1, 0.0, 1.0), *[UNKNOWN] * 15)
    where = Positions("camera", boxes=(Place((0.1, 0.2, 2.0)), Place()), points=((0.0, 0.1, 1.5),))
    things = outcome(Answer("", (MUG, MUG), (spot,)), (640, 480), where, Task.ASK)
    someone = outcome(
        Results((person,)), (640, 480), Positions("camera", people=(joints,)), Task.POSE
    )
    made = marker_array([things, someone], camera(640, 480), 1.0)
    balls = of_kind(made, m.Marker.SPHERE)
    assert [round(ball.pose.position.z, 2) for ball in balls] == [2.0, 1.5]
    (bone,) = of_kind(made, m.Marker.LINE_LIST)  # nose to left eye, the only one with both ends
    assert {round(q.x, 2) for q in bone.points} == {0.0, 0.1}
    said = [t.text for t in of_kind(made, m.Marker.TEXT_VIEW_FACING)]
    assert said == ["red mug 0.83 (0.10, 0.20, 2.00 m)", "handle (0.00, 0.10, 1.50 m)"]


# What rviz asks of every marker

LABELS = (
    "red mug",
    "caf\u00e9",
    "\u676f\u5b50",
    "",
    " ",
    "two\nlines",
    "\x07",
    "m" * 300,
    "\udcff",
)


def anything(draw):
    """An outcome such as a model may cause: places inside, outside and nowhere."""

    def number(low, high):
        return (
            draw.choice([math.nan, low, high]) if draw.random() < 0.1 else draw.uniform(low, high)
        )

    def box():
        x, y = sorted((number(-50, 700), number(-50, 700))), sorted((number(-9, 500), 99.0))
        return (x[0], y[0], x[1], y[1])

    def place():
        return Place(tuple(number(-3, 3) for _ in "xyz"), tuple(number(0.0, 0.5) for _ in "xyz"))

    def boxes():
        for _ in range(draw.randrange(5)):
            try:
                yield Detection(draw.choice(LABELS), box(), number(0, 1))
            except ValueError:  # NaN sorts anyhow
                continue

    found = tuple(boxes())
    spots = tuple(Keypoint(draw.choice(LABELS), number(0, 640), number(0, 480)) for _ in range(2))
    people = (Pose(tuple(Keypoint(n, number(0, 640), number(0, 480)) for n in COCO_KEYPOINTS)),)
    turn = np.array([draw.gauss(0, 1) for _ in range(4)])
    where = Positions(
        draw.choice(("", "camera", "base")),
        tuple(turn / np.linalg.norm(turn)),
        tuple(place() for _ in found),
        tuple(place().position for _ in spots),
        (tuple(place().position for _ in COCO_KEYPOINTS),),
    )
    result = draw.choice([Answer("yes", found, spots), Results((*found, *people))])
    return outcome(result, (640, 480), where)


@pytest.mark.parametrize("frame", ["camera", "/camera", "//robot/camera", ""])
def test_rviz_has_nothing_to_complain_of(frame):
    draw, kinds = random.Random(frame), set()
    header = m.Header(frame_id=frame)
    for _ in range(60):
        outcomes = [anything(draw) for _ in range(draw.randrange(4))]
        outcomes = [Outcome(**{**vars(one), "header": header}) for one in outcomes]
        info = camera(640, 480, d=draw.choice([(), (0.1, 0.02, 0.0, 0.0, 0.0)]))
        names = draw.choice([STANDING, REQUEST])
        made = marker_array(outcomes, info, draw.choice([0.02, 1.0, 99.0]), names=names)
        assert complaints(made) == []
        assert [one.ns for one in made.markers if one.action == m.Marker.DELETEALL] == [*names]
        kinds |= {one.type for one in made.markers}
    assert kinds >= {m.Marker.LINE_STRIP, m.Marker.LINE_LIST, m.Marker.TEXT_VIEW_FACING,
                     m.Marker.SPHERE}  # fmt: skip
    assert complaints(clear_markers(header)) == []


def test_the_rules_find_what_rviz_refuses():
    """So that the test above can fail."""

    def changed(**fields):
        made = marker_array([outcome(Results((MUG,)), (640, 480))], camera(640, 480), 1.0)
        for name, value in fields.items():
            setattr(made.markers[-1], name, value)
        return complaints(made)

    assert changed() == []
    for fields in (
        {"text": ""},
        {"text": "\u00e9"},
        {"ns": "other"},
        {"id": 1},
        {"scale": m.Vector3(z=1.0)},
        {"points": [m.Point()], "type": m.Marker.LINE_LIST},
        {"header": m.Header(frame_id="/camera")},
        {"action": m.Marker.DELETEALL},
    ):
        assert changed(**fields), fields
