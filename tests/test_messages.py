"""Values to messages and back, markers on their pixels, parameters, and how the demo judges."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

from sphinx_ros.errors import BadRequest, Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.demo_questions import Reply, judge, overlap, questions
from sphinx_ros.ros.markers import lift, marker_array
from sphinx_ros.ros.outcomes import Outcome, Times
from sphinx_ros.ros.params import TABLE, Config, check
from sphinx_ros.tasks import Task
from sphinx_ros.types import (
    COCO_KEYPOINTS,
    Answer,
    Detection,
    Keypoint,
    Pose,
    Results,
    ScoreSource,
)

MUG = Detection("mug", (10.0, 20.0, 110.0, 220.0), 0.75, ScoreSource.TOKEN_PROBABILITY)
PERSON = Pose(tuple(Keypoint(n, 5.0 * i, 7.0 * i) for i, n in enumerate(COCO_KEYPOINTS)))
HEADER = m.Header(frame_id="camera", stamp=m.Time(sec=12, nanosec=345))


def outcome(task, result, **fields) -> Outcome:
    query = Query(task, "a mug", id="q1")
    return Outcome(query, Status.OK, result=result, header=HEADER, width=640, height=480, **fields)


def test_detections_there_and_back():
    message = m.detections_message(outcome(Task.GROUND, Results([MUG])))
    assert m.detections_of(message) == [MUG]
    assert message.header == HEADER and message.query.id == "q1"
    assert (message.image_width, message.image_height) == (640, 480)


def test_unknown_scores_and_boxes_are_nan():
    message = m.detections_message(outcome(Task.DETECT, Results([Detection("x", (0, 0, 1, 1))])))
    assert math.isnan(message.detections[0].score) and message.detections[0].score_source == 0
    pose = m.poses_message(outcome(Task.POSE, Results([PERSON]))).poses[0]
    assert math.isnan(pose.box.x0) and len(pose.keypoints) == 17
    assert m.poses_of([pose])[0].keypoints[3].name == "left ear"


def test_answers_of_all_kinds():
    words = Answer("two", detections=(MUG,), raw_text="two <p>mug</p>", score=0.5)
    message = m.answer_message(outcome(Task.ASK, words))
    assert message.text == "two" and m.detections_of(message) == [MUG] and message.score == 0.5
    message = m.answer_message(outcome(Task.DETECT, Results([MUG])))
    assert message.text == "" and m.detections_of(message) == [MUG] and math.isnan(message.score)
    failed = Outcome(Query(Task.ASK, "x"), Status.TIMEOUT, "late", raw_text="tw")
    message = m.answer_message(failed)
    assert (message.status.code, message.text, message.raw_text) == (Status.TIMEOUT, "", "tw")
    assert message.header == m.Header()


def test_times_become_stamps_and_unknown_ones_zero():
    times = Times(received=1.5, started=1_700_000_000.25, image_age_ms=3.0)
    timing = m.timing_message(outcome(Task.ASK, None, times=times))
    assert timing.received == m.Time(sec=1, nanosec=500_000_000)
    assert timing.started == m.Time(sec=1_700_000_000, nanosec=250_000_000)
    assert timing.finished == m.Time() and math.isnan(timing.query_ms)
    assert math.isnan(m.seconds(m.Time())) and m.seconds(m.Time(sec=2)) == 2.0


def test_queries_of_messages():
    box = m.BoundingBox(x0=1.0, y0=2.0, x1=3.0, y1=4.0)
    message = m.QueryMessage(task=m.QueryMessage.DESCRIBE, box=box, max_new_tokens=7, id="i")
    query = m.query_of(message)
    assert query == Query(Task.DESCRIBE, "", (1, 2, 3, 4), 7, "i")
    assert m.query_message(query) == message
    assert m.query_of(m.QueryMessage(task=m.QueryMessage.POSE)).box is None
    with pytest.raises(BadRequest, match="99"):
        m.query_of(m.QueryMessage(task=99))


def test_an_empty_request_picture_means_the_newest_one():
    assert m.frame_of_request(m.Image(), 0.0, 100) is None
    assert m.frame_of_request(m.Image(width=4, height=4), 0.0, 100) is not None


def test_pictures_there_and_back():
    rgb = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    message = m.image_message(rgb[:, ::-1], HEADER)  # not contiguous
    assert np.array_equal(m.frame_of(message, 0.0, 100).decode(), rgb[:, ::-1])


@pytest.mark.skipif(m.Detection2DArray is None, reason="vision_msgs is not installed")
def test_the_vision_msgs_mirror():
    mirror = m.mirror_message(outcome(Task.GROUND, Results([MUG])))
    box = mirror.detections[0]
    assert mirror.header == HEADER and box.header == HEADER
    assert (box.bbox.center.position.x, box.bbox.size_y) == (60.0, 200.0)
    assert box.results[0].hypothesis.class_id == "mug"
    assert box.results[0].hypothesis.score == pytest.approx(0.75)


K = [500.0, 0.0, 319.5, 0.0, 510.0, 239.5, 0.0, 0.0, 1.0]
P = [480.0, 0.0, 310.0, -48.0, 0.0, 490.0, 235.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def project(points, p):
    """What rviz's Camera display does: P alone."""
    p = np.array(p).reshape(3, 4)
    image = np.hstack([points, np.ones((len(points), 1))]) @ p.T
    return image[:, :2] / image[:, 2:]


@pytest.mark.parametrize("depth", [0.5, 3.0])
def test_markers_land_on_their_pixels(depth):
    pixels = np.array([(10.0, 20.0), (630.0, 470.0), (320.0, 240.0)])
    info = m.CameraInfo(width=640, height=480, k=K, r=np.eye(3).ravel())
    points = lift(pixels, info, (640, 480), depth)
    assert np.allclose(points[:, 2], depth)
    p = [K[0], 0, K[2], 0, 0, K[4], K[5], 0, 0, 0, 1, 0]
    assert np.allclose(project(points, p), pixels - 0.5, atol=1e-6)


def test_markers_follow_the_rectified_picture_and_a_stereo_baseline():
    info = m.CameraInfo(
        width=640,
        height=480,
        k=K,
        p=P,
        d=[0.1, -0.05, 0.001, 0.0, 0.0],
        r=np.eye(3).ravel(),
        distortion_model="plumb_bob",
    )
    pixels = np.array([(100.0, 80.0), (500.0, 400.0)])
    import cv2

    flat = cv2.undistortPoints(
        (pixels - 0.5)[:, None],
        np.array(K).reshape(3, 3),
        np.array(info.d),
        P=np.array(P).reshape(3, 4)[:, :3],
    ).reshape(-1, 2)
    assert np.allclose(project(lift(pixels, info, (640, 480), 2.0), P), flat, atol=1e-4)


def test_markers_scale_with_a_binned_picture_and_need_a_calibration():
    info = m.CameraInfo(width=640, height=480, k=K, r=np.eye(3).ravel())
    half = lift([(50.0, 60.0)], info, (320, 240), 1.0)
    assert np.allclose(half, lift([(100.0, 120.0)], info, (640, 480), 1.0))
    outcomes = [
        outcome(Task.GROUND, Results([MUG])),
        outcome(Task.POSE, Results([PERSON])),
        outcome(Task.ASK, Answer("two")),
    ]
    assert marker_array(outcomes, m.CameraInfo(), 1.0) is None
    made = marker_array(outcomes, info, 1.0).markers
    assert made[0].action == m.Marker.DELETEALL
    assert [x.type for x in made[1:]] == [
        m.Marker.LINE_STRIP,
        m.Marker.TEXT_VIEW_FACING,
        m.Marker.LINE_LIST,
    ]
    assert len({(x.ns, x.id) for x in made}) == len(made)
    assert all(x.header == HEADER for x in made) and made[2].scale.z > 0


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("max_rate", -1.0, "max_rate is -1.0"),
        ("max_image_age", math.nan, "0..86400"),
        ("dtype", "int3", "one of"),
        ("image_transport", "theora", "raw, compressed"),
        ("queries", ["nonsense"], "not a query"),
        ("queries", ["pose"] * 40, "limit"),
        ("max_pending", 0, "1..64"),
    ],
)
def test_parameters_out_of_range_are_refused_with_a_reason(name, value, says):
    assert says in check([SimpleNamespace(name=name, value=value)])


def test_parameters_in_range_are_taken_and_all_are_in_the_configuration():
    assert check([SimpleNamespace(name=r.name, value=r.default) for r in TABLE]) == ""
    assert check([SimpleNamespace(name="use_sim_time", value=True)]) == ""
    assert [r.name for r in TABLE] == list(Config.__dataclass_fields__)
    assert all(len(r.description) > 20 for r in TABLE)


OBJECTS = [
    dict(kind="mug", colour="red", box=[0, 0, 100, 100]),
    dict(kind="can", colour="blue", box=[200, 0, 260, 100]),
    dict(kind="ball", colour="green", box=[300, 0, 360, 60]),
    dict(kind="cone", colour="white", box=[400, 0, 460, 60]),
    dict(kind="person", colour="red", box=[0, 100, 100, 300],
         keypoints=[[10 * i, 100 + 10 * i, 2] for i in range(17)]),
]  # fmt: skip


def test_the_demo_judges_right_and_wrong_answers():
    asked = {q.line: q for q in questions(OBJECTS)}
    assert len(asked) >= 9 and len({q.task for q in asked.values()}) >= 5
    ground = asked["ground: the red mug"]
    good = Reply(Status.OK, [Detection("x", (0, 0, 100, 90))])
    assert judge(ground, good, OBJECTS)[1:] == ("IoU 0.90", True)
    bad = Reply(Status.OK, [Detection("x", (200, 0, 300, 90))])
    assert judge(ground, bad, OBJECTS)[1:] == ("IoU 0.00", False)
    assert not judge(ground, Reply(Status.NOT_FOUND), OBJECTS)[2]
    assert judge(ground, Reply(Status.TIMEOUT), OBJECTS) == ("TIMEOUT", "no answer", False)
    absent = asked["detect: cube"]
    assert judge(absent, Reply(Status.NOT_FOUND), OBJECTS)[2]
    assert not judge(absent, good, OBJECTS)[2]
    count = asked["ask: How many objects are there?"]
    assert judge(count, Reply(Status.OK, text="5"), OBJECTS)[2]
    assert judge(count, Reply(Status.OK, text="4"), OBJECTS)[1:] == ("wrong: 5", False)
    everything = asked["detect: objects"]
    found = [Detection(f"{o['colour']} {o['kind']}", tuple(o["box"])) for o in OBJECTS]
    assert judge(everything, Reply(Status.OK, found), OBJECTS)[1:] == (
        "5 of 5, mean IoU 1.00",
        True,
    )
    assert not judge(everything, Reply(Status.OK, found[1:]), OBJECTS)[2]
    joints = [Keypoint(n, 10.0 * i, 100.0 + 10 * i) for i, n in enumerate(COCO_KEYPOINTS)]
    pose = asked["pose"]
    assert judge(pose, Reply(Status.OK, people=[Pose(tuple(joints))]), OBJECTS)[2]
    away = tuple(Keypoint(k.name, k.x + 40, k.y) for k in joints)
    assert judge(pose, Reply(Status.OK, people=[Pose(away)]), OBJECTS)[1:] == (
        "0 of 17 near",
        False,
    )


def test_overlap():
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0.0 == overlap((0, 0, 0, 0), (0, 0, 0, 0))
