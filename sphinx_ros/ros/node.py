"""The ROS node: ports only. Pictures and requests go to the worker, outcomes go out as messages.

Callbacks store or wait, they never compute. The model is made in the worker's thread by
:mod:`sphinx_ros.ros.loader`.
"""

from __future__ import annotations

if __name__ == "__main__":  # as the command does it: Ctrl-C while the rest loads is no trace
    import sys

    from sphinx_ros.ros.start import node

    sys.exit(node())

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node

from sphinx_ros.errors import BadRequest
from sphinx_ros.prompt.queries import read_query
from sphinx_ros.ros import messages as m
from sphinx_ros.ros import params
from sphinx_ros.ros.camera import Camera
from sphinx_ros.ros.camera_names import read_cameras
from sphinx_ros.ros.declaring import against, declare, declare_again, declare_cameras, read_node
from sphinx_ros.ros.exchanging import adapt, adapted
from sphinx_ros.ros.health import reports
from sphinx_ros.ros.late_clients import send_again
from sphinx_ros.ros.lifecycle import Managed
from sphinx_ros.ros.loader import load_sphinx, prepare
from sphinx_ros.ros.outcomes import Look, Outcome
from sphinx_ros.ros.parameter_port import ParameterPort
from sphinx_ros.ros.quiet import QuietLog, writers
from sphinx_ros.ros.running import run
from sphinx_ros.ros.services import Services
from sphinx_ros.ros.transforms import Transforms
from sphinx_ros.ros.web import Web
from sphinx_ros.ros.worker import State, Worker
from sphinx_ros.runtime.allocator import trim

log = logging.getLogger("sphinx_ros")

BESIDE = 8
"""Threads for callbacks beside those that waiting requests hold: a load, a change of parameters,
pictures, timers, cancelling."""

TRIM_SECONDS = 30.0
"""Between two times at which free memory goes back to the system; the picture after it is taken
out of the middleware as slowly as the first."""

BACKWARD = JumpThreshold(
    min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=True
)
"""Jumps of simulated time after which no picture's time means anything."""


class SphinxNode(Managed, Node):
    """Node `sphinx`, a managed one.

    factory: makes the model from the parameters and what is told of the progress (bytes read,
    bytes in all), in the worker's thread.
    """

    def __init__(self, factory: Callable[..., Any] = load_sphinx, **options: Any):
        Node.__init__(self, "sphinx", start_parameter_services=False, **options)
        self.manage()
        self._parameter_port = ParameterPort(self)
        self.warnings = QuietLog(writers(self.get_logger()).warning)
        self._changing = threading.Lock()
        self.config = declare(self)
        self._announced: tuple[Any, ...] = ()
        self.cameras: dict[str, Camera] = {}
        self.transforms = Transforms(self)
        self.worker = Worker(
            lambda: factory(self.config, self.worker.life.read_so_far),
            clock=self.now,
            on_pass=self._publish,
            config=self.config,
            about_source=self._about_source,
            prepare=lambda: prepare(self.config),
            locate=self._locate,
        )
        self.web = Web(self.worker, lambda line: self.get_logger().info(line))
        self._io = MutuallyExclusiveCallbackGroup()
        self._health = self.create_publisher(m.DiagnosticArray, "/diagnostics", 10)
        self._ports = Services(self)
        send_again(self)
        self.add_on_set_parameters_callback(self._check_parameters)
        if hasattr(self, "add_post_set_parameters_callback"):  # from Iron on
            self.add_post_set_parameters_callback(self._follow)
        steady = rclpy.clock.Clock(clock_type=ClockType.STEADY_TIME)
        watch = MutuallyExclusiveCallbackGroup()
        self.create_timer(1.0, self._publish_health, watch, clock=steady)
        self.create_timer(TRIM_SECONDS, trim, watch, clock=steady)
        self.create_timer(0.1, self._look_around, watch, clock=steady)
        self._jumps = self.get_clock().create_jump_callback(
            BACKWARD, post_callback=lambda _: self.worker.inbox.forget_frames()
        )

    def begin(self) -> None:
        """Start the threads and, unless a manager does it, load the model and begin to work."""
        self.worker.open()
        self.web.open(self.config)
        if self.config.autostart:
            self.autostart()

    # Cameras

    def open_cameras(self) -> None:
        """Make the cameras that the parameters name, all or none."""
        declare_cameras(self, self.config)
        self._apply()
        made: dict[str, Camera] = {}
        try:
            for name in self.config.camera_names:
                made[name] = Camera(self, name, self._io)
        except Exception:
            for camera in made.values():
                camera.close()
            raise
        self.cameras = made  # whole at once: other threads go through them

    def close_cameras(self) -> None:
        """Take the cameras away."""
        cameras, self.cameras = self.cameras, {}
        for camera in cameras.values():
            camera.close()

    def _about_source(self, camera: str) -> str:
        port = self.cameras.get(camera)
        return "" if port is None else port.about_source()

    # Out

    def _publish(self, look: Look, outcomes: Sequence[Outcome], standing: bool) -> None:
        """Called by the worker, from one of its threads at a time."""
        camera = self.cameras.get(look.frame.camera)
        if camera is not None:
            camera.publish(look, outcomes, standing)

    def _locate(self, look: Look, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """Called by the worker, from several threads at a time."""
        camera = self.cameras.get(look.frame.camera)
        return outcomes if camera is None else camera.locate(look, outcomes)

    def _publish_health(self) -> None:
        health = m.DiagnosticArray(status=reports(self.get_fully_qualified_name(), self))
        health.header.stamp = self.get_clock().now().to_msg()
        self._health.publish(health)
        self.warnings.flush()

    def _look_around(self) -> None:
        """Watch who asks the model, take down what is shown of the past, say what is new."""
        self.worker.watch()
        self.web.watch()
        now, inbox = self.now(), self.worker.inbox
        for camera in list(self.cameras.values()):
            slot = inbox.slots.get(camera.name)
            limit = camera.config.max_image_age
            camera.look_around(stale=slot is None or 0 < limit < slot.age(now))
        self._announce()

    def _announce(self) -> None:
        """Log a state that is new."""
        now = (self.worker.state, self.worker.trouble, self.worker.life.working)
        if now == self._announced:
            return
        self._announced = now
        state, trouble, working = now
        if state is State.LOADING:
            self.get_logger().info(self._loading(trouble))
        elif state is State.READY:
            self.get_logger().info("ready" if working else "the model is loaded, and inactive")
        elif state is State.FAILED:
            self.get_logger().error(f"the model could not be loaded: {trouble}")

    def _loading(self, trouble: str) -> str:
        if self.config.server:
            return f"asking for the model of {self.config.server}" + (trouble and f": {trouble}")
        anew = f" anew: {trouble}" if trouble else ""
        return f"loading the model {self.config.checkpoint!r}{anew}"

    # Parameters and time

    def _check_parameters(self, changes: Sequence[Any]) -> Any:
        # What is being declared, of a camera, is no change; None there is "as for all cameras".
        changes = [
            c for c in changes if c.value is not None or not c.name or self.has_parameter(c.name)
        ]
        new = not all(self.has_parameter(change.name) for change in changes)
        state = params.When.START if new else self.changeable
        cameras = read_cameras(self.get_parameter("cameras").value or ())
        other = adapted(changes, self.config, self.worker)
        free = ("checkpoint",) if other else ()
        reason = params.check(changes, state, cameras, free)
        if not reason and not new:  # else they are not all there yet
            reason = against(self, {change.name: change.value for change in changes})
        reason = reason or self._refused_queries(changes)
        if other and not reason:  # last: what is done here is not undone by another refusal
            reason = adapt(other, self.config, self.worker)
            self.web.separate()
        if not reason and not hasattr(self, "add_post_set_parameters_callback"):
            # Humble has no callback after the fact; the values are good, so apply them now.
            self._apply({change.name: change.value for change in changes})
        return m.parameters_result(reason)

    def _refused_queries(self, changes: Sequence[Any]) -> str:
        """Why the model that is loaded can't be asked the standing queries of a change."""
        names = {"queries", *(f"{camera}.queries" for camera in self.config.cameras)}
        given = [change.value for change in changes if change.name in names]
        lines = [line for value in given if value is not None for line in value]
        reasons = self.worker.unaskable(map(read_query, filter(str.strip, lines)))
        return f"queries: {reasons}" if reasons else ""

    def _follow(self, changes: Sequence[Any]) -> None:
        self._apply()
        declare_again(self, changes, self.config.cameras)

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
            if any(config.of(name).target_frame for name in config.camera_names):
                self.transforms.listen()
            else:
                self.transforms.close()

    def now(self) -> float:
        """Seconds of the node's clock."""
        return 1e-9 * self.get_clock().now().nanoseconds

    def finish(self) -> None:
        """Answer who waits, end the worker, take down what is shown."""
        self.web.close(1.0)
        self.worker.stop(1.0)
        self.end_transitions(3.0)
        self.close_cameras()
        self.transforms.close()


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM. args: words after the command; see `running.run`."""
    return run(
        "sphinx_node",
        SphinxNode,
        args,
        threads=lambda node: node.config.max_pending + BESIDE,
        begin=lambda node: node.begin(),
        end=lambda node: node.finish(),
    )
