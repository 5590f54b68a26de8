"""Named outcomes, the errors that carry them, and how these quote a value. Knows nobody.

Every failure a user can meet has a :class:`Status`; the same numbers stand in ``msg/Status.msg``.
"""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """What became of a query. The values are those of ``sphinx_ros/msg/Status``."""

    OK = 0
    NOT_FOUND = 1  # the model answered, and says that there is no such thing in the picture
    NO_IMAGE = 2  # no camera picture has arrived yet, and the request carried none
    STALE_IMAGE = 3  # the newest picture is older than the limit
    BAD_IMAGE = 4  # empty, wrong size, unknown encoding, undecodable
    BAD_REQUEST = 5  # words, numbers, a device or a checkpoint that can't be used
    NOT_ACTIVE = 6  # the model is still loading, or the node was switched off
    BUSY = 7  # too many requests are under way
    TIMEOUT = 8  # the time limit of the request ran out; partial text is kept
    CANCELLED = 9  # cancelled by the caller or by a shutdown; partial text is kept
    PARSE_FAILED = 10  # the model answered in a form that holds no readable result
    OUT_OF_MEMORY = 11  # the device has no memory left for this query
    INTERNAL = 12  # a defect of this package; the log has the trace

    @property
    def answered(self) -> bool:
        """Whether the model answered: what was asked for, or that there is no such thing."""
        return self in (Status.OK, Status.NOT_FOUND)

    @property
    def exit_code(self) -> int:
        """What a command ends with: see :data:`EXIT_CODES`."""
        return EXIT_CODES[self]

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return format(self.name, spec)


BAD_INPUT, NO_ANSWER, DEFECT = 2, 3, 70
"""Exit codes: what was given can't be used; there is no usable answer; a defect of this package
(as sysexits.h numbers it)."""

EXIT_CODES = {
    Status.OK: 0,
    Status.NOT_FOUND: 1,
    Status.NO_IMAGE: BAD_INPUT,
    Status.STALE_IMAGE: BAD_INPUT,
    Status.BAD_IMAGE: BAD_INPUT,
    Status.BAD_REQUEST: BAD_INPUT,
    Status.NOT_ACTIVE: NO_ANSWER,
    Status.BUSY: NO_ANSWER,
    Status.TIMEOUT: NO_ANSWER,
    Status.CANCELLED: NO_ANSWER,
    Status.PARSE_FAILED: NO_ANSWER,
    Status.OUT_OF_MEMORY: NO_ANSWER,
    Status.INTERNAL: DEFECT,
}
"""Outcome -> exit code of a command that ends with it."""


class SphinxError(Exception):
    """An error with a :class:`Status` and a message that names value, limit and remedy.

    Attributes:
        status: the named outcome.
        partial_text: what the model had written when it was stopped, never lost.
    """

    status: Status = Status.INTERNAL

    def __init__(self, message: str, *, status: Status | None = None, partial_text: str = ""):
        super().__init__(message)
        if status is not None:
            self.status = status
        self.partial_text = partial_text


class BadImage(SphinxError, ValueError):
    """The picture can't be used: empty, wrong size, unknown encoding, undecodable."""

    status = Status.BAD_IMAGE


class BadRequest(SphinxError, ValueError):
    """The words or numbers of a request can't be used."""

    status = Status.BAD_REQUEST


class CheckpointError(SphinxError, ValueError):
    """A checkpoint is missing, incomplete or inconsistent. Names file, key, expected and found."""

    status = Status.BAD_REQUEST


class Cancelled(SphinxError):
    """The caller withdrew the query."""

    status = Status.CANCELLED


class TimedOut(SphinxError, TimeoutError):
    """The query's time limit ran out."""

    status = Status.TIMEOUT


class Unreachable(SphinxError):
    """What answers is away, and may come back by itself: a server, or the way to it."""

    status = Status.NOT_ACTIVE


LONGEST = 80
"""Characters of a value that a message quotes."""


def shortened(words: str, most: int = LONGEST) -> str:
    """At most so many characters of a text; where it is longer it ends in "..."."""
    return words if len(words) <= most else words[: most - 3] + "..."


def encodable(text: str) -> str:
    """A text that can be sent: names of files that are no UTF-8 hold what can't be encoded."""
    return text.encode("utf-8", "backslashreplace").decode()


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its class where it says nothing."""
    return shortened((str(error).strip().splitlines() or [type(error).__name__])[0], 300)


def _beginning(value: object, most: int) -> object:
    """So much of a value that its representation has more than ``most`` characters, if it can.

    Writing all of a list of millions takes seconds.
    """
    if isinstance(value, str | bytes | bytearray):
        return value[: most + 1]
    if type(value) in (list, tuple) and len(value) > most:  # type: ignore[arg-type]
        return value[: most + 1]  # type: ignore[index]
    return value


def quoted(value: object, most: int = LONGEST) -> str:
    """A value as a message quotes it: as Python writes it, on one line, :func:`shortened`."""
    try:
        words = " ".join(repr(_beginning(value, most)).splitlines())
    except ValueError:  # a whole number of more digits than Python prints
        return "a number of thousands of digits"
    return shortened(encodable(words), most)
