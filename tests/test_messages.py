"""Values to messages and back."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

from sphinx_ros.errors import BadRequest, Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros import messages as m
from sphinx_ros.ros import replies
from sphinx_ros.ros.client_values import detections_of, poses_of
from sphinx_ros.ros.outcomes import Outcome, Times
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.positions import Place, Positions
from sphinx_ros.tasks import Task
from sphinx_ros.types import (
    COCO_KEYPOINTS,
    Answer,
    Cost,
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
    message = replies.detections_message(outcome(Task.GROUND, Results([MUG])))
    assert detections_of(message) == [MUG]
    assert message.header == HEADER and message.query.id == "q1"
    assert (message.image_width, message.image_height) == (640, 480)


def test_what_the_model_is_sure_of_travels_with_a_box():
    sure = replace(MUG, sigma=(1.0, 2.0, 3.0, 4.0), presence=0.75)
    score = replace(sure, score_source=ScoreSource.CALIBRATED)
    message = replies.detections_message(outcome(Task.GROUND, Results([score], denied=(sure,))))
    assert detections_of(message) == [score]
    (denied,) = message.denied
    assert list(denied.sigma) == [1, 2, 3, 4] and denied.presence == 0.75
    cost = Cost(tokens=17, passes=9, accepted=4, cached=True)
    times = replace(Times(), tokens=17, passes=cost.passes, accepted=4, cached=True)
    timing = replies.timing_message(replace(outcome(Task.GROUND, Results([score])), times=times))
    assert (timing.passes, timing.accepted, timing.cached) == (9, 4, True)


def test_unknown_scores_and_boxes_are_nan():
    message = replies.detections_message(
        outcome(Task.DETECT, Results([Detection("x", (0, 0, 1, 1))]))
    )
    assert math.isnan(message.detections[0].score) and message.detections[0].score_source == 0
    pose = replies.poses_message(outcome(Task.POSE, Results([PERSON]))).poses[0]
    assert math.isnan(pose.box.x0) and len(pose.keypoints) == 17
    assert poses_of([pose])[0].keypoints[3].name == "left ear"


def test_where_things_are_travels_with_boxes_joints_and_points():
    place = Place((0.1, -0.2, 1.5), (0.3, 0.4, 0.5), (0.1, -0.2, 1.25))
    where = Positions("camera", boxes=(place,), points=((1.0, 2.0, 3.0),))
    message = replies.answer_to(outcome(Task.DETECT, Results([MUG, MUG]), positions=where))
    assert message.position_frame == "camera"
    found, other = message.detections
    assert found.position == m.Point(x=0.1, y=-0.2, z=1.5)
    assert found.size == m.Vector3(x=0.3, y=0.4, z=0.5)
    assert math.isnan(other.position.z) and math.isnan(other.size.z), "unknown stays unknown"
    words = Answer("here", detections=(MUG,), keypoints=(Keypoint("lid", 4, 5),))
    message = replies.answer_to(outcome(Task.ASK, words, positions=where))
    assert message.detections[0].position.z == 1.5
    assert message.keypoints[0].position == m.Point(x=1.0, y=2.0, z=3.0)
    joints = tuple((float(i), 0.0, 2.0) for i in range(17))
    where = Positions("camera", people=(joints,))
    message = replies.answer_to(outcome(Task.POSE, Results([PERSON]), positions=where))
    assert [joint.position.x for joint in message.poses[0].keypoints] == list(range(17))
    message = replies.answer_to(outcome(Task.POSE, Results([PERSON])))
    assert message.position_frame == "" and math.isnan(message.poses[0].keypoints[0].position.x)


def test_answers_of_all_kinds():
    written = "two <p>mugs</p>[0.1,0.2,0.3,0.4]"
    words = Answer(written, detections=(MUG,), raw_text=written, score=0.5)
    message = replies.answer_message(outcome(Task.ASK, words, raw_text=written))
    assert (message.text, message.raw_text) == ("two mugs", written)
    assert detections_of(message) == [MUG] and message.score == 0.5
    message = replies.answer_message(outcome(Task.DETECT, Results([MUG])))
    assert message.text == "" and detections_of(message) == [MUG] and math.isnan(message.score)
    failed = Outcome(Query(Task.ASK, "x"), Status.TIMEOUT, "late", raw_text="tw")
    message = replies.answer_message(failed)
    assert (message.status.code, message.text, message.raw_text) == (Status.TIMEOUT, "", "tw")
    assert message.header == m.Header()


def test_times_become_stamps_and_unknown_ones_zero():
    times = Times(received=1.5, started=1_700_000_000.25, image_age_ms=3.0)
    timing = replies.timing_message(outcome(Task.ASK, None, times=times))
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
    assert m.frame_of_request(m.Image(), 0.0, Config()) is None
    assert m.frame_of_request(m.Image(width=4, height=4), 0.0, Config()) is None, "no data"
    assert m.frame_of_request(m.Image(data=bytes(3)), 0.0, Config()) is not None


def test_pictures_of_fewer_bits_than_they_have_room_for_are_known():
    grey = np.full((4, 6), 4000, "<u2")
    message = m.Image(width=6, height=4, encoding="mono16", step=12, data=grey.tobytes())
    frame = m.frame_of(message, 0.0, Config())
    assert frame.filled_bits() == 12 and frame.decode().max() == 16
    told = m.frame_of(message, 0.0, Config(image_bits=12))
    assert told.filled_bits is None and told.decode().max() == 249
    assert m.frame_of(m.Image(encoding="rgb8"), 0.0, Config()).filled_bits is None


def test_pictures_there_and_back():
    rgb = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    message = m.image_message(rgb[:, ::-1], HEADER)  # not contiguous
    assert np.array_equal(m.frame_of(message, 0.0, Config()).decode(), rgb[:, ::-1])


@pytest.mark.skipif(m.Detection2DArray is None, reason="vision_msgs is not installed")
def test_the_vision_msgs_mirror():
    mirror = replies.mirror_message(outcome(Task.GROUND, Results([MUG])))
    box = mirror.detections[0]
    assert mirror.header == HEADER and box.header == HEADER
    assert (box.bbox.center.position.x, box.bbox.size_y) == (60.0, 200.0)
    assert box.results[0].hypothesis.class_id == "mug"
    assert box.results[0].hypothesis.score == pytest.approx(0.75)


@pytest.mark.skipif(m.VisionInfo is None, reason="vision_msgs is not installed")
def test_the_vision_info_says_who_answers():
    info = m.vision_info("sphinx-tiny-1k")
    assert "sphinx-tiny-1k" in info.method and "class_id is the phrase" in info.database_location


def test_no_other_module_names_message_classes():
    """They are taken from messages.py, so that what a distribution lacks is dealt with there."""
    packages = "builtin_interfaces|\\w+_msgs|rcl_interfaces|sphinx_ros\\.(?:msg|srv|action)"
    naming = re.compile(rf"^\s*(?:from|import) (?:{packages})\b", re.MULTILINE)
    folder = Path(m.__file__).parent
    named = {path.name for path in folder.glob("*.py") if naming.search(path.read_text())}
    assert named == {"messages.py"}


@pytest.mark.skipif(m.Detection3DArray is None, reason="vision_msgs is not installed")
def test_the_vision_msgs_mirror_in_space():
    check_mirror_in_space(Positions("base", (0.0, 0.0, 1.0, 0.0), (PLACE, Place())))


def test_the_mirror_in_space_with_messages_of_the_same_fields(monkeypatch):
    """vision_msgs is not on PyPI, so stand-ins show the values; the real ones are tested above."""
    from types import SimpleNamespace as Fields

    def pose():
        return Fields(position=m.Point(), orientation=Fields(x=0.0, y=0.0, z=0.0, w=1.0))

    def box(header, id):
        return Fields(
            header=header, id=id, results=[], bbox=Fields(center=pose(), size=m.Vector3())
        )

    monkeypatch.setattr(m, "Detection3D", box)
    monkeypatch.setattr(m, "Detection3DArray", lambda header: Fields(header=header, detections=[]))
    monkeypatch.setattr(
        m,
        "ObjectHypothesisWithPose",
        lambda: Fields(hypothesis=Fields(), pose=Fields(pose=pose())),
    )
    check_mirror_in_space(Positions("base", (0.0, 0.0, 1.0, 0.0), (PLACE, Place())))

    none = replies.mirror_3d_message(outcome(Task.GROUND, Results([MUG])))
    assert none.header == HEADER and not none.detections, "as where nothing is there"


PLACE = Place((0.1, -0.2, 1.5), (0.3, 0.4, 0.5))


def check_mirror_in_space(where):
    """One of two boxes has a place: it goes out, under the frame of the positions."""
    found = outcome(Task.GROUND, Results([MUG, MUG]), positions=where)
    mirror = replies.mirror_3d_message(found)
    assert (mirror.header.frame_id, mirror.header.stamp) == ("base", HEADER.stamp)
    (box,) = mirror.detections
    assert box.bbox.center.position == m.Point(x=0.1, y=-0.2, z=1.5)
    assert box.bbox.center.orientation.z == 1.0 and box.bbox.center.orientation.w == 0.0
    assert box.bbox.size == m.Vector3(x=0.3, y=0.4, z=0.5)
    (guess,) = box.results
    assert guess.hypothesis.class_id == "mug" and guess.pose.pose.position.z == 1.5
