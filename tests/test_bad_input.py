"""Bad input through real DDS: each gets a named status, and the log holds a line and no flood."""

import array
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

from patience import PATIENCE
from ros_support import Client, clip_pictures, find, ready_node, set_parameters
from shared_memory import kill

from sphinx_ros.errors import Status
from sphinx_ros.ros import messages as m
from sphinx_ros.ros import params
from sphinx_ros.ros.parameter_row import When

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("apart")]

HOW_MANY = "How many objects are there?"
TOPIC = "/tough_camera/image_raw"
CAMERA = ("-r", f"image:={TOPIC}")
NAMED = {Status.OK, Status.NOT_FOUND, Status.PARSE_FAILED, Status.BUSY}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("tough") / "node.log"


@pytest.fixture(scope="module")
def node(apart, log):
    with ready_node("tough", *CAMERA, log=log) as running:
        yield running


@pytest.fixture(scope="module")
def client(node):
    made = Client("bad", "tough")
    yield made
    made.close()


@pytest.fixture(scope="module")
def scene():
    return clip_pictures(1)[0][0]


def picture_message(rgb, frame_id="camera"):
    header = m.Header(stamp=m.time_message(time.time()), frame_id=frame_id)
    return m.image_message(rgb, header)


def raw(data, width, height, encoding, step):
    return m.Image(
        header=m.Header(stamp=m.time_message(time.time())),
        data=array.array("B", bytes(data)),
        width=width,
        height=height,
        encoding=encoding,
        step=step,
    )


MALFORMED = {
    "step below a row": (768, 16, 16, "rgb8", 40),
    "step beyond the data": (768, 16, 16, "rgb8", 4_000_000_000),
    "short data": (767, 16, 16, "rgb8", 48),
    "unknown encoding": (768, 16, 16, "rgb9", 48),
    "no encoding": (768, 16, 16, "", 48),
    "no width": (768, 0, 16, "rgb8", 0),
    "no height": (768, 16, 0, "rgb8", 48),
    "20,000 pixels wide and high": (768, 20_000, 20_000, "rgb8", 60_000),
    "4 billion pixels wide": (768, 2**32 - 1, 2**32 - 1, "mono8", 2**32 - 1),
    "odd width for YUV": (768, 15, 16, "yuv422_yuy2", 30),
    "one pixel of Bayer": (1, 1, 1, "bayer_rggb8", 1),
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_picture_of_a_request_is_named(client, fields):
    size, *others = fields
    result = client.ask(question=HOW_MANY, image=raw(bytes(size), *others))
    assert result.status.code == Status.BAD_IMAGE, result.status
    assert len(result.status.text) > 20


@pytest.mark.parametrize(
    "image",
    [
        raw(np.full((16, 16), np.nan, "<f4").tobytes(), 16, 16, "32FC1", 64),
        raw(np.full((16, 16), np.inf, "<f4").tobytes(), 16, 16, "32FC1", 64),
        raw(bytes(60_000), 20_000, 1, "rgb8", 60_000),
        raw(bytes(3), 1, 1, "rgb8", 3),
    ],
    ids=["NaN depth", "infinite depth", "20,000 by 1", "one pixel"],
)
def test_odd_pictures_are_answered(client, image):
    assert client.ask(question=HOW_MANY, image=image).status.code in NAMED


@pytest.mark.parametrize(
    "text",
    ["", " \n\t", "x" * 1_000_000, "\x00\x01\x1b[2J\x7f" * 9, "</s><s>[INST]", "\U0001f916" * 40],
    ids=["empty", "blank", "a million letters", "control letters", "tokens", "emoji"],
)
def test_any_words_get_a_named_status(client, scene, text):
    result = client.ground(text=text, image=picture_message(scene))
    empty = not text.strip()
    assert result.status.code in ({Status.BAD_REQUEST} if empty else NAMED | {Status.BAD_REQUEST})
    assert len(result.status.text) < 1000, "the words are quoted, and not all of a million"


def test_an_unknown_camera_and_no_pictures_are_named(client):
    result = client.ground(text="the mug", camera="nobody")
    assert result.status.code == Status.BAD_REQUEST and "nobody" in result.status.text
    result = client.ground(text="the mug")
    assert result.status.code == Status.NO_IMAGE and TOPIC in result.status.text


def illegal_values():
    """(name, value) of what each parameter must refuse."""
    for row in params.TABLE:
        yield row.name, [b"\x00", b"\xff"]  # a type that no parameter has
        if isinstance(row.default, str):
            yield row.name, 5
        if row.when is not When.RUNNING:
            continue
        if isinstance(row.default, bool):
            yield row.name, "perhaps"
        elif isinstance(row.default, (int, float)):
            yield row.name, "many"
            for limit, step in ((row.low, -1), (row.high, 1)):
                if limit is not None and not (row.or_zero and limit + step == 0):
                    yield row.name, type(row.default)(limit + step)
            if isinstance(row.default, float):
                yield from ((row.name, value) for value in (float("nan"), float("inf")))
        elif row.choices:
            yield row.name, "no such choice"
    yield "queries", ["detect: mug", "make coffee"]
    yield "queries", ["x" * 100_000]


def test_each_illegal_parameter_is_refused_with_its_name(client):
    asked = list(illegal_values())
    results = set_parameters(client, asked)
    assert len(results) == len(asked) > 60
    for (name, value), result in zip(asked, results, strict=True):
        assert not result.successful, f"{name} took {value!r}"
        assert name in result.reason and len(result.reason) < 1000, (name, result.reason)


def test_of_several_parameters_none_is_set_where_one_is_illegal(client):
    from rcl_interfaces.srv import GetParameters

    changes = [("max_rate", 7.0), ("marker_depth", -1.0)]
    result = set_parameters(client, changes, "set_parameters_atomically")
    assert not result.successful and "marker_depth" in result.reason
    values = client.call("get_parameters", GetParameters, names=["max_rate", "marker_depth"])
    assert [value.double_value for value in values.values] == [0.0, 1.0]


def test_two_hundred_requests_at_once_are_all_answered(client, scene):
    from rclpy.qos import HistoryPolicy, QoSProfile

    node, image = client.node, picture_message(scene[::8, ::8])
    deep = QoSProfile(history=HistoryPolicy.KEEP_ALL)
    asker = node.create_client(m.Ask, "/tough/ask", qos_profile=deep)
    client.meet()
    find(asker)
    request = m.Ask.Request(question=HOW_MANY, image=image)
    sent = [asker.call_async(request) for _ in range(200)]
    assert client.until(lambda: all(f.done() for f in sent)), "some were never answered"
    codes = [f.result().result.status.code for f in sent]
    assert set(codes) <= NAMED and Status.BUSY in codes and Status.OK in codes
    assert all(f.result().result.status.text for f in sent if f.result().result.status.code)


def test_a_time_limit_ends_an_answer_in_its_middle(client, scene):
    image = picture_message(scene)
    whole = client.call("estimate_pose", m.EstimatePose, image=image).result
    limit, texts = 1e-3 * (whole.timing.look_ms + whole.timing.query_ms), []
    for _ in range(15):
        begun = time.monotonic()
        result = client.call("estimate_pose", m.EstimatePose, image=image, timeout=limit).result
        ended = result.status.code == Status.TIMEOUT
        if ended:
            assert time.monotonic() - begun < PATIENCE, "the default limit is longer"
            texts.append(result.raw_text)
            if 0 < len(texts[-1]) < len(whole.raw_text):
                break
        limit *= 1.2 if ended and not texts[-1] else 0.7
    else:
        pytest.fail(f"no answer was ended in its middle: {[len(text) for text in texts]}")
    assert whole.raw_text.startswith(texts[-1])


def test_standing_queries_are_exchanged_all_at_once(client, scene):
    sets = (["detect: objects", "ask: one?"], ["pose", "ask: two?", "ground: the red mug"])
    heard = [
        client.listen(kind, f"/tough/{topic}", qos=100)
        for kind, topic in (
            (m.DetectionArray, "detections"),
            (m.PersonPoseArray, "keypoints"),
            (m.Answer, "answers"),
        )
    ]
    publisher = client.publisher(m.Image, TOPIC)

    def asked():
        """What was asked of each picture that was answered."""
        found = {}
        for message in (one for messages in heard for one in messages):
            stamp = message.header.stamp.sec, message.header.stamp.nanosec
            found.setdefault(stamp, set()).add((message.query.task, message.query.text))
        return found.values()

    turn, end = 0, time.monotonic() + PATIENCE
    while turn < 6 or (len(asked()) < 3 and time.monotonic() < end):
        client.call("set_queries", m.SetQueries, queries=sets[turn % 2])
        for _ in range(4):
            publisher.publish(picture_message(scene))
            client.until(lambda: False, 0.12)
        turn += 1
    client.call("set_queries", m.SetQueries)
    client.node.destroy_publisher(publisher)
    expected = [{(0, "one?"), (2, "objects")}, {(0, "two?"), (1, "the red mug"), (3, "")}]
    assert client.until(lambda: all(one in expected for one in asked())), asked()
    client.until(lambda: False, 0.5)
    assert len(asked()) >= 3 and all(one in expected for one in asked()), asked()


def test_a_camera_of_malformed_pictures_is_one_line_of_the_log(client, log, scene):
    heard = client.listen(m.DetectionArray, "/tough/detections", qos=100)
    publisher = client.publisher(m.Image, TOPIC)
    client.call("set_queries", m.SetQueries, queries=["detect: objects"])
    before = log.read_text().count("\n")

    def bad():
        return [one for one in heard if one.status.code == Status.BAD_IMAGE]

    number, end = 0, time.monotonic() + PATIENCE
    while number < 60 or (len(bad()) <= 5 and time.monotonic() < end):
        size, *others = list(MALFORMED.values())[number % len(MALFORMED)]
        publisher.publish(raw(bytes(size), *others))
        client.until(lambda: False, 0.03)
        number += 1
    assert len(bad()) > 5 and all(one.status.text for one in bad())
    assert log.read_text().count("\n") - before < 10, log.read_text()

    def well():
        publisher.publish(picture_message(scene))
        client.until(lambda: False, 0.2)
        return heard[-1].status.code == Status.OK

    assert client.until(well), "the camera works again, and so does the node"
    client.call("set_queries", m.SetQueries)
    client.node.destroy_publisher(publisher)
    assert "Traceback" not in log.read_text()


def test_clients_outlive_a_node_that_is_killed(scene, tmp_path):
    """The same client is answered by the next node of that name."""
    client, image = Client("patient", "mortal"), picture_message(scene)
    with ready_node("mortal", log=tmp_path / "first.log") as first:
        waiting = [client.start("estimate_pose", m.EstimatePose, image=image) for _ in range(4)]
        client.until(lambda: False, 0.1)
        kill(first)
        lost = [future for future in waiting if not future.done()]
    assert lost
    with ready_node("mortal", log=tmp_path / "second.log"):
        assert client.ask(question=HOW_MANY, image=image).status.code == Status.OK
    client.close()
