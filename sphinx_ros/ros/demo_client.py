"""Questions of the demonstration to the node and back, over services, an action and topics.

How the processes were started, and how the table looks, is not known here.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from rclpy.action import ActionClient
from rclpy.qos import QoSProfile

from sphinx_ros.errors import Status
from sphinx_ros.image.decode import decode_compressed
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.client_values import detections_of, points_of, poses_of
from sphinx_ros.ros.demo_questions import CAMERAS, Question, Reply, judge
from sphinx_ros.ros.late_clients import meet
from sphinx_ros.ros.running import release
from sphinx_ros.ros.services import PORTS
from sphinx_ros.tasks import Task
from sphinx_ros.types import Box
from sphinx_ros.world.camera_facts import nanoseconds

SILENCE = Reply(Status.INTERNAL)
KEPT = 2000  # pictures, as JPEG, and truths: minutes, should an answer come late


@dataclass(frozen=True, eq=False)
class Row:
    """One line of the table.

    Attributes:
        reply: its status is INTERNAL when nothing came, not even a status.
        jpeg: the picture that the answer is about, b"" if it was missed.
        regions: boxes that were asked about, source pixels.
    """

    question: Question
    answer: str
    verdict: str
    right: bool
    milliseconds: float
    reply: Reply = SILENCE
    jpeg: bytes = b""
    regions: Sequence[Box] = ()

    @property
    def came(self) -> bool:
        """Whether it is an answer."""
        return self.reply.status.answered

    @property
    def slow(self) -> bool:
        """Whether there is none because the machine was too slow for it, which is no defect."""
        return self.reply.status is Status.TIMEOUT

    @property
    def rgb(self) -> np.ndarray:
        """The picture [H, W, 3] uint8; BadImage where it was missed."""
        return decode_compressed(self.jpeg)


class Client:
    """A ROS node that asks, and keeps the camera's pictures and truths by stamp.

    patience: seconds that one answer may take; set it once the speed of the machine is known.
    gone: whose end makes waiting useless, "" while all run.
    """

    def __init__(self, patience: float, gone: Callable[[], str] = lambda: ""):
        self.patience, self._gone = patience, gone
        self.node = rclpy.create_node("sphinx_demo")
        self.truths: dict[int, list[dict]] = {}
        self.pictures: dict[int, bytes] = {}
        self.newest: dict[str, list[dict]] = {}
        self.standing: dict[str, tuple[Any, float]] = {}
        listen, many = self.node.create_subscription, QoSProfile(depth=100)
        for camera in CAMERAS:
            truth = functools.partial(self._on_truth, camera)
            listen(m.String, f"/{camera}/world_camera/truth", truth, many)
            topic = f"/{camera}/image_raw/compressed"
            listen(m.CompressedImage, topic, self._on_picture, many)
            for topic, kind in (
                ("detections", m.DetectionArray),
                ("keypoints", m.PersonPoseArray),
                ("answers", m.Answer),
            ):
                listen(kind, f"/sphinx/{camera}/{topic}", self._on_standing, many)
        self.services: dict[Task, Any] = {
            task: self.node.create_client(kind, f"/sphinx/{name}")
            for task, (name, kind, _) in PORTS.items()
        }
        self.set_queries: Any = self.node.create_client(m.SetQueries, "/sphinx/set_queries")
        self.action: Any = ActionClient(self.node, m.QueryAction, "/sphinx/query")

    def close(self) -> None:
        """Let go of all that the middleware holds."""
        release(self.node)

    def _on_truth(self, camera: str, message: m.String) -> None:
        truth = json.loads(message.data)
        self.truths[truth["stamp"]] = self.newest[camera] = truth["objects"]
        _keep_newest(self.truths)

    def _on_picture(self, message: m.CompressedImage) -> None:
        self.pictures[nanoseconds(message.header)] = bytes(message.data)
        _keep_newest(self.pictures)

    def _on_standing(self, message: Any) -> None:
        # The first answer to each; it was not there before, so it came for the new queries. One
        # that is no answer gives way to the next pass.
        name = f"{message.query.camera} {message.query.id}"
        if not self._has(name):
            self.standing[name] = (message, time.time())

    def _has(self, name: str) -> bool:
        """Whether a standing query, by its camera and id, has been answered."""
        return name in self.standing and Status(self.standing[name][0].status.code).answered

    def spin_until(self, done: Callable[[], Any], seconds: float) -> bool:
        """Handle messages until done() or the time is over; whether it was done."""
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.05)
        return bool(done())

    def meets_node(self, seconds: float) -> bool:
        """Wait until the node can answer whatever this client asks; whether it can."""
        return meet(self.node, "/sphinx", self.spin_until, seconds)

    def wait(self, future: Any) -> Any:
        """The future's result, None if it did not come.

        The node itself answers TIMEOUT after `patience`; who hears nothing for twice as long has
        found a defect and not a slow machine.
        """
        self.spin_until(lambda: future.done() or self._gone(), 2 * self.patience)
        return future.result() if future.done() else None

    def ask(self, question: Question) -> tuple[Any, Sequence[Any], float]:
        """(message or None, people, milliseconds) of a service or action question."""
        begun = time.perf_counter()
        if question.how == "service":
            client, field = self.services[question.task], PORTS[question.task][2]
            words: dict[str, Any] = {field: question.text} if question.text else {}
            if question.region:
                words["box"] = m.box_message(self._box(question))
            request = client.srv_type.Request(
                timeout=self.patience, camera=question.camera, **words
            )
            response = self.wait(client.call_async(request))
            message = response.result if response else None
            people = getattr(message, "poses", ())
        else:
            query = m.QueryMessage(
                task=question.task.row.number, text=question.text, camera=question.camera
            )
            goal = m.QueryAction.Goal(query=query, timeout=self.patience)
            accepted = self.wait(self.action.send_goal_async(goal))
            done = self.wait(accepted.get_result_async()) if accepted else None
            message = done.result.answer if done else None
            people = done.result.poses if done else ()
        return message, people, 1e3 * (time.perf_counter() - begun)

    def _box(self, question: Question) -> Box:
        """Where the thing that a question is about is now."""
        things = self.newest[question.camera]
        return next(o["box"] for o in things if (o["colour"], o["kind"]) == question.about)

    def ask_standing(self, asked: Sequence[Question]) -> list[Row]:
        """Standing queries, all at once; milliseconds count from the picture's stamp."""
        names = {}
        for camera in CAMERAS:
            own = [question for question in asked if question.camera == camera]
            names.update({one: f"{camera} standing/{n}" for n, one in enumerate(own)})
            lines = [question.line for question in own]
            request = m.SetQueries.Request(queries=lines, camera=camera)
            self.wait(self.set_queries.call_async(request))
        done = names.values()
        self.spin_until(lambda: self._gone() or all(map(self._has, done)), 2 * self.patience)
        self.wait(self.set_queries.call_async(m.SetQueries.Request()))
        rows = []
        for question in asked:
            message, arrived = self.standing.get(names[question], (None, 0.0))
            age = 1e3 * arrived - 1e-6 * nanoseconds(message.header) if message else math.nan
            rows.append(self.row(question, message, getattr(message, "poses", ()), age))
        return rows

    def row(
        self, question: Question, message: Any, people: Sequence[Any], milliseconds: float
    ) -> Row:
        """Judge an answer by the truth of its own picture."""
        if message is None:
            died = self._gone()
            words = f"the {died} has ended" if died else f"none in {2 * self.patience:.0f} s"
            return Row(question, words, "no answer", False, milliseconds)
        reply = Reply(
            Status(message.status.code),
            detections_of(message) if hasattr(message, "detections") else (),
            poses_of(people),
            getattr(message, "text", ""),
            points_of(getattr(message, "points", ())),
            [_xyz(item) for item in getattr(message, "points", ()) or _boxes(message)],
        )
        if not reply.status.answered:
            words = f"{reply.status.name}: {message.status.text}"
            return Row(question, words, "no answer", False, milliseconds, reply)
        stamp = nanoseconds(message.header)
        self.spin_until(lambda: stamp in self.truths and stamp in self.pictures, 2.0)
        jpeg = self.pictures.get(stamp, b"")
        if stamp not in self.truths:
            return Row(question, "?", "no truth came", False, milliseconds, reply, jpeg)
        answer, verdict, right = judge(question, reply, self.truths[stamp])
        box = m.box_of(message.query.box)
        regions = [box] if question.region and box is not None else []
        return Row(question, answer, verdict, right, milliseconds, reply, jpeg, regions)


def _keep_newest(by_stamp: dict[int, Any]) -> None:
    while len(by_stamp) > KEPT:
        del by_stamp[min(by_stamp)]


def _boxes(message: Any) -> Sequence[Any]:
    return getattr(message, "detections", ())


def _xyz(item: Any) -> tuple[float, float, float]:
    return item.position.x, item.position.y, item.position.z
