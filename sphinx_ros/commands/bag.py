"""`sphinx-ros bag`: recordings and queries -> recordings with the answers."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx_ros.commands.arguments import (
    Parser,
    add_answer_limit,
    add_every,
    add_threshold,
    add_topic,
    number,
)
from sphinx_ros.commands.model_options import (
    add_asked_model,
    check_model,
    check_server,
    model_options,
)
from sphinx_ros.commands.report import Tally
from sphinx_ros.errors import BadRequest, Status
from sphinx_ros.runtime.printable import file_name, one_line
from sphinx_ros.runtime.progress import Progress

if TYPE_CHECKING:
    from sphinx_ros.bags.bag_job import Done, Job

ABOUT = """Ask about the pictures of a recording, and write a recording with the answers.

  sphinx-ros bag drive.mcap answers.mcap --query "detect: mug" --query pose
  sphinx-ros bag rosbag2_2026_11_26/ answers.mcap --query "ground: the red mug" --every 0.5s
  sphinx-ros bag drive.mcap seen.mcap --query caption --annotated --only
  sphinx-ros bag drive.mcap front.mcap --query detect --topic front=/front/image_raw
  sphinx-ros bag drive.mcap answers.mcap --query "detect: mug" --resume
  sphinx-ros bag monday.mcap tuesday.mcap answers/ --query "detect: mug" --workers 2
  sphinx-ros bag recordings/ answers/ --query "detect: mug" --workers ray

IN is a bag of ROS 2, MCAP or sqlite3, a file or a folder; no ROS is needed. OUT is an MCAP file
with all that IN holds and the messages that the node would have published, at the times of the
pictures and with their stamps:

  /sphinx/detections /sphinx/keypoints /sphinx/points /sphinx/answers    as the queries want it
  /sphinx/detections_2d                   vision_msgs/Detection2DArray
  /sphinx/image_annotations               foxglove_msgs/ImageAnnotations
  /sphinx/annotated/compressed            sensor_msgs/CompressedImage, with --annotated

With several cameras the name of each stands between, as /sphinx/front/detections. All topics with
pictures are taken, but depth and compressed copies of what is there raw.

A query is a line as the node takes it: "detect: mug", "ground: the red mug", "pose", "caption",
"ask: is the door open?", "describe: 10,20,110,220", "point: the handle", "read_text".

What was answered is in OUT.part until OUT is whole; after Ctrl-C, a power cut or kill -9 the same
command with --resume goes on, and ends with the same bytes. A server that is away ends the run, as
do a defect and too little memory: --resume asks about that picture again. Several bags, or a
folder of bags, go into a folder OUT.

Exit codes: 0 answered, 1 not found in any picture, 2 bad usage or pictures that could not be read
(OUT is written, with the answers about the others), 3 answers that are missing, 130 Ctrl-C. With
--resume an OUT that is whole ends with the code of the run that wrote it.
"""


def parser() -> Parser:
    """The verb's command line."""
    parser = Parser("bag", usage="sphinx-ros bag IN [IN ...] OUT --query LINE [options]")
    parser.description = ABOUT
    parser.add_argument("paths", metavar="IN OUT", nargs="+", help="bags, and what to write")
    parser.add_argument(
        "--query", action="append", default=[], metavar="LINE", help="what to ask; repeat it"
    )
    add_topic(parser, "[NAME=]TOPIC", "a topic with pictures, and maybe its camera's name")
    add_every(parser)
    add_threshold(parser)
    parser.add_argument(
        "--annotated", action="store_true", help="write pictures with the answers drawn in as well"
    )
    parser.add_argument(
        "--only", action="store_true", help="write the answers alone, without what IN holds"
    )
    parser.add_argument(
        "--prefix",
        default="/sphinx",
        metavar="/NAME",
        help="what the written topics begin with (default: /sphinx)",
    )
    parser.add_argument("--resume", action="store_true", help="go on where a run was ended")
    parser.add_argument(
        "--workers",
        type=workers,
        default=1,
        metavar="N|ray",
        help="of several bags so many at a time, by processes, or by Ray Data on the cluster that "
        "RAY_ADDRESS names (default: 1)",
    )
    add_answer_limit(parser)
    add_asked_model(parser)
    return parser


def workers(text: str) -> int | str:
    """A type for argparse: a number of processes, or "ray"."""
    return "ray" if text == "ray" else number(1, 256, int)(text)


def run(argv: Sequence[str]) -> int:
    """Parse, check, ask, write; returns the exit code."""
    options = parser().parse_args(argv)
    check_server(options)
    from sphinx_ros.bags.bag_fleet import do_all
    from sphinx_ros.bags.bag_job import check

    jobs = jobs_of(options)
    for job in jobs:
        check(job)
    check_model(options)
    tally = Tally()
    try:
        with Progress(len(jobs), "bags", "bag", shown=options.workers != 1) as progress:
            for done in do_all(jobs, options.workers):
                with progress.aside():
                    tell(done)
                progress.advance()
                for status in done.statuses or {done.status}:
                    tally.add(Status[status])
    except KeyboardInterrupt:
        print("sphinx-ros: what was answered is kept: go on with --resume", file=sys.stderr)
        raise
    return tally.exit_code()


def jobs_of(options: argparse.Namespace) -> list[Job]:
    """One job for each bag. Raises BadRequest."""
    from sphinx_ros.bags.bag_job import Job

    if len(options.paths) < 2:
        raise BadRequest("give the bag, and behind it the .mcap file to write")
    *given, out = options.paths
    sources = [bag for word in given for bag in bags_in(word)]
    many = len(sources) > 1 or sources != list(given)
    asking = {"max_new_tokens": options.max_new_tokens} if options.max_new_tokens else {}
    return [
        Job(
            source=source,
            target=target,
            lines=tuple(options.query),
            topics=tuple(options.topic),
            every=options.every,
            checkpoint=options.checkpoint,
            model=model_options(options),
            server=options.server,
            token=options.token,
            asking=asking,
            prefix=options.prefix,
            threshold=options.threshold,
            annotated=options.annotated,
            only=options.only,
            resume=options.resume,
            shown=options.workers == 1,
        )
        for source, target in zip(sources, targets(sources, out, many), strict=True)
    ]


def bags_in(word: str) -> list[str]:
    """The bags that a word stands for: itself, or those in a folder of bags.

    Raises BadRequest: the folder has none.
    """
    folder = Path(word)
    if not folder.is_dir() or (folder / "metadata.yaml").exists():
        return [word]
    found = sorted(
        os.path.join(word, one.name)
        for one in folder.iterdir()
        if one.suffix in (".mcap", ".db3") or (one / "metadata.yaml").exists()
    )
    if not found:
        raise BadRequest(
            f"the folder '{file_name(word)}' is no bag, and holds none (.mcap, .db3, folders with "
            "a metadata.yaml)"
        )
    return found


def targets(sources: Sequence[str], out: str, many: bool) -> list[str]:
    """The file to write for each bag. Makes the folder of several.

    Raises BadRequest: that is no folder, or two bags would be one file.
    """
    if not many:
        return [out]
    if out.lower().endswith(".mcap"):
        raise BadRequest(f"'{file_name(out)}': several bags go into a folder, not into one file")
    names = [Path(source).stem for source in sources]
    same = next((name for name in names if names.count(name) > 1), None)
    if same is not None:
        raise BadRequest(
            f"several bags are named '{file_name(same)}': their answers would be, too"
        )
    os.makedirs(out, exist_ok=True)
    made = [os.path.join(out, f"{name}.mcap") for name in names]
    for source, target in zip(sources, made, strict=True):
        if os.path.exists(target) and os.path.samefile(source, target):
            raise BadRequest(f"'{file_name(out)}' is where the bags are; name another folder")
    return made


def tell(done: Done) -> None:
    """What became of a bag: a line to standard output, what is wrong to standard error."""
    name = file_name(done.target)
    if done.error:
        print(f"sphinx-ros: {name}: {one_line(done.error)}", file=sys.stderr)
        return
    counts = ", ".join(f"{count} {status}" for status, count in sorted(done.statuses.items()))
    if done.before:
        print(f"{name}: is there already{counts and f'; answers: {counts}'}")
        return
    said = f"looked at {done.looked} of {done.pictures} pictures; answers: {counts or 'none'}"
    print(f"{name}: {said}", flush=True)
    for line in (*done.bad, *done.lacking):
        print(f"sphinx-ros: {name}: {one_line(line)}", file=sys.stderr)
    if done.left_out:
        print(
            f"sphinx-ros: {name}: topics whose types nobody defines were left out: "
            f"{', '.join(done.left_out)}",
            file=sys.stderr,
        )
