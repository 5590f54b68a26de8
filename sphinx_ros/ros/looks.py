"""Frames -> looks: each picture is decoded and encoded once, whoever asks about it. Knows no ROS.

A picture of the camera is given what was answered about an earlier one, as guesses for its own
answers, where the model takes them: ``look(rgb, after=...)``.
"""

from __future__ import annotations

import inspect
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sphinx_ros.ros.outcomes import Frame, Look, forget_traces, named


class _Place:
    """Where the look at a frame is made, by one thread; others wait for it."""

    def __init__(self, frame: Frame):
        self.frame = frame
        self.look: Look | None = None
        self.rgb: np.ndarray | None = None  # decoded before the look
        self.decode_ms = math.nan
        self.making = threading.Lock()


class Looks:
    """Looks with one model. Any thread may ask for one. on_look: called where one is made.

    The last one at each camera is kept; those before it live as long as somebody uses them, and a
    picture that came with a request is looked at for that request alone.
    """

    def __init__(self, model: Any, on_look: Callable[[Frame], None]):
        self._model, self._on_look = model, on_look
        self._last: dict[str, _Place] = {}  # camera -> its last look
        self._standing: dict[str, Any] = {}  # camera -> what its standing queries were asked of
        self._guard = threading.Lock()  # of self._last

    def of(self, frame: Frame) -> Look:
        """The look at a frame, made now unless there is one. One that failed keeps the reason."""
        if frame.own:
            return self._made(frame)
        place = self._place(frame)
        with place.making:
            if place.look is None:
                place.look = self._made(frame, place)
            return place.look

    def glance(self, frame: Frame) -> Look:
        """A camera's frame, decoded and not encoded; the look at it need not decode again."""
        place = self._place(frame)
        with place.making:
            if place.look is not None:
                return place.look
            begun = time.monotonic()
            try:
                place.rgb = frame.decode()
            except Exception as error:
                forget_traces(error)
                return Look(frame, failure=named(error))
            place.decode_ms = 1e3 * (time.monotonic() - begun)
            return Look(frame, place.rgb, decode_ms=place.decode_ms)

    def _place(self, frame: Frame) -> _Place:
        with self._guard:
            place = self._last.get(frame.camera)
            if place is None or place.frame is not frame:
                place = _Place(frame)
                self._last[frame.camera] = place  # the last one's memory is free for the next
            return place

    def remember(self, look: Look) -> None:
        """Take the answers to the standing queries on a look as guesses for those that follow."""
        if look.seen is not None:
            self._standing[look.frame.camera] = look.seen

    def forget(self, look: Look) -> None:
        """Make a look anew when it is asked for again."""
        with self._guard:
            place = self._last.get(look.frame.camera)
            if place is not None and place.frame is look.frame:
                del self._last[look.frame.camera]

    def _made(self, frame: Frame, place: _Place | None = None) -> Look:
        rgb, seen, failure, decoded = None, None, None, math.nan
        begun = time.monotonic()
        try:
            if place is not None and place.rgb is not None:
                rgb, begun = place.rgb, begun - 1e-3 * place.decode_ms
            else:
                rgb = frame.decode()
            decoded = time.monotonic()
            self._on_look(frame)
            before = None if frame.own else self._standing.get(frame.camera)
            if before is not None and takes_after(self._model):
                seen = self._model.look(rgb, after=before)
            else:
                seen = self._model.look(rgb)
        except Exception as error:
            failure = named(error)
            forget_traces(error)
        ended = time.monotonic()
        return Look(frame, rgb, seen, failure, 1e3 * (decoded - begun), 1e3 * (ended - decoded))


def takes_after(model: Any) -> bool:
    """Whether a model's ``look`` has the keyword ``after``."""
    try:
        return "after" in inspect.signature(model.look).parameters
    except (TypeError, ValueError):  # written in C: it does not say
        return False
