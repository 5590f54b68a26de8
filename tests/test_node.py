"""The node through real DDS: a process of its own, the demonstration checkpoint, clients here."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

import ros_support
from patience import PATIENCE, until
from ros_support import (
    CHECKPOINT,
    UNHURRIED,
    Client,
    clip_pictures,
    find,
    process,
    ready_node,
    set_parameters,
)
from rviz_support import complaints

from sphinx_ros.errors import Status
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.client_values import detections_of
from sphinx_ros.ros.markers import STANDING
from sphinx_ros.types import iou
from sphinx_ros.world.camera_facts import nanoseconds

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("apart")]

ASSETS = Path(ros_support.ROOT) / "sphinx_ros" / "assets"
CAPTION, DETECT = m.QueryMessage.CAPTION, m.QueryMessage.DETECT
needs_demo = pytest.mark.skipif(
    CHECKPOINT == "demo" and not list(ASSETS.glob("**/consolidated*.pth")),
    reason="the demonstration checkpoint is not in sphinx_ros/assets",
)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("node") / "node.log"


@pytest.fixture(scope="module")
def running(apart, log):
    """The node, ready; module-wide, as loading takes seconds."""
    with ready_node("sphinx", "-r", "image:=/camera/image_raw", log=log) as node:
        yield node


@pytest.fixture(scope="module")
def pictures():
    return clip_pictures(6)


@pytest.fixture
def client():
    made = Client()
    yield made
    made.close()


def stamped(client, rgb, frame_id="some_camera"):
    header = m.Header(stamp=client.node.get_clock().now().to_msg(), frame_id=frame_id)
    return m.image_message(rgb, header)


def shine(client, rgb, topic="/camera/image_raw"):
    """Publish a picture until the node has certainly got one; the last message."""
    publisher = client.publisher(m.Image, topic)
    for _ in range(5):
        message = stamped(client, rgb)
        publisher.publish(message)
        client.until(lambda: False, 0.05)
    return publisher, message


@pytest.fixture(scope="module")
def sphinx():
    """The same checkpoint without ROS: what the node's answers have to be."""
    from sphinx_ros import Sphinx

    return Sphinx.from_pretrained(CHECKPOINT, device="cpu", dtype="float32")


def thing(truth, person=False):
    return next(o for o in truth["objects"] if (o["kind"] == "person") == person)


@needs_demo
def test_without_a_camera_requests_are_answered_no_image(tmp_path):
    with ready_node("blind", "-r", "image:=/nobody/image", log=tmp_path / "log"):
        client = Client(target="blind")
        result = client.ground(text="the red mug")
        client.close()
    assert result.status.code == Status.NO_IMAGE
    assert "on /nobody/image (0 publishers)" in result.status.text
    assert not result.detections and result.image_width == 0


@needs_demo
def test_ground_on_a_picture_of_the_request(running, client, pictures, sphinx):
    overlaps = []
    for number, (picture, truth) in enumerate(pictures):  # another thing in each
        things = [o for o in truth["objects"] if o["kind"] != "person"]
        item, message = things[number % len(things)], stamped(client, picture)
        text = f"the {item['colour']} {item['kind']}"
        result = client.ground(text=text, image=message)
        expected = sphinx.look(picture).ground(text)
        assert result.status.code == expected.status, result.status.text
        assert result.header == message.header, "the answer is not stamped as its picture"
        assert (result.image_width, result.image_height) == (picture.shape[1], picture.shape[0])
        assert result.query.task == m.QueryMessage.GROUND and result.raw_text
        assert result.timing.tokens > 0 and result.timing.query_ms > 0
        assert result.raw_text == expected.raw_text
        for detection, own in zip(result.detections, expected, strict=True):
            box = detection.box
            assert np.allclose((box.x0, box.y0, box.x1, box.y1), own.box)
            assert detection.score == pytest.approx(own.score, abs=1e-3)
        overlaps.append(max((iou(d.box, item["box"]) for d in expected), default=0.0))
    assert np.median(overlaps) > 0.5, f"IoU with the truth {overlaps}"


@needs_demo
def test_pose_has_17_named_joints(running, client, pictures, sphinx):
    picture, truth = pictures[0]
    region = tuple(thing(truth, person=True)["box"])
    expected = sphinx.look(picture).pose(region)
    box = m.box_message(region)
    result = client.call(
        "estimate_pose", m.EstimatePose, image=stamped(client, picture), box=box
    ).result
    assert result.status.code == expected.status == Status.OK, result.status.text
    joints = result.poses[0].keypoints
    assert [k.name for k in joints][:2] == ["nose", "left eye"] and len(joints) == 17
    assert np.allclose(
        [(k.x, k.y) for k in joints], [(k.x, k.y) for k in expected[0].keypoints], equal_nan=True
    )


@needs_demo
def test_what_is_not_there_is_not_found(running, client, pictures):
    picture, truth = pictures[0]
    kinds = {o["kind"] for o in truth["objects"]}
    absent = next(k for k in ("cube", "ball", "can", "cone", "mug", "bottle") if k not in kinds)
    result = client.call("detect", m.Detect, label=absent, image=stamped(client, picture)).result
    assert result.status.code in (Status.NOT_FOUND, Status.OK)
    assert (result.status.code == Status.NOT_FOUND) == (not result.detections)


@needs_demo
@pytest.mark.parametrize(
    "fields, status",
    [
        (dict(text=""), Status.BAD_REQUEST),
        (dict(text="x" * 10_000), Status.BAD_REQUEST),
        (dict(text="mug", timeout=-1.0), Status.BAD_REQUEST),
        (dict(text="mug", max_new_tokens=60_000), Status.BAD_REQUEST),
        (dict(text="mug", image=dict(width=0, height=0, encoding="rgb8")), Status.BAD_IMAGE),
        (dict(text="mug", image=dict(width=4, height=4, encoding="argb")), Status.BAD_IMAGE),
        (dict(text="mug", image=dict(width=400, height=4, encoding="rgb8")), Status.BAD_IMAGE),
        (
            dict(text="mug", image=dict(width=2**31, height=2**31, encoding="rgb8")),
            Status.BAD_IMAGE,
        ),
    ],
)
def test_bad_requests_are_named(running, client, fields, status):
    if "image" in fields:
        fields = {**fields, "image": m.Image(data=bytes(48), **fields["image"])}
    result = client.ground(**fields)
    assert result.status.code == status and result.status.text
    assert not result.detections


@needs_demo
def test_the_newest_picture_is_used_and_a_stopped_camera_is_stale(running, client, pictures):
    _, message = shine(client, pictures[1][0])
    result = client.ask(question="How many objects are there?")
    assert result.status.code == Status.OK, result.status.text
    assert result.header == message.header
    set_parameter(client, "max_image_age", 0.2)
    time.sleep(0.3)
    result = client.ask(question="How many objects are there?")
    assert result.status.code == Status.STALE_IMAGE
    set_parameter(client, "max_image_age", 0.0)


def set_parameter(client, name, value):
    """Set it as `ros2 param set` does; the reason against it, "" if it was taken."""
    (result,) = set_parameters(client, [(name, value)])
    return "" if result.successful else result.reason


@needs_demo
def test_parameters_are_checked(running, client):
    assert "bogus" in set_parameter(client, "queries", ["bogus"])
    assert set_parameter(client, "max_rate", -1.0)
    assert set_parameter(client, "checkpoint", "other")
    assert set_parameter(client, "max_rate", 50.0) == ""
    assert set_parameter(client, "active", False) == ""
    assert client.ask(question="How many?").status.code == Status.NOT_ACTIVE
    assert set_parameter(client, "active", True) == ""


@needs_demo
def test_standing_queries_publish_with_the_picture_s_header(running, client, pictures, sphinx):
    boxes = client.listen(m.DetectionArray, "/sphinx/detections")
    people = client.listen(m.PersonPoseArray, "/sphinx/keypoints")
    answers = client.listen(m.Answer, "/sphinx/answers")
    drawn = client.listen(m.Image, "/sphinx/annotated")
    small = client.listen(m.CompressedImage, "/sphinx/annotated/compressed")
    markers = client.listen(m.MarkerArray, "/sphinx/markers")
    lines = ["detect: objects", "pose", "ask: How many objects are there?"]
    response = client.call("set_queries", m.SetQueries, queries=lines)
    assert response.status.code == Status.OK
    assert [q.id for q in response.active] == ["standing/0", "standing/1", "standing/2"]
    info = client.publisher(m.CameraInfo, "/camera/camera_info")
    calibration = m.CameraInfo(width=640, height=480, k=[500.0, 0, 320, 0, 500, 240, 0, 0, 1])
    picture, truth = pictures[2]
    publisher, _ = shine(client, picture)
    stamps = []

    def everything():
        message = stamped(client, picture)
        stamps.append(message.header)
        publisher.publish(message)
        info.publish(calibration)  # best effort: the first one may be lost while both ends match
        client.until(lambda: False, 0.2)
        return all((boxes, people, answers, drawn, small, markers))

    assert client.until(everything), [len(x) for x in (boxes, people, answers, drawn, markers)]
    client.call("set_queries", m.SetQueries)
    found = boxes[-1]
    assert found.header.frame_id == "some_camera" and found.query.text == "objects"
    expected = sphinx.look(picture).detect("objects")
    assert found.raw_text == expected.raw_text and len(found.detections) == len(expected)
    assert any(answers[-1].header == people_.header for people_ in people), "mixed pictures"
    assert drawn[-1].width == 640 and drawn[-1].header.frame_id == "some_camera"
    assert small[-1].header.frame_id == "some_camera" and bytes(small[-1].data[:2]) == b"\xff\xd8"
    added = [[one for one in array.markers if one.action == m.Marker.ADD] for array in markers]
    kinds = {marker.type for array in added for marker in array}
    assert m.Marker.LINE_STRIP in kinds and m.Marker.TEXT_VIEW_FACING in kinds
    assert not any(map(complaints, markers))
    # Without standing queries the boxes go: the last array leaves nothing in either namespace.
    assert client.until(lambda: {m.Marker.DELETEALL} == {x.action for x in markers[-1].markers})
    assert {one.ns for one in markers[-1].markers} == {*STANDING}


@needs_demo
def test_set_queries_refuses_what_it_can_t_read_and_changes_nothing(running, client):
    client.call("set_queries", m.SetQueries, queries=["caption"])
    response = client.call("set_queries", m.SetQueries, queries=["pose", "make coffee"])
    assert response.status.code == Status.BAD_REQUEST and "make coffee" in response.status.text
    assert [q.task for q in response.active] == [m.QueryMessage.CAPTION]
    assert client.call("set_queries", m.SetQueries).active == []


@needs_demo
def test_many_clients_at_once_get_their_own_answers(running, pictures):
    """Each asks about another picture; headers must not be swapped, nobody may go without."""
    results = {}

    def one(number):
        mine = Client(f"many{number}")
        message = stamped(mine, pictures[number % len(pictures)][0], f"camera{number}")
        for _ in range(3):
            answer = mine.ask(question="How many objects are there?", image=message)
            results.setdefault(number, []).append((answer.status.code, answer.header.frame_id))
        mine.close()

    threads = [threading.Thread(target=one, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == {n: [(Status.OK, f"camera{n}")] * 3 for n in range(4)}


@needs_demo
def test_a_time_limit_is_kept(running, client, pictures):
    message = stamped(client, pictures[0][0])
    begun = time.monotonic()
    result = client.ask(question="How many objects are there?", image=message, timeout=0.01)
    assert result.status.code == Status.TIMEOUT, result.status
    assert time.monotonic() - begun < PATIENCE, "the default limit is longer"


@needs_demo
def test_the_action_streams_its_text(running, client, pictures):
    done, pieces = goal(client, pictures[0][0], m.QueryMessage.CAPTION)
    answer = done.result.answer
    assert answer.status.code == Status.OK and done.status == 4  # succeeded
    written = [p for p in pieces if p.stage == m.QueryAction.Feedback.WRITING]
    assert len(written) > 3 and "".join(p.text for p in written) == written[-1].text_so_far
    assert written[-1].text_so_far in answer.raw_text + answer.text


@needs_demo
@pytest.mark.parametrize("task, text", [(CAPTION, ""), (DETECT, "objects")])
def test_the_action_brings_each_box_when_its_bracket_closes(running, client, pictures, task, text):
    done, pieces = goal(client, pictures[0][0], task, text=text)
    boxes = done.result.answer.detections
    assert done.status == 4 and len(boxes) > 1

    def told():
        return [known(box) for piece in pieces for box in piece.detections]

    client.until(lambda: len(told()) >= len(boxes))
    client.until(lambda: False, 0.2)  # nothing comes a second time
    assert told() == [known(box) for box in boxes]
    with_boxes = [piece for piece in pieces if piece.detections]
    closed = [piece.text_so_far.count("]") for piece in with_boxes]
    assert closed == list(range(1, len(boxes) + 1)), "each comes with the text that closes it"


def known(box):
    """What is known of a box: NaN equals nothing."""
    return box.label, box.box, box.score, list(box.sigma)


def goal(client, rgb, task, cancel_after=None, **fields):
    """(the goal's result, its feedback); cancelled after so many feedbacks if that is given."""
    from rclpy.action import ActionClient

    deep, pieces = ros_support.deep_qos(), []  # this client may get no processor for a while
    action = ActionClient(
        client.node, m.QueryAction, "/sphinx/query", feedback_sub_qos_profile=deep
    )
    client.meet()
    find(action)
    request = m.QueryAction.Goal(query=m.QueryMessage(task=task, **fields))
    request.image = stamped(client, rgb)
    sent = action.send_goal_async(request, lambda message: pieces.append(message.feedback))
    handle = client.finish(sent)
    assert handle.accepted
    result = handle.get_result_async()
    if cancel_after is not None:
        assert client.until(lambda: len(pieces) >= cancel_after or result.done())
        handle.cancel_goal_async()
    return client.finish(result), pieces


@needs_demo
def test_cancelling_the_action_stops_the_model_and_keeps_its_words(running, client, pictures):
    for _ in range(20):  # this process may get no processor before the answer is whole
        done, _ = goal(client, pictures[0][0], m.QueryMessage.POSE, cancel_after=4)
        if done.status != 4:
            break
    assert done.status == 5 and done.result.answer.status.code == Status.CANCELLED
    whole, _ = goal(client, pictures[0][0], m.QueryMessage.POSE)
    assert done.result.answer.timing.finished != whole.result.answer.timing.finished
    partial = done.result.answer.raw_text
    assert len(partial) < len(whole.result.answer.raw_text)


@needs_demo
def test_the_action_names_a_bad_goal(running, client, pictures):
    done, _ = goal(client, pictures[0][0], 99)
    assert done.status == 6 and done.result.answer.status.code == Status.BAD_REQUEST


@needs_demo
def test_diagnostics_say_what_goes_on(running, client):
    heard = client.listen(m.DiagnosticArray, "/diagnostics")

    def ours():
        return [s for x in heard for s in x.status if s.name == "/sphinx: model"]

    assert client.until(ours)
    values = {pair.key: pair.value for pair in ours()[-1].values}
    assert values["state"] == "ready" and ours()[-1].hardware_id == "cpu"
    assert int(values["outcomes OK"]) > 0 and "look_ms p50 / p95" in values


def answers_or_end(node, futures):
    """Whether all requests are answered, or nobody is there any more to do it."""
    return lambda: node.poll() is not None or all(f.done() for f in futures)


@needs_demo
def test_interrupt_in_the_middle_of_a_query_is_a_clean_end(pictures, tmp_path):
    log = tmp_path / "log"
    with ready_node("ending", log=log) as node:
        client = Client(target="ending")
        message = stamped(client, pictures[0][0])
        futures = [client.start("estimate_pose", m.EstimatePose, image=message) for _ in range(6)]
        client.until(lambda: any(f.done() for f in futures))
        node.send_signal(signal.SIGINT)
        client.until(answers_or_end(node, futures))
        code = node.wait(PATIENCE)
        client.until(lambda: all(f.done() for f in futures), 5)
        client.close()
    assert all(f.done() for f in futures), "a client was left waiting"
    assert code == 0 and "Traceback" not in log.read_text(), log.read_text()
    codes = [f.result().result.status.code for f in futures]
    assert Status.CANCELLED in codes and set(codes) <= {Status.OK, Status.CANCELLED}


@needs_demo
def test_a_burst_before_an_interrupt_is_answered(tmp_path):
    """Far more requests have come than the node has begun to read."""
    with ready_node("bursting", log=tmp_path / "log") as node:
        client = Client(target="bursting")
        ground = client.node.create_client(
            m.Ground, "/bursting/ground", qos_profile=ros_support.deep_qos()
        )
        client.meet()
        find(ground)
        futures = [ground.call_async(m.Ground.Request(text="the mug")) for _ in range(60)]
        time.sleep(0.05)
        node.send_signal(signal.SIGINT)
        client.until(answers_or_end(node, futures))
        assert node.wait(PATIENCE) == 0
        client.until(lambda: all(f.done() for f in futures), 5)
        client.close()
    codes = [f.result().result.status.code if f.done() else "none" for f in futures]
    assert set(codes) <= {Status.NO_IMAGE, Status.BUSY, Status.CANCELLED}


@needs_demo
def test_every_goal_of_a_burst_is_answered(running, client, pictures):
    """Far more than wait at once: each is answered, or refused by name."""
    from rclpy.action import ActionClient

    deep = ros_support.deep_qos()
    action = ActionClient(
        client.node,
        m.QueryAction,
        "/sphinx/query",
        goal_service_qos_profile=deep,
        result_service_qos_profile=deep,
    )
    client.meet()
    find(action)
    request = m.QueryAction.Goal(query=m.QueryMessage(task=m.QueryMessage.ASK, text="How many?"))
    request.image = stamped(client, pictures[0][0][::8, ::8])
    sent = [action.send_goal_async(request) for _ in range(60)]
    assert client.until(lambda: all(f.done() for f in sent))
    results = [f.result().get_result_async() for f in sent]
    assert client.until(lambda: all(f.done() for f in results))
    codes = {f.result().result.answer.status.code for f in results}
    assert codes <= {Status.OK, Status.PARSE_FAILED, Status.BUSY} and Status.BUSY in codes


@needs_demo
def test_a_parameter_of_no_known_type_is_refused(running, client):
    from rcl_interfaces.msg import Parameter, ParameterValue
    from rcl_interfaces.srv import SetParameters

    service = client.node.create_client(SetParameters, "/sphinx/set_parameters")
    client.meet()
    find(service)
    odd = Parameter(name="max_rate", value=ParameterValue(type=77))
    result = client.finish(service.call_async(SetParameters.Request(parameters=[odd]))).results[0]
    assert not result.successful and "type 77" in result.reason


@needs_demo
def test_compressed_pictures_and_the_recorded_camera(client, tmp_path):
    """Camera process (the clip) to node process over image_raw/compressed, checked by ~/truth."""
    truths = client.listen(m.String, "/clip/world_camera/truth", qos=100)
    boxes = client.listen(m.DetectionArray, "/packed/detections")
    camera = process(
        "sphinx_ros.ros.world_camera",
        "-r",
        "__ns:=/clip",
        "-p",
        "source:=clip",
        log=tmp_path / "camera.log",
    )
    node = process(
        "sphinx_ros.ros.node",
        "-r",
        "__node:=packed",
        "-r",
        "image:=/clip/image_raw",
        "-p",
        f"checkpoint:={CHECKPOINT}",
        "-p",
        "image_transport:=compressed",
        "-p",
        "queries:=['detect: objects']",
        log=tmp_path / "node.log",
    )
    with camera, node:

        def known():
            """Answers with what is true in their pictures; either may come first, or be lost."""
            told = {t["stamp"]: t for t in map(ros_support.truth_of, truths)}
            return [(x, told[at]) for x in boxes if (at := nanoseconds(x.header)) in told]

        assert client.until(lambda: len(known()) >= 2, 2 * PATIENCE), (
            tmp_path / "node.log"
        ).read_text()
        result, truth = known()[-1]
        assert result.status.code == Status.OK
        found = detections_of(result)
        hits = [max(iou(d.box, o["box"]) for d in found) for o in truth["objects"]]
        assert np.mean(np.array(hits) > 0.5) >= 0.5, hits  # in that very picture's own pixels


def test_an_unknown_checkpoint_is_named_and_the_node_stays(tmp_path):
    client = Client(target="unloaded")
    heard = client.listen(m.DiagnosticArray, "/diagnostics")
    with process(
        "sphinx_ros.ros.node",
        "-r",
        "__node:=unloaded",
        "-p",
        "checkpoint:=/no/such/folder",
        log=tmp_path / "node.log",
    ) as node:

        def failed():
            future = client.start("ground", m.Ground, text="the red mug")
            result = client.finish(future).result
            assert result.status.code == Status.NOT_ACTIVE
            return "/no/such/folder" in result.status.text

        assert client.until(failed)
        assert client.until(
            lambda: any(
                s.level == b"\x02" for x in heard for s in x.status if "/unloaded" in s.name
            )
        )
        assert node.poll() is None
        client.close()


def test_a_wrong_parameter_ends_the_node_with_a_reason():
    done = subprocess.run(
        [sys.executable, "-m", "sphinx_ros.ros.node", "--ros-args", "-p", "dtype:=int3"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ros_support.ROOT,
    )
    assert done.returncode == 2
    assert "dtype is 'int3'; it must be one of" in done.stderr and "Traceback" not in done.stderr


@needs_demo
def test_a_network_shared_by_processes(pictures, sphinx, tmp_path):
    """Two processes, the decoder in 8 bits: an answer; one is killed and replaced; a clean end."""
    rgb, truth = pictures[0]
    item = thing(truth)
    name = f"the {item['colour']} {item['kind']}"
    log = tmp_path / "log"
    arguments = ("-p", "devices:=['cpu', 'cpu']", "-p", "quantise:=int8", "-r", "__node:=shared")
    arguments += UNHURRIED
    client = Client(target="shared")

    def answered(message):
        """What is said of a picture once there is a model."""
        return until(
            lambda: (
                (said := client.ground(text=name, image=message)).status.code != Status.NOT_ACTIVE
                and said
            )
        )

    with process("sphinx_ros.ros.node", *arguments, log=log) as node:
        message = stamped(client, rgb)
        result = answered(message)
        assert result.status.code == Status.OK, log.read_text()
        alone = sphinx.look(rgb).ground(name)
        box = result.detections[0].box
        assert np.allclose((box.x0, box.y0, box.x1, box.y1), alone[0].box, atol=16)
        children = subprocess.run(["pgrep", "-P", str(node.pid)], capture_output=True, text=True)
        assert len(children.stdout.split()) >= 1
        lost = client.listen(m.DiagnosticArray, "/diagnostics")
        os.kill(int(children.stdout.split()[0]), signal.SIGKILL)

        def said():
            return any(
                x.level == b"\x02" and "loaded anew" in x.message
                for one in lost
                for x in one.status
                if x.name.startswith("/shared")
            )

        assert client.until(said), "nobody noticed that a process of the network was killed"
        again = answered(stamped(client, rgb))
        assert again.status.code == Status.OK and again.raw_text == result.raw_text, (
            log.read_text()
        )
        assert log.read_text().count("is lost") == 1, "one line says it"
        children = subprocess.run(["pgrep", "-P", str(node.pid)], capture_output=True, text=True)
    client.close()
    followers = [Path("/proc") / pid for pid in children.stdout.split()]
    assert until(lambda: not any(path.exists() for path in followers)), "they end with the node"
    assert node.returncode == 0, log.read_text()


@needs_demo
def test_a_camera_at_rest_costs_one_look(pictures, tmp_path):
    words = ["-p", "skip_still:=true", "-p", "still_seconds:=3600.0"]
    words += ["-p", "queries:=['ask: how many objects are there?']"]
    with ready_node("resting", "-r", "image:=/resting/image", *words, log=tmp_path / "log"):
        client = Client(target="resting")
        answers = client.listen(m.Answer, "/resting/answers")
        statuses = client.listen(m.DiagnosticArray, "/diagnostics")
        publisher = client.publisher(m.Image, "/resting/image")
        draw, stamps = np.random.default_rng(0), []

        def show(rgb):
            noisy = rgb + draw.normal(0, 2, rgb.shape)
            message = stamped(client, noisy.round().clip(0, 255).astype(np.uint8))
            stamps.append(message.header)
            for _ in range(30):  # what was lost is sent again; a stamp that came is left out
                publisher.publish(message)
                if client.until(lambda: answers and answers[-1].header == message.header, 2):
                    return
            raise AssertionError("no answer came")

        for _ in range(12):
            show(pictures[0][0])
        assert [one.reused for one in answers] == [False] + [True] * 11
        assert [one.header for one in answers] == stamps
        assert len({one.text for one in answers}) == 1 and answers[-1].status.code == Status.OK
        assert answers[-1].timing.tokens == 0 and np.isnan(answers[-1].timing.look_ms)
        show(pictures[3][0])
        assert not answers[-1].reused

        def counted():
            reports = [x for one in statuses for x in one.status if x.name == "/resting: camera"]
            values = {pair.key: pair.value for pair in reports[-1].values} if reports else {}
            return values.get("pictures looked"), values.get("pictures reused")

        client.until(lambda: counted() == ("2", "11"))
        client.close()
        assert counted() == ("2", "11")
