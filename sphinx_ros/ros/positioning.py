"""A camera's depth and calibration, and outcomes -> the same outcomes with positions in space.

Callbacks store; what is computed is computed in the worker's thread, for pictures with an answer.
Where something is missing positions stay unknown, one line of the log says what, and /diagnostics
counts. Knows no model.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sphinx_ros.errors import BadImage
from sphinx_ros.image.depth import DepthPicture
from sphinx_ros.image.picture_size import MAX_PIXELS
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.calibration import why_unusable
from sphinx_ros.ros.counts import Counts
from sphinx_ros.ros.depth_pairs import Claim, DepthPairs
from sphinx_ros.ros.locating import Scene, located
from sphinx_ros.ros.message_parts import plain_fields
from sphinx_ros.ros.outcomes import Frame, Look, Outcome
from sphinx_ros.ros.quiet import QuietLog
from sphinx_ros.ros.transforms import Transforms, moved

log = logging.getLogger("sphinx_ros")


class Positioning:
    """Where the things of one camera are.

    camera: its name, "" for the only one. warnings: of what keeps positions from being known.
    """

    def __init__(self, camera: str, warnings: QuietLog, transforms: Transforms):
        self._which = f"{camera}: " if camera else ""
        self._warnings, self._transforms = warnings, transforms
        self._pairs, self._counts = DepthPairs(), Counts()
        self._info: Any = None
        self._why = ""

    # Callbacks

    def on_depth(self, message: Any) -> None:
        """A sensor_msgs/Image of depth."""
        self._counts.add("depth")
        self._pairs.offer(message, m.seconds(message.header.stamp))

    def calibrate(self, info: Any) -> None:
        """A sensor_msgs/CameraInfo."""
        self._info = info

    def forget(self) -> None:
        """Let go of what was heard, the calibration included: the camera is heard no more.

        What is heard next may be another camera, or the same one in another mode.
        """
        self._pairs, self._info, self._why = DepthPairs(), None, ""

    @property
    def has_heard(self) -> bool:
        """Whether depth has ever come."""
        return self._counts["depth"] > 0

    def claim(self, frame: Frame) -> Frame:
        """The frame of a picture that has arrived, with its claim on depth.

        A picture that comes with a request has none: it may be of any camera and any time.
        """
        return replace(frame, depth=self._pairs.claim(frame.stamp))

    # The worker's thread

    def locate(
        self,
        look: Look,
        outcomes: Sequence[Outcome],
        target_frame: str = "",
        max_pixels: int = MAX_PIXELS,
    ) -> list[Outcome]:
        """The outcomes of a look with positions, in target_frame unless it is "".

        Where there is no transform into target_frame positions are unknown, not in another frame.
        """
        outcomes = list(outcomes)
        asked = [bool(one.boxes or one.points or one.people) for one in outcomes]
        if not any(asked) or look.rgb is None or look.frame.depth is None:
            return outcomes
        if not self.has_heard:
            return outcomes
        size = (look.rgb.shape[1], look.rgb.shape[0])
        scene = self._scene(look, size, max_pixels)
        if scene is None:
            return outcomes
        found = [
            located(one, scene) if wanted else one.positions
            for one, wanted in zip(outcomes, asked, strict=True)
        ]
        if target_frame and target_frame != scene.frame and any(one.frame for one in found):
            transform, why = self._transforms.into(
                target_frame, scene.frame, look.frame.header.stamp
            )
            if transform is None:
                self._warn("transform", why)
                return outcomes
            found = [moved(one, transform, target_frame) if one.frame else one for one in found]
        self._why = ""
        return [replace(one, positions=at) for one, at in zip(outcomes, found, strict=True)]

    def facts(self) -> dict[str, Any]:
        """What /diagnostics says of the depth."""
        if not self.has_heard:
            return {"depth": "never"}
        state = "arriving" if self._pairs.alive else "stopped"
        counted = {f"pictures {what} depth": self._counts[what] for what in ("with", "without")}
        why = {"positions": self._why} if self._why else {}
        return {"depth": state, "depth received": self._counts["depth"], **counted, **why}

    def _scene(self, look: Look, size: tuple[int, int], max_pixels: int) -> Scene | None:
        """The depth of a look, ready to be asked; None where there is none."""
        claim: Claim = look.frame.depth
        depth = claim.message(self._pairs.patience)
        if claim.first_use():
            self._counts.add("without" if depth is None else "with")
        if depth is None:
            self._warn("pair", "there is no depth of the picture's time: do both have one clock?")
            return None
        header, info = look.frame.header, self._info
        ours, theirs = header.frame_id, depth.header.frame_id
        if ours and theirs and ours != theirs:
            self._warn(
                "frame",
                f"the depth is in the frame {theirs!r} and the picture in {ours!r}: take depth "
                "that is registered to the picture (depth_image_proc register, align_depth)",
            )
            return None
        if info is None:
            self._warn("calibration", "no camera info has come: remap the topic camera_info")
            return None
        if reason := why_unusable(info):
            self._warn(reason.kind, reason.text)
            return None
        frame = ours or theirs or info.header.frame_id
        if not frame:
            self._warn(
                "frame name",
                "the pictures have no frame_id, and neither has their depth or camera info: set "
                "the frame of the camera's driver (often its parameter frame_id)",
            )
            return None
        try:
            picture = DepthPicture(*plain_fields(depth), max_pixels=max_pixels)
            return Scene(picture, info, size, frame)
        except BadImage as error:
            self._warn("depth", str(error))
            return None

    def _warn(self, kind: str, text: str) -> None:
        self._why = f"unknown: {text}"
        self._warnings.say(f"positions {self._which}{kind}", f"{self._which}no positions: {text}")
