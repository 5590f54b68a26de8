"""`sphinx-ros fetch`, `convert`, `merge`, `mix`: words -> a folder. Knows no tensor."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from sphinx_ros.checkpoint.hub import resolve
from sphinx_ros.checkpoint.names import find, parted
from sphinx_ros.checkpoint.released import RELEASED
from sphinx_ros.commands.arguments import OK, Parser, add_number, number
from sphinx_ros.commands.model_options import add_missing_files
from sphinx_ros.errors import BadRequest
from sphinx_ros.runtime.interrupts import load_torch
from sphinx_ros.runtime.progress import Progress

FETCH = f"""Download a checkpoint into the hub's cache, and print its folder.

  sphinx-ros fetch sphinx-tiny-1k
  sphinx-ros fetch hf://owner/repo/folder
  sphinx-ros fetch hf://owner/repo@1a2b3c4/folder       pinned to a branch, tag or commit
  sphinx-ros fetch hf://owner/repo@refs%2Fpr%2F1/folder   %2F for a slash in its name

Every verb, launch file and Sphinx.from_pretrained takes the same names and downloads what is not
there. What is complete in the cache is used without asking the hub; --update asks. An interrupted
download goes on where it stopped. HF_HOME is where the cache lies, HF_HUB_OFFLINE=1 forbids the
network, HF_TOKEN is for repositories that ask for consent.
Names: {", ".join(RELEASED)}.
"""

CONVERT = """Write a checkpoint in the other layout, bit for bit.

  sphinx-ros convert sphinx-1k /models/sphinx-1k-st             safetensors, each tensor once
  sphinx-ros convert /models/sphinx-1k-st /models/two --shards 2    the released layout, 2 files
  sphinx-ros convert /models/two-pth OUT --variant llama_ens5 --tokenizer T   adds missing files

The released layout repeats the vision towers in every file: SPHINX-1k falls from 40 to 33 GB. Both
layouts load the same everywhere in this package, and a calibration goes along. The conversion
streams tensor by tensor, so it needs no more memory than the largest tensor; when it is
interrupted nothing stays behind.
"""

MERGE = """Write a checkpoint and its adapter as one checkpoint, which needs the adapter no more.

  sphinx-ros merge sphinx-tiny-1k+runs/tune/adapter /models/tiny-with-my-mugs
  sphinx-ros merge demo+runs/tune/adapter OUT --shards 1       in the released layout

Everything here takes X+ADAPTER as it is, so this is for other programs and for good. Numbers keep
the type of X: where that is float16 or bfloat16 the sums are rounded to it.
"""

MIX = """Mix checkpoints of one variant: a weighted sum of their numbers.

  sphinx-ros mix real synthetic mixed --weights 0.5 0.5
  sphinx-ros mix real synthetic mixed --weights 0.7 0.3 --part visual_proj. 1 0
  sphinx-ros mix a b c mixed --weights 0.4 0.4 0.2 --shards 2

The last folder is written, in the layout of `sphinx-ros convert`. Weights may be negative and need
not add up to 1, though a sum far from 1 rarely gives a model that answers. Checkpoints that are
not of the same network, vocabulary and number type are refused.
"""


def fetch(argv: Sequence[str]) -> int:
    """Parse, download, print the folder; returns the exit code."""
    parser = Parser("fetch", description=FETCH)
    parser.add_argument("checkpoint", metavar="X", help="a name, or hf://owner/repo/folder")
    parser.add_argument("--update", action="store_true", help="ask the hub for a newer one")
    options = parser.parse_intermixed_args(argv)
    print(resolve(options.checkpoint, update=options.update))
    return OK


def convert(argv: Sequence[str]) -> int:
    """Parse, convert; returns the exit code."""
    parser = Parser("convert", description=CONVERT)
    parser.add_argument("checkpoint", metavar="X", help="a name or a checkpoint folder")
    parser.add_argument("target", metavar="OUT", help="the folder to make, or an empty one")
    add_missing_files(parser)
    _add_layout(parser)
    options = parser.parse_intermixed_args(argv)
    find(options.checkpoint)  # before torch is loaded
    return _write(options, "converting", variant=options.variant, tokenizer=options.tokenizer)


def merge(argv: Sequence[str]) -> int:
    """Parse, merge; returns the exit code."""
    parser = Parser("merge", description=MERGE)
    parser.add_argument("checkpoint", metavar="X+ADAPTER", help="a checkpoint and its adapter")
    parser.add_argument("target", metavar="OUT", help="the folder to make, or an empty one")
    _add_layout(parser)
    options = parser.parse_intermixed_args(argv)
    find(options.checkpoint)  # before torch is loaded
    if parted(options.checkpoint)[1] is None:
        raise BadRequest(
            f"{options.checkpoint} names no adapter: give a checkpoint and the adapter's folder "
            "with a plus between them, as demo+runs/tune/adapter; convert copies a plain one"
        )
    return _write(options, "merging")


def mix(argv: Sequence[str]) -> int:
    """Parse, mix; returns the exit code."""
    parser = Parser("mix", description=MIX)
    parser.add_argument(
        "checkpoints",
        nargs="+",
        metavar="X",
        help="two or more checkpoints, and last the folder to make, or an empty one",
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        type=number(-1e6, 1e6),
        metavar="W",
        required=True,
        help="a weight for each checkpoint",
    )
    parser.add_argument(
        "--part",
        nargs="+",
        action="append",
        default=[],
        metavar="P",
        help="the beginning of parameters' names, and other weights for these "
        "(more than once: the longest beginning counts)",
    )
    _add_layout(parser)
    options = parser.parse_intermixed_args(argv)
    *checkpoints, target = options.checkpoints
    parts = dict(_part(words) for words in options.part)
    for one in checkpoints:
        find(one)  # before torch is loaded
    load_torch()
    from sphinx_ros.checkpoint.mix import mix

    with Bar("mixing") as bar:
        done = mix(
            checkpoints,
            options.weights,
            target,
            parts,
            options.shards,
            largest=_largest(options),
            progress=bar,
        )
    print(done)
    return OK


VERBS: dict[str, Callable[[Sequence[str]], int]] = {
    "fetch": fetch,
    "convert": convert,
    "merge": merge,
    "mix": mix,
}


def _add_layout(parser: argparse.ArgumentParser) -> None:
    released = "write the released layout in N files (default: safetensors)"
    add_number(parser, "--shards", (1, 99), None, released)
    largest = "largest safetensors file"
    add_number(parser, "--max-gb", (0.000001, 10_000), 5.0, largest, "GB", float)


def _write(options: argparse.Namespace, doing: str, **given: Any) -> int:
    """Write one checkpoint as another folder. doing: for people. given: how it is read."""
    load_torch()
    from sphinx_ros.checkpoint.convert import convert

    with Bar(doing) as bar:
        done = convert(
            options.checkpoint,
            options.target,
            options.shards,
            largest=_largest(options),
            progress=bar,
            **given,
        )
    print(done)
    return OK


def _largest(options: argparse.Namespace) -> int:
    return int(options.max_gb * 1e9)


def _part(words: list[str]) -> tuple[str, list[float]]:
    """ "visual_proj." "1" "0" to a beginning and weights."""
    try:
        return words[0], [float(word) for word in words[1:]]
    except ValueError as error:
        raise BadRequest(
            f"--part {' '.join(words)}: expected the beginning of a name and a number for each "
            "checkpoint, as --part visual_proj. 1 0"
        ) from error


class Bar:
    """The progress of bytes, shown when the first ones come."""

    def __init__(self, doing: str):
        self._doing = doing
        self._shown: Progress | None = None

    def __enter__(self) -> Bar:
        return self

    def __call__(self, written: int, total: int) -> None:
        """Show progress. written: bytes since the last call; total: bytes in all."""
        if self._shown is None:
            self._shown = Progress(total, self._doing, "B")
        self._shown.advance(written)

    def __exit__(self, *_: object) -> None:
        if self._shown is not None:
            self._shown.close()
