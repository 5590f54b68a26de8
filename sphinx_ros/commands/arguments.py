"""Words of a command line -> checked values; what all verbs share. Knows no verb and no tensor."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from sphinx_ros.checkpoint.released import RELEASED
from sphinx_ros.errors import BAD_INPUT, DEFECT, NO_ANSWER, BadRequest, Status
from sphinx_ros.model.quantities import DTYPES, KINDS
from sphinx_ros.model.recipes import RECIPES
from sphinx_ros.remote.address import TOKEN
from sphinx_ros.runtime.printable import file_name
from sphinx_ros.world.camera_facts import SIDES

OK, NOT_FOUND, INTERRUPTED = Status.OK.exit_code, Status.NOT_FOUND.exit_code, 130
WORST_FIRST = (DEFECT, BAD_INPUT, NO_ANSWER, OK, NOT_FOUND)
"""Exit codes of several outcomes: the first of these that is among them counts."""

_NEGATIVE_LIST = re.compile(r"-[\d.]+[,;]")
"""How a box begins whose left side lies outside the picture."""

UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0}
_DURATION = re.compile(rf"(\d+\.?\d*|\.\d+)\s*({'|'.join(UNITS)})?")
LONGEST = 86_400.0
"""Seconds that a user may write."""


class Parser(argparse.ArgumentParser):
    """argparse whose complaint is one :class:`BadRequest`, not a page of usage."""

    def __init__(self, verb: str, **settings: Any):
        super().__init__(
            prog=f"sphinx-ros {verb}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **settings,
        )

    def parse_intermixed_args(
        self, args: Iterable[str] | None = None, namespace: Any = None
    ) -> Any:
        """As argparse does it, but a box such as -10,20,200,300 is no option."""
        words = [f" {word}" if _NEGATIVE_LIST.match(word) else word for word in args or ()]
        return super().parse_intermixed_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and leaving."""
        raise BadRequest(f"{message} (see {self.prog} --help)")


def number(low: float, high: float, kind: type = float) -> Callable[[str], Any]:
    """A type for argparse: a number in low..high, both included."""

    def read(text: str) -> Any:
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


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """--checkpoint, --variant, --tokenizer, --device, --devices, --dtype, --quantise."""
    add_checkpoint(parser)
    add_missing_files(parser)
    add_device(parser)
    parser.add_argument(
        "--devices",
        type=lambda words: words.split(","),
        default=(),
        metavar="A,B",
        help="several that share one network: cuda:0,cuda:1",
    )
    add_dtype(parser)
    parser.add_argument(
        "--quantise",
        choices=KINDS,
        help="store the decoder in 8 or 4 bits: int8 hardly changes answers, int4 does; nf4 needs "
        "bitsandbytes (default: no)",
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """--checkpoint."""
    parser.add_argument(
        "--checkpoint",
        default="demo",
        metavar="X",
        help='"demo" (the bundled demonstration model, for the simulated tabletop), a published '
        f"name ({', '.join(RELEASED)}), hf://owner/repo/folder or a folder; "
        "X+ADAPTER for one with what sphinx-ros tune taught it (default: demo)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device."""
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1 ... (default: the first CUDA device, else cpu)"
    )


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """--dtype."""
    parser.add_argument(
        "--dtype",
        choices=("auto", *DTYPES),
        help="number type of the weights (default: auto, which is bfloat16 on CUDA and float32 on "
        "the CPU)",
    )


def add_server(parser: argparse.ArgumentParser) -> None:
    """--server and --token, of verbs that a model elsewhere can answer."""
    parser.add_argument(
        "--server",
        default="",
        metavar="URL",
        help="ask the model that `sphinx-ros serve` has there, as http://gpu-box:8000, and load "
        "none; several with commas between: the first that can be reached",
    )
    parser.add_argument(
        "--token",
        help=f"the server's bearer token (default: the environment's {TOKEN}, which no list of "
        "processes shows)",
    )


def check_server(options: argparse.Namespace) -> None:
    """Raises BadRequest: a model is to be loaded, and one on a server to be asked."""
    given = {**model_options(options), "checkpoint": options.checkpoint}
    given = {name: value for name, value in given.items() if value not in ("demo", "auto")}
    if options.server and given:
        names = ", ".join(f"--{name}" for name in given)
        raise BadRequest(f"with --server the model is the server's: leave out {names}")
    if options.token is not None and not options.server:
        raise BadRequest("--token is that of a server: give --server as well")


def model_options(options: argparse.Namespace) -> dict:
    """What :meth:`Sphinx.from_pretrained` takes of :func:`add_model_options`, as far as given."""
    names = ("device", "devices", "dtype", "quantise", "variant", "tokenizer")
    given = {name: getattr(options, name) for name in names}
    return {name: value for name, value in given.items() if value}


def add_missing_files(parser: argparse.ArgumentParser) -> None:
    """--variant and --tokenizer, for a folder that holds tensors alone."""
    parser.add_argument(
        "--variant",
        metavar="V",
        help=f"in place of meta.json: {', '.join(RECIPES)}",
    )
    parser.add_argument(
        "--tokenizer", metavar="FILE", help="in place of the folder's tokenizer.model"
    )


def folder(text: str) -> str:
    """A type for argparse: a folder that is there."""
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{file_name(text)!r} is no folder")
    return text


def size(text: str) -> tuple[int, int]:
    """A type for argparse: "640x480" -> (640, 480), as large as the simulated camera can be."""
    (low, high), parts = SIDES, text.lower().split("x")
    if len(parts) == 2 and all(p.isdecimal() and low <= int(p) <= high for p in parts):
        return int(parts[0]), int(parts[1])
    raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in {low}..{high}, as 640x480")


def add_every(parser: argparse.ArgumentParser) -> None:
    """--every."""
    parser.add_argument(
        "--every",
        type=duration,
        default=0.0,
        metavar="T",
        help="look at a picture at most that often, as 0.5s or 200ms, by the times of "
        "the pictures (default: at each)",
    )


def duration(text: str) -> float:
    """A type for argparse: "0.5s", "500ms", "2min" or "0.5" -> seconds, more than 0."""
    found = _DURATION.fullmatch(text.strip().lower())
    seconds = float(found[1]) * UNITS[found[2] or "s"] if found else 0.0
    if not 0 < seconds <= LONGEST:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time up to {LONGEST:g} seconds: write 0.5s, 200ms or 2min"
        )
    return seconds
