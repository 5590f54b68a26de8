"""How fast a checkpoint loads, by how fast its files can be read at all.

    python bench/loading.py X [--dtype float16] [--repeat 3] [--json FILE]

Cold: the system is asked to forget the files first (posix_fadvise; what another process maps
stays). Warm: they are in the page cache. Plain reading goes through one buffer of 8 MB. Reading
and loading take turns, and the best of --repeat turns counts. Loading reads the tensors into
separate memory, on the CPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from pathlib import Path

import torch

from sphinx_ros.checkpoint import load_checkpoint, open_checkpoint
from sphinx_ros.runtime.files import write_text

CHUNK = 8 << 20


def forget(files) -> None:
    """Ask the system to drop the files from its cache, which it does where nobody maps them."""
    gc.collect()  # the network of the run before
    for path in files:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(files) -> None:
    """Read the files from end to end and keep nothing."""
    buffer = bytearray(CHUNK)
    for path in files:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def seconds(job) -> float:
    """How long it takes."""
    gc.collect()
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def measure(checkpoint: str, dtype: torch.dtype | None, repeat: int) -> dict[str, float]:
    """GB/s of plain reading and of loading, cold and warm, and the ratios.

    dtype: None: as the numbers are stored, so that nothing is converted.
    """
    stored = open_checkpoint(checkpoint)
    files = stored.files
    size = sum(path.stat().st_size for path in files)
    dtype = dtype or next(iter(stored.shards[0].values())).dtype
    del stored
    best: dict[str, float] = {}
    jobs = {"read": lambda: read(files), "load": lambda: load_checkpoint(checkpoint, dtype=dtype)}
    for _ in range(repeat):
        for state in ("cold", "warm"):
            for name, job in jobs.items():
                if state == "cold":
                    forget(files)
                took = seconds(job)
                key = f"{name}_{state}_gb_per_s"
                best[key] = max(best.get(key, 0.0), size / took / 1e9)
    for state in ("cold", "warm"):
        best[f"load_of_read_{state}"] = (
            best[f"load_{state}_gb_per_s"] / best[f"read_{state}_gb_per_s"]
        )
    return {"gb": size / 1e9} | best


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint", metavar="X", help="a name or a folder")
    parser.add_argument(
        "--dtype", choices=("float32", "float16", "bfloat16"), help="default: as stored"
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = measure(
        options.checkpoint, options.dtype and getattr(torch, options.dtype), options.repeat
    )
    for name, value in rows.items():
        print(f"{name:22}{value:9.3f}")
    if options.json:
        write_text(options.json, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
