"""A managed node through its states: who may do what when, what fails, what comes back."""

import logging
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from sphinx_ros.errors import CheckpointError, Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.outcomes import Frame, Look, Outcome
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.quiet import LogHandler, QuietLog, writers
from sphinx_ros.ros.state import State
from sphinx_ros.ros.worker import AT_ONCE, Worker
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer

pytest.importorskip("rclpy")
pytest.importorskip("sphinx_ros.msg")

from patience import PATIENCE, until
from ros_support import find

from sphinx_ros.ros import messages as m
from sphinx_ros.ros.transforms import tf2_ros

ASK = Query(Task.ASK, "how many?")


class Model:
    """Answers at once, unless it is held."""

    def __init__(self):
        self.go = threading.Event()
        self.go.set()

    def look(self, rgb):
        self.go.wait()
        return self

    def ask(self, text, *, cancel, **options):
        cancel()
        return Answer("two", raw_text="two", tokens=1)


class Defective(Model):
    """Never answers."""

    def ask(self, text, **options):
        return 1 / 0


@pytest.fixture
def make(nodes):
    """Nodes that have begun; `loads` are what the factory is to do, one after another."""

    def build(loads=(), namespace="", **values):
        left = list(loads)

        def factory(config, progress):
            progress(5, 10)
            step = left.pop(0) if left else Model()
            if isinstance(step, Exception):
                raise step
            return step

        node = nodes.make(factory, f"/life{time.monotonic_ns()}{namespace}", **values)
        node.begin()
        return node

    return build


def picture():
    rgb = np.zeros((4, 6, 3), np.uint8)
    return Frame(lambda: rgb, time.time(), time.time(), own=True)


def asked(node):
    """What a request with a picture of its own is answered."""
    return node.worker.result(node.worker.submit(ASK, picture(), PATIENCE))


def steps(node, *names):
    from rclpy.lifecycle import TransitionCallbackReturn as Return

    for name in names:
        assert getattr(node, f"trigger_{name}")() == Return.SUCCESS, name


def test_it_starts_by_itself(make):
    node = make()
    assert until(lambda: node.lifecycle_state == "active")
    assert asked(node).status is Status.OK


def test_a_node_that_was_shut_down_does_not_ask_to_be_configured(make):
    node = make()
    assert until(lambda: node.lifecycle_state == "active")
    steps(node, "shutdown")
    outcome = asked(node)
    assert outcome.status is Status.NOT_ACTIVE and "start its process anew" in outcome.text


@pytest.mark.parametrize(
    "step, name, topics",
    [
        ("activate", "front", {"front.image": "/one", "front.camera_info": "/one"}),
        ("activate", "front", {"front.depth": "/rosout"}),
        ("configure", "c" * 40, {}),
    ],
)
def test_a_topic_that_can_t_be_used_is_said_in_one_sentence(make, step, name, topics, caplog):
    from rclpy.lifecycle import TransitionCallbackReturn as Return

    node = make(namespace="/" + 175 * "n", autostart=False, cameras=["wrist", name], **topics)
    before = len(list(node.publishers))
    if step == "activate":
        steps(node, "configure")
    assert getattr(node, f"trigger_{step}")() == Return.ERROR
    assert f"a topic of the camera '{name}' can't be used" in asked(node).text
    assert len(list(node.publishers)) == before
    assert not any(record.exc_info for record in caplog.records)


def test_through_all_states_and_back(make):
    node = make(autostart=False)
    assert node.lifecycle_state == "unconfigured" and not node.cameras
    outcome = asked(node)
    assert outcome.status is Status.NOT_ACTIVE and "configure" in outcome.text
    steps(node, "configure")
    outcome = asked(node)
    assert outcome.status is Status.NOT_ACTIVE and "activate" in outcome.text
    for _ in range(2):
        steps(node, "activate")
        assert asked(node).status is Status.OK
        steps(node, "deactivate")
        assert asked(node).status is Status.NOT_ACTIVE and node.worker.state is State.READY
    steps(node, "cleanup")
    assert node.worker.state is State.UNLOADED and not node.cameras
    steps(node, "configure", "activate")
    assert asked(node).status is Status.OK


def test_a_checkpoint_that_can_t_be_loaded_leaves_a_node_to_configure_again(make):
    from rclpy.lifecycle import TransitionCallbackReturn as Return
    from rclpy.parameter import Parameter

    node = make([CheckpointError("no such folder")], checkpoint="nowhere")
    assert until(lambda: node.worker.state is State.FAILED and not node.cameras)
    assert until(lambda: node.lifecycle_state == "unconfigured")
    outcome = asked(node)
    assert outcome.status is Status.NOT_ACTIVE and "no such folder" in outcome.text
    (result,) = node.set_parameters([Parameter("checkpoint", value="demo")])
    assert result.successful and node.config.checkpoint == "demo"
    assert node.trigger_activate() == Return.ERROR, "there is nothing to activate"
    steps(node, "configure", "activate")
    assert asked(node).status is Status.OK


def test_what_goes_wrong_in_between_is_told_and_can_be_mended(make, monkeypatch):
    from sphinx_ros.ros.camera import Camera

    def broken(camera):
        raise RuntimeError("no port is left")

    with monkeypatch.context() as patch:
        patch.setattr(Camera, "listen", broken)
        node = make()
        assert until(lambda: node.worker.life.trouble and node.lifecycle_state == "unconfigured")
    outcome = asked(node)
    assert outcome.status is Status.NOT_ACTIVE and "no port is left" in outcome.text
    steps(node, "configure", "activate")
    assert asked(node).status is Status.OK and not node.worker.trouble


def test_a_transition_that_the_state_does_not_have_is_refused_by_the_service(make):
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    node = make(autostart=False)
    client = node.create_client(ChangeState, "~/change_state")
    find(client)
    wrong = Transition(id=Transition.TRANSITION_DEACTIVATE)
    for _ in range(2):
        future = client.call_async(ChangeState.Request(transition=wrong))
        assert until(future.done) and not future.result().success
    assert node.lifecycle_state == "unconfigured"


def test_what_belongs_to_the_model_is_changed_without_it(make):
    from rclpy.parameter import Parameter

    node = make(autostart=False)
    steps(node, "configure", "activate")
    change = [Parameter("checkpoint", value="other")]
    transport = [Parameter("image_transport", value="compressed")]
    (result,) = node.set_parameters(change)
    assert not result.successful and "clean up" in result.reason
    assert not node.set_parameters(transport)[0].successful
    steps(node, "deactivate")
    assert node.set_parameters(transport)[0].successful
    assert not node.set_parameters(change)[0].successful
    steps(node, "cleanup")
    assert node.set_parameters(change)[0].successful
    assert not node.set_parameters([Parameter("max_pending", value=3)])[0].successful
    steps(node, "configure", "activate")
    (camera,) = node.cameras.values()
    assert camera.topic.endswith("/image/compressed")


def test_cameras_are_exchanged_between_cleanup_and_configure(make):
    from rclpy.parameter import Parameter

    node = make(autostart=False, cameras=["front"], **{"front.max_rate": 3.0})
    steps(node, "configure", "activate")
    assert node.config.of("front").max_rate == 3.0
    steps(node, "deactivate", "cleanup")
    for taken in ("queries", "use_sim_time"):
        (result,) = node.set_parameters([Parameter("cameras", value=[taken])])
        assert not result.successful and "is the name of a parameter" in result.reason
    assert node.set_parameters([Parameter("cameras", value=["wrist", "back"])])[0].successful
    steps(node, "configure", "activate")
    assert list(node.cameras) == ["wrist", "back"] == list(node.worker.inbox.slots)
    assert node.has_parameter("wrist.queries") and not node.has_parameter("front.queries")
    (result,) = node.set_parameters([Parameter("wrist.queries", value=["pose"])])
    assert result.successful and node.worker.inbox.slots["wrist"].queries
    assert not node.worker.inbox.slots["back"].queries
    (result,) = node.set_parameters([Parameter("wrist.max_rate", value=-1.0)])
    assert not result.successful and "wrist.max_rate is -1" in result.reason


def test_values_that_can_t_be_used_together_are_refused(make):
    from rclpy.parameter import Parameter

    node = make(autostart=False, cameras=["front"])

    def change(**values):
        given = [Parameter(name.replace("__", "."), value=v) for name, v in values.items()]
        return node.set_parameters_atomically(given)

    assert change(cameras=[""]).successful and node.config.cameras == ()
    assert change(front__max_rate="often").successful, "of no camera, and so it means nothing"
    result = change(cameras=["front"])
    assert not result.successful and "front.max_rate is 'often'" in result.reason
    assert list(node.get_parameter("cameras").value) == [""] and node.config.cameras == ()
    assert change(max_rate=3.0).successful, "others can be changed"
    assert change(cameras=["front"], front__max_rate=2.0).successful
    assert node.config.of("front").max_rate == 2.0


def test_queries_of_a_camera_that_is_not_declared_yet_are_refused_by_name(make):
    from rclpy.parameter import Parameter

    from sphinx_ros import srv

    node = make(autostart=False)
    assert node.set_parameters([Parameter("cameras", value=["wrist"])])[0].successful
    client = node.create_client(srv.SetQueries, "~/set_queries")
    find(client)
    future = client.call_async(srv.SetQueries.Request(camera="wrist", queries=["pose"]))
    assert until(future.done), "no request stays without an answer"
    response = future.result()
    assert response.status.code == Status.BAD_REQUEST and "configure" in response.status.text


def test_a_shutdown_waits_for_what_is_being_published(make):
    publishing, go = threading.Event(), threading.Event()

    def bits():  # looked at when the answer goes out
        publishing.set()
        go.wait(PATIENCE)
        return 16

    node = make(queries=["ask: how many?"])
    assert until(lambda: node.lifecycle_state == "active")
    rgb = np.zeros((4, 6, 3), np.uint8)
    node.worker.offer(Frame(lambda: rgb, node.now(), node.now(), filled_bits=bits))
    assert publishing.wait(PATIENCE)
    thread = threading.Thread(target=node.trigger_shutdown)
    thread.start()
    assert until(lambda: node.worker.state is State.UNLOADED)
    go.set()
    thread.join(PATIENCE)
    assert node.lifecycle_state == "finalized" and not node.cameras
    assert not node.worker.last_error


@pytest.mark.parametrize("step", ["deactivate", "shutdown"])
def test_what_is_asked_over_http_ends_when_the_node_rests(make, step):
    node, rested = make(), []
    assert until(lambda: node.lifecycle_state == "active")
    node.web.rest = lambda seconds=2.0: rested.append(node.worker.life.working)
    steps(node, step)
    assert rested == [False], "after the last moment in which something new could be asked"


def test_a_defect_after_a_warning_is_internal_and_the_node_goes_on(make):
    node = make([Defective()])
    write = writers(node.get_logger())
    handler = LogHandler(QuietLog(write.error), QuietLog(write.warning))
    try:
        assert until(lambda: node.lifecycle_state == "active")
        node.warnings.say("x", "a warning of the node")
        logging.getLogger("sphinx_ros").warning("a warning of the package")
        for _ in range(AT_ONCE + 1):
            outcome = asked(node)
            assert outcome.status is Status.INTERNAL and "ZeroDivisionError" in outcome.text
        node.warnings.say("y", "another warning of the node")
        assert until(lambda: not node.worker.inbox.in_hand)
    finally:
        handler.detach()


def test_deactivating_ends_what_is_published_before_it_takes_it_down(make, monkeypatch):
    node, order = make(), []
    assert until(lambda: node.lifecycle_state == "active")
    (camera,) = node.cameras.values()
    for one, name in ((node.worker, "rest"), (camera, "unlisten")):
        done = getattr(one, name)
        monkeypatch.setattr(one, name, lambda done=done, name=name: (order.append(name), done()))
    steps(node, "deactivate")
    assert order == ["rest", "unlisten"]


def test_a_calibration_does_not_outlive_a_deactivation(make):
    node = make()
    assert until(lambda: node.lifecycle_state == "active")
    (camera,) = node.cameras.values()

    def stood():
        return {camera.positioning._info is None, camera.display._info is None}

    camera._on_info(m.CameraInfo())
    assert stood() == {False}
    steps(node, "deactivate")
    assert stood() == {True}
    camera._on_info(m.CameraInfo())
    assert stood() == {True}, "a callback that was under way meanwhile"


def test_the_mirror_in_space_says_that_nothing_is_there_once_depth_was_heard(make, monkeypatch):
    """vision_msgs is not on PyPI: outcomes stand for its messages."""
    node, sent = make(), []
    assert until(lambda: node.lifecycle_state == "active")
    (camera,) = node.cameras.values()
    camera._mirror = SimpleNamespace(publish=lambda message: None)
    camera._mirror_3d = SimpleNamespace(publish=sent.append)
    for name in ("mirror_message", "mirror_3d_message"):
        monkeypatch.setattr(f"sphinx_ros.ros.replies.{name}", lambda outcome: outcome)
    rgb = np.zeros((4, 6, 3), np.uint8)
    look = Look(Frame(lambda: rgb, node.now(), node.now(), m.Header()), rgb)
    detect = Query(Task.DETECT, "mug")
    none = Outcome(detect, Status.NOT_FOUND, header=m.Header(), width=6, height=4)
    late = Outcome(detect, Status.TIMEOUT, header=m.Header(), width=6, height=4)
    camera.publish(look, [none], True)
    assert not sent, "a camera without depth"
    camera.positioning.on_depth(m.Image())
    camera.publish(look, [none, late], True)
    assert sent == [none]


def test_deactivating_answers_who_waits(make):
    model = Model()
    node = make([model])
    assert until(lambda: node.lifecycle_state == "active")
    model.go.clear()
    jobs = [node.worker.submit(ASK, picture(), PATIENCE) for _ in range(6)]
    steps(node, "deactivate")
    assert {node.worker.result(job).status for job in jobs} == {Status.CANCELLED}
    model.go.set()


def test_a_look_that_hangs_is_given_up_and_the_node_goes_on():
    stuck = Model()
    stuck.go.clear()
    models = [stuck, Model()]
    worker = Worker(lambda: models.pop(0), config=Config(hang_seconds=1.5, queries=["ask: a"]))
    worker.start()
    try:
        assert until(lambda: worker.state is State.READY)
        jobs = [worker.submit(ASK, picture(), PATIENCE) for _ in range(6)]
        assert until(lambda: worker.watch() or all(job.done for job in jobs))
        outcomes = [worker.result(job) for job in jobs]
        assert [one.status for one in outcomes].count(Status.INTERNAL) == AT_ONCE
        assert "no step for 1.5 s" in outcomes[0].text
        waited = {one.status for one in outcomes} - {Status.INTERNAL}
        assert waited <= {Status.OK, Status.NOT_ACTIVE}, "they may have the new model"
        assert until(lambda: worker.state is State.READY), "a new model takes its place"
        assert worker.result(worker.submit(ASK, picture(), PATIENCE)).status is Status.OK
        assert worker.life.restarts == 1
    finally:
        stuck.go.set()
        worker.stop()


def test_a_load_that_does_not_go_on_has_failed_and_can_be_made_again(make):
    from rclpy.lifecycle import TransitionCallbackReturn as Return

    hold = threading.Event()
    steps_left = [lambda: hold.wait(PATIENCE), lambda: None]

    class Loaded(Model):
        def __init__(self):
            super().__init__()
            steps_left.pop(0)()

    node = make(autostart=False, hang_seconds=1.5)
    life = node.worker.life
    life._factory = lambda: (life.read_so_far(5_000_000, 9_000_000), Loaded())[1]
    assert node.trigger_configure() == Return.FAILURE, "who waits is answered"
    outcome = asked(node)
    assert node.worker.state is State.FAILED and outcome.status is Status.NOT_ACTIVE
    assert "no step for 1.5 s in loading it, 5 of 9 MB read" in outcome.text
    try:
        steps(node, "configure", "activate")
        assert asked(node).status is Status.OK and not node.worker.trouble
    finally:
        hold.set()
    time.sleep(0.05)
    assert asked(node).status is Status.OK, "what the first load brings at last is let go"


def test_a_load_without_bytes_is_waited_for():
    """As a download, or a network that several processes read."""
    go = threading.Event()
    worker = Worker(lambda: (go.wait(PATIENCE), Model())[1], config=Config(hang_seconds=0.05))
    worker.start()
    end = time.monotonic() + 0.3
    assert not until(lambda: worker.watch() or worker.state is not State.LOADING, 0.3)
    assert time.monotonic() >= end
    go.set()
    assert until(lambda: worker.state is State.READY)
    worker.stop()


def test_a_node_can_be_configured_before_it_begins(nodes):
    node = nodes.make(lambda *_: Model(), autostart=False)
    thread = threading.Thread(target=node.trigger_configure, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert node.lifecycle_state == "inactive"
    node.begin()
    steps(node, "activate")
    assert asked(node).status is Status.OK


def test_a_value_of_one_camera_is_taken_back(make):
    """As `ros2 param delete` does."""
    from rclpy.parameter import Parameter

    node = make(cameras=["front", "wrist"], max_rate=9.0, **{"front.max_rate": 3.0})
    assert until(lambda: node.lifecycle_state == "active")
    for _ in range(2):
        assert node.config.of("front").max_rate == 3.0
        (result,) = node.set_parameters([Parameter("front.max_rate")])
        assert result.successful, result.reason
        assert node.config.of("front").max_rate == 9.0
        assert node.has_parameter("front.max_rate"), "it can be set anew"
        assert node.set_parameters([Parameter("front.max_rate", value=3.0)])[0].successful
    (result,) = node.set_parameters([Parameter("max_rate")])
    assert not result.successful, "the node's own value can't be taken back"
    (result,) = node.set_parameters([Parameter("front.image_qos")])
    assert not result.successful and "while inactive" in result.reason


@pytest.mark.skipif(tf2_ros is None, reason="tf2_ros is not installed (it is not on PyPI)")
def test_tf_is_heard_as_long_as_a_target_frame_is_set(make):
    from rclpy.parameter import Parameter

    node = make(target_frame="base_link")

    def heard():
        return {one.topic_name for one in node.subscriptions} & {"/tf", "/tf_static"}

    assert until(lambda: len(heard()) == 2)
    assert node.set_parameters([Parameter("target_frame", value="")])[0].successful
    assert not heard()


def test_diagnostics_tell_state_progress_and_each_camera(make):
    from sphinx_ros.ros.health import reports

    hold, begun = threading.Event(), threading.Event()

    class Slow(Model):
        def __init__(self):
            super().__init__()
            begun.set()
            hold.wait(PATIENCE)

    node = make(autostart=False, cameras=["front", "wrist"])
    node.worker.life._factory = lambda: (node.worker.life.read_so_far(5, 10), Slow())[1]
    thread = threading.Thread(target=node.trigger_configure)
    thread.start()
    assert begun.wait(PATIENCE)
    values = {pair.key: pair.value for pair in reports("/sphinx", node)[0].values}
    assert values["state"] == "loading" and values["bytes read"] == "5 of 10"
    assert values["lifecycle"] == "configuring"
    hold.set()
    thread.join()
    model, front, wrist = reports("/sphinx", node)
    assert front.name == "/sphinx: camera front" and wrist.name == "/sphinx: camera wrist"
    assert model.level == front.level == b"\0" and "inactive" in model.message
    steps(node, "activate")
    front = reports("/sphinx", node)[1]
    assert front.level == b"\1" and "no camera picture of front" in front.message


def test_the_end_waits_for_a_transition_and_lets_none_begin(make):
    from rclpy.lifecycle import TransitionCallbackReturn as Return

    begun, hold = threading.Event(), threading.Event()
    node = make(autostart=False)

    def slow():
        begun.set()
        hold.wait(PATIENCE)
        return Model()

    node.worker.life._factory = slow
    results = []
    thread = threading.Thread(target=lambda: results.append(node.trigger_configure()))
    thread.start()
    assert begun.wait(PATIENCE)
    node.finish()
    assert not node.cameras, "those of the transition are gone as well"
    thread.join(PATIENCE)
    hold.set()
    assert results == [Return.FAILURE] and node.trigger_configure() == Return.FAILURE


def test_a_node_that_is_destroyed_takes_its_action_server_with_it(context):
    """While its object is still held: rclpy leaves the server to the garbage collector."""
    import rclpy

    from sphinx_ros.ros.node import SphinxNode

    node = SphinxNode(lambda *_: Model(), context=context, namespace="/gone")
    other = rclpy.create_node("looking_on", context=context)

    def offered():
        return "/gone/sphinx/query/_action/send_goal" in dict(other.get_service_names_and_types())

    assert until(offered)
    node.finish()
    node.destroy_node()
    assert until(lambda: not offered()), "clients find a server that takes no goal"
    other.destroy_node()
