"""`make demo`: camera, node and this client as three processes that talk over DDS.

Asks different things through services, an action and standing queries, compares every answer with
the camera's truth for the same stamp, prints a table and writes a picture. Exit status 1 if an
answer did not come.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sphinx_ros.errors import Status
from sphinx_ros.ros.demo_questions import Question, Reply, judge, questions
from sphinx_ros.ros.environment import prepare, profile_variable
from sphinx_ros.tasks import Task

CAMERA = [sys.executable, "-m", "sphinx_ros.ros.world_camera"]
NODE = [sys.executable, "-m", "sphinx_ros.ros.node"]
PATIENCE = 20.0  # seconds for one answer


@dataclass(frozen=True, eq=False)
class Row:
    """One line of the table. rgb: the picture that the answer is about, None if it was missed."""

    question: Question
    answer: str
    verdict: str
    right: bool
    milliseconds: float
    reply: Reply
    rgb: np.ndarray | None = None

    @property
    def came(self) -> bool:
        return self.reply.status in (Status.OK, Status.NOT_FOUND)


def surroundings() -> None:
    """Keep the demonstration on this machine, and let its pictures through."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(100 + os.getpid() % 100))
    prepare()
    from ament_index_python.packages import get_package_share_directory

    profile = Path(get_package_share_directory("sphinx_ros")) / "config" / "fastdds.xml"
    os.environ.setdefault(profile_variable(), str(profile))


class Processes:
    """The camera and the node; their output goes to files that are shown when something fails."""

    def __init__(self, source: str, checkpoint: str):
        self._folder = Path(tempfile.mkdtemp(prefix="sphinx_demo_"))
        camera = ["-r", "__ns:=/camera", "-p", f"source:={source}"]
        node = ["-r", "image:=/camera/image_raw", "-p", f"checkpoint:={checkpoint}"]
        self.running = {
            "camera": self._start("camera", [*CAMERA, "--ros-args", *camera]),
            "node": self._start("node", [*NODE, "--ros-args", *node]),
        }

    def _start(self, name: str, command: list[str]) -> subprocess.Popen:
        with (self._folder / f"{name}.log").open("w") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def died(self) -> str:
        """The name of a process that has ended by itself, "" when both run."""
        return next((n for n, p in self.running.items() if p.poll() is not None), "")

    def logs(self) -> str:
        """The last lines of both."""
        return "\n".join(
            f"--- {path.stem}\n" + "\n".join(path.read_text().splitlines()[-15:])
            for path in sorted(self._folder.glob("*.log"))
        )

    def stop(self) -> None:
        """Ctrl-C for both, and a kill for who does not listen."""
        for process in self.running.values():
            process.send_signal(signal.SIGINT)
        for process in self.running.values():
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()
        for path in self._folder.glob("*"):
            path.unlink()
        self._folder.rmdir()


class Client:
    """A ROS node that asks, and keeps the pictures and truths of the last seconds by stamp."""

    def __init__(self):
        import rclpy
        from rclpy.action import ActionClient

        from sphinx_ros.ros import messages as m
        from sphinx_ros.ros.node import CAMERA_QOS

        self.rclpy, self.m = rclpy, m
        self.node = rclpy.create_node("sphinx_demo")
        self.truths: dict[int, list[dict]] = {}
        self.pictures: dict[int, np.ndarray] = {}
        self.standing: dict[str, object] = {}
        listen = self.node.create_subscription
        listen(m.String, "/camera/world_camera/truth", self._on_truth, 100)
        listen(m.Image, "/camera/image_raw", self._on_image, CAMERA_QOS)
        for topic, kind in (
            ("detections", m.DetectionArray),
            ("keypoints", m.PersonPoseArray),
            ("answers", m.Answer),
        ):
            listen(kind, f"/sphinx/{topic}", self._on_standing, 10)
        self.services = {
            task: self.node.create_client(kind, f"/sphinx/{name}")
            for task, kind, name in (
                (Task.GROUND, m.Ground, "ground"),
                (Task.DETECT, m.Detect, "detect"),
                (Task.POSE, m.EstimatePose, "estimate_pose"),
                (Task.ASK, m.Ask, "ask"),
            )
        }
        self.set_queries = self.node.create_client(m.SetQueries, "/sphinx/set_queries")
        self.action = ActionClient(self.node, m.QueryAction, "/sphinx/query")

    def _on_truth(self, message) -> None:
        truth = json.loads(message.data)
        self.truths[truth["stamp"]] = truth["objects"]

    def _on_image(self, message) -> None:
        frame = self.m.frame_of(message, 0.0, 10**8)
        self.pictures[self.stamp(message)] = frame.decode()
        while len(self.pictures) > 100:
            del self.pictures[min(self.pictures)]

    def _on_standing(self, message) -> None:
        # Only the first answer to each; it was not there before, so it came for the new queries.
        self.standing.setdefault(message.query.id, (message, time.time()))

    @staticmethod
    def stamp(message) -> int:
        """Nanoseconds of the picture's stamp."""
        return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec

    def spin_until(self, done, seconds: float) -> bool:
        """Handle messages until done() or the time is over; whether it was done."""
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self.rclpy.spin_once(self.node, timeout_sec=0.05)
        return done()

    def wait(self, future, seconds: float = PATIENCE):
        """The future's result, None if it did not come."""
        self.spin_until(future.done, seconds)
        return future.result() if future.done() else None

    def request(self, question: Question):
        """The request of a service question."""
        kind = self.services[question.task].srv_type.Request
        field = {Task.GROUND: "text", Task.DETECT: "label", Task.ASK: "question"}
        words = {field[question.task]: question.text} if question.text else {}
        return kind(**words)

    def ask(self, question: Question):
        """(message or None, people, milliseconds) of a service or action question."""
        begun = time.perf_counter()
        if question.how == "service":
            future = self.services[question.task].call_async(self.request(question))
            response = self.wait(future)
            message = response.result if response else None
            people = getattr(message, "poses", ())
        else:
            task = self.m.NUMBERS[question.task]
            query = self.m.QueryMessage(task=task, text=question.text)
            goal = self.wait(self.action.send_goal_async(self.m.QueryAction.Goal(query=query)))
            done = self.wait(goal.get_result_async()) if goal else None
            message = done.result.answer if done else None
            people = done.result.poses if done else ()
        return message, people, 1e3 * (time.perf_counter() - begun)

    def row(self, question: Question, message, people, milliseconds: float) -> Row:
        """Judge an answer by the truth of its own picture."""
        m = self.m
        if message is None:
            reply = Reply(Status.TIMEOUT)
            return Row(question, "-", "no answer", False, milliseconds, reply)
        reply = Reply(
            Status(message.status.code),
            m.detections_of(message) if hasattr(message, "detections") else (),
            m.poses_of(people),
            getattr(message, "text", ""),
        )
        stamp = self.stamp(message)
        if reply.status not in (Status.OK, Status.NOT_FOUND):
            words = f"{reply.status.name}: {message.status.text}"
            return Row(question, words, "no answer", False, milliseconds, reply)
        self.spin_until(lambda: stamp in self.truths and stamp in self.pictures, 2.0)
        picture = self.pictures.get(stamp)
        if stamp not in self.truths:
            return Row(question, "?", "no truth came", False, milliseconds, reply, picture)
        answer, verdict, right = judge(question, reply, self.truths[stamp])
        return Row(question, answer, verdict, right, milliseconds, reply, picture)


def wait_until_ready(client: Client, processes: Processes) -> str:
    """Wait for pictures and for the model; "" or what went wrong."""
    end = time.monotonic() + 120
    ready = client.services[Task.ASK]
    if not client.spin_until(lambda: client.truths or processes.died(), 60) or processes.died():
        return f"no picture from the camera (ended: {processes.died() or 'nobody'})"
    while time.monotonic() < end and not processes.died():
        if ready.service_is_ready():
            question = Question("service", Task.ASK, "How many objects are there?")
            message, _, _ = client.ask(question)
            if message is not None and message.status.code == Status.OK:
                return ""
            if message is not None and "could not be loaded" in message.status.text:
                return message.status.text
        client.spin_until(lambda: False, 0.3)
    return f"the node is not ready (ended: {processes.died() or 'nobody'})"


def run(client: Client) -> list[Row]:
    """Ask everything: services and the action one by one, then the standing queries together."""
    asked = questions(client.truths[max(client.truths)])
    rows = [client.row(q, *client.ask(q)) for q in asked if q.how != "topic"]
    standing = [q for q in asked if q.how == "topic"]
    lines = [q.line for q in standing]
    client.wait(client.set_queries.call_async(client.m.SetQueries.Request(queries=lines)))
    client.spin_until(lambda: len(client.standing) == len(standing), PATIENCE)
    client.wait(client.set_queries.call_async(client.m.SetQueries.Request()))
    for number, question in enumerate(standing):
        message, arrived = client.standing.get(f"standing/{number}", (None, 0.0))
        age = 1e3 * arrived - 1e-6 * client.stamp(message) if message else float("nan")
        rows.append(client.row(question, message, getattr(message, "poses", ()), age))
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as text. Milliseconds: from the request, or from the picture's stamp for topics."""
    heads = ("by", "query", "answer", "against the truth", "ms")
    cells = [
        (r.question.how, r.question.line, short(r.answer), r.verdict, f"{r.milliseconds:.0f}")
        for r in rows
    ]
    widths = [max(len(line[i]) for line in (heads, *cells)) for i in range(len(heads))]
    lines = [heads, tuple("-" * w for w in widths), *cells]
    return "\n".join(
        "  ".join(
            c.rjust(w) if i == 4 else c.ljust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def short(words: str, limit: int = 44) -> str:
    """One line of at most `limit` characters."""
    words = " ".join(words.split())
    return words if len(words) <= limit else words[: limit - 3] + "..."


def picture(rows: Sequence[Row]) -> np.ndarray:
    """Six answers of all kinds, three by two, each in the frame it is about."""
    from sphinx_ros.draw import draw, side_by_side

    by_task: dict[Task, list[Row]] = {}
    for row in rows:
        if row.rgb is not None:
            by_task.setdefault(row.question.task, []).append(row)
    for found in by_task.values():  # those with most to show first
        found.sort(key=lambda row: -len(row.reply.boxes) - len(row.reply.people))
    chosen = by_task.get(Task.GROUND, [])[:2]
    for task in (Task.DETECT, Task.POSE, Task.CAPTION, Task.ASK):
        chosen += by_task.get(task, [])[:1]
    panels = []
    for row in chosen:
        words = f"{row.question.line} -> {row.answer}"
        verdict = f"{row.verdict}, {row.milliseconds:.0f} ms"
        panels.append(
            draw(row.rgb, row.reply.boxes, row.reply.people, (words, verdict), scale=0.62)
        )
    return side_by_side(panels, columns=3)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration. Returns 1 if an answer did not come."""
    parser = argparse.ArgumentParser(prog="sphinx_ros.ros.demo", description=__doc__)
    parser.add_argument("--source", choices=("auto", "world", "clip"), default="auto")
    parser.add_argument("--checkpoint", default="demo")
    parser.add_argument("--out", default="demo/annotated.png", help="where the picture goes")
    arguments = parser.parse_args(argv)
    surroundings()
    import cv2
    import rclpy

    begun = time.monotonic()
    print("starting the camera and the node ...", flush=True)
    processes = Processes(arguments.source, arguments.checkpoint)
    rclpy.init()
    try:
        client = Client()
        trouble = wait_until_ready(client, processes)
        if trouble:
            print(f"{trouble}\n{processes.logs()}", file=sys.stderr)
            return 1
        print(f"ready after {time.monotonic() - begun:.0f} s; asking", flush=True)
        rows = run(client)
        missing = [row for row in rows if not row.came]
        if missing:
            print(processes.logs(), file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    finally:
        processes.stop()
        rclpy.try_shutdown()
    print(f"\n{table(rows)}\n")
    if any(row.rgb is not None for row in rows):
        out = Path(arguments.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(out), picture(rows)[:, :, ::-1])
        print(f"picture: {out}")
    right = sum(row.right for row in rows)
    print(
        f"{len(rows) - len(missing)} of {len(rows)} answers came, {right} are right; "
        f"{time.monotonic() - begun:.0f} s"
    )
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
