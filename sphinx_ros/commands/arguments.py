"""Words of a command line -> checked values; what all verbs share. Knows no verb and no tensor."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from sphinx_ros.errors import BAD_INPUT, DEFECT, NO_ANSWER, BadRequest, Status
from sphinx_ros.prompt.checks import MAX_SECONDS, MAX_TOKENS
from sphinx_ros.runtime.printable import file_name
from sphinx_ros.world.camera_facts import SIDES

OK, NOT_FOUND, INTERRUPTED = Status.OK.exit_code, Status.NOT_FOUND.exit_code, 130
WORST_FIRST = (DEFECT, BAD_INPUT, NO_ANSWER, OK, NOT_FOUND)
"""Exit codes of several outcomes: the first of these that is among them counts."""

_NEGATIVE_LIST = re.compile(r"-[\d.]+[,;]")
"""How a box begins whose left side lies outside the picture."""

UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0}
_DURATION = re.compile(rf"(\d+\.?\d*|\.\d+)\s*({'|'.join(UNITS)})?")

Options = argparse.ArgumentParser | argparse._ArgumentGroup
"""What takes options: a verb's command line, or a group of it."""


class Parser(argparse.ArgumentParser):
    """argparse whose complaint is one :class:`BadRequest`, not a page of usage."""

    def __init__(self, verb: str, **settings: Any):
        super().__init__(
            prog=f"sphinx-ros {verb}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **settings,
        )

    def parse_intermixed_args(
        self, args: Iterable[str] | None = None, namespace: Any = None
    ) -> Any:
        """As argparse does it, but a box such as -10,20,200,300 is no option."""
        words = [f" {word}" if _NEGATIVE_LIST.match(word) else word for word in args or ()]
        return super().parse_intermixed_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and leaving."""
        raise BadRequest(f"{message} (see {self.prog} --help)")


def given(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[str]:
    """The options of a command line whose values are not the usual ones, by their names."""
    return [name for name, value in vars(options).items() if value != parser.get_default(name)]


def number(low: float, high: float, kind: type = float) -> Callable[[str], Any]:
    """A type for argparse: a number in low..high, both included."""

    def read(text: str) -> Any:
        """The number; ArgumentTypeError where it is none, or out of range."""
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} in {low:g}..{high:g}")
        return value

    return read


def add_number(
    parser: Options,
    name: str,
    within: tuple[float, float],
    usual: float | None,
    said: str,
    metavar: str = "N",
    kind: type = int,
) -> None:
    """An option that takes a number in a range. usual: its default, which the help names."""
    about = said if usual is None else f"{said} (default: {usual:g})"
    taken = number(*within, kind)
    parser.add_argument(name, type=taken, default=usual, metavar=metavar, help=about)


def add_port(parser: Options, usual: int, of: str = "") -> None:
    """--port."""
    said = f"{of}0 lets the system choose, and it is printed"
    add_number(parser, "--port", (0, 65535), usual, said)


def add_threshold(parser: Options) -> None:
    """--threshold."""
    said = "leave out what scores less"
    add_number(parser, "--threshold", (0, 1), 0.0, said, "P", float)


def add_answer_limit(parser: Options) -> None:
    """--max-new-tokens."""
    said = "longest answer (default: that of the task)"
    add_number(parser, "--max-new-tokens", (1, MAX_TOKENS), None, said)


def add_processes(parser: Options) -> None:
    """--processes."""
    said = "processes that share the work (default: one per core)"
    add_number(parser, "--processes", (1, 256), None, said)


def add_topic(parser: Options, metavar: str, said: str) -> None:
    """--topic, of a bag. said: what one is."""
    parser.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar=metavar,
        help=f"{said}; repeat it (default: all)",
    )


def folder(text: str) -> str:
    """A type for argparse: a folder that is there."""
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{file_name(text)!r} is no folder")
    return text


def size(text: str) -> tuple[int, int]:
    """A type for argparse: "640x480" -> (640, 480), as large as the simulated camera can be."""
    (low, high), parts = SIDES, text.lower().split("x")
    if len(parts) == 2 and all(p.isdecimal() and low <= int(p) <= high for p in parts):
        return int(parts[0]), int(parts[1])
    raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in {low}..{high}, as 640x480")


def add_every(parser: argparse.ArgumentParser) -> None:
    """--every."""
    parser.add_argument(
        "--every",
        type=duration,
        default=0.0,
        metavar="T",
        help="look at a picture at most that often, as 0.5s or 200ms, by the times of "
        "the pictures (default: at each)",
    )


def duration(text: str) -> float:
    """A type for argparse: "0.5s", "500ms", "2min" or "0.5" -> seconds, more than 0."""
    found = _DURATION.fullmatch(text.strip().lower())
    seconds = float(found[1]) * UNITS[found[2] or "s"] if found else 0.0
    if not 0 < seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time up to {MAX_SECONDS:g} seconds: write 0.5s, 200ms or 2min"
        )
    return seconds
