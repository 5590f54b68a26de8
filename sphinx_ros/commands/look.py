"""`sphinx-ros ground|detect|pose|...`: pictures and words -> printed results.

There is a verb for each row of :data:`sphinx_ros.tasks.ROWS`. All that can be checked without a
model is checked before one is loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sphinx_ros.commands.arguments import Parser, add_answer_limit, add_every, add_number
from sphinx_ros.commands.model_options import AskedModel, Model, add_asked_model, check_server
from sphinx_ros.commands.pictures import Picture, Source, is_picture_word
from sphinx_ros.commands.report import SCHEMA, Report, Tally
from sphinx_ros.commands.saver import Saver
from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.prompt.checks import LEAST_SECONDS, MAX_SECONDS, read_box
from sphinx_ros.prompt.queries import Query
from sphinx_ros.prompt.wording import EVERYTHING, usual_text
from sphinx_ros.tasks import Takes, Task
from sphinx_ros.types import Answer, Points

if TYPE_CHECKING:
    import numpy as np

HELP = {
    Takes.TEXT: "what to look for",
    Takes.QUESTION: "the question",
    Takes.KIND: f"what to look for, singular or plural (default: {EVERYTHING})",
    Takes.BOX: "x0,y0,x1,y1 in pixels of the picture",
    Takes.MAYBE_BOX: "x0,y0,x1,y1 in pixels: one region (default: the whole picture)",
}

PLACES = {
    Takes.TEXT: "TEXT",
    Takes.QUESTION: "TEXT",
    Takes.KIND: "[KIND]",
    Takes.BOX: "BOX",
    Takes.MAYBE_BOX: "[BOX]",
    Takes.NOTHING: "",
}
"""What follows IMAGE, as a usage line shows it."""

EXAMPLES = """

examples:
  sphinx-ros {verb} photo.jpg{words}
  sphinx-ros {verb} photo.jpg{words} --save seen.png
  sphinx-ros {verb} *.jpg{words} --save seen/
  sphinx-ros {verb} photos/{words} --json > results.jsonl
  sphinx-ros {verb} clip.mp4{words} --every 0.5s --save seen.mp4
  sphinx-ros {verb} -{words} < photo.jpg
  sphinx-ros {verb} 0{words} --watch
  sphinx-ros {verb} photo.jpg{words} --checkpoint path/to/released_weights --device cuda
  sphinx-ros {verb} photo.jpg{words} --server http://gpu-box:8000
"""


@dataclass(frozen=True)
class Verb:
    """One way to look: that of a task."""

    task: Task

    def parser(self) -> Parser:
        """The verb's command line."""
        name, row = self.task.value, self.task.row
        words = row.example and f" {_quoted(row.example)}"
        parser = Parser(
            name,
            usage=f"sphinx-ros {name} IMAGE [IMAGE ...] {PLACES[row.takes]} [options]",
            description=row.about + EXAMPLES.format(verb=name, words=words),
            epilog=SCHEMA,
        )
        parser.add_argument(
            "image",
            metavar="IMAGE",
            help="a picture file, a video, a folder (all pictures in it), - for standard input, "
            "or the number of a webcam, as 0; several pictures may follow each other",
        )
        what = HELP.get(row.takes)
        place = PLACES[row.takes].strip("[]") or "IMAGE"
        parser.add_argument("words", metavar=place, nargs="*", help=what or "more pictures")
        if row.takes is Takes.QUESTION:
            parser.add_argument(
                "--box",
                metavar="X0,Y0,X1,Y1",
                help="the region that the question is about, in pixels of the picture",
            )
        _add_options(parser)
        add_asked_model(parser)
        return parser

    def run(self, argv: Sequence[str]) -> int:
        """Parse, look at each picture, print; returns the exit code."""
        options = self.parser().parse_intermixed_args(argv)
        check_server(options)
        images, words = self.sorted(options.image, options.words)
        text = " ".join(words).strip()
        query = self.query(text, bool(words), getattr(options, "box", None))
        source = Source.of(images, options.watch, options.every)
        saver = Saver(options.save, source) if options.save is not None else None
        limits = {"max_new_tokens": options.max_new_tokens, "timeout": options.timeout}
        asking = Asking(query, text, AskedModel(options), **limits)
        tally = Tally()
        with saver or contextlib.nullcontext():
            for picture in progress(source):
                report = asking.report(picture)
                tally.add(report.status)
                print(_printed(report, options.json), flush=True)
                if report.error:
                    print(f"sphinx-ros: {report.message()}", file=sys.stderr)
                if saver and picture.rgb is not None:
                    saver.save(picture, drawn(picture, report))
        return tally.exit_code()

    def sorted(self, image: str, words: Sequence[str]) -> tuple[list[str], list[str]]:
        """The words behind the verb -> those for pictures, which come first, and the others."""
        count = 0
        while count < len(words) and is_picture_word(words[count]):
            count += 1
        rest = [*words[count:]]
        if rest and self.task.row.takes is Takes.NOTHING:
            raise BadRequest(
                f"unrecognized arguments: {' '.join(rest)}; {self.task.value} takes pictures only"
            )
        return [image, *words[:count]], rest

    def query(self, text: str, given: bool, about: str | None = None) -> Query:
        """What is asked of every picture. Raises BadRequest.

        given: there were words. about: the region of a question, as it was written.
        """
        takes = self.task.row.takes
        if takes.words:
            box = None if about is None else read_box(about)
        else:
            box = read_box(text) if takes.region and given else None
        return Query(self.task, text if given else usual_text(self.task), box).checked()


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--save",
        metavar="OUT",
        help="write the picture with the results drawn in; a file (of a video .mp4, .mov, .mkv or "
        ".avi), or a folder for several",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per picture")
    add_every(parser)
    parser.add_argument(
        "--watch", action="store_true", help="with a webcam: frame after frame until Ctrl-C"
    )
    limits = (LEAST_SECONDS, MAX_SECONDS)
    add_number(parser, "--timeout", limits, None, "seconds an answer may take", "S", float)
    add_answer_limit(parser)


VERBS = {task.value: Verb(task) for task in Task}
"""Name -> verb."""


class Asking:
    """One query for any number of pictures; the model loads with the first readable one.

    text: what was typed, for the reports. model: gives the model. limits: of an answer, keywords
    of the methods of :class:`sphinx_ros.seen.Seen`.
    """

    def __init__(self, query: Query, text: str, model: Model, **limits: Any):
        self.query, self.text, self._model, self._limits = query, text, model, limits
        self._before: Any = None  # the frame of the same video that was looked at last

    def report(self, picture: Picture) -> Report:
        """Look at one picture. Raises only what concerns all of them: checkpoint, device."""
        about = (picture.name, self.query.task.value, self.text)
        if picture.error or picture.rgb is None:
            return Report(*about, error=picture.error, time=picture.time)
        sphinx = self._model()
        height, width = picture.rgb.shape[:2]
        before = None if picture.time is None else self._before
        try:
            seen = sphinx.look(picture.rgb, after=before)
            self._before = None if picture.time is None else seen
            found = self.query.put_to(seen, **self._limits)
        except SphinxError as error:
            return Report(*about, (width, height), error=error, time=picture.time)
        spent = sum(t for t in (seen.timing.encode, seen.timing.prefill) if math.isfinite(t))
        look_ms = 0.0 if seen.cached else spent
        size, box = (width, height), self.query.box
        return Report(*about, size, found, look_ms=look_ms, box=box, time=picture.time)


def drawn(picture: Picture, report: Report) -> np.ndarray:
    """The picture with the report's boxes, joints and words drawn in."""
    from sphinx_ros.draw import draw

    said = report.found.text if isinstance(report.found, Answer) else ""
    asked = f"{report.task} {report.text}".strip()
    assert picture.rgb is not None
    outcome = said or ("" if report.status is Status.OK else report.status.name)
    captions = [f"{asked}: {outcome}" if outcome else asked]
    regions = [] if report.box is None else [report.box]
    return draw(
        picture.rgb,
        () if isinstance(report.found, Points) else report.detections,
        report.poses,
        captions,
        regions=regions,
        points=report.points,
    )


def progress(source: Source) -> Iterable[Picture]:
    """The pictures, with a bar on stderr where they are several and somebody watches."""
    if not source.many and not source.moving:
        return source
    from tqdm import tqdm

    return tqdm(source, unit="picture", file=sys.stderr, disable=None)


def _printed(report: Report, as_json: bool) -> str:
    """What goes to standard output; JSON is UTF-8, or ASCII where the output is not UTF-8."""
    if not as_json:
        return "\n".join(report.as_lines())
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
    return report.as_json(ascii_only=encoding != "utf8")


def _quoted(example: str) -> str:
    """An example as it is typed into a shell."""
    return f'"{example}"' if " " in example else example
