"""Who may have sent a goal -> whether any of them is still there, by the graph of nodes.

rclpy does not say which client a goal came from. The action's clients are known when it arrives;
when all of those have gone, nobody can hear of its result. A client that was killed is noticed
when the middleware forgets it, after 20 s with Fast DDS's own settings. Knows no message.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

PERIOD = 0.5
"""Seconds between two looks at the graph."""


class GoalClients:
    """The clients of one action server of a node. name: of the action, as it was given."""

    def __init__(self, node: Any, name: str):
        self._node, self._name = node, name

    def present(self) -> frozenset[bytes]:
        """What identifies each client's requests; empty where the middleware does not tell.

        DDS lists a service's requests as a topic with the prefix "rq"; others have none such.
        """
        try:
            topic = f"rq{self._node.resolve_service_name(self._name)}/_action/send_goalRequest"
            found = self._node.get_publishers_info_by_topic(topic, no_mangle=True)
        except Exception:  # this rclpy, or this middleware, can't be asked
            return frozenset()
        return frozenset(bytes(one.endpoint_gid) for one in found)

    def sender(self) -> Sender:
        """Of a goal that has just arrived."""
        return Sender(self, self.present())


class Sender:
    """Who may have sent one goal. possible: the clients that were there when it arrived."""

    def __init__(self, clients: GoalClients, possible: Collection[bytes]):
        self._clients, self._possible = clients, frozenset(possible)
        self._next = time.monotonic() + PERIOD

    def gone(self) -> bool:
        """Whether nobody is left who could have sent it; to be asked as often as one likes."""
        now = time.monotonic()
        if not self._possible or now < self._next:
            return False
        self._next = now + PERIOD
        return not self._possible & self._clients.present()
