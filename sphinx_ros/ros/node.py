"""The ROS node: ports only. Pictures and requests go to the worker, outcomes go out as messages.

Knows no torch and no image mathematics; callbacks store or wait, they never compute.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from sphinx_ros.draw import draw
from sphinx_ros.errors import Status
from sphinx_ros.prompt.queries import read_queries
from sphinx_ros.ros import messages as m
from sphinx_ros.ros import params
from sphinx_ros.ros.environment import prepare
from sphinx_ros.ros.health import report
from sphinx_ros.ros.markers import marker_array
from sphinx_ros.ros.outcomes import Look, Outcome
from sphinx_ros.ros.services import Requests
from sphinx_ros.ros.worker import State, Worker
from sphinx_ros.tasks import Task

CAMERA_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""What suits every camera: a best-effort reader hears best-effort and reliable writers alike."""


def load_sphinx(config: params.Config):
    """The model that the parameters name. Runs in the worker's thread; imports torch."""
    import torch

    from sphinx_ros.pipeline import Sphinx

    if config.threads:
        torch.set_num_threads(config.threads)
    return Sphinx.from_pretrained(
        config.checkpoint,
        device=None if config.device == "auto" or config.devices else config.device,
        devices=config.devices,
        dtype=None if config.dtype == "auto" else config.dtype,
        quantise=None if config.quantise == "none" else config.quantise,
    )


class SphinxNode(Node):
    """Node `sphinx`. factory: makes the model from the parameters, in the worker's thread."""

    def __init__(self, factory: Callable = load_sphinx, **options):
        super().__init__("sphinx", **options)
        self.config = params.declare(self)
        self._camera_info: m.CameraInfo | None = None
        self._announced: State | None = None
        self.worker = Worker(
            lambda: factory(self.config),
            clock=self.now,
            on_pass=self._publish,
            max_pending=self.config.max_pending,
            settings=self.config.settings(),
        )
        self.worker.inbox.set_queries(read_queries(self.config.queries))
        self._open_outputs()
        self._open_inputs()
        self._requests = Requests(self)
        self.add_on_set_parameters_callback(self._check_parameters)
        if hasattr(self, "add_post_set_parameters_callback"):  # from Iron on
            self.add_post_set_parameters_callback(lambda _: self._apply(params.read(self)))
        steady = rclpy.clock.Clock(clock_type=rclpy.clock.ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_health, self._io, clock=steady)
        self.create_timer(0.1, self._announce, self._io, clock=steady)

    # Ports

    def _open_outputs(self) -> None:
        make = self.create_publisher
        self._detections = make(m.DetectionArray, "~/detections", 10)
        self._keypoints = make(m.PersonPoseArray, "~/keypoints", 10)
        self._answers = make(m.Answer, "~/answers", 10)
        self._markers = make(m.MarkerArray, "~/markers", 2)
        self._annotated = make(m.Image, "~/annotated", 2)
        self._health = make(m.DiagnosticArray, "/diagnostics", 10)
        mirrored = m.Detection2DArray is not None
        self._mirror = make(m.Detection2DArray, "~/detections_2d", 10) if mirrored else None

    def _open_inputs(self) -> None:
        self._io = MutuallyExclusiveCallbackGroup()
        options = dict(qos_profile=CAMERA_QOS, callback_group=self._io)
        if self.config.image_transport == "compressed":
            kind = m.CompressedImage
            topic = self._sibling("image/compressed", "image", "{}/compressed")
        else:
            kind, topic = m.Image, self.resolve_topic_name("image")
        info = self._sibling("camera_info", "image", "{}/../camera_info")
        self.create_subscription(kind, topic, self._on_image, **options)
        self.create_subscription(m.CameraInfo, info, self._on_camera_info, **options)
        self.get_logger().info(f"pictures from {topic}, camera info from {info}")

    def _sibling(self, name: str, base: str, pattern: str) -> str:
        """The topic `name` if it was remapped, else the one that belongs to the topic `base`."""
        own = self.resolve_topic_name(name)
        if own != self.resolve_topic_name(name, only_expand=True):
            return own
        parts: list[str] = []
        for part in pattern.format(self.resolve_topic_name(base)).split("/"):
            parts = parts[:-1] if part == ".." else [*parts, part]
        return "/".join(parts)

    # In

    def _on_image(self, message) -> None:
        self.worker.inbox.offer(m.frame_of(message, self.now(), self.config.max_image_pixels))

    def _on_camera_info(self, message) -> None:
        self._camera_info = message

    # Out

    def _publish(self, look: Look, outcomes: Sequence[Outcome], standing: bool) -> None:
        """Called by the worker in its own thread."""
        if standing:
            for outcome in outcomes:
                self._publish_answer(outcome)
        if look.frame.own or look.rgb is None:
            return
        if self._annotated.get_subscription_count():
            self._annotated.publish(m.image_message(annotate(look, outcomes), look.frame.header))
        if self._camera_info is not None and self._markers.get_subscription_count():
            markers = marker_array(outcomes, self._camera_info, self.config.marker_depth)
            if markers is not None:
                self._markers.publish(markers)

    def _publish_answer(self, outcome: Outcome) -> None:
        if outcome.query.task in m.BOX_TASKS:
            self._detections.publish(m.detections_message(outcome))
            if self._mirror is not None and outcome.status in (Status.OK, Status.NOT_FOUND):
                self._mirror.publish(m.mirror_message(outcome))
        elif outcome.query.task is Task.POSE:
            self._keypoints.publish(m.poses_message(outcome))
        else:
            self._answers.publish(m.answer_message(outcome))

    def _publish_health(self) -> None:
        health = m.DiagnosticArray(status=[report(self.get_fully_qualified_name(), self)])
        health.header.stamp = self.get_clock().now().to_msg()
        self._health.publish(health)

    def _announce(self) -> None:
        """Say in the log when the model becomes ready or fails."""
        state = self.worker.state
        if state is self._announced:
            return
        self._announced = state
        if state is State.LOADING:
            self.get_logger().info(f"loading the model {self.config.checkpoint!r}")
        elif state is State.READY:
            self.get_logger().info("ready")
        elif state is State.FAILED:
            self.get_logger().error(f"the model could not be loaded: {self.worker.trouble}")

    # Parameters and time

    def _check_parameters(self, changes):
        reason = params.check(changes)
        if not reason and not hasattr(self, "add_post_set_parameters_callback"):
            # Humble has no callback after the fact; the values are good, so apply them now.
            values = {**vars(self.config), **{c.name: c.value for c in changes}}
            known = {name: values[name] for name in vars(self.config)}
            self._apply(params.Config(**{**known, "queries": tuple(known["queries"])}))
        return m.parameters_result(reason)

    def _apply(self, config: params.Config) -> None:
        if config.queries != self.config.queries:
            self.worker.inbox.set_queries(read_queries(config.queries))
        self.config = config
        self.worker.inbox.change(config.settings())

    def now(self) -> float:
        """Seconds of the node's clock."""
        return 1e-9 * self.get_clock().now().nanoseconds


def annotate(look: Look, outcomes: Sequence[Outcome]):
    """The picture with all boxes and skeletons; answers and failures in words below it."""
    boxes = [box for outcome in outcomes for box in outcome.boxes]
    people = [person for outcome in outcomes for person in outcome.people]
    lines = []
    for outcome in outcomes:
        if outcome.status is not Status.OK:
            lines.append(f"{outcome.query.line()} -> {outcome.status.name}")
        elif text := getattr(outcome.result, "text", ""):
            lines.append(f"{outcome.query.line()} -> {text}")
    return draw(look.rgb, boxes, people, lines)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; ends the process. 2 for parameters it can't use."""
    prepare()
    logging.basicConfig(format="[%(levelname)s] [%(name)s]: %(message)s")
    over = threading.Event()
    # Our own handlers, so that waiting clients get their CANCELLED before the context goes down.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    try:
        node = SphinxNode()
    except (ValueError, rclpy.exceptions.ParameterException) as error:
        print(f"sphinx_node: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    # Each waiting request holds one thread; the others are for pictures, timers and cancelling.
    executor = MultiThreadedExecutor(num_threads=node.config.max_pending + 5)
    executor.add_node(node)
    node.worker.start()
    while not over.is_set():
        _spin(executor, node, 0.1)
    node.worker.stop(1.0)
    for _ in range(5):  # let the answers to cancelled requests out
        _spin(executor, node, 0.05)
    time.sleep(0.1)  # callbacks that run now still need what the next lines take away
    executor.shutdown(timeout_sec=0.3)
    node.destroy_node()
    rclpy.try_shutdown()
    # All is released. What the interpreter would do now is take torch apart, which on a busy
    # machine lasts longer than launch waits, or wait for a picture that is just being encoded.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _spin(executor, node, seconds: float) -> None:
    try:
        executor.spin_once(timeout_sec=seconds)
    except Exception as error:  # one bad callback is no reason to leave the robot blind
        node.get_logger().error(f"a callback failed: {type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main())
