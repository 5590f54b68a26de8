"""`sphinx-ros eval`: a checkpoint -> its scores, on simulated scenes or on the field's benchmarks.

Knows no network.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

from sphinx_ros.benchmarks.catalogue import BENCHMARKS
from sphinx_ros.commands import benchmark
from sphinx_ros.commands.arguments import OK, Parser, add_number, add_processes, given
from sphinx_ros.commands.model_options import add_model_options
from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.interrupts import load_torch

WORLD = "world"
NAMES = textwrap.fill(", ".join(BENCHMARKS), 98)
ABOUT = f"""Measure a checkpoint against what is true.

  sphinx-ros eval world                                 the bundled model, 1000 scenes
  sphinx-ros eval world --scenes 100 --seed 5 --json scores.json
  sphinx-ros eval --list                                the benchmarks, and which files they are
  sphinx-ros eval refcoco DIR --checkpoint sphinx-1k --device cuda --out runs/refcoco
  sphinx-ros eval refcoco DIR --out runs/refcoco --resume      after it was killed
  sphinx-ros eval mine DIR --checkpoint sphinx-1k       your own pictures: DIR/labels.jsonl

world: scenes come from seeds that training never draws, at 640x480, 640x360 and 480x640 pixels;
the same --seed gives the same scenes. The JSON file has the printed scores by their dotted names,
such as refer.acc50 refer.miou detect.f1 detect.none_acc pose.pck qa.acc. Runs on the CPU.

{NAMES}:
the layout of the data is found. A run is a folder with every answer
(answers.jsonl), results.json (refcoco.val.acc50 and so on), table.md and worst.jpg. Column
"correct" counts every question, column "official" counts as the data set's own script does:
docs/evaluation.md.
"""

WORLD_ONLY = ("scenes", "seed", "json", "processes")
WORLD_ALSO = ("what", "folder", "list", "checkpoint", "quantise", "batch", *WORLD_ONLY)
"""What :func:`run_world` heeds, and what is refused in words of its own."""

AS_IT_IS = {"device": "cpu", "dtype": "float32"}
"""Values that name what eval world does anyway."""

SCENES, SEED, WORLD_BATCH = 1000, 0, 24


def run(argv: Sequence[str]) -> int:
    """Parse, measure, print the table; returns the exit code."""
    options = parser().parse_intermixed_args(argv)
    if options.list:
        name = None if options.what == WORLD else options.what
        print(benchmark.listing(name, Path(options.folder) if options.folder else None))
        return OK
    if options.what is None:
        raise BadRequest("a name is required: world, or a benchmark (sphinx-ros eval --list)")
    only = [name for name in WORLD_ONLY if getattr(options, name) is not None]
    if options.what != WORLD:
        if only:
            raise BadRequest(f"--{only[0]} is for eval {WORLD} and not for {options.what}")
        return benchmark.run_benchmark(options)
    if options.folder:
        raise BadRequest(f"eval {WORLD} takes no folder, and got {options.folder!r}")
    check_world(options)
    return run_world(options)


def check_world(options: argparse.Namespace) -> None:
    """Raises BadRequest: an option was given that eval world would pass over."""
    for name in given(parser(), options):
        if name not in WORLD_ALSO and getattr(options, name) != AS_IT_IS.get(name):
            heeded = ", ".join(f"--{one}" for one in WORLD_ALSO[3:])
            raise BadRequest(
                f"--{name} is for benchmarks and not for eval {WORLD}, which runs on the CPU and "
                f"heeds {heeded}: leave it out"
            )


def run_world(options: argparse.Namespace) -> int:
    """Measure on simulated scenes."""
    target = Path(options.json) if options.json else None
    if target and (target.is_dir() or not target.absolute().parent.is_dir()):
        raise BadRequest(f"--json {target} must be a file in a folder that exists")
    load_torch()
    from sphinx_ros.evaluate.tabletop import evaluate, report, write

    scenes = SCENES if options.scenes is None else options.scenes
    seed = SEED if options.seed is None else options.seed
    scores = evaluate(
        options.checkpoint,
        scenes=scenes,
        seed=seed,
        batch=options.batch or WORLD_BATCH,
        processes=options.processes,
        quantise=options.quantise,
    )
    print(report(scores))
    if target:
        about = {"checkpoint": options.checkpoint, "scenes": scenes, "seed": seed}
        if options.quantise:
            about["quantise"] = options.quantise
        write(scores, target, **about)
    return OK


def parser() -> Parser:
    """The verb's command line."""
    parser = Parser("eval", description=ABOUT)
    names = (WORLD, *BENCHMARKS)
    parser.add_argument(
        "what", nargs="?", choices=names, metavar="NAME", help=f"{WORLD}, or a benchmark"
    )
    benchmark.add_options(parser)
    add_model_options(parser)
    usual = f"{WORLD_BATCH} of {WORLD}, else {benchmark.BATCH}"
    together = f"pictures that are asked together (default: {usual})"
    add_number(parser, "--batch", (1, 4096), None, together)
    world = parser.add_argument_group(WORLD)
    # that they were given tells of what; so they have no default
    add_number(world, "--scenes", (1, 10**6), None, f"number of scenes (default: {SCENES})")
    add_number(world, "--seed", (0, 10**6), None, f"which scenes (default: {SEED})", "S")
    world.add_argument("--json", metavar="FILE", help="write the scores as JSON too")
    add_processes(world)
    return parser
