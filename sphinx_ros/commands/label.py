"""`sphinx-ros label`: a recording or pictures, and queries -> labels that `tune` learns from."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx_ros.commands.arguments import OK, Parser, add_every, add_number, add_topic, given
from sphinx_ros.commands.label_told import MOST_TOLD, read_told, writing
from sphinx_ros.commands.model_options import AskedModel, add_asked_model, check_model
from sphinx_ros.errors import BadRequest, SphinxError, Status, quoted
from sphinx_ros.runtime.files import write_text
from sphinx_ros.runtime.printable import file_name
from sphinx_ros.teach.labelling import (
    KEEP,
    REVIEW,
    Sheet,
    check_limits,
    checked_queries,
    counts,
    kind_of,
)

if TYPE_CHECKING:
    from sphinx_ros.prompt.queries import Query

ABOUT = """Label a recording or a folder of pictures with the model's own answers.

  sphinx-ros label drive.mcap --query "detect: mug" --query "detect: bottle" --every 1s --out lab
  sphinx-ros label pictures/ --query "detect: mug" --format yolo --out lab
  sphinx-ros label drive.mcap --query "detect: mug" --out lab --resume
  sphinx-ros label lab --corrections exported.zip
  sphinx-ros tune lab --checkpoint demo --out runs/tune

Boxes that score at least --keep are kept, those below --review are dropped and counted. A picture
with a box in between, with one that the model denies when asked whether it is there, or without a
usable answer is put aside: DIR/review.json has it. DIR/to_upload.json has all pictures with all
boxes. Both are COCO, which CVAT ("COCO 1.0") and Label Studio's converter import; what they export
as COCO goes back in with --corrections.

Scores of "ground:" are probabilities where the checkpoint is calibrated (sphinx-ros calibrate).
Those of "detect:" never are, nor any without a calibration: each is the geometric mean of the
probabilities of the digits that were written, for which --keep and --review are yours to find.

DIR/images/ holds the pictures, DIR/annotations.json the labels as COCO; --format yolo writes
data.yaml and labels/ as well, --format llava conversations.json. A kind that was asked for and
not found in a picture counts as not there.

After Ctrl-C, kill -9 or a power cut the same command with --resume goes on, and ends with the same
files.

Exit codes: 0 labelled, 1 no box was kept or put aside, 2 bad usage or input, 3 no picture was
answered, 130 Ctrl-C.
"""


def parser() -> Parser:
    """The verb's command line."""
    parser = Parser("label", usage="sphinx-ros label BAG|FOLDER --query LINE ... --out DIR")
    parser.description = ABOUT
    parser.add_argument("source", metavar="BAG|FOLDER", help="a bag, or a folder of pictures")
    parser.add_argument(
        "--query", action="append", default=[], metavar="LINE", help="what to look for; repeat it"
    )
    parser.add_argument("--out", metavar="DIR", help="the folder to make")
    parser.add_argument(
        "--format", choices=("coco", "yolo", "llava"), default="coco", help="default: coco"
    )
    for name, usual, said in (
        ("keep", KEEP, "boxes that score as much are kept"),
        ("review", REVIEW, "boxes that score less are dropped"),
    ):
        add_number(parser, f"--{name}", (0, 1), usual, said, "P", float)
    parser.add_argument(
        "--corrections", metavar="FILE",
        help="what a tool for labelling exports as COCO, .json or .zip, into the folder",
    )  # fmt: skip
    parser.add_argument(
        "--empty-is-none", action="store_true",
        help="with --corrections: a picture with kept boxes that has none in FILE has none; "
        "without it such a picture is left as it was, and counted",
    )  # fmt: skip
    add_topic(parser, "TOPIC", "of a bag, one with pictures")
    add_every(parser)
    parser.add_argument("--resume", action="store_true", help="go on where a run was ended")
    add_asked_model(parser)
    return parser


def run(argv: Sequence[str]) -> int:
    """Parse, ask or correct, write; returns the exit code."""
    options = parser().parse_intermixed_args(argv)
    if options.corrections:
        from sphinx_ros.commands.label_correct import correct

        return correct(options, given(parser(), options))
    if options.empty_is_none:
        raise BadRequest("--empty-is-none says what --corrections mean: name their file, too")
    queries = checked_queries(options.query)
    check_limits(options.keep, options.review)
    out = checked_out(options.out, options.resume)
    from sphinx_ros.teach.label_folder import JOURNAL, TOLD

    # pictures go to a server without loss, however long it is busy
    model = AskedModel(options, quality=None, busy=math.inf)
    if (out / TOLD).exists() and not (out / JOURNAL).exists():
        told = read_told(out)
        check_finished(out, told, settings(queries, options))
        if not options.server:  # which need not be there any more
            check_finished(out, told, model.identity())
        return tell(out, told)
    check_model(options)
    from sphinx_ros.commands.label_answers import sheets_of

    try:
        sheets = sheets_of(out, queries, options, model)
    except (KeyboardInterrupt, SphinxError):
        if (out / JOURNAL).exists():
            print("sphinx-ros: what was answered is kept: go on with --resume", file=sys.stderr)
        raise
    return finish(out, sheets, queries, options, model.identity())


def checked_out(name: str | None, resume: bool) -> Path:
    """The folder to make, or to go on with. Raises BadRequest: none is named, it holds something
    else, or a run that nobody said to go on with.
    """
    from sphinx_ros.teach.label_folder import JOURNAL, TOLD

    if not name:
        raise BadRequest("--out is missing: name the folder that the labels go into")
    out = Path(name)
    if not out.is_file() and not (out.is_dir() and any(out.iterdir())):
        return out
    begun = (out / JOURNAL).is_file()
    if resume and (begun or (out / TOLD).is_file()):
        return out
    if begun:
        raise BadRequest(
            f"{out} holds answers of a run that did not end: go on with --resume, or delete it to "
            "begin anew"
        )
    raise BadRequest(f"{out} is there already; name a new folder, or delete that one")


def settings(queries: Sequence[Query], options: Any) -> dict[str, Any]:
    """What the labels of a folder depend on, as labels.json has it."""
    return {
        "source": file_name(options.source),
        "checkpoint": options.server or options.checkpoint,
        "queries": [query.line() for query in queries],
        "format": options.format,
        "keep": options.keep,
        "review": options.review,
        "topics": sorted(options.topic),
        "every": options.every,
    }


def check_finished(folder: Path, told: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises BadRequest: a folder that is finished was labelled with other settings."""
    for name, value in asked.items():
        if name in told and told[name] != value:  # older releases told fewer
            raise BadRequest(
                f"{folder} is finished, and was labelled with {name} {quoted(told[name])} and not "
                f"{quoted(value)}: give the same, or name a new folder as --out"
            )


def finish(
    out: Path,
    sheets: list[Sheet],
    queries: Sequence[Query],
    options: Any,
    known: Mapping[str, str],
) -> int:
    """Write the labels, and tell of them; returns the exit code. known: what tells the model that
    was asked from others.

    Raises:
        SphinxError: no picture was answered.
    """
    from sphinx_ros.teach.label_folder import JOURNAL, TOLD, write_folder

    failed = [sheet for sheet in sheets if sheet.trouble]
    for sheet in failed[:MOST_TOLD]:
        print(f"sphinx-ros: {file_name(sheet.name)}: {sheet.trouble}", file=sys.stderr)
    if len(failed) == len(sheets):
        raise SphinxError("no picture was answered", status=Status.PARSE_FAILED)
    there = [sheet for sheet in sheets if sheet.readable]
    kinds = list(dict.fromkeys(map(kind_of, queries)))
    style = writing(options)
    write_folder(out, there, kinds, options.format, style)
    told = {
        **settings(queries, options),
        **known,
        **(style._asdict() if options.format == "llava" else {}),
        "pictures": len(there),
        "to_review": sum(not sheet.sure for sheet in there),
        "failed": len(failed),
        "boxes": counts(sheets),
    }
    write_text(out / TOLD, json.dumps(told, indent=1) + "\n")
    (out / JOURNAL).unlink()
    return tell(out, told)


def tell(out: Path, told: dict[str, Any]) -> int:
    """What came of it, for people; returns the exit code."""
    boxes = told["boxes"]
    print(
        f"{out}: {told['pictures']} pictures, {told['to_review']} of them to be reviewed "
        f"(review.json); boxes: {boxes['kept']} kept, {boxes['in_doubt']} in doubt, "
        f"{boxes['dropped']} dropped; {told['failed']} pictures not answered"
    )
    return OK if boxes["kept"] + boxes["in_doubt"] else Status.NOT_FOUND.exit_code
