"""A checkpoint of true SPHINX-Tiny-1k size, random numbers: load it, look, decode, on the CPU.

    python bench/full_size.py [--folder F] [--seed 0] [--dtype bfloat16] [--quantise int8]
                              [--tokens 32] [--json FILE]

Without --folder about 6 GB are written to a temporary folder and deleted at the end; a folder
that holds the checkpoint already is used as it is. Beside the figures stand those of the official
code (bfloat16, 1295 image and 64 text tokens, two threads of another machine): what a processor
can do matters as much as the program.

peak_over_weights: the most memory the process had (resident, files it maps included), less what it
had before loading, by the bytes of the weights in the number type they are kept in.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import tempfile
import time
from pathlib import Path

import torch
from tqdm import tqdm

OFFICIAL = {"look_s": 71.7, "prefill_s": 20.67, "token_s": 0.6776}
"""Seconds of the official code for the same network (62 more text tokens in the prefill)."""

QUESTION = (
    "Please provide the bounding box coordinate of the region this sentence describes: the woman "
    "in the orange suit with a flag and a model of a space shuttle behind her."
)


def write_tokenizer(path: Path, pieces: int) -> None:
    """The demonstration model's tokenizer, filled up with pieces that no text has."""
    from sentencepiece import sentencepiece_model_pb2 as format_

    from sphinx_ros.world.vocabulary import train_tokenizer

    train_tokenizer(path)
    model = format_.ModelProto()
    model.ParseFromString(path.read_bytes())
    for number in range(pieces - len(model.pieces)):
        model.pieces.add(piece=f"<filler_{number}>", score=-1e6 - number, type=3)  # control
    path.write_bytes(model.SerializeToString())


def write_checkpoint(folder: Path, seed: int, name: str = "sphinx-tiny-1k") -> Path:
    """A random checkpoint with the sizes of a published one, in the released layout."""
    from sphinx_ros.checkpoint.layout import PREFIX, expected_keys
    from sphinx_ros.checkpoint.released import RELEASED, VOCABULARY
    from sphinx_ros.checkpoint.writing import Entry, ReleasedShards, staged

    item = RELEASED[name]
    keys = expected_keys(item.config)
    entries = [
        Entry(key.removeprefix(PREFIX), expected.shape, torch.bfloat16)
        for key, expected in keys.items()
    ]
    draw = torch.Generator().manual_seed(seed)
    with staged(folder) as partial:
        sink = ReleasedShards(partial, entries, 1, item.config.num_experts)
        with tqdm(total=sink.bytes, unit="B", unit_scale=True, desc="writing") as bar:
            for entry in sink.order:
                bar.update(sink.write(entry.key, numbers(entry, draw)))
        sink.close()
        write_tokenizer(partial / "tokenizer.model", VOCABULARY)
        (partial / "config.json").write_text(json.dumps(item.decoder, indent=2))
        (partial / "meta.json").write_text(json.dumps({"llama_type": item.variant}))
    return folder


def numbers(entry, draw: torch.Generator) -> torch.Tensor:
    """Norms 1, biases 0, matrices normal with the spread that keeps signals level."""
    if len(entry.shape) < 2:
        return torch.full(entry.shape, float(not entry.key.endswith("bias")), dtype=entry.dtype)
    spread = 1 / math.sqrt(max(1, math.prod(entry.shape[1:])))
    return torch.empty(entry.shape).normal_(0, spread, generator=draw).to(entry.dtype)


def resident_peak() -> int:
    """The most memory this process has had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(folder: Path, options) -> dict[str, float]:
    """Load, look, decode; seconds and memory."""
    from skimage.data import astronaut

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
    seen = sphinx.look(astronaut())
    marks: list[float] = []
    seen.ask(
        QUESTION,
        short=False,
        max_new_tokens=options.tokens,
        on_text=lambda _: marks.append(time.perf_counter()),
    )
    return {
        "load_s": load,
        "look_s": seen.timing.encode / 1e3,
        "prefill_s": seen.timing.prefill / 1e3,
        "token_s": (marks[-1] - marks[0]) / max(1, len(marks) - 1),
        "tokens": len(marks),
        "weights_gb": weights / 1e9,
        "peak_over_weights": (resident_peak() - before) / weights,
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
    temporary = None if options.folder else Path(tempfile.mkdtemp(prefix="sphinx_full_size_"))
    folder = options.folder or temporary / "checkpoint"
    try:
        if not (folder / "config.json").exists():
            write_checkpoint(folder, options.seed)
        rows = measure(folder, options)
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
