"""What `sphinx-ros eval` gains where expressions on one picture share its look.

    python bench/evaluation.py --scenes 40 --json runs/evaluation.json

The simulated tabletop is written as RefCOCO, with about as many expressions a picture as there
(7.1), and asked twice: as a run does it, and each expression with a look of its own. Times are of
the processor, so that other work on the machine counts little. Needs the simulated camera.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sphinx_ros.benchmarks.answering import Answerer, Settings
from sphinx_ros.benchmarks.catalogue import benchmark
from sphinx_ros.benchmarks.exported_scenes import Scene, scenes
from sphinx_ros.benchmarks.layouts import read_benchmark
from sphinx_ros.benchmarks.run_folder import plan
from sphinx_ros.benchmarks.samples import Sample
from sphinx_ros.benchmarks.written_layouts import export
from sphinx_ros.world.exercises import turns
from sphinx_ros.world.phrases import EXPRESSION_KINDS

PER_KIND = 1.6
"""Expressions of each of five kinds: about seven a picture."""

SAME = 0.01
"""Pixels by which two equal boxes may differ: sums of other batches round otherwise."""


def asked_often(made: Sequence[Scene]) -> list[Scene]:
    """The same scenes with more expressions."""
    per_scene = dict.fromkeys(EXPRESSION_KINDS, PER_KIND)
    return [
        replace(s, turns=tuple(turns(s.seen, np.random.default_rng(s.number), per_scene)))
        for s in made
    ]


def measure(samples: Sequence[Sample], checkpoint: str, batch: int) -> dict[str, float]:
    """Questions per second of the processor, together and apart, and how many answers differ."""
    load = {"checkpoint": checkpoint, "device": "cpu"}
    jobs = plan(samples, batch)
    lines, seconds = {}, {}
    for name, apart in (("together", False), ("apart", True)):
        answerer = Answerer(Settings(load, apart=apart, threads=1))
        answerer.answers(jobs[0][:2])  # warm
        begun = time.process_time()
        lines[name] = [line for job in jobs for line, _ in answerer.answers(job)]
        seconds[name] = time.process_time() - begun
    pairs = list(zip(lines["together"], lines["apart"], strict=True))
    return {
        "questions": len(samples),
        "pictures": len({one.picture.key for one in samples}),
        "together_per_s": len(samples) / seconds["together"],
        "apart_per_s": len(samples) / seconds["apart"],
        "ratio": seconds["apart"] / seconds["together"],
        "texts_that_differ": sum(one["text"] != other["text"] for one, other in pairs),
        "boxes_that_differ": sum(not _same(one["boxes"], other["boxes"]) for one, other in pairs),
    }


def _same(boxes: Sequence, others: Sequence) -> bool:
    return len(boxes) == len(others) and bool(np.allclose(boxes, others, rtol=0, atol=SAME))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", default="demo")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        export("refer", Path(folder) / "x", lambda: asked_often(scenes(options.scenes)))
        _, reading = read_benchmark(benchmark("refcoco"), Path(folder) / "x")
        found = measure(reading.samples, options.checkpoint, options.batch)
    for name, value in found.items():
        print(f"{name:20} {value:.2f}" if isinstance(value, float) else f"{name:20} {value}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
