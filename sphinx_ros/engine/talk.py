"""What a conversation has fed so far -> what its next question need not feed again.

Between two questions its tokens stay in their slots of the frame. The next one takes them over as
far as its ids agree, so that nothing depends on how an answer was cut into tokens. Where the frame
has given its memory up there is nothing to take over, and all is computed again. Knows no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sphinx_ros.engine.frame import Frame
from sphinx_ros.engine.prefix import common_length


class _Held(NamedTuple):
    """Ids behind the first ``base`` positions of a frame, and the slot of each.

    given: how often the frame had given its memory up.
    """

    frame: Frame
    given: int
    base: int
    ids: Sequence[int]
    slots: np.ndarray

    def free(self, first: int = 0) -> None:
        self.frame.free(self.slots[first:], self.given)


class Talk:
    """One conversation; one question of it at a time is answered.

    Its methods are called between passes, by whoever makes them.
    """

    def __init__(self) -> None:
        self._held: _Held | None = None
        self._over = False

    def take(self, frame: Frame, base: int, ids: Sequence[int], owner: int) -> np.ndarray:
        """Hand over the slots of the first of these ids, never of all, and free the others.

        frame: is being asked. base: positions of its prefix that come before the ids. owner: the
        question that sees the slots from now on.
        """
        held, self._held = self._held, None
        if held is None:
            return np.zeros(0, int)
        agree = 0
        if (held.frame, held.given, held.base) == (frame, frame.given, base):
            agree = min(common_length(held.ids, ids), len(ids) - 1)
        held.free(agree)
        frame.pass_on(held.slots[:agree], owner)
        return held.slots[:agree]

    def put(self, frame: Frame, base: int, ids: Sequence[int], slots: np.ndarray) -> None:
        """Keep what a question has fed, if the conversation goes on. frame: is being asked."""
        before, self._held = self._held, _Held(frame, frame.given, base, list(ids), slots)
        if before is not None:
            before.free()
        if self._over:
            self.release()

    def release(self) -> None:
        """The conversation is over: keep nothing. Any number of times."""
        self._over = True
        held, self._held = self._held, None
        if held is not None:
            held.free()
