"""Processes and a client for tests that talk over real DDS, kept apart from everything else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sphinx_ros.ros.environment import profile_variable

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = os.environ.get("SPHINX_TEST_CHECKPOINT", "demo")
"""What the node under test loads; another one can be tried with the variable."""

# One domain per run of pytest, so that runs side by side and a developer's robot stay apart.
DOMAIN = 1 + os.getpid() % 100


def environment() -> dict[str, str]:
    """The variables for every process of a test, this one included."""
    return {
        **os.environ,
        "ROS_DOMAIN_ID": str(DOMAIN),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        profile_variable(): str(ROOT / "config" / "fastdds.xml"),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
    }


def deep_qos():
    """For a client that sends more at once than the usual depth keeps."""
    from rclpy.qos import QoSProfile

    return QoSProfile(depth=1000)


@contextlib.contextmanager
def process(module: str, *arguments: str, log: Path):
    """A module of this checkout in its own process; interrupted and awaited at the end."""
    with log.open("w") as out:
        started = subprocess.Popen(
            [sys.executable, "-m", module, "--ros-args", *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment(),
            cwd=ROOT,
        )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGINT)
            try:
                started.wait(10)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


class Client:
    """A node of its own context that calls, publishes and listens, each with a time limit."""

    def __init__(self, name: str = "client", target: str = "sphinx"):
        """target: name of the node that is asked."""
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        from sphinx_ros.ros import messages

        self.m, self.rclpy, self.target = messages, rclpy, target
        self.context = rclpy.Context()
        self.context.init(domain_id=DOMAIN)
        self.node = rclpy.create_node(f"{name}_{os.getpid()}", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.clients: dict[str, object] = {}

    def close(self) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def until(self, done, seconds: float = 30.0) -> bool:
        """Handle messages until done() or the time is over; whether it was done."""
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)
        return bool(done())

    def start(self, name: str, kind, **fields):
        """Send a request to /<target>/<name>; its future."""
        client = self.clients.get(name)
        if client is None:
            client = self.clients[name] = self.node.create_client(kind, f"/{self.target}/{name}")
            self.until(lambda: False, 0.5)  # nodes that have just gone are forgotten
            assert client.wait_for_service(60), f"/{self.target}/{name} did not appear"
            self.until(lambda: False, 0.3)  # both directions of the service have found each other
        assert client.wait_for_service(60), f"/{self.target}/{name} did not appear"
        return client.call_async(kind.Request(**fields))

    def finish(self, future, seconds: float = 60.0):
        assert self.until(future.done, seconds), "no answer came"
        return future.result()

    def call(self, name: str, kind, **fields):
        """The response of /<target>/<name>."""
        return self.finish(self.start(name, kind, **fields))

    def ground(self, **fields):
        return self.call("ground", self.m.Ground, **fields).result

    def ask(self, **fields):
        return self.call("ask", self.m.Ask, **fields).result

    def listen(self, kind, topic: str, **options) -> list:
        """A list that fills with the messages of a topic."""
        heard: list = []
        self.node.create_subscription(kind, topic, heard.append, options.get("qos", 10))
        return heard


def clip_pictures(count: int) -> list[tuple[object, dict]]:
    """(RGB picture, truth) of evenly spread frames of the recorded clip."""
    from sphinx_ros.image.decode import decode_compressed
    from sphinx_ros.world.clip import read_clip

    frames = list(read_clip())
    chosen = frames[:: max(len(frames) // count, 1)][:count]
    return [(decode_compressed(jpeg), truth) for _, jpeg, truth in chosen]


def truth_of(message) -> dict:
    """The camera's JSON."""
    return json.loads(message.data)
