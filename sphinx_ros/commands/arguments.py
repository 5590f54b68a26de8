"""Words of a command line -> checked values; what all verbs share. Knows no verb and no model."""

from __future__ import annotations

import argparse
import math

from sphinx_ros.checkpoint.released import RELEASED
from sphinx_ros.errors import BadRequest
from sphinx_ros.model.quantities import KINDS

OK, NOT_FOUND, BAD_INPUT, NO_ANSWER, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes."""


class Parser(argparse.ArgumentParser):
    """argparse whose complaint is one :class:`BadRequest`, not a page of usage."""

    def __init__(self, verb: str, **settings):
        super().__init__(
            prog=f"sphinx-ros {verb}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **settings,
        )

    def error(self, message: str):
        """Raise instead of printing and leaving."""
        raise BadRequest(f"{message} (see {self.prog} --help)")


def one_line(error: BaseException | str) -> str:
    """A message without line breaks."""
    return " ".join(str(error).split())


def number(low: float, high: float, kind: type = float):
    """A type for argparse: a number in low..high, both included."""

    def read(text: str):
        """The number; ArgumentTypeError where it is none, or out of range."""
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what} in {low:g}..{high:g}")
        return value

    return read


def read_box(text: str) -> tuple[float, float, float, float]:
    """ "x0,y0,x1,y1" in pixels -> four numbers; commas or spaces.

    Raises:
        BadRequest: anything else.
    """
    try:
        values = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        values = ()
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise BadRequest(
            f"the box {text[:60]!r} is not four numbers x0,y0,x1,y1 in pixels, as 10,20,110,220"
        )
    return values


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """--checkpoint, --device, --dtype."""
    parser.add_argument(
        "--checkpoint",
        default="demo",
        metavar="X",
        help='"demo" (the bundled demonstration model, for the simulated tabletop), a published '
        f"name ({', '.join(RELEASED)}), hf://owner/repo/folder or a folder (default: demo)",
    )
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1 ... (default: the first CUDA device, else cpu)"
    )
    parser.add_argument(
        "--devices",
        type=lambda words: words.split(","),
        default=(),
        metavar="A,B",
        help="several that share one network: cuda:0,cuda:1",
    )
    parser.add_argument(
        "--dtype",
        help="float32, bfloat16 or float16 (default: bfloat16 on CUDA, float32 on the CPU)",
    )
    parser.add_argument(
        "--quantise",
        choices=KINDS,
        help="store the decoder in 8 or 4 bits: int8 hardly changes answers, int4 does; nf4 needs "
        "bitsandbytes (default: no)",
    )


def size(text: str) -> tuple[int, int]:
    """A type for argparse: "640x480" -> (640, 480), 64..4096 pixels a side."""
    parts = text.lower().split("x")
    if len(parts) == 2 and all(p.isdecimal() and 64 <= int(p) <= 4096 for p in parts):
        return int(parts[0]), int(parts[1])
    raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in 64..4096, as 640x480")
