"""A checkpoint of true SPHINX-Tiny-1k size, random numbers: load it, look, decode, on the CPU.

    python bench/full_size.py [--folder F] [--seed 0] [--dtype bfloat16] [--quantise int8]
                              [--tokens 32] [--json FILE]

Without --folder about 6 GB are written to a temporary folder and deleted at the end; a folder
that holds the checkpoint already is used as it is. Beside the figures stand those of the official
code (bfloat16, 1295 image and 64 text tokens, two threads of another machine).

A look and a prefill are bound by arithmetic, so what this machine does in one plain matrix product
is measured as well, in float32 and in bfloat16, and look_of_product is the share of the better of
the two that the look reaches. A token is bound by reading the weights.

peak_over_weights: the most memory the process had (resident, files it maps included), less what it
had before loading, by the bytes of the weights in the number type they are kept in.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import struct
import tempfile
import time
from pathlib import Path

import torch

from sphinx_ros.runtime.files import write_text
from sphinx_ros.runtime.progress import Progress

OFFICIAL = {"look_s": 71.7, "prefill_s": 20.67, "token_s": 0.6776}
"""Seconds of the official code for the same network (62 more text tokens in the prefill)."""

QUESTION = (
    "Please provide the bounding box coordinate of the region this sentence describes: the woman "
    "in the orange suit with a flag and a model of a space shuttle behind her."
)


def write_tokenizer(path: Path, pieces: int) -> None:
    """The demonstration model's tokenizer, filled up with pieces that no text has."""
    from sphinx_ros.world.demo_tokenizer import train_tokenizer

    train_tokenizer(path)
    fill_tokenizer(path, pieces)


def fill_tokenizer(path: Path, pieces: int) -> None:
    """Fill a tokenizer file up to ``pieces``, with some that no text has.

    Protocol buffers that follow each other are one with the repeated fields of both: field 1 of a
    sentencepiece model is a piece, with 1 its text, 2 its score (float), 3 its type (3: control).
    """
    from sphinx_ros.prompt.tokenizer import Tokenizer

    with path.open("ab") as file:
        for number in range(pieces - Tokenizer(str(path)).n_words):
            text = f"<filler_{number}>".encode()
            score = b"\x15" + struct.pack("<f", -1e6)
            piece = bytes((0x0A, len(text))) + text + score + b"\x18\x03"
            file.write(bytes((0x0A, len(piece))) + piece)


def write_checkpoint(folder: Path, seed: int, params: dict, variant: str, pieces: int) -> Path:
    """A random checkpoint in the released layout.

    params: its ``config.json``; variant: ``llama_type``; pieces: size of the vocabulary.
    """
    from sphinx_ros.checkpoint.expected import expected_keys
    from sphinx_ros.checkpoint.layout import PREFIX
    from sphinx_ros.checkpoint.pth import Entry
    from sphinx_ros.checkpoint.staging import staged
    from sphinx_ros.checkpoint.writing import ReleasedShards
    from sphinx_ros.model.config import ModelConfig

    config = ModelConfig.from_json(params, variant, pieces)
    keys = expected_keys(config)
    entries = [
        Entry(key.removeprefix(PREFIX), expected.shape, torch.bfloat16)
        for key, expected in keys.items()
    ]
    draw = torch.Generator().manual_seed(seed)
    with staged(folder) as partial:
        sink = ReleasedShards(partial, entries, 1, config.num_experts)
        with sink, Progress(sink.bytes, "writing", "B") as bar:
            for entry in sink.order:
                bar.advance(sink.write(entry.key, numbers(entry, draw)))
        write_tokenizer(partial / "tokenizer.model", pieces)
        (partial / "config.json").write_text(json.dumps(params, indent=2))
        (partial / "meta.json").write_text(json.dumps({"llama_type": variant}))
    return folder


def numbers(entry, draw: torch.Generator) -> torch.Tensor:
    """Norms 1, biases 0, matrices normal with the spread that keeps signals level; where the
    generator is.
    """
    made = torch.empty(entry.shape, device=draw.device)
    if len(entry.shape) < 2:
        return made.fill_(float(not entry.key.endswith("bias"))).to(entry.dtype)
    spread = 1 / math.sqrt(max(1, math.prod(entry.shape[1:])))
    return made.normal_(0, spread, generator=draw).to(entry.dtype)


def resident_peak() -> int:
    """The most memory this process has had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def product_rate(dtype: torch.dtype, rows: int = 1285, width: int = 1536) -> float:
    """GFLOP/s of the matrix product that most of a look consists of."""
    x, w = (torch.randn(n, width).to(dtype) for n in (rows, 4 * width))
    flop, best = 2 * rows * width * 4 * width, math.inf
    began = time.perf_counter()
    for _ in range(5):
        started = time.perf_counter()
        torch.mm(x, w.T)
        best = min(best, time.perf_counter() - started)
        if time.perf_counter() - began > 10:  # bfloat16 without instructions for it
            break
    return flop / best / 1e9


def look_flop(model) -> float:
    """Floating-point operations of encoding a picture, counted by torch on the "meta" device."""
    from torch.utils.flop_counter import FlopCounterMode

    from sphinx_ros.checkpoint.expected import empty_model

    shape = empty_model(model.config).requires_grad_(False)
    with torch.device("meta"), torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            shape.encode_image(torch.empty(1, 3, *2 * [model.config.image_size]))
    return float(counter.get_total_flops())


def measure(folder: Path, picture, options) -> dict[str, float]:
    """Load, look at ``picture`` (RGB uint8), decode; seconds and memory.

    options: dtype, quantise and tokens of the command line.
    """
    from sphinx_ros import Sphinx
    from sphinx_ros.checkpoint import open_checkpoint

    open_checkpoint(folder)  # libraries are loaded now, so that the memory before is theirs
    before = resident_peak()
    started = time.perf_counter()
    sphinx = Sphinx.from_pretrained(
        folder, device="cpu", dtype=options.dtype, quantise=options.quantise
    )
    load = time.perf_counter() - started
    kept = {id(t): t for t in (*sphinx.model.parameters(), *sphinx.model.buffers())}
    weights = sum(t.numel() * t.element_size() for t in kept.values())
    seen = sphinx.look(picture)
    marks: list[float] = []
    seen.ask(
        QUESTION,
        short=False,
        max_new_tokens=options.tokens,
        on_text=lambda _: marks.append(time.perf_counter()),
    )
    peak = resident_peak()
    rates = {t: product_rate(getattr(torch, t)) for t in ("float32", "bfloat16")}
    flop = look_flop(sphinx.model)
    return {
        "load_s": load,
        "look_s": seen.timing.encode / 1e3,
        "prefill_s": seen.timing.prefill / 1e3,
        "token_s": (marks[-1] - marks[0]) / max(1, len(marks) - 1),
        "tokens": len(marks),
        "weights_gb": weights / 1e9,
        "peak_over_weights": (peak - before) / weights,
        "look_tflop": flop / 1e12,
        "float32_product_gflops": rates["float32"],
        "bfloat16_product_gflops": rates["bfloat16"],
        "look_of_product": flop / seen.timing.encode * 1e3 / 1e9 / max(rates.values()),
        "threads": torch.get_num_threads(),
    }


def table(rows: dict[str, float]) -> str:
    """What people read."""
    lines = [f"{'':22}{'here':>9}{'official':>10}{'times faster':>14}"]
    for name, value in rows.items():
        official = OFFICIAL.get(name)
        beside = f"{official:10.3f}{official / value:14.2f}" if official else ""
        lines.append(f"{name:22}{value:9.3f}{beside}")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder", type=Path, help="where the checkpoint is, or is written to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--quantise", choices=("int8", "int4"))
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from skimage.data import astronaut

    from sphinx_ros.checkpoint.released import RELEASED, VOCABULARY

    tiny = RELEASED["sphinx-tiny-1k"]
    temporary = None if options.folder else Path(tempfile.mkdtemp(prefix="sphinx_full_size_"))
    folder = options.folder or temporary / "checkpoint"
    try:
        if not (folder / "config.json").exists():
            write_checkpoint(folder, options.seed, tiny.decoder, tiny.variant, VOCABULARY)
        rows = measure(folder, astronaut(), options)
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
    print(table(rows))
    if options.json:
        write_text(options.json, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
