"""What may end an answer before the model does: the caller, the clock, the end signal.

Knows no model; tells of every token to whoever listens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sphinx_ros.errors import Cancelled, SphinxError, TimedOut
from sphinx_ros.prompt.conversation import END_SIGNAL


class Deadline:
    """A point in time; None means never."""

    def __init__(self, seconds: float | None):
        if seconds is not None and not seconds > 0:
            raise TimedOut(f"the time limit of {seconds} s is used up before the question began")
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds left, never negative; None without a limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())


class Watch:
    """Looks at the text while it is written: end signal, cancel, time limit, listeners.

    to_text: ids to text. cancel: asked before every token, or None. on_text: told the answer so
    far after every token, or None.
    """

    def __init__(self, to_text, cancel, deadline: Deadline, on_text):
        self._to_text, self._cancel, self._deadline = to_text, cancel, deadline
        self._on_text, self._ids = on_text, []
        self._why: type[SphinxError] | None = None
        self._ended = False

    @contextmanager
    def turn(self, lock: threading.RLock) -> Iterator[None]:
        """Hold the lock of a model that others use too; waiting counts towards the time limit."""
        left = self._deadline.left()
        if not lock.acquire(timeout=-1 if left is None else left):
            self._why = TimedOut
            self.raise_if_stopped("")
        try:
            yield
        finally:
            lock.release()

    def token(self, token: int, probability: float) -> None:
        """One more token was written."""
        self._ids.append(token)
        text = self._to_text(self._ids)
        # released tokenizers may merge the signal's "\n" with other characters
        self._ended = END_SIGNAL in text
        if self._on_text is not None:
            self._on_text(text.split(END_SIGNAL)[0].rstrip("\n#").strip())

    def stop(self) -> bool:
        """Whether to stop before the next token."""
        if self._cancel is not None and self._cancel():
            self._why = Cancelled
        elif self._deadline.left() == 0.0:
            self._why = TimedOut
        return self._ended or self._why is not None

    def raise_if_stopped(self, text: str) -> None:
        """Raise what stopped the answer, the text so far with it."""
        if self._why is Cancelled:
            raise Cancelled(f"cancelled after {len(self._ids)} tokens", partial_text=text)
        if self._why is TimedOut:
            raise TimedOut(
                f"no complete answer within {self._deadline.seconds:.3g} s"
                f" ({len(self._ids)} tokens written); allow more time or fewer tokens",
                partial_text=text,
            )
