"""`sphinx-ros find`: a recording and the words for a thing -> where and when it is seen."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx_ros.commands.arguments import Parser, add_every, add_threshold, add_topic
from sphinx_ros.commands.model_options import AskedModel, add_asked_model, check_server
from sphinx_ros.commands.pictures import SUFFIXES, write_picture
from sphinx_ros.commands.report import Tally, known
from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.prompt.checks import checked_text
from sphinx_ros.runtime.printable import file_name, one_line
from sphinx_ros.runtime.progress import Progress

if TYPE_CHECKING:
    from sphinx_ros.bags.bag_reader import Bag
    from sphinx_ros.bags.contact_sheet import Tile
    from sphinx_ros.bags.sightings import Search, Span

ABOUT = """Find a thing in a recording: where and when it is seen.

  sphinx-ros find drive.mcap "the red mug"
  sphinx-ros find drive.mcap "the red mug" --every 0.5s --save sheet.jpg
  sphinx-ros find rosbag2_2026_11_26/ "a person" --topic /front/image_raw --threshold 0.5
  sphinx-ros find drive.mcap "the red mug" --json > found.jsonl

A line is a span: pictures of one topic, one after another of those looked at, that all show the
thing. The model is asked for its box, and whether it is there at all; where it says no the picture
is not listed. Box, score and "taken" are those of the best picture. Where Ctrl-C or a server that
is lost ends the search, what was found until then is printed.

BAG is MCAP or sqlite3, a file or a folder; no ROS is needed. All topics with pictures are looked
at, but depth and compressed copies of what is there raw.

Exit codes: 0 found, 1 not found, 2 bad usage or pictures that could not be read, 130 Ctrl-C.
"""

SCHEMA = """--json prints one object per span, one per line:
  topic        of the pictures
  from to      seconds from the bag's first message
  pictures     how many that were looked at show the thing
  best         the one with the best score: {number: of the topic's pictures, from 0; time: seconds
               from the bag's first message; stamp_ns: when it was taken, ns since the epoch; box:
               [x0, y0, x1, y1] px; score; score_source; presence: that there is such a thing}
Scores are 0..1, null where unknown."""

MOST = 64
"""Pictures on a contact sheet: those with the best scores."""

COLUMNS = "{:{wide}} {:>9} {:>9} {:>8} {:>9} {:>5}  {:23}  {}"
HEADS = ("topic", "from", "to", "pictures", "best at", "score", "box", "taken")


def parser() -> Parser:
    """The verb's command line."""
    parser = Parser("find", usage="sphinx-ros find BAG TEXT [options]", epilog=SCHEMA)
    parser.description = ABOUT
    parser.add_argument("bag", metavar="BAG", help="a bag: .mcap, .db3, or a folder")
    parser.add_argument("text", metavar="TEXT", nargs="+", help="what to look for")
    parser.add_argument("--json", action="store_true", help="one JSON object per span")
    parser.add_argument(
        "--save", metavar="SHEET", help="write the best picture of each span, on one sheet"
    )
    add_topic(parser, "TOPIC", "a topic with pictures")
    add_every(parser)
    add_threshold(parser)
    add_asked_model(parser)
    return parser


def run(argv: Sequence[str]) -> int:
    """Parse, look, print; returns the exit code."""
    options = parser().parse_intermixed_args(argv)
    check_server(options)
    text = checked_text(" ".join(options.text))
    target = checked_target(options.save)
    from sphinx_ros.bags.bag_reader import Bag
    from sphinx_ros.bags.bag_topics import chosen_topics
    from sphinx_ros.bags.contact_sheet import Best
    from sphinx_ros.bags.sightings import Search, score_of

    shown = Best(MOST)

    def keep(span: Span, rgb: Any) -> None:
        """A span's best picture, if a sheet is wanted."""
        if target is not None:
            shown.add(span.key, score_of(span.best), rgb)

    with Bag(options.bag) as bag:
        topics = [*chosen_topics(bag.pictures, options.topic).values()]
        search = Search(text, topics, options.every, options.threshold, on_best=keep)
        sphinx = AskedModel(options, busy=math.inf)()
        spans = list(printed(bag, search, sphinx, options.json))
        if target is not None and spans:
            write_picture(target, sheet_of(bag, spans, shown.tiles))
    for topic, reason in search.troubles.items():
        print(
            f"sphinx-ros: pictures on {topic} can't be read: {one_line(reason)}", file=sys.stderr
        )
    for line in search.lacking:
        print(f"sphinx-ros: {line}", file=sys.stderr)
    return exit_code(search, spans)


def checked_target(name: str | None) -> Path | None:
    """Where the sheet goes. Raises BadRequest."""
    if name is None:
        return None
    target = Path(name)
    if target.suffix.lower() not in SUFFIXES or not target.parent.is_dir():
        raise BadRequest(
            f"--save {file_name(name)} must be a file with one of {' '.join(SUFFIXES)}, in a "
            "folder that is there"
        )
    if not os.access(target.parent, os.W_OK):  # told before all is looked at
        raise BadRequest(f"--save {file_name(name)}: its folder can't be written to")
    return target


def printed(bag: Bag, search: Search, sphinx: Any, as_json: bool) -> Iterator[Span]:
    """The spans; each has been printed, and where the search is broken off those that go on."""
    total = sum(bag.pictures[topic] for topic in search.topics)
    wide = max(map(len, search.topics))
    heads = [] if as_json else [COLUMNS.format(*HEADS, wide=wide).rstrip()]

    def tell(span: Span) -> None:
        with progress.aside():
            while heads:
                print(heads.pop())
            print(json_line(bag, span) if as_json else table_line(bag, span, wide), flush=True)

    with Progress(total, file_name(bag.path.name), "picture") as progress:
        try:
            for span in search.spans(bag, sphinx, progress.advance):
                tell(span)
                yield span
        except (KeyboardInterrupt, SphinxError):
            for span in search.going_on:
                tell(span)
            raise


def table_line(bag: Bag, span: Span, wide: int) -> str:
    """A row of the table. wide: letters of the longest topic."""
    from sphinx_ros.bags.sightings import since

    box, score = span.best.found.box, known(span.best.found.score)
    return COLUMNS.format(
        span.topic,
        f"{since(bag, span.first):.2f} s",
        f"{since(bag, span.last):.2f} s",
        span.pictures,
        f"{since(bag, span.best):.2f} s",
        "" if score is None else f"{score:.2f}",
        ",".join(f"{side:.1f}" for side in box),
        moment(span.best.stamp),
        wide=wide,
    ).rstrip()


def json_line(bag: Bag, span: Span) -> str:
    """One JSON object, see :data:`SCHEMA`."""
    from sphinx_ros.bags.sightings import since

    found = span.best.found
    said = {
        "topic": span.topic,
        "from": round(since(bag, span.first), 3),
        "to": round(since(bag, span.last), 3),
        "pictures": span.pictures,
        "best": {
            "number": span.best.number,
            "time": round(since(bag, span.best), 3),
            "stamp_ns": span.best.stamp,
            "box": [known(side) for side in found.box],
            "score": known(found.score, 4),
            "score_source": found.score_source.name,
            "presence": known(found.presence, 4),
        },
    }
    return json.dumps(said, allow_nan=False)


def moment(stamp: int) -> str:
    """Nanoseconds since the epoch -> "2026-11-26T22:12:55.250Z"; seconds of a clock from 0."""
    if stamp < 10**18:  # before September 2001: a simulation
        return f"{stamp / 10**9:.2f} s"
    at = datetime.fromtimestamp(stamp // 10**6 / 1e3, timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sheet_of(bag: Bag, spans: Sequence[Span], tiles: Mapping[Any, Tile]) -> Any:
    """The contact sheet, [H, W, 3] uint8. tiles: by the keys of the spans that are shown."""
    from sphinx_ros.bags.contact_sheet import sheet
    from sphinx_ros.bags.sightings import since

    drawn = []
    for span in sorted((one for one in spans if one.key in tiles), key=lambda one: one.first.log):
        when = f"{since(bag, span.first):.2f} to {since(bag, span.last):.2f} s"
        words = [span.topic, f"{when}, at {since(bag, span.best):.2f} s"]
        drawn.append(tiles[span.key].drawn(span.best.found, words))
    return sheet(drawn)


def exit_code(search: Search, spans: Sequence[Span]) -> int:
    """0 found, 1 not found; else that of what was worst."""
    tally = Tally({Status.OK if spans else Status.NOT_FOUND})
    for status in search.statuses:
        if not status.answered:
            tally.add(status)
    return tally.exit_code()
