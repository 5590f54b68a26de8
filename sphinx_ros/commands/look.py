"""`sphinx-ros ground|detect|pose|describe|caption|ask`: pictures and words -> printed results."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sphinx_ros.commands.arguments import Parser, add_model_options, number, read_box
from sphinx_ros.commands.pictures import Picture, Saver, Source
from sphinx_ros.commands.report import SCHEMA, Report, Tally
from sphinx_ros.errors import BadRequest, SphinxError
from sphinx_ros.runtime.interrupts import load_torch

TEXT, KIND, BOX, MAYBE_BOX, NOTHING = "TEXT", "KIND", "BOX", "[BOX]", ""


@dataclass(frozen=True)
class Verb:
    """One way to look. takes: what follows IMAGE. ask: (Seen, words or box, options) -> result."""

    name: str
    takes: str
    about: str
    example: str
    ask: Callable

    def parser(self) -> Parser:
        """The verb's command line."""
        parser = Parser(
            self.name,
            description=self.about + EXAMPLES.format(verb=self.name, words=self.example),
            epilog=SCHEMA,
        )
        parser.add_argument(
            "image",
            metavar="IMAGE",
            help="a picture file, a folder (all pictures in it), or the number of a webcam, as 0",
        )
        if self.takes:
            name = self.takes.strip("[]")
            parser.add_argument("words", metavar=name, nargs="*", help=HELP[self.takes])
        parser.add_argument(
            "--save",
            metavar="OUT",
            help="write the picture with the results "
            "drawn in; a file, or a folder where IMAGE is one",
        )
        parser.add_argument("--json", action="store_true", help="one JSON object per picture")
        parser.add_argument(
            "--watch", action="store_true", help="with a webcam: frame after frame until Ctrl-C"
        )
        parser.add_argument(
            "--timeout", type=number(0.001, 86400), metavar="S", help="seconds an answer may take"
        )
        parser.add_argument(
            "--max-new-tokens",
            type=number(1, 4096, int),
            metavar="N",
            help="longest answer (default: that of the task)",
        )
        add_model_options(parser)
        return parser

    def run(self, argv: Sequence[str]) -> int:
        """Parse, look at each picture, print; returns the exit code."""
        options = self.parser().parse_intermixed_args(argv)
        text = " ".join(getattr(options, "words", ()))
        wanted = self.understood(text)
        source = Source.of(options.image, options.watch)
        saver = Saver(options.save, source) if options.save else None
        asking = Asking(self, text, wanted, options)
        tally = Tally()
        for picture in progress(source):
            report = asking.report(picture)
            tally.add(report.status)
            print(report.as_json() if options.json else "\n".join(report.as_lines()), flush=True)
            if report.error:
                print(f"sphinx-ros: {report.message()}", file=sys.stderr)
            if saver and picture.rgb is not None:
                saver.save(picture.name, drawn(picture, report))
        return tally.exit_code()

    def understood(self, text: str):
        """The words as ``ask`` takes them: a text, a box or None. Raises BadRequest."""
        if self.takes in (BOX, MAYBE_BOX):
            if not text and self.takes == BOX:
                raise BadRequest("the box is missing: give x0,y0,x1,y1 in pixels behind IMAGE")
            return read_box(text) if text else None
        if self.takes == KIND and not text:
            return "objects"
        if self.takes in (TEXT, KIND):
            load_torch()
            from sphinx_ros.seen import checked

            return checked(text)
        return None


HELP = {
    TEXT: "what to look for, or the question",
    KIND: "what to look for, singular or plural (default: objects)",
    BOX: "x0,y0,x1,y1 in pixels of the picture",
    MAYBE_BOX: "x0,y0,x1,y1 in pixels: the joints of the person in there (default: of everybody)",
}

EXAMPLES = """

examples:
  sphinx-ros {verb} photo.jpg{words}
  sphinx-ros {verb} photo.jpg{words} --save seen.png
  sphinx-ros {verb} photos/{words} --json > results.jsonl
  sphinx-ros {verb} 0{words} --watch
  sphinx-ros {verb} photo.jpg{words} --checkpoint path/to/released_weights --device cuda
"""

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "ground",
            TEXT,
            "The box of what a sentence describes.",
            ' "the red mug"',
            lambda seen, words, options: seen.ground(words, **options),
        ),
        Verb(
            "detect",
            KIND,
            "A box for each thing of a kind.",
            " mug",
            lambda seen, words, options: seen.detect(words, **options),
        ),
        Verb(
            "pose",
            MAYBE_BOX,
            "The 17 COCO joints of the people in a picture.",
            "",
            lambda seen, box, options: seen.pose(box, **options),
        ),
        Verb(
            "describe",
            BOX,
            "Words for what is in a box.",
            " 120,80,240,200",
            lambda seen, box, options: seen.describe(box, **options),
        ),
        Verb(
            "caption",
            NOTHING,
            "One sentence on the picture, with boxes.",
            "",
            lambda seen, _, options: seen.caption(**options),
        ),
        Verb(
            "ask",
            TEXT,
            "Any question, answered in a word or phrase.",
            ' "how many mugs are there?"',
            lambda seen, words, options: seen.ask(words, **options),
        ),
    )
}
"""Name -> verb."""


class Asking:
    """One question for any number of pictures; the model loads with the first readable one."""

    def __init__(self, verb: Verb, text: str, wanted, options):
        self.verb, self.text, self.wanted, self.options = verb, text, wanted, options
        self.sphinx = None

    def report(self, picture: Picture) -> Report:
        """Look at one picture. Raises only what concerns all of them: checkpoint, device."""
        about = (picture.name, self.verb.name, self.text)
        if picture.error:
            return Report(*about, error=picture.error)
        if self.sphinx is None:
            load_torch()
            from sphinx_ros.pipeline import Sphinx

            given = self.options
            self.sphinx = Sphinx.from_pretrained(
                given.checkpoint,
                device=given.device,
                devices=given.devices,
                dtype=given.dtype,
                quantise=given.quantise,
            )
        height, width = picture.rgb.shape[:2]
        limits = {"max_new_tokens": self.options.max_new_tokens, "timeout": self.options.timeout}
        try:
            seen = self.sphinx.look(picture.rgb)
            found = self.verb.ask(seen, self.wanted, limits)
        except SphinxError as error:
            return Report(*about, (width, height), error=error)
        spent = sum(t for t in (seen.timing.encode, seen.timing.prefill) if math.isfinite(t))
        return Report(*about, (width, height), found, look_ms=spent)


def drawn(picture: Picture, report: Report):
    """The picture with the report's boxes, joints and words drawn in."""
    from sphinx_ros.draw import draw
    from sphinx_ros.types import Answer

    said = report.found.text if isinstance(report.found, Answer) else ""
    asked = f"{report.task} {report.text}".strip()
    outcome = said or ("" if report.status.name == "OK" else report.status.name)
    captions = [f"{asked}: {outcome}" if outcome else asked]
    return draw(picture.rgb, report.detections, report.poses, captions)


def progress(source: Source) -> Iterable[Picture]:
    """The pictures, with a bar on stderr where they are a folder's and somebody watches."""
    if source.folder is None:
        return source
    from tqdm import tqdm

    return tqdm(source, unit="picture", file=sys.stderr, disable=None)
