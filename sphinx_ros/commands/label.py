"""`sphinx-ros label`: a recording or pictures, and queries -> labels that `tune` learns from."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx_ros.checkpoint.names import find
from sphinx_ros.commands.arguments import (
    OK,
    Parser,
    add_model_options,
    add_server,
    check_server,
    model_options,
    number,
)
from sphinx_ros.commands.bag import add_every
from sphinx_ros.commands.pictures import SUFFIXES, read_picture, write_picture
from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.runtime.files import write_text
from sphinx_ros.runtime.interrupts import load_torch
from sphinx_ros.runtime.printable import file_name
from sphinx_ros.runtime.progress import Progress
from sphinx_ros.teach.labelling import KEEP, REVIEW, Labeller, Sheet, checked_queries

if TYPE_CHECKING:
    import numpy as np

    from sphinx_ros.teach.said import Writing

ABOUT = """Label a recording or a folder of pictures with the model's own answers.

  sphinx-ros label drive.mcap --query "detect: mug" --query "detect: bottle" --every 1s --out lab
  sphinx-ros label pictures/ --query "detect: mug" --format yolo --out lab
  sphinx-ros label lab --corrections exported.json
  sphinx-ros tune lab --checkpoint demo --out runs/tune

Boxes that score at least --keep are kept, those below --review are dropped and counted. A picture
with a box in between is put aside: DIR/review.json has it with all its boxes. It is a COCO file,
which CVAT ("COCO 1.0") and Label Studio import; what they export of it goes back in with
--corrections. Scores are probabilities where the checkpoint is calibrated (sphinx-ros calibrate).

DIR/images/ holds the pictures, DIR/annotations.json the labels as COCO; --format yolo writes
data.yaml and labels/ as well, --format llava conversations.json. A kind that was asked for and
not found in a picture counts as not there.

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
        parser.add_argument(
            f"--{name}", type=number(0, 1), default=usual, metavar="P", help=f"{said} ({usual:g})"
        )
    parser.add_argument(
        "--corrections", metavar="FILE", help="COCO of a tool for labelling, into the folder"
    )
    parser.add_argument(
        "--topic", action="append", default=[], metavar="TOPIC", help="of a bag (default: all)"
    )
    add_every(parser)
    add_model_options(parser)
    add_server(parser)
    return parser


def run(argv: Sequence[str]) -> int:
    """Parse, ask or correct, write; returns the exit code."""
    options = parser().parse_intermixed_args(argv)
    if options.corrections:
        return correct(options)
    queries = checked_queries(options.query)
    check_server(options)
    out, source = checked_out(options.out), Path(options.source)
    if not options.server:
        find(options.checkpoint)
    shots = shots_of(source, options)
    labeller = Labeller(loaded(options), queries, options.keep, options.review)
    (out / "images").mkdir(parents=True, exist_ok=True)
    sheets: list[Sheet] = []
    total, pictures = shots
    with Progress(total, "labelling", "picture") as bar:
        for name, rgb, file in pictures:
            bar.advance()
            sheet = labeller.sheet(name, rgb)
            if sheet is None:
                continue
            place = out / "images" / name
            if file is None:
                write_picture(place, rgb)
            else:
                shutil.copyfile(file, place)
            sheets.append(sheet)
    for trouble in labeller.troubles[:5]:
        print(f"sphinx-ros: {trouble}", file=sys.stderr)
    if not sheets:
        raise SphinxError("no picture was answered", status=Status.PARSE_FAILED)
    from sphinx_ros.teach.label_folder import write_folder

    write_folder(out, sheets, labeller.kinds, options.format, writing(options))
    told = {
        "source": file_name(source),
        "checkpoint": options.server or options.checkpoint,
        "queries": [query.line() for query in queries],
        "format": options.format,
        "keep": options.keep,
        "review": options.review,
        "pictures": len(sheets),
        **labeller.counts,
    }
    write_text(out / "labels.json", json.dumps(told, indent=1) + "\n")
    counts, doubted = labeller.counts, sum(not sheet.sure for sheet in sheets)
    print(
        f"{out}: {len(sheets)} pictures, {doubted} of them to be reviewed (review.json); boxes: "
        f"{counts['kept']} kept, {counts['review']} in doubt, {counts['dropped']} dropped; "
        f"{counts['failed']} pictures failed"
    )
    return OK if counts["kept"] + counts["review"] else Status.NOT_FOUND.exit_code


def checked_out(name: str | None) -> Path:
    """The folder to make. Raises BadRequest: none is named, or it holds something."""
    if not name:
        raise BadRequest("--out is missing: name the folder that the labels go into")
    out = Path(name)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise BadRequest(f"{out} is there already; name a new folder, or delete that one")
    return out


def loaded(options: Any) -> Any:
    """The model that is asked."""
    from sphinx_ros.pipeline import Sphinx

    if options.server:
        return Sphinx.connect(options.server.split(","), token=options.token, quality=None)
    load_torch()
    return Sphinx.from_pretrained(options.checkpoint, **model_options(options))


def writing(options: Any) -> Writing:
    """How boxes are written in LLaVA's texts: as the model's configuration says."""
    from sphinx_ros.teach.said import Writing

    if options.format != "llava" or options.server:
        return Writing()
    from sphinx_ros.checkpoint.stored import open_checkpoint

    given = {"variant": options.variant, "tokenizer": options.tokenizer}
    return Writing(open_checkpoint(options.checkpoint, **given).config.coordinate_decimals)


Shots = Iterator[tuple[str, "np.ndarray", Path | None]]


def shots_of(source: Path, options: Any) -> tuple[int, Shots]:
    """How many pictures there are, and (name, RGB, file or None) of each that can be read."""
    if source.is_dir() and not (source / "metadata.yaml").exists():
        files = sorted(one for one in source.iterdir() if one.suffix.lower() in SUFFIXES)
        if not files:
            raise BadRequest(f"{source} holds no picture ({' '.join(SUFFIXES)}) and is no bag")
        return len(files), of_folder(files)
    from sphinx_ros.bags.bag_reader import Bag
    from sphinx_ros.bags.bag_topics import chosen_topics

    with Bag(source) as bag:
        topics = [*chosen_topics(bag.pictures, options.topic).values()]
        total = sum(bag.pictures[topic] for topic in topics)
    return total, of_bag(source, topics, options.every)


def of_folder(files: Sequence[Path]) -> Shots:
    """The pictures of a folder."""
    for file in files:
        try:
            yield file.name, read_picture(file), file
        except SphinxError as error:
            print(f"sphinx-ros: {file_name(file)}: {error}", file=sys.stderr)


def of_bag(source: Path, topics: Sequence[str], every: float) -> Shots:
    """The pictures of a bag."""
    from sphinx_ros.bags.bag_reader import Bag, Every

    taken = Every(every)
    with Bag(source) as bag:
        for shot in bag.shots(topics):
            if not taken.takes(shot):
                continue
            topic = re.sub(r"\W+", "_", shot.topic).strip("_")
            try:
                yield f"{topic}_{shot.number:06d}.png", shot.decode(), None
            except SphinxError as error:
                print(f"sphinx-ros: {shot.topic} {shot.number}: {error}", file=sys.stderr)


def correct(options: Any) -> int:
    """Put corrections into a folder of labels; returns the exit code."""
    from sphinx_ros.teach.label_folder import KEPT, TOLD, corrected, write_folder
    from sphinx_ros.teach.said import Writing

    folder = Path(options.source)
    if not (folder / KEPT).is_file() or not (folder / TOLD).is_file():
        raise BadRequest(
            f"{folder} is no folder of `sphinx-ros label`: it has no {KEPT} and {TOLD}"
        )
    told = json.loads((folder / TOLD).read_text(encoding="utf-8"))
    sheets, kinds, count = corrected(folder, Path(options.corrections))
    options.format, options.server = told["format"], options.server or ""
    options.checkpoint = told["checkpoint"]
    style = writing(options) if "://" not in str(told["checkpoint"]) else Writing()
    write_folder(folder, sheets, kinds, told["format"], style)
    left = sum(not sheet.sure for sheet in sheets)
    print(f"{folder}: {count} pictures corrected, {left} still to be reviewed")
    return OK
