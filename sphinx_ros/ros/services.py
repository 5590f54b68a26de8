"""Services and the action: a request in, the worker's outcome out. Knows no picture and no model.

Every callback waits for its answer in a thread of the executor; the worker refuses what would need
more of them than there are (BUSY).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy

from sphinx_ros.errors import BadRequest, Status
from sphinx_ros.prompt.queries import Query, read_queries
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.ros.worker import Job
from sphinx_ros.tasks import Task

Feedback = m.QueryAction.Feedback

# The usual 10 would let the 11th of a burst of requests vanish without an answer; so many are
# taken in and answered BUSY.
DEEP = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)


class Requests:
    """The request ports of a node that has `worker`, `config` and `now()`."""

    def __init__(self, node):
        self._node, self._worker = node, node.worker
        self._numbers = itertools.count(1)
        group = ReentrantCallbackGroup()
        for name, kind, callback in (
            ("ground", m.Ground, self._on_ground),
            ("detect", m.Detect, self._on_detect),
            ("estimate_pose", m.EstimatePose, self._on_estimate_pose),
            ("ask", m.Ask, self._on_ask),
            ("set_queries", m.SetQueries, self._on_set_queries),
        ):
            node.create_service(
                kind, f"~/{name}", callback, qos_profile=DEEP, callback_group=group
            )
        self._action = ActionServer(
            node,
            m.QueryAction,
            "~/query",
            self._on_goal,
            callback_group=group,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )

    def _on_ground(self, request, response):
        query = Query(Task.GROUND, request.text, max_new_tokens=request.max_new_tokens)
        response.result = m.detections_message(self._ask(query, request))
        return response

    def _on_detect(self, request, response):
        query = Query(Task.DETECT, request.label, max_new_tokens=request.max_new_tokens)
        response.result = m.detections_message(self._ask(query, request))
        return response

    def _on_estimate_pose(self, request, response):
        box, longest = m.box_of(request.box), request.max_new_tokens
        response.result = m.poses_message(self._ask(Query(Task.POSE, "", box, longest), request))
        return response

    def _on_ask(self, request, response):
        query = Query(Task.ASK, request.question, max_new_tokens=request.max_new_tokens)
        response.result = m.answer_message(self._ask(query, request))
        return response

    def _ask(self, query: Query, request) -> Outcome:
        return self._worker.result(self._submit(query, request))

    def _submit(self, query: Query, request, on_text: Callable[[str], None] | None = None) -> Job:
        if not query.id:
            query = replace(query, id=f"{query.task.value}/{next(self._numbers)}")
        limit = self._node.config.max_image_pixels
        frame = m.frame_of_request(request.image, self._node.now(), limit)
        return self._worker.submit(query, frame, request.timeout, on_text)

    def _on_set_queries(self, request, response):
        try:
            read_queries(request.queries)
            lines = list(request.queries) or [""]
            change = Parameter("queries", Parameter.Type.STRING_ARRAY, lines)
            result = self._node.set_parameters([change])[0]
            if not result.successful:
                raise BadRequest(result.reason)
        except BadRequest as error:
            response.status = m.status_message(error.status, str(error))
        response.active = [m.query_message(query) for query in self._worker.inbox.queries]
        return response

    def _on_goal(self, handle):
        """One goal of ~/query from its start to its result, with the text as it is written."""
        handle.publish_feedback(Feedback(stage=Feedback.WAITING))
        result, last = m.QueryAction.Result(), ""

        def on_text(so_far: str) -> None:
            nonlocal last
            new = so_far[len(last) :] if so_far.startswith(last) else so_far
            last = so_far
            feedback = Feedback(stage=Feedback.WRITING, text=new, text_so_far=so_far)
            handle.publish_feedback(feedback)

        try:
            query = m.query_of(handle.request.query)
        except BadRequest as error:
            result.answer.query = handle.request.query
            result.answer.status = m.status_message(error.status, str(error))
            handle.abort()
            return result
        job = self._submit(query, handle.request, on_text)
        while not job.wait(0.02) and job.left:
            if handle.is_cancel_requested:
                self._worker.cancel(job)
        outcome = self._worker.result(job)
        result.answer = m.answer_message(outcome)
        result.poses = m.poses_message(outcome).poses
        if handle.is_cancel_requested:
            handle.canceled()
        elif outcome.status in (Status.OK, Status.NOT_FOUND):
            handle.succeed()
        else:
            handle.abort()
        return result
