"""Words behind `ros2 sphinx` -> what is asked of which node. One verb per task. Knows no ROS."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from sphinx_ros.prompt.checks import MAX_SECONDS
from sphinx_ros.tasks import Takes, Task

WHAT = {
    Takes.TEXT: ("+", "TEXT", "the words"),
    Takes.QUESTION: ("+", "TEXT", 'the question; about a region: "what is this? @ 10,20,110,220"'),
    Takes.KIND: ("+", "TEXT", "the kind of thing"),
    Takes.BOX: ("+", "X0,Y0,X1,Y1", "a region, pixels of the camera's picture"),
    Takes.MAYBE_BOX: ("*", "X0,Y0,X1,Y1", "a region; none: the whole picture"),
}
"""What a task takes -> how many words, their name in the help, and what they are."""


@dataclass(frozen=True)
class Words:
    """One question.

    Attributes:
        text: what follows the verb, words or a box.
        node: full name of the node that is asked.
        camera: one of its cameras, "" for the only one.
        timeout: seconds that the answer may take; 0: as the node's parameters say.
    """

    task: Task
    text: str = ""
    node: str = "/sphinx"
    camera: str = ""
    timeout: float = 0.0

    @classmethod
    def of(cls, found: argparse.Namespace) -> Words:
        """What a parser with :func:`add_verbs` has read."""
        text = " ".join(getattr(found, "text", ()))
        return cls(Task(found.sphinx_task), text, found.node, found.camera, found.timeout)


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """A verb for each task, with its options."""
    verbs = parser.add_subparsers(dest="sphinx_task", required=True, metavar="VERB")
    for task in Task:
        row = task.row
        verb = verbs.add_parser(
            task.value,
            help=row.about,
            description=row.about,
            epilog=f"as in: {task.value} {row.example}" if row.example else None,
        )
        if row.takes in WHAT:
            number, name, about = WHAT[row.takes]
            verb.add_argument("text", nargs=number, metavar=name, help=about)
        verb.add_argument(
            "--node", default=Words.node, metavar="/NAME", help="default %(default)s"
        )
        verb.add_argument(
            "--camera", default="", metavar="NAME", help="a name of the parameter cameras"
        )
        verb.add_argument(
            "--timeout",
            type=_seconds,
            default=0.0,
            metavar="S",
            help="seconds, waiting included; default: the node's default_timeout",
        )


def _seconds(text: str) -> float:
    """Seconds, or 0 for the node's own limit. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number in 0..{MAX_SECONDS:g}")
    return value
