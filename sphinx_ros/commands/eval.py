"""`sphinx-ros eval world`: a checkpoint -> its scores on simulated scenes. Knows no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sphinx_ros.commands.arguments import OK, Parser, number
from sphinx_ros.errors import BadRequest
from sphinx_ros.model.quantities import KINDS
from sphinx_ros.runtime.interrupts import load_torch

ABOUT = """Measure a checkpoint on scenes of the simulated tabletop, against exact ground truth.

  sphinx-ros eval world                                 the bundled model, 1000 scenes
  sphinx-ros eval world --scenes 100 --seed 5 --json scores.json
  sphinx-ros eval world --checkpoint runs/demo/checkpoint

Scenes come from seeds that training never draws, at 640x480, 640x360 and 480x640 pixels; the same
--seed gives the same scenes. The JSON file has the printed scores by their dotted names, such as
refer.acc50 refer.miou detect.f1 detect.none_acc pose.pck qa.acc. Runs on the CPU.
"""


def run(argv: Sequence[str]) -> int:
    """Parse, measure, print the table; returns the exit code."""
    options = parser().parse_intermixed_args(argv)
    target = Path(options.json) if options.json else None
    if target and (target.is_dir() or not target.absolute().parent.is_dir()):
        raise BadRequest(f"--json {target} must be a file in a folder that exists")
    load_torch()
    from sphinx_ros.evaluate.tabletop import evaluate, report, write

    scores = evaluate(
        options.checkpoint,
        scenes=options.scenes,
        seed=options.seed,
        batch=options.batch,
        processes=options.processes,
        quantise=options.quantise,
    )
    print(report(scores))
    if target:
        about = {"checkpoint": options.checkpoint, "scenes": options.scenes, "seed": options.seed}
        if options.quantise:
            about["quantise"] = options.quantise
        write(scores, target, **about)
    return OK


def parser() -> Parser:
    """The verb's command line."""
    parser = Parser("eval", description=ABOUT)
    parser.add_argument("what", choices=("world",), help="what to measure on")
    parser.add_argument(
        "--checkpoint",
        default="demo",
        metavar="X",
        help="a name or a checkpoint folder (default: demo)",
    )
    parser.add_argument(
        "--scenes",
        type=number(1, 1_000_000, int),
        default=1000,
        metavar="N",
        help="number of scenes (default: 1000)",
    )
    parser.add_argument(
        "--seed",
        type=number(0, 1_000_000, int),
        default=0,
        metavar="S",
        help="which scenes (default: 0)",
    )
    parser.add_argument("--quantise", choices=KINDS, help="store the decoder in fewer bits")
    parser.add_argument("--json", metavar="FILE", help="write the scores as JSON too")
    parser.add_argument(
        "--batch",
        type=number(1, 4096, int),
        default=24,
        metavar="N",
        help="pictures that are asked together (default: 24)",
    )
    parser.add_argument(
        "--processes",
        type=number(1, 256, int),
        metavar="N",
        help="processes that share the work (default: one per core)",
    )
    return parser
