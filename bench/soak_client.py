"""Requests of `bench/soak.py`: sent, and kept until they are answered or refused by name.

    python bench/soak_client.py

Run as a process, it asks one question after another until it is killed, as it will be.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSProfile

from sphinx_ros.errors import Status
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.running import release
from sphinx_ros.ros.services import PORTS
from sphinx_ros.tasks import Task

ALL = QoSProfile(history=HistoryPolicy.KEEP_ALL)
PATIENCE = 90.0
"""Seconds from the last request after which one without an answer is counted as unanswered."""


class Asker:
    """A client of the node.

    asked: requests sent. outcomes: how often each name came back. restarts: as /diagnostics says.
    """

    def __init__(self) -> None:
        self.node = rclpy.create_node(f"soak_{time.time_ns()}")
        self.asked, self.restarts = 0, 0
        self.outcomes: Counter[str] = Counter()
        self._open: dict[int, str] = {}
        make = self.node.create_client
        self._services = {
            task: make(kind, f"/sphinx/{name}", qos_profile=ALL)
            for task, (name, kind, _) in PORTS.items()
        }
        self._queries = make(m.SetQueries, "/sphinx/set_queries", qos_profile=ALL)
        self._parameters = make(SetParameters, "/sphinx/set_parameters", qos_profile=ALL)
        self._state = make(ChangeState, "/sphinx/change_state", qos_profile=ALL)
        self._action: Any = ActionClient(
            self.node,
            m.QueryAction,
            "/sphinx/query",
            goal_service_qos_profile=ALL,
            result_service_qos_profile=ALL,
            cancel_service_qos_profile=ALL,
        )
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_health, 10)

    def _on_health(self, message: Any) -> None:
        for status in message.status:
            values = {pair.key: pair.value for pair in status.values}
            self.restarts = max(self.restarts, int(values.get("model restarts", 0)))

    def wait_for_all(self, seconds: float) -> None:
        """Wait until the node and all its services are there. Raises RuntimeError."""
        clients = (*self._services.values(), self._queries, self._parameters, self._state)
        if not all(client.wait_for_service(seconds) for client in clients):
            raise RuntimeError(f"the node's services did not appear within {seconds:g} s")
        self._action.wait_for_server(seconds)
        self.spin(1.0)

    @property
    def waiting(self) -> list[str]:
        """What has not been answered yet."""
        return list(self._open.values())

    def spin(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Handle messages for so long, or until it is so; whether it is."""
        end = time.monotonic() + seconds
        while not until() and (left := end - time.monotonic()) > 0:
            rclpy.spin_once(self.node, timeout_sec=min(left, 0.05))
        return until()

    def _keep(self, what: str, future: Any, name_of: Callable[[Any], str]) -> None:
        """Count a request, and its answer once it is there."""
        self.asked += 1
        number = self.asked
        self._open[number] = what

        def on_answer(done: Any) -> None:
            self.outcomes[name_of(done.result())] += 1
            del self._open[number]

        future.add_done_callback(on_answer)

    def ask(self, task: Task, words: str, **fields: Any) -> None:
        """A request to the service of a task. fields: of the request, beside its words."""
        name, kind, field = PORTS[task]
        own = {field: words} if task.row.takes.words else {}
        future = self._services[task].call_async(kind.Request(**own, **fields))
        self._keep(name, future, lambda response: Status(response.result.status.code).name)

    def goal(self, message: Any, cancel_after: float | None = None, **fields: Any) -> None:
        """A goal of the action; cancelled after so many seconds, if that is given."""
        sent = self._action.send_goal_async(m.QueryAction.Goal(query=message, **fields))
        result = rclpy.task.Future()
        self._keep("query", result, lambda done: Status(done.result.answer.status.code).name)

        def on_accepted(done: Any) -> None:
            handle = done.result()
            coming = handle.get_result_async()
            coming.add_done_callback(lambda came: result.set_result(came.result()))
            if cancel_after is not None:
                timer = self.node.create_timer(max(cancel_after, 0.001), lambda: cancel(timer))

            def cancel(timer: Any) -> None:
                handle.cancel_goal_async()
                timer.cancel()
                self.node.destroy_timer(timer)

        sent.add_done_callback(on_accepted)

    def set_queries(self, lines: list[str], camera: str = "") -> None:
        """Replace standing queries."""
        request = m.SetQueries.Request(queries=lines, camera=camera)
        self._keep(
            "set_queries",
            self._queries.call_async(request),
            lambda response: Status(response.status.code).name,
        )

    def set_parameter(self, name: str, value: Any) -> None:
        """Change a parameter. A refusal without a reason has no name."""
        change = Parameter(name, value=value).to_parameter_msg()
        future = self._parameters.call_async(SetParameters.Request(parameters=[change]))

        def name_of(response: Any) -> str:
            (result,) = response.results
            return "set" if result.successful else "not set" if result.reason else "no reason"

        self._keep(f"parameter {name}", future, name_of)

    def change_state(self, label: str) -> bool:
        """A transition, awaited; whether it succeeded. It is counted as a request."""
        request = ChangeState.Request()
        request.transition.label = label
        future = self._state.call_async(request)

        def name_of(response: Any) -> str:
            return "changed" if response.success else "not changed"

        self._keep(f"transition {label}", future, name_of)
        return self.spin(PATIENCE, future.done) and future.result().success

    def close(self) -> None:
        """Let go of all that the middleware holds."""
        release(self.node)


def main() -> int:
    """Ask until the end."""
    rclpy.init()
    asker, draw = Asker(), random.Random(time.time_ns())
    asker.wait_for_all(30.0)
    while True:
        asker.ask(Task.ASK, "how many mugs are there?", camera=draw.choice(["front", "wrist"]))
        asker.goal(m.QueryMessage(task=m.QueryMessage.CAPTION, camera="front"))
        asker.spin(draw.uniform(0.2, 1.0))


if __name__ == "__main__":
    sys.exit(main())
