"""The node under all that a robot and its people do to it, for minutes or for days.

    python bench/soak.py [--minutes 6] [--seed 0] [--folder F] [--json FILE]

The node `sphinx_node` with the demonstration model and two cameras of 30 pictures per second is
asked without a pause: services and goals with good, bad and huge words; pictures as broken drivers
send them, in requests and on the camera's topic; goals that are cancelled; bursts of forty; good
and bad values of parameters; standing queries exchanged; cameras that are killed and come back;
clients that are killed while they wait; the node deactivated and activated; cleaned up and
configured with another number format. Ctrl-C ends it, with the report of what has been.

    asked             requests, changes and transitions that were sent; not by killed clients
    answered, refused of these: answered; refused by name (a status, a reason)
    unanswered        of these: nothing came, or no name
    memory_growth     resident bytes of the node in the last four minutes over those in the four
                      after the second (less of a short run), less one; medians of moments in
                      which the same weights are loaded
    worker_restarts   how often the model was lost
    log_lines, traces what the node has logged, and how many of these are traces

The exit status is 1 where something was unanswered, the model was lost, or the node ended.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rclpy
import soak_inputs as inputs
from soak_client import PATIENCE, Asker

from sphinx_ros.errors import Status
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.demo_processes import CAMERA, NODE, surroundings
from sphinx_ros.runtime.files import write_text
from sphinx_ros.tasks import Task

CAMERAS = "front", "wrist"
MOST_OPEN = 40
"""Requests that wait at the same time at most; the node answers what is above its limit BUSY."""

SAMPLES = 40
"""Of the memory, at least, in each of the two times that are compared."""

WINDOW = 240.0
"""Seconds of such a time at most. Pictures that are kept, and the half minute until free pages go
back, move the memory by a tenth within a minute; over minutes the median shows what stays."""

ANSWERED = {status.name for status in Status if status.answered} | {"set", "changed"}
NAMELESS = {"no reason", Status.INTERNAL.name}
EVERY = {"camera": 9.0, "client": 13.0, "rest": 31.0, "weights": 67.0, "said": 15.0}
"""Seconds from one to the next."""


class Soak:
    """The processes, and what is done to them. folder: for logs."""

    def __init__(self, folder: Path, seed: int):
        self._folder, self._draw = folder, random.Random(seed)
        self._running: dict[str, subprocess.Popen] = {}
        self._due = {name: time.monotonic() + pause for name, pause in EVERY.items()}
        self._number_format = "none"
        self.memory: list[tuple[float, int]] = []  # seconds, bytes with the first number format
        topics = [f"-p {name}.image:=/{name}/image_raw" for name in CAMERAS]
        words = f"-p cameras:=['{CAMERAS[0]}','{CAMERAS[1]}'] {' '.join(topics)}".split()
        words += ["-p", "front.queries:=['detect: objects']", "-p", "max_rate:=5.0"]
        self._start("node", [*NODE, "--ros-args", *words])
        for name in CAMERAS:
            self._start_camera(name)
        self.asker = Asker()
        self.asker.wait_for_all(120.0)
        kind, topic = m.Image, "/front/image_raw"
        self._broken = self.asker.node.create_publisher(kind, topic, 1)
        self.begun = time.monotonic()
        self._actions = [
            (self._service, 8),
            (self._goal, 4),
            (self._bad_words, 2),
            (self._bad_picture, 2),
            (self._bad_stream, 1),
            (self._parameter, 2),
            (self._standing, 1),
            (self._burst, 0.3),
        ]

    def _start(self, name: str, command: list[str]) -> None:
        with (self._folder / f"{name}.log").open("a") as log:
            self._running[name] = subprocess.Popen(command, stdout=log, stderr=log)

    def _start_camera(self, name: str) -> None:
        words = ["-r", f"__ns:=/{name}", "-p", "source:=clip", "-p", "rate:=30.0"]
        self._start(name, [*CAMERA, "--ros-args", *words])

    def _kill(self, name: str) -> bool:
        """Kill a process as a crash does; whether there was one."""
        process = self._running.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()
        return process is not None

    # What is asked

    def _service(self) -> None:
        task = self._draw.choice([Task.GROUND, Task.DETECT, Task.ASK, Task.POSE])
        camera = self._draw.choice([*CAMERAS, *CAMERAS, *CAMERAS, "", "nobody"])
        limit = self._draw.choice([0.0, 0.0, 0.0, 30.0, 60.0, 0.05, -1.0])
        self.asker.ask(task, self._draw.choice(inputs.GOOD), camera=camera, timeout=limit)

    def _goal(self) -> None:
        task = self._draw.choice([0, 1, 2, 3, 5, 99])
        words = self._draw.choice(inputs.GOOD) if task in (0, 1, 2) else ""
        query = m.QueryMessage(task=task, text=words, camera=self._draw.choice(CAMERAS))
        self.asker.goal(query, self._draw.choice([None, 0.0, 0.1, 0.5]))

    def _bad_words(self) -> None:
        task = self._draw.choice([Task.GROUND, Task.DETECT, Task.ASK])
        self.asker.ask(task, self._draw.choice(inputs.WORDS), camera="front")

    def _bad_picture(self) -> None:
        image = self._draw.choice([inputs.malformed(self._draw), inputs.nothing_known()])
        self.asker.ask(Task.ASK, "how many?", image=image)

    def _bad_stream(self) -> None:
        message = inputs.malformed(self._draw)
        message.header.stamp = m.time_message(time.time())
        self._broken.publish(message)

    def _parameter(self) -> None:
        self.asker.set_parameter(*self._draw.choice(inputs.PARAMETERS))

    def _standing(self) -> None:
        self.asker.set_queries(self._draw.choice(inputs.LINES), self._draw.choice(["", *CAMERAS]))

    def _burst(self) -> None:
        for _ in range(40):
            self.asker.ask(Task.ASK, "how many objects are there?", camera="front")

    # What happens around it

    def _on_time(self, name: str) -> bool:
        now = time.monotonic()
        if now < self._due[name]:
            return False
        self._due[name] = now + EVERY[name]
        return True

    def _around(self) -> None:
        """What is due of what happens now and then."""
        if self._on_time("camera"):
            gone = [name for name in CAMERAS if name not in self._running]
            if gone:
                self._start_camera(gone[0])
            else:
                self._kill(self._draw.choice(CAMERAS))
        if self._on_time("client") and not self._kill("client"):
            client = Path(__file__).with_name("soak_client.py")
            self._start("client", [sys.executable, str(client)])
        if self._on_time("rest"):
            self._steps("deactivate", lambda: None, "activate")
        if self._on_time("weights"):
            self._steps("deactivate", lambda: None, "cleanup")
            self._number_format = "int8" if self._number_format == "none" else "none"
            self.asker.set_parameter("quantise", self._number_format)
            self.asker.spin(0.5)
            self._steps("configure", self._service, "activate")

    def _steps(self, first: str, between: Callable[[], None], last: str) -> None:
        self.asker.change_state(first)
        between()
        self.asker.change_state(last)

    def turn(self) -> None:
        """One thing that is asked, and what is due."""
        self._around()
        actions, weights = zip(*self._actions, strict=True)
        if len(self.asker.waiting) < MOST_OPEN:
            self._draw.choices(actions, weights)[0]()
        self.asker.spin(self._draw.uniform(0.02, 0.3))
        self._note_memory()

    def _note_memory(self) -> None:
        if self._number_format == "none" and self.alive:
            pages = Path(f"/proc/{self._running['node'].pid}/statm").read_text().split()[1]
            size = int(pages) * os.sysconf("SC_PAGE_SIZE")
            self.memory.append((time.monotonic() - self.begun, size))

    @property
    def alive(self) -> bool:
        """Whether the node runs."""
        return self._running["node"].poll() is None

    def say_progress(self) -> None:
        """A line, now and then."""
        if self._on_time("said"):
            asker, size = self.asker, self.memory[-1][1] / 1e6 if self.memory else 0
            print(
                f"{time.monotonic() - self.begun:5.0f} s: {asker.asked} asked, "
                f"{len(asker.waiting)} waiting, {size:.0f} MB",
                flush=True,
            )

    def report(self) -> dict[str, Any]:
        """Wait for what is still to come, then count."""
        self.asker.spin(PATIENCE, lambda: not self.asker.waiting)
        outcomes = self.asker.outcomes
        answered = sum(outcomes[name] for name in ANSWERED)
        nameless = sum(outcomes[name] for name in NAMELESS)
        log = (self._folder / "node.log").read_text(errors="replace")
        return {
            "minutes": (time.monotonic() - self.begun) / 60,
            "asked": self.asker.asked,
            "answered": answered,
            "refused": sum(outcomes.values()) - answered - nameless,
            "unanswered": len(self.asker.waiting) + nameless,
            "still_waiting": self.asker.waiting,
            "memory_growth": growth(self.memory),
            "worker_restarts": self.asker.restarts,
            "alive": self.alive,
            "log_lines": log.count("\n"),
            "traces": log.count("Traceback"),
            "outcomes": dict(outcomes.most_common()),
        }

    def close(self) -> int:
        """End all processes; the node's exit status."""
        self.asker.close()
        for name in [name for name in self._running if name != "node"]:
            self._kill(name)
        node = self._running["node"]
        node.send_signal(signal.SIGINT)
        return node.wait(30)


def growth(memory: list[tuple[float, int]]) -> float:
    """See the module. memory: (seconds, bytes), in order; NaN where there is too little of it."""
    if len(memory) < 2 * SAMPLES:
        return float("nan")
    end = memory[-1][0]
    begin = min(120.0, end / 3)
    long = min(WINDOW, (end - begin) / 2)
    early = [size for at, size in memory if begin <= at <= begin + long]
    late = [size for at, size in memory if at >= end - long]
    return statistics.median(late) / statistics.median(early) - 1


def main() -> int:
    """Soak, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the logs (default: a temporary one)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    options = parser.parse_args()
    surroundings()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="sphinx_soak_"))
    folder.mkdir(parents=True, exist_ok=True)
    rclpy.init()
    soak = Soak(folder, options.seed)
    try:
        while time.monotonic() - soak.begun < 60 * options.minutes and soak.alive:
            soak.turn()
            soak.say_progress()
    except KeyboardInterrupt:
        print("interrupted; waiting for answers", flush=True)
    found = soak.report()
    found["exit_status"] = soak.close()
    rclpy.try_shutdown()
    print(json.dumps(found, indent=1))
    print(f"logs in {folder}")
    if options.json:
        write_text(options.json, json.dumps(found, indent=1) + "\n")
    good = not found["unanswered"] and not found["worker_restarts"] and found["alive"]
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
