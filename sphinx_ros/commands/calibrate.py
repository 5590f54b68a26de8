"""`sphinx-ros calibrate`: questions with known answers -> what a checkpoint's scores are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sphinx_ros.commands.arguments import OK, Parser, add_number, add_processes
from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.runtime.interrupts import load_torch

ABOUT = """Measure what the scores of a checkpoint are worth, and write it beside the checkpoint.

  sphinx-ros calibrate --checkpoint runs/demo/checkpoint
  sphinx-ros calibrate --checkpoint demo --out my-demo --scenes 100
  sphinx-ros calibrate --checkpoint sphinx-1k --out calibrated --labels kitchen/labels.jsonl

Referring expressions are asked about pictures with known answers: held-out scenes of the simulated
tabletop, a third of the expressions about things that are not there, or your own pictures. From
the answers come a few numbers, OUT/calibration.json:
what makes a score the probability that a box is right, from which presence on a thing counts
as there, and how wide the boxes' standard deviations are. A checkpoint with that file answers with
calibrated scores, and with NOT_FOUND where a thing is not there.

The scenes come from --seed as those of `sphinx-ros eval world` do: report scores on another seed.

A file of labels has a line for each expression, a JSON object. Paths are relative to the file;
boxes are x0, y0, x1, y1 in pixels; null says that there is no such thing in the picture. Some
hundred lines, a third of them with null, give numbers one can rely on.

  {"image": "desk.jpg", "text": "the red mug", "box": [214, 80, 305, 190]}
  {"image": "desk.jpg", "text": "the green mug", "box": null}
"""

SEED = 90
"""Of the scenes and questions: another than those that scores are reported on."""


def run(argv: Sequence[str]) -> int:
    """Parse, ask, fit, write; returns the exit code."""
    options = parser().parse_intermixed_args(argv)
    labels = None
    if options.labels:  # before torch is loaded: what is wrong is said at once
        from sphinx_ros.evaluate.label_file import read_labels

        labels = read_labels(options.labels)
    load_torch()
    from sphinx_ros.checkpoint.hub import beside
    from sphinx_ros.checkpoint.layout import ASSETS
    from sphinx_ros.evaluate.trust import calibration_of

    out = Path(options.out) if options.out else beside(options.checkpoint)[0]
    if not options.out and out.is_relative_to(ASSETS):
        raise BadRequest(
            f"{options.checkpoint!r} is the bundled model, which has its calibration: give --out "
            "FOLDER for another one, or a folder as --checkpoint (./demo, if it is called so)"
        )
    out.mkdir(parents=True, exist_ok=True)
    if labels is None:
        from sphinx_ros.evaluate.tabletop import refer_rows

        source = f"simulated tabletop, {options.scenes} scenes, seed {options.seed}"
        given = options.checkpoint, options.scenes, options.seed
        rows = refer_rows(*given, processes=options.processes)
    else:
        from sphinx_ros.checkpoint import load_checkpoint
        from sphinx_ros.evaluate.labelled import labelled_rows
        from sphinx_ros.pipeline import Sphinx

        source = f"{Path(options.labels).name}, {len(labels)} expressions"
        model, tokenizer, _ = load_checkpoint(options.checkpoint)
        rows = labelled_rows(Sphinx(model, tokenizer), labels)  # with raw scores
    made = calibration_of(rows, source)
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
        "--out",
        metavar="OUT",
        help="folder of the file (default: the checkpoint's; needed for the bundled model)",
    )
    parser.add_argument(
        "--labels", metavar="FILE", help="ask about your own pictures: JSON Lines, see above"
    )
    add_number(parser, "--scenes", (1, 100_000), 600, "scenes to ask about")
    add_processes(parser)
    add_number(parser, "--seed", (0, 10**6), SEED, "of scenes and questions", "S")
    return parser
