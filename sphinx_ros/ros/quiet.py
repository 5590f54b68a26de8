"""Log lines of a bad minute -> a few lines: the first of each kind, then how many like it.

To log never fails: who tells of a trouble must not come to a worse one by telling it. Imports no
ROS: what writes a line is handed in.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from sphinx_ros.errors import encodable

PERIOD = 30.0
"""Seconds in which a kind of line is written once."""


class Writers(NamedTuple):
    """What writes lines into a node's log, called with the text: a function for each severity."""

    warning: Callable[[str], None]
    error: Callable[[str], None]


def writers(logger: Any) -> Writers:
    """Functions that may be handed on. logger: that of a node.

    Its own methods must not be: rclpy notes the severity of each place that calls them, and raises
    where a second one comes from there. So each severity has a line here.
    """

    def warning(text: str) -> None:
        logger.warning(encodable(text))

    def error(text: str) -> None:
        logger.error(encodable(text))

    return Writers(warning, error)


class QuietLog:
    """Writes the first line of each kind at once, and counts those that follow it in a period.

    write: called with the text, of this severity alone: see :func:`writers`; a text that it fails
    to write goes to standard error. clock: seconds, steady. Any thread may call any method.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        period: float = PERIOD,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._write, self._period, self._clock = write, period, clock
        self._lock = threading.Lock()
        self._kinds: dict[str, tuple[float, int, str]] = {}  # kind -> begun, not written, last

    def say(self, kind: str, text: str) -> None:
        """A line. kind: what it is about; lines of one kind are counted together."""
        now = self._clock()
        with self._lock:
            begun, more, _ = self._kinds.get(kind, (-float("inf"), 0, ""))
            if now - begun < self._period:
                self._kinds[kind] = (begun, more + 1, text)
                return
            self._kinds[kind] = (now, 0, text)
        self._put(_counted(text, more))

    def new(self, kind: str) -> bool:
        """Whether a line of this kind would be written now."""
        with self._lock:
            begun = self._kinds.get(kind, (-float("inf"), 0, ""))[0]
        return self._clock() - begun >= self._period

    def flush(self, now: float | None = None) -> None:
        """Write what was counted in periods that are over; to be called now and then."""
        now = self._clock() if now is None else now
        with self._lock:
            over = [k for k, (begun, *_) in self._kinds.items() if now - begun >= self._period]
            lines = [self._kinds.pop(kind) for kind in over]
        for _, more, last in lines:
            if more:
                self._put(_counted(last, more - 1))

    def _put(self, text: str) -> None:
        try:
            self._write(text)
        except Exception as error:
            with suppress(Exception):  # nor may standard error be there
                print(f"{text}\n(not in the node's log: {error})", file=sys.stderr)


def _counted(text: str, more: int) -> str:
    return f"{text} (and {more} more like this)" if more else text


class LogHandler(logging.Handler):
    """Python's log lines of this package -> quiet ones; a trace only with the first of a kind.

    errors, warnings: where lines of these levels go.
    """

    def __init__(self, errors: QuietLog, warnings: QuietLog):
        super().__init__(logging.WARNING)
        self._errors, self._warnings = errors, warnings
        self._logger = logging.getLogger("sphinx_ros")
        self._logger.addHandler(self)
        self._before, self._logger.propagate = self._logger.propagate, False

    def emit(self, record: logging.LogRecord) -> None:
        """One line; kinds are told apart by the text before its values are filled in."""
        try:
            self._say(record)
        except Exception:  # values that do not fit the text
            self.handleError(record)

    def _say(self, record: logging.LogRecord) -> None:
        target = self._errors if record.levelno >= logging.ERROR else self._warnings
        text = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        kind = f"{record.msg} {type(error).__name__}"
        if error is not None and target.new(kind):
            text += "\n" + "".join(traceback.format_exception(error)).rstrip()
        target.say(kind, text)

    def flush(self) -> None:
        """Write what was counted in periods that are over; to be called now and then."""
        self._errors.flush()
        self._warnings.flush()

    def detach(self) -> None:
        """Let Python's own handlers have the lines again."""
        self._logger.removeHandler(self)
        self._logger.propagate = self._before
