"""`sphinx-ros inspect`: a checkpoint -> what it is and whether it fits, words or JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from sphinx_ros.checkpoint.names import find
from sphinx_ros.checkpoint.released import COORDINATES, RELEASED, REPOSITORY
from sphinx_ros.commands.arguments import OK, Parser
from sphinx_ros.commands.model_options import add_missing_files
from sphinx_ros.errors import BAD_INPUT
from sphinx_ros.runtime.interrupts import load_torch

if TYPE_CHECKING:
    from sphinx_ros.checkpoint.inspection import Inspection, Taught

ABOUT = f"""Say what a checkpoint is and what memory it needs, without loading it.

  sphinx-ros inspect demo
  sphinx-ros inspect sphinx-1k                          a published one, also before a download
  sphinx-ros inspect /models/SPHINX-1k                  variant, parts, files, memory
  sphinx-ros inspect /models/SPHINX-1k --deep           read every number: damage, unequal copies
  sphinx-ros inspect demo+runs/tune/adapter             the adapter as well, and whether it fits
  sphinx-ros inspect --list                             the published checkpoints
  sphinx-ros inspect X --variant llama_ens5 --tokenizer T    a folder of tensor files alone

Memory is told for each number type and quantisation, on one device and on each of several that
share the network. Files, keys and shapes are checked; what is missing or does not belong together
is named (exit code 2). Of a folder without config.json, meta.json or tokenizer.model the report
says what was read from the tensors and what still has to be given. The published checkpoints are
at huggingface.co/{REPOSITORY}.
"""


DEVICES = (2, 4, 8)
"""Numbers of devices for which the report says what each would need."""


def run(argv: Sequence[str]) -> int:
    """Parse, look, print; returns the exit code."""
    options = parser().parse_intermixed_args(argv)
    if options.list:
        print("\n".join(released_table()))
        return OK
    find(options.checkpoint)  # before torch is loaded
    load_torch()
    from sphinx_ros.checkpoint.inspection import inspect, memory_here

    found = inspect(options.checkpoint, variant=options.variant, tokenizer=options.tokenizer)
    free = memory_here()
    deep_too = options.deep and found.folder is not None
    problems = deep(options.checkpoint, len(found.files)) if deep_too else None
    if options.json:
        print(json.dumps(as_json(found, free, problems)))
    else:
        print("\n".join(as_lines(found, free, problems)))
    return BAD_INPUT if problems or found.missing else OK


def released_table() -> list[str]:
    """The published checkpoints, a line each."""
    heads = f"{'name':15} {'variant':20} {'picture':>7} {'files':>5} {'size':>9} {'decimals':>8}"
    lines = [f"{heads}  folder, licence"]
    for item in RELEASED.values():
        size = sized(item.gigabytes * 1e9) if item.gigabytes else "?"
        lines.append(
            f"{item.name:15} {item.variant:20} {item.config.image_size:>7} {item.shards:>5} "
            f"{size:>9} {item.decimals:>8}  {item.folder}; {item.licence}"
        )
    lines.append(COORDINATES)
    return lines


def sized(number: float) -> str:
    """Bytes for people, in powers of a thousand."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.1f} {unit}" if unit != "B" else f"{number:.0f} B"
        number /= 1000
    return f"{number:.1f} GB"


def deep(checkpoint: str, files: int) -> list[str]:
    """What is wrong with single tensors; a progress bar, because all files are read."""
    from tqdm import tqdm

    from sphinx_ros.checkpoint.inspection import differences

    bar = tqdm(differences(checkpoint), unit="tensor", desc=f"{files} files", disable=None)
    return [f"{key}: {wrong}" for key, wrong in bar if wrong]


def as_lines(found: Inspection, free: dict[str, int], problems: list[str] | None) -> list[str]:
    """The report for people."""
    files = len(found.files)
    names = " or ".join(found.released) or "none of the published ones"
    kinds = ", ".join(f"{share:.0%} {k}" for k, share in found.stored.items())
    folder = found.folder or "not here: `sphinx-ros fetch` downloads it, as does the first use"
    lines = [
        f"folder      {folder}",
        f"variant     {' or '.join(found.variants)}; {names}",
        f"licence     {'; '.join(found.licences) or 'see where the files came from'}",
        picture_line(found),
    ]
    if files:
        lines.append(
            f"files       {files} file{'s' * (files > 1)}, {sized(sum(found.file_bytes))}, "
            f"{kinds}; complete, all shapes fit"
        )
    lines += [f"inferred    {line}" for line in found.inferred]
    lines += [f"ASSUMED     {line}: no file tells it" for line in found.assumed]
    lines += [f"MISSING     {line}" for line in found.missing]
    for part, count in (*found.parameters.items(), ("in all", found.total)):
        lines.append(f"parameters  {count / 1e6:10.1f} M  {part}")
    if found.adapter is not None:
        lines += adapter_lines(found.adapter, found.total)
    lines += memory_lines(found, free)
    if problems is not None:
        lines += [f"WRONG       {problem}" for problem in problems] or [
            "numbers     all finite; tensors that the files repeat are equal"
        ]
    return lines


def adapter_lines(taught: Taught, total: int) -> list[str]:
    """What is added to the checkpoint. total: parameters of that."""
    fits = "fits this checkpoint" if taught.checked else "not compared with X, which is not here"
    parts = ", ".join(f"{count:,} {part}" for part, count in taught.parameters.items())
    others = [str(rank) for rank in taught.ranks if rank != taught.rank]
    some = f" (of some {', '.join(others)})" if others else ""
    return [
        f"adapter     {taught.folder}, {sized(taught.file_bytes)}; {fits}",
        f"            made for {taught.base or 'a checkpoint without a name'}; LoRA of rank "
        f"{taught.rank}{some}, alpha {taught.alpha:g}, of {taught.matrices} matrices",
        f"            {parts}: {taught.total / total:.2%} of the parameters",
    ]


def picture_line(found: Inspection) -> str:
    """What becomes of a picture."""
    if len(found.variants) > 1:
        return "picture     its size depends on the variant"
    config = found.config
    views, room = len(config.view_tokens), config.max_seq_len
    line = (
        f"picture     {config.image_size} x {config.image_size} pixels in {views} "
        f"view{'s' * (views > 1)}: {config.image_words} of {room} positions"
    )
    if config.image_words >= room:
        line += f"; give a max_seq_len above {config.image_words}, or no question fits"
    return line


def memory_lines(found: Inspection, free: dict[str, int]) -> list[str]:
    """What the forms need, whether it fits here, and what each of several devices needs."""
    import torch

    from sphinx_ros.model.kernels import slow_bfloat16

    devices = [f"{name} ({sized(size)} free)" for name, size in free.items()]
    shared = [n for n in DEVICES if found.splits(n)]
    heads = [*devices, *(f"each of {n}" for n in shared)]
    lines = [f"{'memory':12}{'weights':>10}{'+ cache':>10}{'+ look':>10}  {'  '.join(heads)}"]
    for form in forms():
        weights, cache, look = found.needs(form)
        cells = [fit(weights + cache + look, size) for size in free.values()]
        cells += [sized(sum(found.needs(form, n))) for n in shared]
        row = "  ".join(cell.ljust(len(head)) for cell, head in zip(cells, heads, strict=True))
        sizes = "".join(f"{sized(n):>10}" for n in (weights, cache, look))
        lines.append(f"{form:12}{sizes}  {row}".rstrip())
    lines.append("cache: of one longest sequence; look: for a moment, to encode a picture.")
    if slow_bfloat16(torch.device("cpu")):
        lines.append("On this CPU bfloat16 is computed in float32: cache and look as for float32.")
    lines.append("int8, int4, nf4: the decoder (--quantise), all else bfloat16.")
    return lines


def forms() -> list[str]:
    """The ways to keep a checkpoint."""
    from sphinx_ros.checkpoint.inspection import FORMS

    return list(FORMS)


def fit(needed: int, free: int) -> str:
    """In words whether it fits; a tenth is left for what else a run needs."""
    if needed > free:
        return "does not fit"
    return "fits" if needed < 0.9 * free else "just fits"


def as_json(found: Inspection, free: dict[str, int], problems: list[str] | None) -> dict:
    """The report for programs; sizes in bytes."""
    config = found.config
    return {
        "folder": str(found.folder) if found.folder else None,
        "variant": config.variant if len(found.variants) == 1 else None,
        "variants": list(found.variants),
        "inferred": list(found.inferred),
        "assumed": list(found.assumed),
        "missing": list(found.missing),
        "released": list(found.released),
        "licences": list(found.licences),
        "image_size": config.image_size,
        "image_words": config.image_words,
        "max_seq_len": config.max_seq_len,
        "files": {p.name: n for p, n in zip(found.files, found.file_bytes, strict=True)},
        "stored": found.stored,
        "parameters": found.parameters | {"total": found.total},
        "memory": {
            form: {
                str(n): dict(zip(("weights", "cache", "look"), found.needs(form, n), strict=True))
                for n in (1, *DEVICES)
                if found.splits(n)
            }
            for form in forms()
        },
        "adapter": adapter_json(found.adapter),
        "free": free,
        "problems": problems,
    }


def adapter_json(taught: Taught | None) -> dict | None:
    """The adapter for programs."""
    return None if taught is None else asdict(taught) | {"folder": str(taught.folder)}


def parser() -> Parser:
    """The verb's command line."""
    parser = Parser("inspect", description=ABOUT)
    parser.add_argument(
        "checkpoint",
        nargs="?",
        default="demo",
        metavar="X",
        help="a name, hf://owner/repo/folder or a folder (default: demo)",
    )
    add_missing_files(parser)
    parser.add_argument(
        "--deep", action="store_true", help="read all numbers too: finite? repeated tensors equal?"
    )
    parser.add_argument("--list", action="store_true", help="list the published checkpoints")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser
