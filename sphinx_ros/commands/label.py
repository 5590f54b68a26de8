"""`sphinx-ros label`: a recording or pictures, and queries -> labels that `tune` learns from."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx_ros.checkpoint.names import SCHEME
from sphinx_ros.commands.arguments import OK, Parser, add_every, add_number, add_topic, given
from sphinx_ros.commands.model_options import add_asked_model, check_model
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
    from sphinx_ros.teach.said import Writing

CORRECTING = ("source", "corrections", "resume", "variant", "tokenizer")
"""What counts where corrections are put in; --resume changes nothing then."""

MOST_TOLD = 5
"""Pictures that failed, of which the reason is told."""

ABOUT = """Label a recording or a folder of pictures with the model's own answers.

  sphinx-ros label drive.mcap --query "detect: mug" --query "detect: bottle" --every 1s --out lab
  sphinx-ros label pictures/ --query "detect: mug" --format yolo --out lab
  sphinx-ros label drive.mcap --query "detect: mug" --out lab --resume
  sphinx-ros label lab --corrections exported.zip
  sphinx-ros tune lab --checkpoint demo --out runs/tune

Boxes that score at least --keep are kept, those below --review are dropped and counted. A picture
with a box in between, or without a usable answer, is put aside: DIR/review.json has it. It is a
COCO file, which CVAT ("COCO 1.0") and Label Studio's converter import; what they export of it as
COCO goes back in with --corrections. Scores are probabilities where the checkpoint is calibrated
(sphinx-ros calibrate).

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
    add_topic(parser, "TOPIC", "of a bag, one with pictures")
    add_every(parser)
    parser.add_argument("--resume", action="store_true", help="go on where a run was ended")
    add_asked_model(parser)
    return parser


def run(argv: Sequence[str]) -> int:
    """Parse, ask or correct, write; returns the exit code."""
    options = parser().parse_intermixed_args(argv)
    if options.corrections:
        return correct(options)
    queries = checked_queries(options.query)
    check_limits(options.keep, options.review)
    out = checked_out(options.out, options.resume)
    from sphinx_ros.teach.label_folder import JOURNAL, TOLD

    if (out / TOLD).exists() and not (out / JOURNAL).exists():
        told = read_told(out)
        check_finished(out, told, settings(queries, options))
        return tell(out, told)
    check_model(options)
    from sphinx_ros.commands.label_answers import sheets_of

    try:
        sheets = sheets_of(out, queries, options)
    except (KeyboardInterrupt, SphinxError):
        if (out / JOURNAL).exists():
            print("sphinx-ros: what was answered is kept: go on with --resume", file=sys.stderr)
        raise
    return finish(out, sheets, queries, options)


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


def read_told(folder: Path) -> dict[str, Any]:
    """What labels.json of a folder tells. Raises BadRequest: it can't be read."""
    from sphinx_ros.teach.conversation_rows import read_json
    from sphinx_ros.teach.label_folder import TOLD

    told = read_json(folder / TOLD)
    if not isinstance(told, dict) or not {"format", "checkpoint"} <= set(told):
        raise BadRequest(
            f"{folder / TOLD} is not what `sphinx-ros label` wrote: expected an object with the "
            "keys format and checkpoint"
        )
    return told


def check_finished(folder: Path, told: dict[str, Any], asked: dict[str, Any]) -> None:
    """Raises BadRequest: a folder that is finished was labelled with other settings."""
    for name, value in asked.items():
        if name in told and told[name] != value:  # older releases told fewer
            raise BadRequest(
                f"{folder} is finished, and was labelled with {name} {quoted(told[name])} and not "
                f"{quoted(value)}: give the same, or name a new folder as --out"
            )


def finish(out: Path, sheets: list[Sheet], queries: Sequence[Query], options: Any) -> int:
    """Write the labels, and tell of them; returns the exit code.

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


def writing(options: Any) -> Writing:
    """How boxes are written in LLaVA's texts: as the model's configuration says."""
    from sphinx_ros.teach.said import Writing

    if options.format != "llava" or options.server:
        return Writing()
    from sphinx_ros.checkpoint.stored import open_checkpoint

    given = {"variant": options.variant, "tokenizer": options.tokenizer}
    return Writing(open_checkpoint(options.checkpoint, **given).config.coordinate_decimals)


def writing_before(told: dict[str, Any], options: Any) -> Writing:
    """How boxes are written in a folder, by what its labels.json tells."""
    from sphinx_ros.teach.said import Writing

    if "decimals" in told and "comma" in told:
        return Writing(told["decimals"], told["comma"])
    options.format, options.checkpoint = told["format"], told["checkpoint"]
    options.server = options.checkpoint if is_server(str(options.checkpoint)) else ""
    return writing(options)


def is_server(name: str) -> bool:
    """Whether what labels.json calls the checkpoint is the address of a server."""
    return "://" in name and not name.startswith(SCHEME)


def correct(options: Any) -> int:
    """Put corrections into a folder of labels; returns the exit code."""
    from sphinx_ros.teach.label_corrections import corrected
    from sphinx_ros.teach.label_folder import KEPT, TOLD, write_folder

    others = [one for one in given(parser(), options) if one not in CORRECTING]
    if others:
        raise BadRequest(
            f"--{others[0]} is for labelling: with --corrections the folder's own settings count, "
            "leave it out"
        )
    folder = Path(options.source)
    if not (folder / KEPT).is_file() or not (folder / TOLD).is_file():
        raise BadRequest(
            f"{folder} is no folder of `sphinx-ros label`: it has no {KEPT} and {TOLD}"
        )
    told = read_told(folder)
    made = corrected(folder, Path(options.corrections))
    write_folder(folder, made.sheets, made.kinds, told["format"], writing_before(told, options))
    for one in made.bad.bad[:MOST_TOLD]:
        print(f"sphinx-ros: {one.where}: {one.why}", file=sys.stderr)
    if made.new and made.untouched:
        print(
            f"sphinx-ros: nobody has looked for {', '.join(made.new)} in the {made.untouched} "
            "pictures that were not corrected: they count as having none",
            file=sys.stderr,
        )
    left, bad = sum(not sheet.sure for sheet in made.sheets), len(made.bad.bad)
    print(
        f"{folder}: {made.count} pictures corrected, {left} still to be reviewed"
        + (f"; {bad} rows could not be used" if bad else "")
    )
    return OK
