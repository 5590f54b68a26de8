"""What may end an answer before the model does: the caller and the clock. Knows no network."""

from __future__ import annotations

import time
from collections.abc import Callable

from sphinx_ros.engine.choosing import Choice
from sphinx_ros.engine.ending import Ending
from sphinx_ros.errors import Cancelled, SphinxError, TimedOut
from sphinx_ros.prompt.checks import LEAST_SECONDS, checked_seconds


class Deadline:
    """A point in time; None means never."""

    def __init__(self, seconds: float | None):
        if seconds is not None:
            number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
            if number and seconds < LEAST_SECONDS:
                raise TimedOut(f"the time limit of {seconds:g} s is used up before the question")
            seconds = checked_seconds(seconds)
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds left, never negative; None without a limit."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())


class Watch:
    """Follows one answer while it is written: cancel, time limit, listeners.

    ending: turns ids to text. cancel: asked before every pass, or None. on_text: told the answer
    so far after every token, or None. on_token: told every token, or None.
    """

    def __init__(
        self,
        ending: Ending,
        deadline: Deadline,
        cancel: Callable[[], bool] | None = None,
        on_text: Callable[[str], None] | None = None,
        on_token: Callable[[Choice], None] | None = None,
    ):
        self._ending, self._deadline = ending, deadline
        self._cancel, self._on_text, self._on_token = cancel, on_text, on_token
        self._ids: list[int] = []
        self._why: type[SphinxError] | None = None

    def token(self, choice: Choice) -> None:
        """One more token of the answer was written."""
        self._ids.append(choice.token)
        if self._on_text is not None:
            self._on_text(self._ending.text_so_far(self._ids))
        if self._on_token is not None:  # what closes a box comes before the box
            self._on_token(choice)

    def should_stop(self) -> bool:
        """Whether to stop before the next token."""
        if self._cancel is not None and self._cancel():
            self._why = Cancelled
        elif self._deadline.left() == 0.0:
            self._why = TimedOut
        return self._why is not None

    def raise_if_stopped(self, text: str) -> None:
        """Raise what stopped the answer, the text so far with it."""
        if self._why is Cancelled:
            raise Cancelled(f"cancelled after {len(self._ids)} tokens", partial_text=text)
        if self._why is TimedOut:
            raise self._timed_out(text)

    def _timed_out(self, text: str) -> TimedOut:
        return TimedOut(
            f"no complete answer within {self._deadline.seconds:.3g} s ({len(self._ids)} tokens "
            "written); allow more time or fewer tokens",
            partial_text=text,
        )
