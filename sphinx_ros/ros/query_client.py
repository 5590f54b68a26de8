"""A question to a running node, in words of a command line -> lines that answer it, an exit code.

    python -m sphinx_ros.ros.query_client ground the red mug    # as `ros2 sphinx ground ...`

The question travels as a goal of `~/query`, which takes every task; Ctrl-C cancels it there. Knows
no model.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.validate_full_topic_name import validate_full_topic_name

from sphinx_ros.errors import (
    BAD_INPUT,
    NO_ANSWER,
    BadRequest,
    Cancelled,
    SphinxError,
    Status,
    quoted,
)
from sphinx_ros.prompt.plain import plain
from sphinx_ros.prompt.queries import Query, read_query
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.client_values import detections_of, found_of, points_of, poses_of
from sphinx_ros.ros.late_clients import meet
from sphinx_ros.ros.query_words import Words, add_verbs
from sphinx_ros.ros.running import release
from sphinx_ros.runtime.printable import one_line
from sphinx_ros.types import Answer, Results

APPEARS = 10.0
"""Seconds that a node may take to be discovered."""

MEETS = 2.0
"""Seconds that are waited until it hears us; then it is asked all the same."""

GONE = 5.0
"""Seconds after which a node that was there, and is no more, is not waited for."""

INTERRUPTED = 130


class Unanswered(Exception):
    """There is no node to ask, or it went away; the message says what to do."""


def ask(words: Words) -> int:
    """Ask, print what comes back, and say it as an exit code.

    Returns:
        0 answered, 1 not found, 2 what was asked can't be used, 3 no usable answer or no node, 70
        a defect of the node, 130 Ctrl-C.
    """
    try:
        query = read_query(f"{words.task.value}: {words.text}" if words.text else words.task.value)
    except BadRequest as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    try:
        result = result_of(words, query)
    except Unanswered as error:
        print(error, file=sys.stderr)
        return NO_ANSWER
    except KeyboardInterrupt:  # before the search has begun
        return INTERRUPTED
    if result is None:
        return INTERRUPTED
    for line in lines(result):
        print(line)
    return Status(result.answer.status.code).exit_code


def ask_node(
    query: Query, node: str, camera: str = "", cancel: Callable[[], bool] = lambda: False
) -> Results[Any] | Answer:
    """What a running node answers about the newest picture of its camera; in any thread.

    cancel: whether the answer is wanted no more; asked all the time, and told to the node.

    Raises:
        SphinxError: what the node refuses it with; NOT_ACTIVE: there is no node, or it went away.
        BadRequest: no node can have that name. Cancelled: by ``cancel``.
    """
    try:
        validate_full_topic_name(f"{node.rstrip('/')}/query")
        words = Words(query.task, "", node, camera)
        return found_of(query.task, result_of(words, query, cancel))
    except NameValidationException as error:
        raise BadRequest(f"no node has the name {quoted(node)}: write it as /sphinx") from error
    except Unanswered as error:
        raise SphinxError(str(error), status=Status.NOT_ACTIVE) from error


def result_of(words: Words, query: Query, cancel: Callable[[], bool] = lambda: False) -> Any:
    """What the node says; None where Ctrl-C came first. Raises Unanswered; Cancelled."""
    context = rclpy.Context()
    context.init()
    node = rclpy.create_node(f"sphinx_query_{os.getpid()}", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    client: Any = ActionClient(node, m.QueryAction, f"{words.node.rstrip('/')}/query")
    asker = _Asker(node, executor, client, cancel)
    try:
        return asker.ask(words, m.query_message(query, words.camera))
    finally:
        executor.shutdown()
        release(node)
        context.try_shutdown()


class _Asker:
    """One goal, from the search for its node to its result."""

    def __init__(self, node: Any, executor: Any, client: Any, cancel: Callable[[], bool]):
        self._node, self._executor, self._client = node, executor, client
        self._cancel = cancel

    def ask(self, words: Words, query: Any) -> Any:
        """See :func:`result_of`."""
        sent = None
        try:
            if not self._until(self._client.server_is_ready, APPEARS):
                raise Unanswered(self._nobody(words.node))
            meet(self._node, words.node, self._until, MEETS)
            goal = m.QueryAction.Goal(query=query, timeout=words.timeout)
            sent = self._client.send_goal_async(goal)
            handle = self._wait(sent, words.node)
            return self._wait(handle.get_result_async(), words.node).result
        except (KeyboardInterrupt, Cancelled) as end:
            if sent is not None:
                self._withdraw(sent)
            if isinstance(end, Cancelled):
                raise
            return None

    def _withdraw(self, sent: Any) -> None:
        """Cancel a goal that may be on its way to the node yet."""
        self._cancel = lambda: False
        if self._until(sent.done, GONE):
            cancelled = sent.result().cancel_goal_async()
            self._until(cancelled.done, GONE)

    def _until(self, done: Callable[[], Any], seconds: float) -> bool:
        """Whether it is done, within some seconds. Raises Cancelled."""
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            if self._cancel():
                raise Cancelled("whoever asked the node waits no more")
            self._executor.spin_once(timeout_sec=0.02)
        return bool(done())

    def _wait(self, future: Any, name: str) -> Any:
        """The future's result. The node itself keeps the time limit. Raises Unanswered."""
        ready = self._client.server_is_ready
        while not self._until(future.done, 1.0):
            # A node that ends answers first; its last words may be on the way.
            if not ready() and not self._until(lambda: future.done() or ready(), GONE):
                raise Unanswered(f"{name} has gone without an answer; is it still running?")
        return future.result()

    def _nobody(self, name: str) -> str:
        """A sentence on a node that is not there, with those that are."""
        mark, kind = "/query/_action/send_goal", "sphinx_ros/action/Query_SendGoal"
        others = [
            service.removesuffix(mark)
            for service, kinds in self._node.get_service_names_and_types()
            if service.endswith(mark) and kind in kinds
        ]
        others = [other for other in others if other != name.rstrip("/")]  # our own client's
        there = f"; there is {', '.join(others)}: name one with --node" if others else ""
        domain = os.environ.get("ROS_DOMAIN_ID", "0")
        return f"no node {name} in domain {domain} after {APPEARS:.0f} s{there or ': start one'}"


def lines(result: Any) -> Iterator[str]:
    """A result of `~/query` -> lines for people: status, label, box in pixels, score, place."""
    answer = result.answer
    status = Status(answer.status.code)
    if not status.answered:
        written = f' (so far: "{one_line(answer.raw_text)}")' if answer.raw_text else ""
        yield f"{status} {one_line(answer.status.text)}{written}"
        return
    frame, found = answer.position_frame, 0
    if answer.text:
        yield f"{status} {one_line(plain(answer.text))}{_score(answer.score)}"
        found = 1
    for item, box in zip(answer.detections, detections_of(answer), strict=True):
        place = _place(item.position, frame)
        yield f"{status} {one_line(box.label)}{_box(box.box)}{_score(box.score)}{place}"
        found += 1
    for item, point in zip(answer.keypoints, points_of(answer.keypoints), strict=True):
        where = f" point {point.x:.1f},{point.y:.1f}{_score(point.score)}"
        yield f"{status} {one_line(point.name)}{where}{_place(item.position, frame)}"
        found += 1
    for pose in poses_of(result.poses):
        joints = [f"{k.name} {k.x:.0f},{k.y:.0f}" for k in pose.keypoints if k.x == k.x]
        box_words = "" if pose.box is None else _box(pose.box)
        yield f"{status} person{box_words}{_score(pose.score)} joints {', '.join(joints)}"
        found += 1
    if not found:
        yield f"{status} {one_line(answer.status.text or answer.raw_text)}".rstrip()


def _box(box: Sequence[float]) -> str:
    return "" if box[0] != box[0] else " box " + ",".join(f"{value:.1f}" for value in box)


def _score(score: float) -> str:
    return "" if score != score else f" score {score:.2f}"


def _place(position: Any, frame: str) -> str:
    """Metres; nothing where they are unknown."""
    if position.x != position.x:
        return ""
    return f" at {position.x:.3f},{position.y:.3f},{position.z:.3f} m in {frame}"


def main(words: Sequence[str] | None = None) -> int:
    """The command by itself; words: those of the command line. See :func:`ask`."""
    parser = argparse.ArgumentParser(prog="query_client")
    add_verbs(parser)
    return ask(Words.of(parser.parse_args(words)))


if __name__ == "__main__":
    sys.exit(main())
