"""The newest frames of the node's cameras -> JPEG files, made when they are asked for."""

from __future__ import annotations

import threading
import weakref
from collections import defaultdict

import cv2
import numpy as np

from sphinx_ros.image import jpeg
from sphinx_ros.image.buffers import as_bytes
from sphinx_ros.ros.outcomes import Frame
from sphinx_ros.ros.waiting import Inbox
from sphinx_ros.serve.cameras import CameraPicture

ONLY = "camera"
"""What the only camera is called, which has no name."""

QUALITY = 80


class WebCameras:
    """See :class:`sphinx_ros.serve.cameras.Cameras`. Any thread may ask.

    Each picture is encoded once; a compressed one that is a JPEG file goes out as it came.
    """

    def __init__(self, inbox: Inbox):
        self._inbox, self._closed = inbox, False
        self._made: dict[str, tuple[weakref.ref[Frame], CameraPicture]] = {}
        self._making: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def names(self) -> list[str]:
        """The cameras' names; none any more after :meth:`close`."""
        return [] if self._closed else [name or ONLY for name in self._inbox.slots]

    def close(self) -> None:
        """There are no cameras from now on: whoever watches one comes to the end."""
        self._closed = True

    def picture(self, name: str) -> CameraPicture | None:
        """The newest picture; None where there is none. Raises BadImage."""
        slots = self._inbox.slots
        slot = slots.get(name) or (slots.get("") if name == ONLY else None)
        frame = None if slot is None else slot.newest
        if frame is None:
            self._made.pop(name, None)
            return None
        with self._making[name]:
            known = self._made.get(name)
            if known is not None and known[0]() is frame:
                return known[1]
            made = CameraPicture(encoded(frame), frame.stamp)
            self._made[name] = weakref.ref(frame), made
            return made


def encoded(frame: Frame) -> bytes:
    """A frame as a JPEG file. Raises BadImage."""
    if frame.compressed:
        data = as_bytes(frame.data)
        if data[: len(jpeg.START)].tobytes() == jpeg.START:
            return data.tobytes()
    bgr = np.ascontiguousarray(frame.decode()[:, :, ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
