"""The ROS node: ports only. Pictures and requests go to the worker, outcomes go out as messages.

Callbacks store or wait, they never compute. The model is made in the worker's thread by
:mod:`sphinx_ros.ros.loader`.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node

from sphinx_ros.errors import BadRequest
from sphinx_ros.prompt.queries import read_queries
from sphinx_ros.ros import messages as m
from sphinx_ros.ros import params, replies
from sphinx_ros.ros.declaring import declare, read_node
from sphinx_ros.ros.display import Display
from sphinx_ros.ros.health import report
from sphinx_ros.ros.loader import load_sphinx
from sphinx_ros.ros.outcomes import Look, Outcome
from sphinx_ros.ros.parameter_port import ParameterPort
from sphinx_ros.ros.quiet import QuietLog
from sphinx_ros.ros.running import run
from sphinx_ros.ros.services import Services
from sphinx_ros.ros.sources import OVERRIDES, about_source, camera_qos, sibling
from sphinx_ros.ros.worker import State, Worker
from sphinx_ros.tasks import Answers

log = logging.getLogger("sphinx_ros")


class SphinxNode(Node):
    """Node `sphinx`. factory: makes the model from the parameters, in the worker's thread."""

    def __init__(self, factory: Callable[[params.Config], Any] = load_sphinx, **options: Any):
        super().__init__("sphinx", start_parameter_services=False, **options)
        self._parameter_port = ParameterPort(self)
        self.warnings = QuietLog(self.get_logger().warning)
        self._changing = threading.Lock()
        self.config = declare(self)
        self._announced: tuple[State, str] | None = None
        self._minded_bits = False
        self.worker = Worker(
            lambda: factory(self.config),
            clock=self.now,
            on_pass=self._publish,
            config=self.config,
            about_source=lambda: about_source(self, self.topic),
        )
        self._open_outputs()
        self._open_inputs()
        self._ports = Services(self)
        self.add_on_set_parameters_callback(self._check_parameters)
        if hasattr(self, "add_post_set_parameters_callback"):  # from Iron on
            self.add_post_set_parameters_callback(lambda _: self._apply())
        steady = rclpy.clock.Clock(clock_type=rclpy.clock.ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_health, self._io, clock=steady)
        self.create_timer(0.1, self._look_around, self._io, clock=steady)

    # Ports

    def _open_outputs(self) -> None:
        make = self.create_publisher
        self._outputs = {
            Answers.BOXES: make(m.DetectionArray, "~/detections", 10),
            Answers.PEOPLE: make(m.PersonPoseArray, "~/keypoints", 10),
            Answers.WORDS: make(m.Answer, "~/answers", 10),
        }
        self.display = Display(
            make(m.MarkerArray, "~/markers", 2), make(m.Image, "~/annotated", 2), self.warnings
        )
        self._health = make(m.DiagnosticArray, "/diagnostics", 10)
        mirrored = m.Detection2DArray is not None
        self._mirror = make(m.Detection2DArray, "~/detections_2d", 10) if mirrored else None

    def _open_inputs(self) -> None:
        self._io = MutuallyExclusiveCallbackGroup()
        options = {"callback_group": self._io, "qos_overriding_options": OVERRIDES}
        if self.config.image_transport == "compressed":
            kind = m.CompressedImage
            self.topic = sibling(self, "image/compressed", "image", "{}/compressed")
        else:
            kind, self.topic = m.Image, self.resolve_topic_name("image")
        info = sibling(self, "camera_info", "image", "{}/../camera_info")
        self.create_subscription(
            kind, self.topic, self._on_image, camera_qos(self, self.topic), **options
        )
        self.create_subscription(
            m.CameraInfo, info, self.display.calibrate, camera_qos(self, info), **options
        )
        self.get_logger().info(f"pictures from {self.topic}, camera info from {info}")

    # In

    def _on_image(self, message: Any) -> None:
        self.worker.inbox.offer(m.frame_of(message, self.now(), self.config))

    # Out

    def _publish(self, look: Look, outcomes: Sequence[Outcome], standing: bool) -> None:
        """Called by the worker, from one of its threads at a time."""
        self._mind_bits(look)
        if standing:
            for outcome in outcomes:
                self._publish_answer(outcome)
        # What a request asks would wipe the standing answers off the screen until the next pass.
        if standing or not self.worker.inbox.queries:
            self.display.show(look, outcomes, self.config.marker_depth)

    def _mind_bits(self, look: Look) -> None:
        """Warn once of a camera whose pictures are nearly black for want of `image_bits`."""
        filled = look.frame.filled_bits
        if filled is None or look.rgb is None or self._minded_bits:
            return
        bits = filled()
        if 8 <= bits <= 14:
            self._minded_bits = True
            self.get_logger().warning(
                f"the pictures fill {bits} of 16 bits and are nearly black; if the camera has no "
                f"more, set image_bits to {bits + bits % 2}"
            )

    def _publish_answer(self, outcome: Outcome) -> None:
        answers = outcome.query.task.row.answers
        self._outputs[answers].publish(replies.answer_to(outcome))
        if answers is Answers.BOXES and self._mirror is not None and outcome.status.answered:
            self._mirror.publish(replies.mirror_message(outcome))

    def _publish_health(self) -> None:
        health = m.DiagnosticArray(status=[report(self.get_fully_qualified_name(), self)])
        health.header.stamp = self.get_clock().now().to_msg()
        self._health.publish(health)
        self.warnings.flush()

    def _look_around(self) -> None:
        """Watch the worker, take down what is shown of the past, say what has changed."""
        self.worker.watch()
        inbox, limit = self.worker.inbox, self.config.max_image_age
        stale = 0 < limit < inbox.age(self.now())
        if stale or not (self.config.active and inbox.queries):
            self.display.clear()
        now = (self.worker.state, self.worker.trouble)
        if now == self._announced:
            return
        self._announced = now
        state, trouble = now
        if state is State.LOADING:
            anew = f" anew: {trouble}" if trouble else ""
            self.get_logger().info(f"loading the model {self.config.checkpoint!r}{anew}")
        elif state is State.READY:
            self.get_logger().info("ready")
        elif state is State.FAILED:
            self.get_logger().error(f"the model could not be loaded: {trouble}")

    # Parameters and time

    def _check_parameters(self, changes: Sequence[Any]) -> Any:
        reason = params.check(changes) or self._refused_queries(changes)
        if not reason and not hasattr(self, "add_post_set_parameters_callback"):
            # Humble has no callback after the fact; the values are good, so apply them now.
            self._apply({change.name: change.value for change in changes})
        return m.parameters_result(reason)

    def _refused_queries(self, changes: Sequence[Any]) -> str:
        """Why the model that is loaded can't be asked the standing queries of a change."""
        lines = next((change.value for change in changes if change.name == "queries"), ())
        reasons = self.worker.unaskable(read_queries(lines))
        return f"queries: {reasons}" if reasons else ""

    def _apply(self, changes: dict[str, Any] | None = None) -> None:
        """Follow the parameters as they are now. changes: those that are not stored yet.

        Several threads may have set some: whoever comes last reads what all have set.
        """
        with self._changing:
            try:
                config = read_node(self, changes or {})
            except BadRequest as error:  # checked before; a defect if it happens
                log.error("parameters can't be applied: %s", error)
                return
            self.config = config
            self.worker.inbox.change(config)

    def now(self) -> float:
        """Seconds of the node's clock."""
        return 1e-9 * self.get_clock().now().nanoseconds

    def finish(self) -> None:
        """Answer who waits, end the worker, take down what is shown."""
        self.worker.stop(1.0)
        self.display.clear()


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM. args: words after the command; see `running.run`."""
    return run(
        "sphinx_node",
        SphinxNode,
        args,
        # Each waiting request holds one thread; the others are for pictures, timers, cancelling.
        threads=lambda node: node.config.max_pending + 5,
        begin=lambda node: node.worker.start(),
        end=lambda node: node.finish(),
    )


if __name__ == "__main__":
    sys.exit(main())
