"""Measured figures -> how many replicas, doors and megabits a number of robots needs.

    python bench/serve_plan.py serve.json [gpu.json] [--looks 1] [--questions 2] [--busy 0.6]

serve.json: of `bench/serve.py --json`. gpu.json: of `bench/gpu.sh`, which measures a network of
full size on a card; without it that row is empty. Each robot sends --looks pictures per second,
and asks --questions questions about them per second; a replica is to be busy for the share --busy
of the time, so that its line stays short. The formulas are in docs/fleet.md.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROBOTS = (100, 10_000)


def replicas(robots: int, looks: float, questions: float, looks_s: float, questions_s: float,
             busy: float) -> int:  # fmt: skip
    """Models that are needed. looks_s, questions_s: of one model that does nothing else."""
    return math.ceil(robots * (looks / looks_s + questions / questions_s) / busy)


def plan(found: Mapping[str, Any], gpu: Mapping[str, Any], options: Any) -> list[list[str]]:
    """Rows of the table: what, and a cell for each number of robots."""
    rows = [["robots", *(f"{robots:,}" for robots in ROBOTS)]]

    def row(what: str, cells: list[Any]) -> None:
        rows.append([what, *(f"{one:,}" if isinstance(one, int) else one for one in cells)])

    def needed(looks_s: float, questions_s: float) -> list[int]:
        return [
            replicas(robots, options.looks, options.questions, looks_s, questions_s, options.busy)
            for robots in ROBOTS
        ]

    door = found["door_cpu_ms"] / 1e3
    doors = [math.ceil(robots * options.looks * door / options.busy) for robots in ROBOTS]
    bits = [robots * options.looks * found["look_bytes"] * 8 / 1e6 for robots in ROBOTS]
    row("requests/s", [f"{robots * options.looks:,.0f}" for robots in ROBOTS])
    row("pictures, Mbit/s", [f"{one:,.0f}" for one in bits])
    row("doors, a processor each", doors)
    cells = needed(1e3 / found["look_cpu_ms"], 1e3 / found["question_cpu_ms"])
    row("replicas of the bundled model, a processor each", cells)
    if "full_look_ms" in gpu and "full_boxes_per_s_8" in gpu:
        cells = needed(1e3 / gpu["full_look_ms"], gpu["full_boxes_per_s_8"])
        row("GPUs, SPHINX-Tiny-1k", cells)
    else:
        row("GPUs, SPHINX-Tiny-1k", ["not measured"] * len(ROBOTS))
    return rows


def main() -> None:
    """Read, compute, print a table of Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("serve", type=Path, help="JSON of bench/serve.py")
    parser.add_argument("gpu", type=Path, nargs="?", help="JSON of bench/gpu.sh")
    parser.add_argument(
        "--looks", type=float, default=1, help="pictures/s of a robot (default: 1)"
    )
    parser.add_argument(
        "--questions", type=float, default=2, help="questions/s of a robot (default: 2)"
    )
    parser.add_argument("--busy", type=float, default=0.6, help="share of time (default: 0.6)")
    options = parser.parse_args()
    gpu = json.loads(options.gpu.read_text()) if options.gpu else {}
    head, *rows = plan(json.loads(options.serve.read_text()), gpu, options)
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
