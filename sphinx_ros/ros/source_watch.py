"""A subscription to a camera -> why some of its publishers can't be heard. Knows no picture.

The middleware connects nobody whose quality of service or type does not fit, and says so in a line
that names no remedy, or not at all. Here each reason is said once, with a remedy, and stands in
/diagnostics for as long as it lasts. The graph is asked, and not the middleware's events: rclpy
raises in the executor where a subscription is taken away while an event of it waits, and an event
does not tell when its reason is gone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # the name of the module before Iron
    from rclpy.qos_event import SubscriptionEventCallbacks

SILENT = SubscriptionEventCallbacks(use_default_callbacks=False)
"""rclpy's own line on publishers that do not fit would be a second one, with less in it."""

TRANSPORTS = {"sensor_msgs/msg/Image": "raw", "sensor_msgs/msg/CompressedImage": "compressed"}
"""Type of a topic -> the value of the parameter image_transport that hears it."""


NAMELESS = "_NODE_NAME_UNKNOWN_"
"""What the DDS middlewares call a publisher's node as long as they have not heard of it."""

INTRODUCED = 3.0
"""Seconds in which a publisher's node is heard of; programs that are no ROS nodes have none."""


class SourceWatch:
    """Watches who publishes on a topic, when somebody asks for :meth:`problems`, from any thread.

    kind: the message class. qos: as the subscription was made with. tell: called with each reason
    that is new.
    """

    def __init__(
        self, node: Any, kind: Any, topic: str, qos: QoSProfile, tell: Callable[[str], None]
    ):
        self._node, self._topic, self._qos, self._tell = node, topic, qos, tell
        self._type = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        self._said: set[str] = set()
        self._saying = threading.Lock()
        self._met: dict[bytes, float] = {}  # publishers without a node -> first seen when

    def problems(self) -> list[str]:
        """A sentence with a remedy for each reason why a publisher of now is not heard."""
        try:
            publishers = self._node.get_publishers_info_by_topic(self._topic)
        except Exception:  # the context goes down while somebody asks
            return []
        with self._saying:
            publishers = self._introduced(publishers)
        found = list(dict.fromkeys(filter(None, map(self._against, publishers))))
        with self._saying:
            new = [sentence for sentence in found if sentence not in self._said]
            self._said.update(new)
        for sentence in new:
            self._tell(sentence)
        return found

    def facts(self) -> dict[str, Any]:
        """For the diagnostics: how many publish, how many of them are not heard, and the QoS."""
        try:
            publishers = self._node.get_publishers_info_by_topic(self._topic)
        except Exception:
            publishers = []
        return {
            "publishers": len(publishers),
            "publishers not heard": sum(map(bool, map(self._against, publishers))),
            "QoS": _described(self._qos),
        }

    def _introduced(self, publishers: Sequence[Any]) -> list[Any]:
        """Those whose node is known, which comes later, and those that seem to have none."""
        now, nameless = time.monotonic(), {}
        for one in publishers:
            if one.node_name == NAMELESS:
                key = bytes(one.endpoint_gid)
                nameless[key] = self._met.get(key, now)
        self._met = nameless
        late = {key for key, since in nameless.items() if now - since < INTRODUCED}
        return [one for one in publishers if bytes(one.endpoint_gid) not in late]

    def _against(self, publisher: Any) -> str:
        who = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
        if publisher.topic_type != self._type:
            other = TRANSPORTS.get(publisher.topic_type)
            fits = other is not None and self._type in TRANSPORTS
            remedy = f"set image_transport to {other}" if fits else "remap the topic"
            return (
                f"{who} publishes {publisher.topic_type} on {self._topic}, and {self._type} is "
                f"expected: {remedy}"
            )
        fit, why = qos_check_compatible(publisher.qos_profile, self._qos)
        if fit != QoSCompatibility.ERROR:
            return ""
        return (
            f"{who} publishes on {self._topic} with a quality of service that does not fit "
            f"({_described(publisher.qos_profile)}; asked for: {_described(self._qos)}), so "
            "nothing of it is heard: set image_qos to sensor_data, and "
            f"no qos_overrides of this topic, or change the publisher ({why.strip().rstrip(';')})"
        )


def _described(qos: QoSProfile) -> str:
    return f"{qos.reliability.name}, {qos.durability.name}".lower()
