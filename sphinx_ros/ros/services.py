"""Services and the action: a request in, the worker's outcome out. Knows no picture and no model.

Every callback waits for its answer in a thread of the executor; the worker refuses what would need
more of them than there are (BUSY).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from sphinx_ros.errors import BadRequest, Cancelled
from sphinx_ros.prompt.queries import Query, read_queries
from sphinx_ros.ros import messages as m
from sphinx_ros.ros import replies
from sphinx_ros.ros.feedback import GoalFeedback
from sphinx_ros.ros.goal_clients import GoalClients
from sphinx_ros.ros.outcomes import Outcome, named
from sphinx_ros.ros.waiting import Job
from sphinx_ros.tasks import Answers, Takes, Task

# With a depth, what comes above it in a burst would vanish without an answer; everything is taken
# in, and answered BUSY where too much waits.
ALL = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)

PIECES = 100
"""Feedbacks that wait for a slow client; a token is one, and some come at the same time."""

RESULT_SECONDS = 60
"""How long the result of a goal is kept for a client that asks late."""

PORTS: dict[Task, tuple[str, Any, str]] = {
    Task.GROUND: ("ground", m.Ground, "text"),
    Task.DETECT: ("detect", m.Detect, "label"),
    Task.POSE: ("estimate_pose", m.EstimatePose, "box"),
    Task.ASK: ("ask", m.Ask, "question"),
    Task.POINT: ("point", m.PointRequest, "text"),
}
"""Task -> name and type of its service, and the request's field with what the task takes. The
action `~/query` takes every task."""


class Services:
    """The request ports of a node that has `worker`, `config` and `now()`."""

    def __init__(self, node: Any):
        self._node, self._worker = node, node.worker
        self._numbers = itertools.count(1)
        group = ReentrantCallbackGroup()
        for task, (name, kind, field) in PORTS.items():
            node.create_service(
                kind, f"~/{name}", self._port(task, field), qos_profile=ALL, callback_group=group
            )
        node.create_service(
            m.SetQueries,
            "~/set_queries",
            self._on_set_queries,
            qos_profile=ALL,
            callback_group=group,
        )
        self._goal_clients = GoalClients(node, "~/query")
        self._action = ActionServer(
            node,
            m.QueryAction,
            "~/query",
            self._on_goal,
            callback_group=group,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            goal_service_qos_profile=ALL,
            result_service_qos_profile=ALL,
            cancel_service_qos_profile=ALL,
            feedback_pub_qos_profile=QoSProfile(depth=PIECES),
            result_timeout=RESULT_SECONDS,
        )

    def _port(self, task: Task, field: str) -> Callable[[Any, Any], Any]:
        """The callback of one service."""

        def on_request(request: Any, response: Any) -> Any:
            """Ask the worker, and wait for its outcome."""
            given = getattr(request, field)
            what = {"text": given} if task.row.takes.words else {"box": m.box_of(given)}
            if task.row.takes is Takes.QUESTION:
                what["box"] = m.box_of(request.box)
            query = Query(task, max_new_tokens=request.max_new_tokens, **what)
            outcome = self._worker.result(self._submit(query, request, request.camera))
            response.result = replies.answer_to(outcome)
            return response

        return on_request

    def _submit(
        self,
        query: Query,
        request: Any,
        camera: str,
        feedback: GoalFeedback | None = None,
    ) -> Job:
        if not query.id:
            query = replace(query, id=f"{query.task.value}/{next(self._numbers)}")
        frame = m.frame_of_request(request.image, self._node.now(), self._node.config)
        told = (feedback.on_text, feedback.on_found) if feedback is not None else (None, None)
        return self._worker.submit(query, frame, request.timeout, *told, camera=camera)

    def _on_set_queries(self, request: Any, response: Any) -> Any:
        inbox = self._worker.inbox
        try:
            read_queries(request.queries)
            changes = self._changes(request.camera, list(request.queries) or [""])
            result = self._node.set_parameters_atomically(changes)
            if not result.successful:
                raise BadRequest(result.reason)
        except Exception as error:  # a defect of ours: who waits is answered all the same
            response.status = m.status_message(*named(error))
        slots = [slot for slot in inbox.slots.values() if request.camera in ("", slot.name)]
        response.active = [m.query_message(q, slot.name) for slot in slots for q in slot.queries]
        return response

    def _changes(self, camera: str, lines: list[str]) -> list[Parameter]:
        """What gives one camera its queries, or all of them. Raises BadRequest."""
        config, name = self._node.config, self._worker.inbox.slot_of(camera).name if camera else ""
        names = [f"{name}.queries"] if name else ["queries"]
        if not name:
            names += [f"{one}.queries" for one in config.cameras if "queries" in config.own[one]]
        for one in names:
            if not self._node.has_parameter(one):
                raise BadRequest(
                    f"the camera of {one} is new and has no parameters before the node is "
                    "configured: configure it first (ros2 lifecycle set NODE configure)"
                )
        return [Parameter(one, Parameter.Type.STRING_ARRAY, lines) for one in names]

    def _on_goal(self, handle: Any) -> Any:
        """One goal of ~/query from its start to its result, with what is written meanwhile."""
        feedback, result = GoalFeedback(handle), m.QueryAction.Result()
        try:
            query = m.query_of(handle.request.query)
        except BadRequest as error:
            result.answer.query = handle.request.query
            result.answer.status = m.status_message(error.status, str(error))
            handle.abort()
            return result
        job = self._submit(query, handle.request, handle.request.query.camera, feedback)
        sender = self._goal_clients.sender()
        while not job.wait(0.02) and job.left:
            if handle.is_cancel_requested:
                self._worker.cancel(job)
            elif sender.gone():
                self._worker.withdraw(job, Cancelled("whoever could have sent the goal has gone"))
        outcome: Outcome = self._worker.result(job)
        result.answer = replies.answer_message(outcome)
        if query.task.row.answers is Answers.PEOPLE:
            result.poses = replies.poses_message(outcome).poses
        if handle.is_cancel_requested:
            handle.canceled()
        elif outcome.status.answered:
            handle.succeed()
        else:
            handle.abort()
        return result
