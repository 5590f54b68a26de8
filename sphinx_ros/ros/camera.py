"""One camera of the node: its topics in, the answers about its pictures out. Knows no model.

The camera without a name has the topics `image` and `~/detections`; one by name has `front/image`
and `~/front/detections`, unless its parameters name others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rclpy.qos import DurabilityPolicy, QoSProfile

from sphinx_ros.ros import messages as m
from sphinx_ros.ros import replies
from sphinx_ros.ros.calibration import of_rectified
from sphinx_ros.ros.display import Display
from sphinx_ros.ros.outcomes import Look, Outcome
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.positioning import Positioning
from sphinx_ros.ros.quiet import writers
from sphinx_ros.ros.source_watch import SILENT, SourceWatch
from sphinx_ros.ros.sources import about_source, camera_qos, overriding, sibling, usable
from sphinx_ros.tasks import Answers

QUEUE = 10
"""Depth of the answers' publishers."""

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

SIXTEEN_BITS = 8, 14
"""Bits that pictures of 16 bits fill where they come from a camera that has no more."""


class Camera:
    """Ports of one camera on a node that has `worker`, `config`, `warnings` and `now()`.

    Outputs are there from the start to :meth:`close`, inputs from :meth:`listen` to
    :meth:`unlisten`.
    """

    def __init__(self, node: Any, name: str, group: Any):
        """name: of the camera, "" for the only one. group: for the callbacks of its pictures.

        Raises BadRequest where its topics can't have their names.
        """
        self.name, self._node, self._group = name, node, group
        self._subscriptions: list[Any] = []
        self._watches: list[SourceWatch] = []
        self._publishers: list[Any] = []
        self._minded_bits = False
        self.positioning = Positioning(name, node.warnings, node.transforms)
        try:
            with usable(name):
                self._open_outputs()
        except Exception:
            self._destroy_publishers()
            raise

    def _open_outputs(self) -> None:
        self.topic = self._image_topic()
        make = self._publisher
        self._outputs = {
            Answers.BOXES: make(m.DetectionArray, "detections", QUEUE),
            Answers.PEOPLE: make(m.PersonPoseArray, "keypoints", QUEUE),
            Answers.WORDS: make(m.Answer, "answers", QUEUE),
            Answers.POINTS: make(m.PointArray, "points", QUEUE),
        }
        self.display = Display(make, self._node.warnings, self._node.now)
        mirrored = m.Detection2DArray is not None
        self._mirror = make(m.Detection2DArray, "detections_2d", QUEUE) if mirrored else None
        self._mirror_3d = make(m.Detection3DArray, "detections_3d", QUEUE) if mirrored else None
        if mirrored:  # for whom comes late as well
            info = m.vision_info(self._node.config.checkpoint)
            make(m.VisionInfo, "vision_info", LATCHED).publish(info)

    @property
    def config(self) -> Config:
        """The camera's parameters as they are now."""
        return self._node.config.of(self.name)

    def _publisher(self, kind: Any, name: str, depth: int | QoSProfile) -> Any:
        topic = f"~/{self.name}/{name}" if self.name else f"~/{name}"
        made = self._node.create_publisher(kind, topic, depth)
        self._publishers.append(made)
        return made

    # In

    def listen(self) -> None:
        """Hear the camera. Raises BadRequest where it can't be heard under its topics' names."""
        with usable(self.name):
            self._open_inputs()

    def _open_inputs(self) -> None:
        self.topic = self._image_topic()
        kind = m.CompressedImage if self._compressed else m.Image
        info = self._node.config.topic(self.name, "camera_info") or sibling(
            self._node, self._named("camera_info"), self._base, "{}/../camera_info"
        )
        self._subscribe(kind, self.topic, self._on_image)
        self._subscribe(m.CameraInfo, info, self._on_info)
        # Without a publisher, as where `depth` is not remapped, a subscription costs nothing.
        depth = self._node.config.topic(self.name, "depth") or self._named("depth")
        self._subscribe(m.Image, depth, self.positioning.on_depth)
        which = f"{self.name}: " if self.name else ""
        self._node.get_logger().info(f"{which}pictures from {self.topic}, camera info from {info}")

    def unlisten(self) -> None:
        """Hear the camera no more, and take down what is shown of it."""
        self._watches = []
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
        self._forget()

    def _forget(self) -> None:
        self.display.forget()
        self.positioning.forget()

    def close(self) -> None:
        """Take all ports away."""
        self.unlisten()
        self.display.close()
        self._destroy_publishers()

    def _destroy_publishers(self) -> None:
        while self._publishers:
            self._node.destroy_publisher(self._publishers.pop())

    def about_source(self) -> str:
        """What a message about missing pictures says of the topic."""
        return about_source(self._node, self.topic)

    def facts(self) -> dict[str, Any]:
        """What /diagnostics says of the ports, beside the pictures."""
        facts: dict[str, Any] = {}
        for watch in self._watches[:1]:  # of the pictures
            facts.update(watch.facts())
        return {**facts, **self.positioning.facts()}

    def problem(self) -> str:
        """Why somebody who publishes for this camera is not heard; "" where all are."""
        return "; ".join(text for watch in self._watches for text in watch.problems())

    @property
    def _compressed(self) -> bool:
        return self.config.image_transport == "compressed"

    @property
    def _base(self) -> str:
        return self._node.config.topic(self.name, "image") or self._named("image")

    def _named(self, name: str) -> str:
        return f"{self.name}/{name}" if self.name else name

    def _image_topic(self) -> str:
        own = self._node.config.topic(self.name, "image")
        if not self._compressed:
            return self._node.resolve_topic_name(self._base)
        if own:
            return self._node.resolve_topic_name(own.removesuffix("/compressed") + "/compressed")
        return sibling(self._node, f"{self._base}/compressed", self._base, "{}/compressed")

    def _subscribe(self, kind: Any, topic: str, callback: Any) -> None:
        node, qos = self._node, camera_qos(self._node, topic, self.config.image_qos)
        watch = SourceWatch(node, kind, topic, qos, writers(node.get_logger()).warning)
        self._subscriptions.append(
            node.create_subscription(
                kind,
                topic,
                callback,
                qos,
                callback_group=self._group,
                event_callbacks=SILENT,
                qos_overriding_options=overriding(node, topic),  # rclpy writes them into qos
            )
        )
        self._watches.append(watch)

    def _on_image(self, message: Any) -> None:
        frame = m.frame_of(message, self._node.now(), self.config, camera=self.name)
        self._node.worker.offer(self.positioning.claim(frame))

    def _on_info(self, info: m.CameraInfo) -> None:
        if self.config.rectified:
            info = of_rectified(info)
        self.display.calibrate(info)
        self.positioning.calibrate(info)
        if not self._subscriptions:  # a callback that was under way when the camera was let go
            self._forget()

    # Out

    def locate(self, look: Look, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """The outcomes of a look at a picture of this camera, with positions."""
        config = self.config
        return self.positioning.locate(
            look, outcomes, config.target_frame, config.max_image_pixels
        )

    def publish(self, look: Look, outcomes: Sequence[Outcome], standing: bool) -> None:
        """Send out what became of queries on a picture of this camera."""
        self._mind_bits(look)
        if standing:
            for outcome in outcomes:
                self._publish_answer(outcome)
        config = self.config
        pause = 1 / config.max_rate if config.max_rate else 0.0
        self.display.show(look, outcomes, config.marker_depth, standing, pause)

    def _publish_answer(self, outcome: Outcome) -> None:
        answers = outcome.query.task.row.answers
        self._outputs[answers].publish(replies.answer_to(outcome))
        if answers is Answers.BOXES and self._mirror is not None and outcome.status.answered:
            self._mirror.publish(replies.mirror_message(outcome))
            if self._mirror_3d is not None and self.positioning.has_heard:
                self._mirror_3d.publish(replies.mirror_3d_message(outcome))

    def _mind_bits(self, look: Look) -> None:
        """Warn once of a camera whose pictures are nearly black for want of `image_bits`."""
        filled = look.frame.filled_bits
        if filled is None or look.rgb is None or self._minded_bits:
            return
        bits, (low, high) = filled(), SIXTEEN_BITS
        if low <= bits <= high:
            self._minded_bits = True
            self._node.get_logger().warning(
                f"the pictures fill {bits} of 16 bits and are nearly black; if the camera has no "
                f"more, set image_bits to {bits + bits % 2}"
            )

    def look_around(self, stale: bool) -> None:
        """Take down what is shown of the past. stale: whether the pictures have stopped."""
        if stale or not (self._node.config.active and self.config.queries):
            self.display.clear()
