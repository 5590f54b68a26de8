"""`sphinx-ros compare`: a checkpoint's visual encoders beside those of their libraries."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sphinx_ros.checkpoint.names import find
from sphinx_ros.commands.arguments import OK, Parser
from sphinx_ros.commands.model_options import (
    add_checkpoint,
    add_device,
    add_dtype,
    add_missing_files,
)
from sphinx_ros.errors import BAD_INPUT, NO_ANSWER
from sphinx_ros.runtime.interrupts import load_torch

if TYPE_CHECKING:
    from sphinx_ros.checkpoint.compared import Compared

ABOUT = """Compare the visual encoders with those of open_clip, timm and transformers.

  sphinx-ros compare                                    the bundled model, on what it would run on
  sphinx-ros compare --checkpoint sphinx-1k             a published one
  sphinx-ros compare --device cuda --dtype float32      closer than its bfloat16 can tell
  sphinx-ros compare --json                             for programs

Use it after a change of torch, of the driver or of the GPU: whether this machine computes what
the networks were trained with. Each encoder is built from its library as well, gets the tensors of
the checkpoint and the same two pictures, and must give the same within a tolerance that fits the
number type. One encoder is in memory at a time, once: 4.6 GB in float32 at most. A checkpoint of
true size takes some minutes on a CPU.

difference: root mean square of the difference, by that of the library's output. greatest: of a
single number. On a CPU encoders are compared in float32 only. The decoder is not compared, so
--quantise has no meaning here.

The libraries come with pip install "sphinx_ros[reference]"; nothing else needs them.

Exit codes: 0 all are the same, 2 one can't be compared (a library is missing, say), 3 one differs.
"""


def run(argv: Sequence[str]) -> int:
    """Parse, compare, print; returns the exit code."""
    options = parser().parse_intermixed_args(argv)
    find(options.checkpoint)  # before torch is loaded
    load_torch()
    from sphinx_ros.checkpoint.compared import choose, compare

    device, dtype = choose(options.device, options.dtype)
    where, kind = str(device), str(dtype).removeprefix("torch.")
    rows = compare(
        options.checkpoint,
        device=device,
        dtype=dtype,
        variant=options.variant,
        tokenizer=options.tokenizer,
    )
    if options.json:
        made = list(rows)
        print(json.dumps(as_json(made, options.checkpoint, where, kind)))
    else:
        made = []
        print(f"{options.checkpoint} on {where} in {kind}")
        print(f"{'encoder':20}{'library':24}{'difference':>11}{'greatest':>11}", flush=True)
        for row in rows:
            print(as_line(row), flush=True)
            made.append(row)
    return code(made)


def code(rows: Sequence[Compared]) -> int:
    """The exit code of all encoders together."""
    if any(not row.agrees and not row.why_not for row in rows):
        return NO_ANSWER
    return BAD_INPUT if any(row.why_not for row in rows) else OK


def as_line(row: Compared) -> str:
    """An encoder for people."""
    heads = f"{row.encoder:20}{f'{row.package} {row.version}':24}"
    if row.why_not:
        return f"{heads}NOT COMPARED: {row.why_not}"
    said = "the same" if row.agrees else f"DIFFERS, more than {row.tolerance:g}"
    return f"{heads}{row.relative:11.1e}{row.greatest:11.1e}  {said}"


def as_json(rows: Sequence[Compared], checkpoint: str, device: str, dtype: str) -> dict:
    """The report for programs; a number that is not finite, or was not measured, is null."""
    import torch

    return {
        "checkpoint": checkpoint,
        "device": device,
        "dtype": dtype,
        "torch": torch.__version__,
        "encoders": [
            {
                "encoder": row.encoder,
                "library": row.package,
                "version": row.version,
                "difference": finite(row.relative),
                "greatest": finite(row.greatest),
                "tolerance": row.tolerance,
                "agrees": row.agrees,
                "why_not": row.why_not,
            }
            for row in rows
        ],
    }


def finite(number: float) -> float | None:
    """A number as JSON has it."""
    return number if math.isfinite(number) else None


def parser() -> Parser:
    """The verb's command line."""
    parser = Parser("compare", description=ABOUT)
    add_checkpoint(parser)
    add_missing_files(parser)
    add_device(parser)
    add_dtype(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser
