"""`make demo`: two cameras, node and this client as four processes that talk over DDS.

Asks different things through services, an action and standing queries, compares every answer with
that camera's truth for the same stamp, prints a table and writes a picture. Exit status 1 if an
answer did not come for another reason than a slow machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx_ros.ros.camera_params import SOURCES
from sphinx_ros.ros.demo_picture import write_picture
from sphinx_ros.ros.demo_processes import Processes, surroundings
from sphinx_ros.ros.demo_questions import CAMERAS, FRONT, WRIST, Question, questions
from sphinx_ros.tasks import Task

if TYPE_CHECKING:
    from sphinx_ros.ros.demo_client import Client, Row

OUT = "build/demo/annotated.png"
START_LIMIT = 900.0  # seconds until everything runs; a process that ends is noticed at once
NEWS_SECONDS = 15.0  # between two lines that say what is waited for
LEAST_PATIENCE = 60.0  # seconds for one answer
SPEED = 60.0  # patience, as so many times what the first answer took
LATE_MS = 20_000.0
HEADS = ("camera", "by", "query", "answer", "against the truth", "ms")


def wait_until_ready(client: Client, processes: Processes) -> str:
    """Wait for pictures and for the first answer; "" or what went wrong.

    What that answer took is the speed of the machine, and sets the client's patience.
    """
    end = time.monotonic() + START_LIMIT
    question = Question("service", Task.ASK, "How many objects are there?")
    said = "no picture has come from the cameras"
    news = time.monotonic() + NEWS_SECONDS
    met = False
    while time.monotonic() < end and not processes.died():
        client.spin_until(lambda: processes.died(), 0.3)
        if time.monotonic() > news:
            print(f"still waiting: {said}", flush=True)
            news += NEWS_SECONDS
        if set(client.newest) != set(CAMERAS):
            continue
        met = met or client.meets_node(5.0)
        if not met:
            said = "the node has not answered"
            continue
        message, _, milliseconds = client.ask(question)
        row = client.row(question, message, (), milliseconds)
        if row.came:
            client.patience = max(LEAST_PATIENCE, SPEED * milliseconds / 1e3)
            return ""
        said = row.answer
        if "could not be loaded" in said:
            return said
    died = processes.died()
    return f"the {died} has ended" if died else f"not ready in {START_LIMIT:.0f} s: {said}"


def answers(client: Client, asked: Sequence[Question]) -> Iterator[Row]:
    """Services and the action one by one, then the standing queries together."""
    for question in asked:
        if question.how != "topic":
            yield client.row(question, *client.ask(question))
    yield from client.ask_standing([q for q in asked if q.how == "topic"])


def widths(asked: Sequence[Question]) -> tuple[int, ...]:
    """Of the table's columns, before its rows are known."""
    return 6, 7, max(len(question.shown) for question in asked), 18, 25, 6


def line(cells: Sequence[str], columns: Sequence[int]) -> str:
    """One line of the table; the last column is set to the right."""
    parts = [short(c, w).ljust(w) for c, w in zip(cells[:-1], columns[:-1], strict=True)]
    return "  ".join([*parts, cells[-1].rjust(columns[-1])])


def cells(row: Row) -> tuple[str, ...]:
    """A row in words. ms: from the request, or from the picture's stamp for topics."""
    took = f"{row.milliseconds:.0f}" if row.milliseconds == row.milliseconds else "-"
    asked = row.question
    return asked.camera, asked.how, asked.shown, row.answer, row.verdict, took


def short(words: str, limit: int) -> str:
    """One line of at most `limit` characters."""
    words = " ".join(words.split())
    return words if len(words) <= limit else words[: limit - 3] + "..."


def summary(rows: Sequence[Row], seconds: float) -> str:
    """How many answers came, and what became of the others."""
    came = [row for row in rows if row.came]
    late = sum(row.milliseconds > LATE_MS for row in came)
    parts = [
        f"{len(came)} of {len(rows)} answers came, {sum(row.right for row in rows)} are right"
    ]
    if late:
        parts.append(f"{late} came late: this machine is slow or busy")
    if slow := sum(row.slow for row in rows):
        parts.append(f"{slow} ran out of time (TIMEOUT): this machine is too busy for them")
    failed = [row.answer for row in rows if not row.came and not row.slow]
    if failed:
        parts.append(f"{len(failed)} failed ({'; '.join(dict.fromkeys(failed))})")
    return "; ".join([*parts, f"{seconds:.0f} s"])


def next_steps() -> str:
    """How to go on, as commands for a shell in this folder."""
    activate = Path(sys.prefix) / "bin" / "activate"
    shown = os.path.relpath(activate) if activate.is_relative_to(Path.cwd()) else activate
    return "\n".join(
        [
            "\nto go on:",
            *([f"  . {shown}"] if activate.exists() else []),
            "  sphinx-ros world 7 --save scene.png                # a scene of its own",
            '  sphinx-ros ground scene.png "the person" --save seen.png',
            "  sphinx_node --help                                 # the node on a camera of yours",
        ]
    )


def demonstrate(client: Client, processes: Processes) -> list[Row]:
    """Wait, ask and print the table as it grows; [] where it can't begin."""
    begun = time.monotonic()
    if trouble := wait_until_ready(client, processes):
        print(f"{trouble}\n{processes.logs()}", file=sys.stderr)
        return []
    print(f"ready after {time.monotonic() - begun:.0f} s; asking\n", flush=True)
    asked = questions(client.newest[FRONT], client.newest[WRIST])
    columns = widths(asked)
    print(line(HEADS, columns))
    print(line(["-" * w for w in columns], columns), flush=True)
    rows = []
    for row in answers(client, asked):
        rows.append(row)
        print(line(cells(row), columns), flush=True)
    if not all(row.came or row.slow for row in rows):
        print(processes.logs(), file=sys.stderr)
    return rows


def _ended(*_: Any) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; see the module for the exit status."""
    parser = argparse.ArgumentParser(prog="sphinx_ros.ros.demo", description=__doc__)
    parser.add_argument("--source", choices=SOURCES, default=SOURCES[0])
    parser.add_argument("--checkpoint", default="demo")
    parser.add_argument("--out", type=Path, default=OUT, help=f"the picture (default: {OUT})")
    arguments = parser.parse_args(argv)
    begun = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ended)
    surroundings()
    import rclpy

    from sphinx_ros.ros.demo_client import Client

    out = Path(arguments.out)
    print(f"starting the cameras and the node (their logs: {out.parent}/*.log)", flush=True)
    processes = Processes(arguments.source, arguments.checkpoint, out.parent)
    client = None
    try:
        rclpy.init(args=[], signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
        client = Client(LEAST_PATIENCE, processes.died)
        rows = demonstrate(client, processes)
    except KeyboardInterrupt:
        return 130
    finally:
        processes.stop()
        if client is not None:
            client.close()
        rclpy.try_shutdown()
    if not rows:
        return 1
    print()
    write_picture(rows, out)
    print(summary(rows, time.monotonic() - begun))
    print(next_steps())
    return 0 if all(row.came or row.slow for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
