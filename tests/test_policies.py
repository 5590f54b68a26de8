"""The policy file for ROS 2 security: what the node may do is what a running node does."""

import xml.etree.ElementTree as ElementTree

import pytest
import ros_support
from patience import until

POLICY = ros_support.ROOT / "config" / "sphinx_policies.xml"
KINDS = {"topics": "topic", "services": "service", "actions": "action"}
SETTING = {
    "/clock": "use_sim_time",
    "/image/compressed": "image_transport",
    "/tf": "target_frame",
    "/tf_static": "target_frame",
}
"""Allowed names that a node with the usual parameters does not have -> the parameter."""
PACKAGES = {
    "detections_2d": "vision_msgs",
    "detections_3d": "vision_msgs",
    "image_annotations": "foxglove_msgs",
    "vision_info": "vision_msgs",
}
"""Last parts of names that are there where a package is installed."""


def allowed():
    """What the policy allows: (kind, verb) -> full names."""
    (profile,) = ElementTree.parse(POLICY).getroot().iter("profile")
    space, own = profile.get("ns"), profile.get("ns") + profile.get("node")
    found = {}
    for group in profile:
        ((verb, rule),) = group.attrib.items()
        assert rule == "ALLOW"
        names = {item.text.replace("~", own) for item in group.findall(KINDS[group.tag])}
        found[group.tag, verb] = {n if n.startswith("/") else space + n for n in names}
    return found


@pytest.fixture
def node(request):
    """An active node without a model, on a spinning executor."""
    pytest.importorskip("rclpy")
    pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")
    nodes = request.getfixturevalue("nodes")
    made = nodes.make(lambda config, progress: object(), "/", autostart=False)
    made.begin()
    made.trigger_configure()
    made.trigger_activate()
    return made


def names_of(node):
    """What a node has, as others see it: (kind, verb) -> full names."""
    from rclpy.action import get_action_server_names_and_types_by_node as actions_by_node

    where = node.get_name(), node.get_namespace()

    def plain(found):
        return {name for name, _ in found if "/_action/" not in name}

    return {
        ("topics", "subscribe"): plain(node.get_subscriber_names_and_types_by_node(*where)),
        ("topics", "publish"): plain(node.get_publisher_names_and_types_by_node(*where)),
        ("services", "reply"): plain(node.get_service_names_and_types_by_node(*where)),
        ("actions", "execute"): plain(actions_by_node(node, *where)),
    }


@pytest.mark.ros
def test_the_policy_names_what_a_running_node_has(node):
    assert until(lambda: "/sphinx/query" in names_of(node)["actions", "execute"])
    has, may = names_of(node), allowed()
    assert set(has) == set(may)
    for key, names in has.items():
        assert names <= may[key], f"{POLICY.name}, {key}: add {sorted(names - may[key])}"
        rest = {n for n in may[key] - names if n not in SETTING}
        absent = {n for n in rest if n.rpartition("/")[2] in PACKAGES}
        assert rest <= absent, f"{POLICY.name}, {key}: take away {sorted(rest - absent)}"
        for name in absent:
            with pytest.raises(ImportError):
                __import__(PACKAGES[name.rpartition("/")[2]])


def test_names_for_other_parameters_are_those_of_parameters():
    from sphinx_ros.ros.params import FOREIGN, TABLE

    assert set(SETTING.values()) <= {row.name for row in TABLE} | set(FOREIGN)
    assert set(SETTING) <= allowed()["topics", "subscribe"]


def test_sros2_makes_permissions_of_the_policy():
    policy = pytest.importorskip("sros2.policy", reason="sros2 is not installed (needs lxml)")
    from lxml import etree

    tree = policy.load_policy(POLICY)  # checked against its schema
    (enclave,) = tree.getroot().iter("enclave")
    assert enclave.get("path") == "/sphinx_ros/sphinx"
    sheet = etree.parse(str(policy.get_transport_template("dds", "permissions.xsl")))
    rules = str(etree.XSLT(sheet)(tree))
    for name in ("rq/sphinx/groundRequest", "rt/sphinx/detections", "rt/image<"):
        assert name in rules, name
    assert "rq/sphinx/query/_action/send_goalRequest" in rules
