"""`sphinx-ros tune`: pictures with answers -> an adapter that knows them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sphinx_ros.checkpoint.names import find
from sphinx_ros.commands.arguments import OK, Parser, number
from sphinx_ros.commands.model_options import add_checkpoint, add_device, add_dtype
from sphinx_ros.model.quantities import KINDS
from sphinx_ros.runtime.interrupts import load_torch
from sphinx_ros.teach.plan import Plan

ABOUT = """Teach a checkpoint your own objects, from pictures with answers.

  sphinx-ros tune labelled/ --checkpoint sphinx-tiny-1k --out runs/tune
  sphinx-ros detect desk.jpg plate --checkpoint sphinx-tiny-1k+runs/tune/adapter

DATA, any number of files and folders, in any of these formats:
  a yaml with META, JSON or JSON Lines of conversations (the official format; LLaVA's JSON)
  COCO: boxes, and joints of people           YOLO: a folder with data.yaml
  JSON Lines with image, text and box         what `sphinx-ros label` wrote
Boxes become the text that this checkpoint writes: fractions of the padded square, its decimals.

What learns are low-rank factors beside the decoder's and the projections' linear layers (LoRA):
RUN/adapter, a small file. Every --checkpoint, the node and the server take X+RUN/adapter, and
`sphinx-ros merge` makes one checkpoint of both. A tenth of the pictures is held out; after each
epoch their loss is computed and some of their questions are answered. The lowest loss is kept,
and where it does not fall any more the run ends.

Several devices learn together by torchrun, a process for each; the weights are those that one
device would learn, up to rounding:

  torchrun --nproc-per-node 2 -m sphinx_ros tune labelled/ --checkpoint X --out runs/tune

Ctrl-C saves and stops. After it, a power cut or kill -9, the same command with --resume goes on
and ends with the same weights. Rows that can't be used are counted, and listed in
RUN/bad_rows.jsonl; pictures with a crowd or with a box that can't be used are left out and
counted. Needs peft: pip install "sphinx_ros[tune]".
"""


def parser() -> Parser:
    """The verb's command line."""
    parser = Parser("tune", usage="sphinx-ros tune DATA [DATA ...] --checkpoint X --out RUN")
    parser.description = ABOUT
    parser.add_argument("data", metavar="DATA", nargs="+", help="files and folders, see above")
    add_checkpoint(parser)
    parser.add_argument(
        "--out", metavar="RUN", default="runs/tune", help="the run's folder (default: runs/tune)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in RUN")
    _add_what(parser)
    _add_how(parser)
    _add_views(parser)
    _add_old(parser)
    add_device(parser)
    add_dtype(parser)
    return parser


def _add_what(parser: argparse.ArgumentParser) -> None:
    """What learns."""
    usual = Plan()
    parser.add_argument(
        "--rank", type=number(1, 1024, int), default=usual.rank, metavar="R",
        help=f"of the factors: more can learn more (default: {usual.rank})",
    )  # fmt: skip
    parser.add_argument(
        "--projection-rank", type=number(1, 1024, int), metavar="R",
        help="of those beside the projections, through which all passes that is seen: they are "
        "few, and a kind that looks unlike all others needs more of them (default: as --rank)",
    )  # fmt: skip
    parser.add_argument(
        "--alpha", type=number(0.001, 4096), metavar="A",
        help="their weight is alpha / rank (default: twice the rank)",
    )  # fmt: skip
    parser.add_argument(
        "--full", action="store_true",
        help="all weights of decoder and projections learn, in float32 with two moments each; "
        "the result is a whole checkpoint, RUN/checkpoint",
    )  # fmt: skip
    parser.add_argument(
        "--towers", action="store_true",
        help="the visual encoders learn as well; every picture is then looked at in every epoch",
    )  # fmt: skip


def _add_how(parser: argparse.ArgumentParser) -> None:
    """How it learns."""
    usual = Plan()
    for name, kind, metavar, said in (
        ("epochs", number(1, 10_000, int), "N", "times that each row is learnt"),
        ("batch", number(1, 4096, int), "N", "rows of a step; a row is a picture with questions"),
        ("tokens", number(16, 100_000, int), "N", "text tokens of a row"),
        ("rate", number(1e-8, 1), "R", "highest learning rate"),
        ("warmup", number(0, 1), "S", "share of the steps in which the rate rises"),
        ("decay", number(0, 1), "D", "decay of weights"),
        ("clip", number(1e-6, 1e6), "C", "largest norm of the gradient"),
        ("patience", number(0, 10_000, int), "N", "epochs without a lower held-out loss; 0: all"),
        ("ask", number(0, 100_000, int), "N", "held-out questions answered in each check"),
        ("seed", number(0, 10**9, int), "S", "of factors, held-out pictures and order"),
    ):
        value = getattr(usual, name)
        parser.add_argument(
            f"--{name}", type=kind, default=value, metavar=metavar, help=f"{said} ({value:g})"
        )
    parser.add_argument(
        "--held-out", type=number(0, 0.9), default=usual.held_out, metavar="S",
        help=f"share of the pictures that are scored and not learnt ({usual.held_out:g})",
    )  # fmt: skip
    parser.add_argument(
        "--keep-gb", type=number(0, 10_000), default=usual.keep_gb, metavar="GB",
        help=f"memory for looks at pictures, so that each is made once ({usual.keep_gb:g})",
    )  # fmt: skip
    parser.add_argument(
        "--quantise", choices=KINDS,
        help="hold the decoder in 8 or 4 bits (nf4 needs bitsandbytes); the adapter is that of "
        "the whole checkpoint",
    )  # fmt: skip
    parser.add_argument(
        "--shard", action="store_true",
        help="of several processes each holds a part of the weights (FSDP), for a network that "
        "no device can hold; without it each holds all, which is faster",
    )  # fmt: skip
    parser.add_argument(
        "--checkpointing", action="store_true",
        help="compute each layer anew for the gradient: a third more time, much less memory",
    )  # fmt: skip


def _add_views(parser: argparse.ArgumentParser) -> None:
    """In which ways pictures are shown, beside the plain one."""
    usual = Plan()
    parser.add_argument(
        "--mirror", action="store_true",
        help="learn the mirror images as well, of pictures whose labels are boxes and joints",
    )  # fmt: skip
    parser.add_argument(
        "--crops", type=number(0, 1000, int), default=usual.crops, metavar="N",
        help="learn N parts of each picture whose labels are boxes and joints, as well; a part "
        f"holds all of its things, and equal parts count once ({usual.crops})",
    )  # fmt: skip


def _add_old(parser: argparse.ArgumentParser) -> None:
    """What is not to be forgotten."""
    usual = Plan()
    parser.add_argument(
        "--remember", metavar="DATA", action="append", default=[],
        help="pictures and answers as in DATA, whose probabilities are to stay those of X: what "
        "it must not forget; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--remember-weight", type=number(0, 1e6), default=usual.remember_weight, metavar="W",
        help=f"of what is remembered, beside 1 of what is learnt ({usual.remember_weight:g})",
    )  # fmt: skip
    parser.add_argument(
        "--remember-views", type=number(0, 1000, int), default=usual.remember_views, metavar="N",
        help="of each mirror image and part (--mirror, --crops) N of these questions are asked, "
        f"too, and X's own answers are remembered ({usual.remember_views})",
    )  # fmt: skip
    parser.add_argument(
        "--strength", type=number(0.01, 1), default=usual.strength, metavar="S",
        help="share of what was learnt that counts in the result: less of the old is forgotten, "
        f"and less of the new is known ({usual.strength:g})",
    )  # fmt: skip


def run(argv: Sequence[str]) -> int:
    """Parse, tune, tell; returns the exit code."""
    options = parser().parse_intermixed_args(argv)
    find(options.checkpoint)  # a wrong name need not wait for torch
    load_torch()
    from sphinx_ros.runtime.device import choose_dtype
    from sphinx_ros.runtime.peers import joined, own_device
    from sphinx_ros.teach.tuning import tune

    alpha = 2.0 * options.rank if options.alpha is None else options.alpha
    lists = {"data": tuple(options.data), "remember": tuple(options.remember)}
    given = vars(options) | lists | {"alpha": alpha}
    plan = Plan(**{name: given[name] for name in Plan.__dataclass_fields__})
    device = own_device(options.device)
    kind, folder = choose_dtype(options.dtype, device), Path(options.out)
    restarted = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    resume = options.resume or restarted
    with joined(device) as peers:
        done = tune(plan, folder, resume=resume, device=device, kind=kind, peers=peers)
        if peers.leads:
            tell(done, folder)
    return OK


def tell(done: dict[str, Any], folder: Path) -> None:
    """What came of it, for people."""
    print(
        f"{done['examples']} examples of {done['pictures']} pictures "
        f"({', '.join(f'{n} {name}' for name, n in done['formats'].items())}), {done['steps']} "
        f"steps in {done['minutes']:.1f} minutes; {100 * done['share']:.2g} % of the weights"
    )
    if done["bad_rows"]:
        print(
            f"sphinx-ros: {done['bad_rows']} rows could not be used: {folder / 'bad_rows.jsonl'}",
            file=sys.stderr,
        )
    if done.get("left_out"):  # older runs did not count them
        from sphinx_ros.teach.example import reasons

        count, why = sum(done["left_out"].values()), reasons(done["left_out"])
        print(f"sphinx-ros: {count} pictures were left out: {why}", file=sys.stderr)
    scored = [one for one in ("loss", "tokens", "f1", "joints", "words") if one in done["after"]]
    if scored:
        print(f"{'held out':10} {'before':>8} {'after':>8}  of")
    for name in scored:
        before, after = done["before"].get(name, float("nan")), done["after"][name]
        of = done["after"].get(f"{name}.n")
        print(f"{name:10} {before:8.3f} {after:8.3f}  {'' if of is None else f'{of:g}'}")
    print(f"{done['result']}: use it as --checkpoint {done['checkpoint']}")
