"""Which publishers a camera hears, by its quality of service, and what is said of others."""

import os
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")

from patience import until
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_domain import DOMAIN

from sphinx_ros.ros import messages as m
from sphinx_ros.ros.health import reports
from sphinx_ros.ros.source_watch import NAMELESS, SourceWatch
from sphinx_ros.ros.sources import PROFILES

pytestmark = pytest.mark.ros

BEST, SURE = ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE
LATE, NOW = DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE


class Model:
    """What nobody asks here."""

    def look(self, rgb):
        return self


@pytest.fixture
def make(nodes):
    """Active nodes, each with a list of what it warned of."""

    def build(space="", **values):
        node = nodes.make(lambda *_: Model(), space, threads=4, **values)
        warned, logger = [], node.get_logger()
        logger.warning = warned.append
        node.get_logger = lambda: logger
        node.begin()
        assert until(lambda: node.lifecycle_state == "active")
        return node, warned

    return build


@pytest.fixture
def camera(context):
    """A node that publishes, as if it were in another process."""
    import rclpy

    own = rclpy.Context()
    own.init(domain_id=DOMAIN)
    node = rclpy.create_node(f"driver_{os.getpid()}", context=own)
    yield node
    node.destroy_node()
    own.try_shutdown()


def qos(reliability, durability=NOW):
    return QoSProfile(depth=1, reliability=reliability, durability=durability)


def picture():
    rgb = m.Image(width=2, height=1, step=6, encoding="rgb8", data=bytes(6))
    rgb.header.stamp = m.time_message(time.time())
    return rgb


@pytest.mark.parametrize("name", ["sensor_data", "reliable", "latched", "system_default"])
@pytest.mark.parametrize("reliability", [BEST, SURE], ids=["best effort", "reliable"])
@pytest.mark.parametrize("durability", [NOW, LATE], ids=["volatile", "transient local"])
def test_who_is_heard_and_who_is_said_not_to_be(make, camera, name, reliability, durability):
    node, warned = make(image_qos=name)
    port = node.cameras[""]
    publisher = camera.create_publisher(m.Image, port.topic, qos(reliability, durability))
    assert until(lambda: port.facts()["publishers"] == 1)
    asked = PROFILES[name]
    fits = (asked[0] != SURE or reliability == SURE) and (asked[1] != LATE or durability == LATE)
    if name == "system_default":  # of the middleware; Fast DDS reads best effort and volatile
        fits = True
    if fits:
        slot = node.worker.inbox.slots[""]
        assert until(lambda: publisher.publish(picture()) or slot.newest is not None)
        assert port.problem() == "" and not warned
        assert port.facts()["publishers not heard"] == 0
    else:
        assert until(lambda: warned)
        assert node.cameras[""].facts()["publishers not heard"] == 1
        status = reports("n", node)[1]
        assert status.level == m.DiagnosticStatus.WARN and status.message == warned[0]
        assert len(warned) == 1 and "image_qos to sensor_data" in warned[0]
        assert f"/driver_{os.getpid()} publishes on {port.topic}" in warned[0]
        assert "best_effort" in warned[0] or "volatile" in warned[0]


def test_a_topic_of_another_type_is_said_with_the_remedy(make, camera):
    node, warned = make()
    port = node.cameras[""]
    camera.create_publisher(m.CompressedImage, port.topic, qos(BEST))
    assert until(lambda: warned)
    assert "publishes sensor_msgs/msg/CompressedImage" in warned[0]
    assert "set image_transport to compressed" in warned[0]
    assert until(lambda: reports("n", node)[1].message == warned[0]) and len(warned) == 1


def test_what_goes_away_is_no_problem_any_more(make, camera):
    node, warned = make(image_qos="reliable")
    port = node.cameras[""]
    publisher = camera.create_publisher(m.Image, port.topic, qos(BEST))
    assert until(port.problem)
    camera.destroy_publisher(publisher)
    assert until(lambda: not port.problem())
    camera.create_publisher(m.Image, port.topic, qos(BEST))
    assert until(port.problem) and len(warned) == 1, "said once"


def test_another_quality_of_service_is_taken_while_inactive(make, camera):
    from rclpy.parameter import Parameter

    node, warned = make()
    port = node.cameras[""]
    camera.create_publisher(m.Image, port.topic, qos(BEST))
    assert until(lambda: port.facts()["publishers"] == 1) and not port.problem()
    (refused,) = node.set_parameters([Parameter("image_qos", value="reliable")])
    assert not refused.successful and "while inactive" in refused.reason
    node.trigger_deactivate()
    assert all(
        r.successful for r in node.set_parameters([Parameter("image_qos", value="reliable")])
    )
    node.trigger_activate()
    assert until(port.problem) and "asked for: reliable" in warned[0]


def test_the_standard_overrides_go_before_the_parameter(make, camera):
    node, _ = make()
    topic = node.cameras[""].topic
    over = {f"qos_overrides__{topic}__subscription__reliability": "reliable"}
    other, _ = make(image_qos="sensor_data", space=node.get_namespace(), **over)
    assert other.cameras[""].topic == topic
    camera.create_publisher(m.Image, topic, qos(BEST))
    assert until(other.cameras[""].problem) and not node.cameras[""].problem()


def test_a_publisher_is_named_when_its_node_is_known():
    """Its node is heard of a little later than it."""

    def endpoint(node_name):
        return SimpleNamespace(
            node_namespace="/",
            node_name=node_name,
            topic_type="sensor_msgs/msg/Image",
            qos_profile=qos(BEST),
            endpoint_gid=[7] * 16,
        )

    publishers, told = [endpoint(NAMELESS)], []
    graph = SimpleNamespace(get_publishers_info_by_topic=lambda topic: publishers)
    watch = SourceWatch(graph, m.Image, "/image", qos(SURE), told.append)
    assert watch.problems() == [] and not told
    publishers[:] = [endpoint("driver")]
    assert watch.problems() and len(told) == 1 and told[0].startswith("/driver publishes on")
