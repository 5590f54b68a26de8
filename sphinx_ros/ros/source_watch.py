"""A subscription to a camera -> why some of its publishers can't be heard. Knows no picture.

The middleware connects nobody whose quality of service or type does not fit, and says so in a line
that names no remedy, or not at all. Here each reason is said once, with a remedy, and stands in
/diagnostics for as long as it lasts. The graph is asked, and not the middleware's events: rclpy
raises in the executor where a subscription is taken away while an event of it waits, and an event
does not tell when its reason is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
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

    def problems(self) -> list[str]:
        """A sentence with a remedy for each reason why a publisher of now is not heard."""
        try:
            publishers = self._node.get_publishers_info_by_topic(self._topic)
        except Exception:  # the context goes down while somebody asks
            return []
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
