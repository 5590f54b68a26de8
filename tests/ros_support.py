"""Processes and a client for tests that talk over real DDS, kept apart from everything else."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from patience import PATIENCE, until
from ros_domain import DOMAIN
from shared_memory import kill

from sphinx_ros.ros.environment import profile_variable

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINT = os.environ.get("SPHINX_TEST_CHECKPOINT", "demo")
"""What the node under test loads; another one can be tried with the variable."""
UNHURRIED = ("-p", "max_image_age:=0.0", "-p", "default_timeout:=3600.0")
"""A node's words for machines on which pictures are old and answers late."""


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


@contextlib.contextmanager
def apart():
    """This process in the tests' own domain as well."""
    before = dict(os.environ)
    os.environ.update(environment())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def own_context():
    """An rclpy context in the tests' own domain."""
    import rclpy

    with apart():
        made = rclpy.Context()
        made.init(domain_id=DOMAIN)
        try:
            yield made
        finally:
            made.try_shutdown()


def find(client) -> None:
    """Wait until the client of a service or of an action has found its server."""
    ready = getattr(client, "server_is_ready", None) or client.service_is_ready
    assert until(ready), f"nobody offers what {client} asks for"


@contextlib.contextmanager
def spinning(node, threads: int = 8):
    """A node whose callbacks run in threads; afterwards these have ended, and it is gone."""
    from rclpy.executors import MultiThreadedExecutor
    from rclpy.task import Future

    from sphinx_ros.ros.running import release

    executor, over = MultiThreadedExecutor(threads, context=node.context), Future()
    executor.add_node(node)
    spins = threading.Thread(target=executor.spin_until_future_complete, args=[over], daemon=True)
    spins.start()
    try:
        yield node
    finally:
        if hasattr(node, "finish"):
            node.finish()
        over.set_result(None)
        spins.join(PATIENCE)
        executor.shutdown()
        release(node)


class Nodes:
    """SphinxNode objects of this process, each with an executor that spins in a thread."""

    def __init__(self, context):
        self._context, self._made = context, contextlib.ExitStack()

    def make(self, factory, namespace: str = "", threads: int = 8, **values):
        """A node whose model the factory makes; values: of its parameters, "a__b" for "a.b"."""
        from rclpy.parameter import Parameter

        from sphinx_ros.ros.node import SphinxNode

        given = [Parameter(name.replace("__", "."), value=v) for name, v in values.items()]
        space = namespace or f"/space{time.monotonic_ns()}"
        node = SphinxNode(
            factory, context=self._context, parameter_overrides=given, namespace=space
        )
        return self._made.enter_context(spinning(node, threads))

    def close(self) -> None:
        """End all of them."""
        self._made.close()


def deep_qos():
    """For a client that sends more at once than the usual depth keeps."""
    from rclpy.qos import QoSProfile

    return QoSProfile(depth=1000)


def program(module: str, *arguments: str) -> list[str]:
    """A module's command line; its process may take long to end, where launch would not wait."""
    code = (
        f"import runpy; from sphinx_ros.ros import running; running.GRACE = {PATIENCE}; "
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    )
    return [sys.executable, "-c", code, "--ros-args", *arguments]


@contextlib.contextmanager
def process(module: str, *arguments: str, log: Path):
    """A module of this checkout in its own process; interrupted and awaited at the end."""
    with log.open("w") as out:
        started = subprocess.Popen(
            program(module, *arguments),
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
                started.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                kill(started)


class Client:
    """A node of its own context that calls, publishes and listens, each with a time limit."""

    def __init__(self, name: str = "client", target: str = "sphinx"):
        """target: name of the node that is asked."""
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        from sphinx_ros.ros import messages

        self.m, self.target = messages, target
        self.context = rclpy.Context()
        self.context.init(domain_id=DOMAIN)
        self.node = rclpy.create_node(f"{name}_{os.getpid()}", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.clients: dict[str, object] = {}

    def close(self) -> None:
        from sphinx_ros.ros.running import release

        self.executor.shutdown()
        release(self.node)
        self.context.try_shutdown()

    def until(self, done, seconds: float = PATIENCE) -> bool:
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
            self.meet()
        find(client)
        return client.call_async(kind.Request(**fields))

    def meet(self) -> None:
        """Wait until the target hears and answers all that this node has made so far."""
        from sphinx_ros.ros.late_clients import meet

        target = f"/{self.target}"
        assert meet(self.node, target, self.until, PATIENCE), f"{target} does not answer"

    def finish(self, future, seconds: float = PATIENCE):
        assert self.until(future.done, seconds), "no answer came"
        return future.result()

    def call(self, name: str, kind, **fields):
        """The response of /<target>/<name>."""
        return self.finish(self.start(name, kind, **fields))

    def ground(self, **fields):
        return self.call("ground", self.m.Ground, **fields).result

    def ask(self, **fields):
        return self.call("ask", self.m.Ask, **fields).result

    def publisher(self, kind, topic: str):
        """A publisher that the target hears."""
        made = self.node.create_publisher(kind, topic, 1)
        assert self.until(lambda: made.get_subscription_count() > 0), f"nobody hears {topic}"
        self.meet()
        return made

    def listen(self, kind, topic: str, **options) -> list:
        """A list that fills with the messages of a topic."""
        heard: list = []
        self.node.create_subscription(kind, topic, heard.append, options.get("qos", 10))
        return heard


@contextlib.contextmanager
def ready_node(name: str, *options: str, log: Path):
    """A node process of its own name that has loaded its model; no answer is too late for it."""
    words = ["-r", f"__node:={name}", "-p", f"checkpoint:={CHECKPOINT}", *UNHURRIED, *options]
    with process("sphinx_ros.ros.node", *words, log=log) as node:
        helper = Client("helper", name)
        states = helper.listen(helper.m.DiagnosticArray, "/diagnostics")

        def ready():
            assert node.poll() is None, log.read_text()
            values = [
                {pair.key: pair.value for pair in status.values}
                for one in states
                for status in one.status
                if status.name == f"/{name}: model"
            ]
            return (
                values and values[-1]["state"] == "ready" and values[-1]["lifecycle"] == "active"
            )

        assert helper.until(ready, PATIENCE), log.read_text()
        helper.close()
        yield node


def set_parameters(client, changes, service: str = "set_parameters"):
    """Set (name, value) pairs as `ros2 param` does; the results, or the one of an atomic call."""
    from rcl_interfaces.srv import SetParameters, SetParametersAtomically
    from rclpy.parameter import Parameter

    kind = SetParameters if service == "set_parameters" else SetParametersAtomically
    sent = [Parameter(name, value=value).to_parameter_msg() for name, value in changes]
    answer = client.call(service, kind, parameters=sent)
    return getattr(answer, "results", None) or answer.result


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
