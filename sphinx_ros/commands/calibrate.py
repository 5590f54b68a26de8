"""`sphinx-ros calibrate`: questions with known answers -> what a checkpoint's scores are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sphinx_ros.commands.arguments import OK, Parser, number
from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.runtime.interrupts import load_torch

ABOUT = """Measure what the scores of a checkpoint are worth, and write it beside the checkpoint.

  sphinx-ros calibrate --checkpoint runs/demo/checkpoint
  sphinx-ros calibrate --checkpoint demo --out my-demo --scenes 100

Referring expressions are asked about held-out scenes of the simulated tabletop, a third of them
about things that are not there. From the answers come a few numbers, OUT/calibration.json:
what makes a score the probability that a box is right, from which presence on a thing counts
as there, and how wide the boxes' standard deviations are. A checkpoint with that file answers with
calibrated scores, and with NOT_FOUND where a thing is not there.

The scenes are others than those of `sphinx-ros eval world`.
"""

SEED = 90
"""Of the scenes and questions: another than those that scores are reported on."""


def run(argv: Sequence[str]) -> int:
    """Parse, ask, fit, write; returns the exit code."""
    options = parser().parse_intermixed_args(argv)
    load_torch()
    from sphinx_ros.checkpoint.hub import resolve
    from sphinx_ros.evaluate.tabletop import refer_rows
    from sphinx_ros.evaluate.trust import calibration_of

    out = Path(options.out) if options.out else resolve(options.checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    rows = refer_rows(
        options.checkpoint, options.scenes, options.seed, processes=options.processes
    )
    made = calibration_of(
        rows, f"simulated tabletop, {options.scenes} scenes, seed {options.seed}"
    )
    if made is None:
        raise SphinxError(
            f"none of {len(rows)} answers has a box with known digits and an answer to whether "
            "the thing is there: this checkpoint's scores can't be calibrated so",
            status=Status.PARSE_FAILED,
        )
    path = made.write(out)
    print(f"{path}: from {len(rows)} questions; a thing is there from presence {made.present:.3f}")
    return OK


def parser() -> Parser:
    """The verb's command line."""
    parser = Parser("calibrate", description=ABOUT)
    parser.add_argument(
        "--checkpoint", default="demo", metavar="X", help='name or folder (default: "demo")'
    )
    parser.add_argument(
        "--out", metavar="OUT", help="folder of the file (default: the checkpoint's own)"
    )
    parser.add_argument(
        "--scenes",
        type=number(1, 100_000, int),
        default=600,
        metavar="N",
        help="scenes to ask about (default: 600)",
    )
    parser.add_argument(
        "--processes", type=number(1, 256, int), metavar="N", help="default: one per core"
    )
    parser.add_argument(
        "--seed",
        type=number(0, 10**6, int),
        default=SEED,
        metavar="S",
        help=f"of scenes and questions (default: {SEED})",
    )
    return parser
