"""Where pictures come from: names of topics that belong together, and who publishes on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rclpy.exceptions import NameValidationException
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

from sphinx_ros.errors import BadRequest


def sibling(node: Any, name: str, base: str, pattern: str) -> str:
    """The topic `name` if it was remapped, else the one that belongs to the topic `base`.

    pattern: how it belongs, as "{}/../camera_info".
    """
    own = node.resolve_topic_name(name)
    if own != node.resolve_topic_name(name, only_expand=True):
        return own
    parts: list[str] = []
    for part in pattern.format(node.resolve_topic_name(base)).split("/"):
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


@contextmanager
def usable(camera: str) -> Iterator[None]:
    """Where topics of a camera are opened: what the middleware refuses of them is BAD_REQUEST.

    It refuses names that are too long with their namespace, and a topic that this process has
    under another type, as where the pictures and the calibration are given one name.
    """
    try:
        yield
    except (rclpy_implementation.RCLError, NameValidationException) as error:
        whose = f"the camera {camera!r}" if camera else "the camera"
        raise BadRequest(
            f"a topic of {whose} can't be used ({str(error).split(', at /')[0]}): look at its "
            "name, remapping and namespace"
        ) from error


POLICIES = {
    "history": QoSPolicyKind.HISTORY,
    "depth": QoSPolicyKind.DEPTH,
    "reliability": QoSPolicyKind.RELIABILITY,
    "durability": QoSPolicyKind.DURABILITY,
}
"""The parameters qos_overrides.<topic>.subscription.* that a subscription to a camera obeys."""

PROFILES = {
    "sensor_data": (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE),
    "reliable": (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE),
    "latched": (ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL),
    "system_default": (ReliabilityPolicy.SYSTEM_DEFAULT, DurabilityPolicy.SYSTEM_DEFAULT),
}
"""What the values of the parameter image_qos mean."""


def camera_qos(node: Any, topic: str, name: str = "sensor_data") -> QoSProfile:
    """The quality of service by name; rclpy puts the overrides of the topic on top.

    "sensor_data" suits every camera: a best-effort reader hears best-effort and reliable writers
    alike. A picture that was published once for whom comes late reaches reliable readers alone, so
    the override of the durability brings the reliability with it.
    """
    reliability, durability = PROFILES[name]
    over = _given(node, topic).get("durability")
    late = over is not None and over.value == "transient_local"
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE if late else reliability,
        durability=durability,
    )


def overriding(node: Any, topic: str) -> QoSOverridingOptions:
    """Which policies of a topic's subscription the parameters of the node override.

    Those alone that were given: rclpy declares what it is told, for good, and a value that nobody
    gave would keep what image_qos was at first.
    """
    return QoSOverridingOptions([POLICIES[policy] for policy in _given(node, topic)])


def _given(node: Any, topic: str) -> dict[str, Any]:
    """Policy -> parameter, of the overrides that the node was started with."""
    given = getattr(node, "_parameter_overrides", {})  # rclpy declares them with the subscription
    names = {policy: f"qos_overrides.{topic}.subscription.{policy}" for policy in POLICIES}
    return {policy: given[name] for policy, name in names.items() if name in given}


def about_source(node: Any, topic: str) -> str:
    """ " on TOPIC (2 publishers: ...)": what a message about missing pictures says of a topic."""
    try:
        publishers = node.get_publishers_info_by_topic(topic)
        here = "; ".join(sorted({_described(one) for one in publishers}))
        words = f" on {topic} ({len(publishers)} publishers{': ' + here if here else ''})"
        for other in ("/compressed", ""):  # the usual mistake: the suffix twice, or none
            near = topic.removesuffix("/compressed") + other
            types = {one.topic_type for one in node.get_publishers_info_by_topic(near)}
            if near != topic and types:
                words += f"; {near} has {', '.join(sorted(types))}"
    except Exception:  # the context goes down while somebody asks
        return f" on {topic}"
    return words


def _described(publisher: Any) -> str:
    qos = publisher.qos_profile
    latched = ""
    if qos.durability.name == "TRANSIENT_LOCAL":
        latched = ", for whom comes late too: set the parameter image_qos to latched"
    return f"{publisher.topic_type}, {qos.reliability.name.lower()}{latched}"
