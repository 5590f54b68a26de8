"""What is shown of a camera: for listeners alone, and gone when it is no longer true."""

import math
import threading

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

from patience import PATIENCE
from rviz_support import complaints

from sphinx_ros.errors import Status
from sphinx_ros.image.decode import decode_compressed
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.annotated import annotate
from sphinx_ros.ros.display import Display
from sphinx_ros.ros.markers import REQUEST, STANDING, marker_array
from sphinx_ros.ros.outcomes import Frame, Look, Outcome, Times
from sphinx_ros.ros.pace import FIRST, LONGEST, SHORTEST, Pace
from sphinx_ros.ros.positions import Place, Positions
from sphinx_ros.ros.quiet import QuietLog
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer, Detection, Keypoint, Results

GREY = np.full((240, 320, 3), 90, np.uint8)
HEADER = m.Header(frame_id="camera", stamp=m.Time(sec=12, nanosec=345))
MUG = Detection("mug", (100.0, 60.0, 180.0, 200.0), 0.75)
K = [300.0, 0.0, 159.5, 0.0, 300.0, 119.5, 0.0, 0.0, 1.0]
INFO = m.CameraInfo(width=320, height=240, k=K, r=np.eye(3).ravel())


class Board:
    """Publishers that keep what they are given. listeners: names of topics that are heard."""

    def __init__(self, *listeners):
        self.listeners, self.depths = set(listeners), {}
        self.heard = {}

    def make(self, kind, name, depth):
        board, self.heard[name] = self, []

        class Publisher:
            def get_subscription_count(self):
                return int(name in board.listeners)

            def publish(self, message):
                assert isinstance(message, kind)
                board.heard[name].append(message)

        return Publisher()


def display(*listeners, now=lambda: 0.0):
    board = Board(*listeners)
    shown = Display(board.make, QuietLog(lambda _: None), now)
    shown.calibrate(INFO)
    return shown, board


def look(own=False):
    return Look(Frame(lambda: GREY, 0.0, header=HEADER, own=own), GREY)


def outcome(*items, task=Task.DETECT, text="mug", took=math.nan, **fields):
    result = items[0] if items and isinstance(items[0], Answer) else Results(items)
    times = Times(query_ms=1e3 * took)
    return Outcome(
        Query(task, text), Status.OK, result=result, header=HEADER, width=320, height=240,
        times=times, **fields,
    )  # fmt: skip


EVERYTHING = ("annotated", "annotated/compressed", "markers", "image_annotations")


def test_nothing_is_made_for_nobody():
    shown, board = display()
    shown.show(look(), [outcome(MUG)], 1.0)
    shown.clear()
    shown.close()
    assert not any(board.heard.values())


@pytest.mark.parametrize("name", EVERYTHING[:3])
def test_each_is_made_for_its_own_listeners(name):
    shown, board = display(name)
    shown.show(look(), [outcome(MUG)], 1.0)
    assert [topic for topic, heard in board.heard.items() if heard] == [name]


def test_a_request_with_a_picture_of_its_own_is_not_shown():
    shown, board = display(*EVERYTHING)
    shown.show(look(own=True), [outcome(MUG)], 1.0)
    assert not any(board.heard.values())


def test_the_compressed_picture_is_the_same_one():
    shown, board = display("annotated", "annotated/compressed")
    shown.show(look(), [outcome(MUG)], 1.0)
    (raw,), (small,) = board.heard["annotated"], board.heard["annotated/compressed"]
    assert small.header == raw.header == HEADER and small.format.startswith("rgb8; jpeg")
    plain = np.frombuffer(raw.data, np.uint8).reshape(raw.height, raw.width, 3)
    back = decode_compressed(bytes(small.data))
    assert back.shape == plain.shape
    assert np.abs(back.astype(int) - plain).mean() < 4 and len(small.data) < len(raw.data) / 5


def ends(board):
    """The namespaces that the last array took down and left empty."""
    last = board.heard["markers"][-1].markers
    assert complaints(board.heard["markers"][-1]) == []
    return {one.ns for one in last if one.action == m.Marker.DELETEALL} - {
        one.ns for one in last if one.action == m.Marker.ADD
    }


def test_what_is_shown_of_standing_queries_is_taken_down_once():
    shown, board = display("markers")
    shown.show(look(), [outcome(MUG)], 1.0)
    assert ends(board) == {STANDING.space}
    shown.clear()
    assert ends(board) == {*STANDING} and len(board.heard["markers"]) == 2
    shown.clear()
    shown.close()
    assert len(board.heard["markers"]) == 2
    shown.show(look(), [outcome(MUG)], 1.0)
    shown.close()
    assert ends(board) == {*STANDING} and len(board.heard["markers"]) == 4


def test_pictures_that_can_t_be_looked_at_take_the_boxes_before_down():
    shown, board = display("markers")
    broken = Look(Frame(lambda: GREY, 0.0, header=HEADER), failure=(Status.BAD_IMAGE, "torn"))
    shown.show(look(), [outcome(MUG)], 1.0)
    shown.show(broken, [], 1.0, standing=False)
    assert len(board.heard["markers"]) == 1, "a request says nothing of standing queries"
    shown.show(broken, [], 1.0)
    assert ends(board) == {*STANDING} and len(board.heard["markers"]) == 2
    shown.show(broken, [], 1.0)
    assert len(board.heard["markers"]) == 2


def test_a_calibration_that_can_t_be_used_takes_the_boxes_before_down():
    shown, board = display("markers")
    shown.show(look(), [outcome(MUG)], 1.0)
    shown.calibrate(m.CameraInfo())
    shown.show(look(), [outcome(MUG)], 1.0)
    assert ends(board) == {*STANDING} and len(board.heard["markers"]) == 2


def test_a_camera_that_is_heard_no_more_leaves_no_calibration_and_no_boxes():
    said, board = [], Board("markers")
    shown = Display(board.make, QuietLog(said.append, period=0.0), lambda: 0.0)
    for count in (1, 2):
        shown.calibrate(m.CameraInfo())
        shown.calibrate(m.CameraInfo())
        assert len(said) == count, "once for each time that the camera is heard"
        shown.calibrate(INFO)
        shown.show(look(), [outcome(MUG)], 1.0)
        shown.forget()
        assert ends(board) == {*STANDING}
    shown.show(look(), [outcome(MUG)], 1.0)
    assert len(board.heard["markers"]) == 4, "without a calibration there are no markers"


def test_what_takes_boxes_down_waits_until_they_are_up(monkeypatch):
    """Else they would be up for good: who asks for it is another thread."""
    shown, board = display("markers")
    drawing, go = threading.Event(), threading.Event()

    def slowly(*args, **options):
        drawing.set()
        assert go.wait(PATIENCE)
        return marker_array(*args, **options)

    monkeypatch.setattr("sphinx_ros.ros.display.marker_array", slowly)
    worker = threading.Thread(target=shown.show, args=(look(), [outcome(MUG)], 1.0))
    timer = threading.Thread(target=shown.clear)
    worker.start()
    assert drawing.wait(PATIENCE)
    timer.start()
    timer.join(0.05)
    assert timer.is_alive()
    go.set()
    for thread in (worker, timer):
        thread.join(PATIENCE)
    assert ends(board) == {*STANDING} and len(board.heard["markers"]) == 2


def test_a_request_leaves_the_standing_boxes_and_goes_by_itself():
    shown, board = display("markers", "annotated")
    shown.show(look(), [outcome(MUG)], 1.0)
    shown.show(look(), [outcome(MUG, task=Task.GROUND)], 1.0, standing=False)
    last = board.heard["markers"][-1].markers
    assert {one.ns for one in last} == {*REQUEST}
    assert {one.lifetime.sec for one in last} == {int(SHORTEST)}
    assert len(board.heard["annotated"]) == 1, "the picture with the standing boxes stays"
    shown.clear()
    assert ends(board) == {*STANDING}
    shown.show(look(), [outcome(MUG, task=Task.GROUND)], 1.0, standing=False)
    assert len(board.heard["annotated"]) == 2, "with no standing boxes the request's are drawn"
    count = len(board.heard["markers"])
    shown.clear()
    assert len(board.heard["markers"]) == count, "nothing of the standing queries is up"
    shown.close()
    assert ends(board) == {*REQUEST}


def test_markers_of_slow_passes_live_until_the_next_one():
    now = [0.0]
    shown, board = display("markers", now=lambda: now[0])

    def lifetime(after, took=math.nan, pause=0.0):
        now[0] += after
        shown.show(look(), [outcome(MUG, took=took)], 1.0, pause=pause)
        return board.heard["markers"][-1].markers[-1].lifetime.sec

    assert lifetime(0) == FIRST and lifetime(0.5) == SHORTEST
    assert lifetime(150) == 450 and lifetime(1) == 450, "one quick pass does not make the next so"
    assert lifetime(1) == 450 and lifetime(1) == SHORTEST
    assert lifetime(1, took=90) == 270 and lifetime(1, pause=50) == 150
    shown.clear()
    assert lifetime(3000) == SHORTEST, "a rest is no time between passes"
    assert lifetime(1e6) == LONGEST
    assert lifetime(-1e6) == LONGEST, "the clock of a bag that begins anew"


def test_a_pace_never_goes_below_the_time_that_really_passed():
    """A simulation may stand still while rviz follows the wall clock, or the other way round."""
    pace = Pace(lambda: 0.0)
    assert pace.lifetime(took=100) == 300 and pace.lifetime() == SHORTEST


def test_where_things_are_stands_beside_them_in_the_picture():
    where = Positions("camera", boxes=(Place((0.1, 0.2, 1.0)),), points=((0.0, 0.0, 2.0),))
    spot = Keypoint("tip", 40.0, 200.0)
    answer = Answer("two", (MUG,), (spot,))
    plain = annotate(GREY, [outcome(answer)])
    placed = annotate(GREY, [outcome(answer, positions=where)])
    assert plain.shape == placed.shape
    changed = (plain != placed).any(axis=2)
    assert changed[30:60].any() and changed[185:].any()


# Foxglove

needs_foxglove = pytest.mark.skipif(
    m.ImageAnnotations is None, reason="foxglove_msgs is not installed"
)


@needs_foxglove
def test_annotations_are_in_the_pixels_of_the_picture_and_taken_down():
    spot = Keypoint("\u676f\u5b50", 40.0, 200.0, 0.5)
    where = Positions("camera", boxes=(Place((0.1, 0.2, 1.0)),))
    asked = outcome(
        Answer("<p>mug</p>[0.1,0.2,0.3,0.4] and\nmore", (MUG,), (spot,)),
        task=Task.ASK, text="what?", positions=where,
    )  # fmt: skip
    late = Outcome(Query(Task.POSE), Status.TIMEOUT, header=HEADER, width=320, height=240)
    shown, board = display("image_annotations")
    shown.show(look(), [asked, late], 1.0)
    (made,) = board.heard["image_annotations"]
    assert made.timestamp == HEADER.stamp
    (frame,) = made.points
    assert frame.type == m.PointsAnnotation.LINE_LOOP
    assert {(p.x, p.y) for p in frame.points} == {(x, y) for x in (100, 180) for y in (60, 200)}
    (circle,) = made.circles
    assert (circle.position.x, circle.position.y) == (40, 200)
    said = [text.text for text in made.texts]
    assert said == [
        "mug 0.75", "(0.10, 0.20, 1.00 m)", "\u676f\u5b50 0.50", "pose -> TIMEOUT",
        "ask: what? -> mug and more",
    ]  # fmt: skip
    for text in made.texts:
        assert 0 <= text.position.x < 320 and 0 < text.position.y <= 240 and text.font_size > 0
    shown.clear()
    last = board.heard["image_annotations"][-1]
    assert not (last.points or last.circles or last.texts)


@needs_foxglove
def test_nothing_without_a_place_gets_into_annotations():
    lost = Detection("mug", (math.nan,) * 4, 0.5)
    shown, board = display("image_annotations")
    shown.show(look(), [outcome(Answer("", (lost,), (Keypoint("x", math.nan, 1.0),)))], 1.0)
    (made,) = board.heard["image_annotations"]
    assert not (made.points or made.circles or made.texts)
