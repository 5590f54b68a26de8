"""The node with a model that answers at once, or waits, and a record of when things happened.

    python bench/node_measured.py RECORD MODEL HOLD [--ros-args ...]

A process of `bench/node.py`. RECORD is the JSON file that is written at the end; MODEL is
"instant" (no network; an answer of one box, HOLD seconds after it was asked) or "loaded" (what the
parameter checkpoint names). All is the node that `sphinx_node` runs, its executor included; only
the two methods of a camera through which pictures come and answers go are timed.

RECORD holds, by the clock of all processes (seconds since the epoch):
    frames: [stamp, arrival in the middleware, begin of the callback, its end] of each picture.
    looks: [stamp, begin of the pass, publication] of each picture that was answered.
    memory: {number of looks: bytes resident}.
"""

from __future__ import annotations

import array
import json
import sys
import time
from typing import Any

from sphinx_ros.ros.loader import load_sphinx
from sphinx_ros.ros.messages import seconds
from sphinx_ros.ros.node import BESIDE, SphinxNode
from sphinx_ros.ros.running import run
from sphinx_ros.runtime.files import write_text
from sphinx_ros.runtime.memory import memory_in_use
from sphinx_ros.types import Detection, Results

FIRST, EACH = 100, 1000
"""Looks after which the memory is noted: the first time, and each time so many more."""


class Instant:
    """A model without a network: one box for every question, after `hold` seconds."""

    def __init__(self, hold: float):
        self._hold = hold

    def look(self, rgb: Any) -> Instant:
        """Nothing is looked at."""
        return self

    def detect(self, text: str, **options: Any) -> Results[Detection]:
        """One box."""
        if self._hold:
            time.sleep(self._hold)
        return Results(
            items=(Detection(text, (10.0, 10.0, 50.0, 60.0), 0.5),),
            raw_text="<p>thing</p>[0.010,0.010,0.050,0.060]",
            tokens=25,
        )


class Measured(SphinxNode):
    """The node, with the times of its cameras."""

    def __init__(self, model: str, hold: float):
        # rows of four and of three; lists of tuples would be the memory that is measured
        self.frames, self.looks = array.array("d"), array.array("d")
        self.looked = 0
        self.memory: dict[int, int] = {}
        loads = model == "loaded"
        super().__init__(load_sphinx if loads else lambda config, progress: Instant(hold))

    def open_cameras(self) -> None:
        """Make the cameras, and time what they take in and give out."""
        super().open_cameras()
        for camera in self.cameras.values():
            self._time(camera)

    def _time(self, camera: Any) -> None:
        take, give = camera._on_image, camera.publish

        def on_image(message: Any, info: dict[str, int]) -> None:
            begun = time.time()
            take(message)
            stamp, arrived = seconds(message.header.stamp), 1e-9 * info["received_timestamp"]
            self.frames.extend((stamp, arrived, begun, time.time()))

        def publish(look: Any, outcomes: Any, standing: bool) -> None:
            give(look, outcomes, standing)
            self.looks.extend((look.frame.stamp, outcomes[0].times.started, time.time()))
            self.looked += 1
            if self.looked == FIRST or not self.looked % EACH:
                self.memory[self.looked] = memory_in_use()["resident"]

        camera._on_image, camera.publish = on_image, publish


def rows(values: array.array, width: int) -> list[list[float]]:
    """Rows of so many values."""
    return [list(values[at : at + width]) for at in range(0, len(values), width)]


def main() -> int:
    """Run the node until it is interrupted, then write the record."""
    record, model, hold, *words = sys.argv[1:]

    def end(node: Measured) -> None:
        node.finish()
        frames, looks = rows(node.frames, 4), rows(node.looks, 3)
        found = {"frames": frames, "looks": looks, "memory": node.memory}
        write_text(record, json.dumps(found))

    return run(
        "sphinx_node",
        lambda: Measured(model, float(hold)),
        words,
        threads=lambda node: node.config.max_pending + BESIDE,
        begin=lambda node: node.begin(),
        end=end,
    )


if __name__ == "__main__":
    sys.exit(main())
