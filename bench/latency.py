"""How long a look and each kind of question take, in one run on one machine.

    python bench/latency.py [--checkpoint demo] [--device cpu] [--repeat 20] [--json FILE]

Questions are put to frames of the recorded clip, in turn, so that slow moments of the machine
spread over all rows. "again" is the same question with a fresh look each time, which is what a
system without the shared prefix pays.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import cv2
import numpy as np

from sphinx_ros import Sphinx
from sphinx_ros.runtime.files import write_text
from sphinx_ros.world.clip import read_clip

QUESTIONS = {
    "ground": lambda seen: seen.ground("the person"),
    "detect": lambda seen: seen.detect("objects"),
    "pose": lambda seen: seen.pose(
        (0.3 * seen.width, 0.1 * seen.height, 0.7 * seen.width, 0.95 * seen.height)
    ),
    "ask": lambda seen: seen.ask("How many objects are there?"),
}


def timed(call) -> tuple[float, object]:
    """(milliseconds, result)."""
    started = time.perf_counter()
    result = call()
    return 1e3 * (time.perf_counter() - started), result


def measure(sphinx: Sphinx, frames: list[np.ndarray], repeat: int) -> dict[str, dict]:
    """Milliseconds and tokens by row."""
    rows: dict[str, dict[str, list[float]]] = {}

    def note(name: str, ms: float, tokens: int = 0) -> None:
        row = rows.setdefault(name, {"ms": [], "tokens": []})
        row["ms"].append(ms)
        row["tokens"].append(tokens)

    for turn in range(-2, repeat):  # two rounds to warm up
        frame = frames[turn % len(frames)]
        ms, seen = timed(lambda f=frame: sphinx.look(f))
        took = {"look": (ms, 0)}
        for name, ask in QUESTIONS.items():
            ms, result = timed(lambda a=ask, s=seen: a(s))
            took[name] = (ms, result.tokens)
        ms, result = timed(lambda f=frame: QUESTIONS["ground"](sphinx.look(f)))
        took["ground, again"] = (ms, result.tokens)
        if turn >= 0:
            for name, (ms, tokens) in took.items():
                note(name, ms, tokens)
    return {
        name: {
            "median_ms": statistics.median(row["ms"]),
            "p95_ms": float(np.percentile(row["ms"], 95)),
            "tokens": statistics.mean(row["tokens"]),
        }
        for name, row in rows.items()
    }


def main() -> None:
    """Print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="demo", help="name or folder (default: demo)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: the first GPU, else cpu)")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16")
    parser.add_argument("--repeat", type=int, default=20, help="rounds (default: 20)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    options = parser.parse_args()
    sphinx = Sphinx.from_pretrained(options.checkpoint, device=options.device, dtype=options.dtype)
    frames = [
        cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        for _, jpeg, _ in read_clip()
    ]
    rows = measure(sphinx, frames, options.repeat)
    print(f"{options.checkpoint} on {sphinx.device}, {options.repeat} rounds")
    print(f"{'':15} {'median ms':>10} {'p95 ms':>10} {'tokens':>8}")
    for name, row in rows.items():
        print(f"{name:15} {row['median_ms']:10.1f} {row['p95_ms']:10.1f} {row['tokens']:8.1f}")
    if options.json:
        about = {"checkpoint": options.checkpoint, "device": str(sphinx.device)}
        write_text(options.json, json.dumps(about | rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
