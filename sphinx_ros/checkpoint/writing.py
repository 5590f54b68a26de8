"""Tensors, one at a time -> the tensor files of a checkpoint, all of them or none.

The only writer of both layouts: saving, converting, mixing and training end here. Files are
written as a stream, so that no more than one tensor has to be in memory (the writers of torch and
of safetensors want all tensors of a file at once).
"""

from __future__ import annotations

import abc
import contextlib
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from sphinx_ros.checkpoint.layout import INDEX, PREFIX, SINGLE, shard_name
from sphinx_ros.checkpoint.pth import ALIGNED, Entry, PthFile, expect, flush
from sphinx_ros.checkpoint.shards import as_bytes, cut
from sphinx_ros.model.keys import split_dim, split_groups
from sphinx_ros.runtime.files import replaced, write_text

SET_BYTES = 5_000_000_000
"""Largest safetensors file, unless asked otherwise."""

SAFETENSORS_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


class _Sink(abc.ABC):
    """Files that are written together: all of them take their places, or none does.

    Used as a statement. Inside the block tensors come in the order of ``order``; ``bytes`` is how
    many will be written.
    """

    order: list[Entry]
    bytes: int

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            try:
                self.close()
            except BaseException as late:  # a full disk: nothing may take its place then
                self._open.__exit__(type(late), late, late.__traceback__)
                raise
        self._open.__exit__(kind, error, trace)

    @abc.abstractmethod
    def write(self, key: str, tensor: Tensor) -> int:
        """The next tensor of ``order``; returns the bytes written."""

    @abc.abstractmethod
    def close(self) -> None:
        """Write what is missing of the files, to the disk."""


class SafetensorsSet(_Sink):
    """One safetensors file, or several and an index; every tensor once."""

    def __init__(self, folder: Path, entries: Sequence[Entry], largest: int = SET_BYTES):
        super().__init__()
        # wide types first: then every tensor lies at a multiple of its own size
        self.order = sorted(entries, key=lambda e: -e.dtype.itemsize)
        self.bytes = sum(entry.bytes for entry in entries)
        self._files = self._named(folder, self._divide(largest))
        self._left: list[Entry] = []
        self._file: BinaryIO | None = None

    def _divide(self, largest: int) -> list[list[Entry]]:
        files: list[list[Entry]] = [[]]
        size = 0
        for entry in self.order:
            if files[-1] and size + entry.bytes > largest:
                files.append([])
                size = 0
            files[-1].append(entry)
            size += entry.bytes
        return files

    def _named(self, folder: Path, files: list[list[Entry]]) -> list[tuple[Path, list[Entry]]]:
        if len(files) == 1:
            return [(folder / SINGLE, files[0])]
        names = [
            f"model-{n:05d}-of-{len(files):05d}.safetensors" for n in range(1, len(files) + 1)
        ]
        places = {PREFIX + e.key: n for n, file in zip(names, files, strict=True) for e in file}
        index = {"metadata": {"total_size": self.bytes}, "weight_map": places}
        write_text(folder / INDEX, json.dumps(index, indent=1) + "\n")
        return [(folder / name, file) for name, file in zip(names, files, strict=True)]

    def write(self, key: str, tensor: Tensor) -> int:
        """The next tensor of ``order``; returns the bytes written."""
        if not self._left:
            self.close()
            path, self._left = self._files.pop(0)
            self._file = self._open.enter_context(replaced(path))
            self._file.write(safetensors_head(self._left))
        assert self._file is not None, "a file is open while tensors of it are to come"
        expect(self._left.pop(0), key, tensor)
        return self._file.write(memoryview(as_bytes(tensor).numpy()))

    def close(self) -> None:
        """See the base class."""
        if self._file is not None:
            flush(self._file)


def safetensors_head(entries: Sequence[Entry]) -> bytes:
    """The table of contents of a safetensors file, its length in front."""
    table: dict = {"__metadata__": {"format": "pt"}}
    at = 0
    for entry in entries:
        place = [at, at + entry.bytes]
        kind = SAFETENSORS_NAMES[entry.dtype]
        row = {"dtype": kind, "shape": list(entry.shape), "data_offsets": place}
        table[PREFIX + entry.key] = row
        at += entry.bytes
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNED)
    return struct.pack("<Q", len(text)) + text


class ReleasedShards(_Sink):
    """N files in the released layout: every shard a part of what is split, and all else.

    Raises:
        CheckpointError: a tensor can't be split evenly; nothing has been written then.
    """

    def __init__(self, folder: Path, entries: Sequence[Entry], shards: int, experts: int | None):
        super().__init__()
        self.order, self.shards, self.experts = list(entries), shards, experts
        parts = [[self._part(e, rank) for e in self.order] for rank in range(shards)]
        self.bytes = sum(entry.bytes for part in parts for entry in part)
        self._files = [
            self._new(folder / shard_name(rank, shards), part) for rank, part in enumerate(parts)
        ]

    def _new(self, path: Path, part: Sequence[Entry]) -> PthFile:
        file = PthFile(self._open.enter_context(replaced(path)), path.name, part)
        self._open.callback(file.abandon)
        return file

    def _part(self, entry: Entry, rank: int) -> Entry:
        whole = torch.empty(entry.shape, dtype=entry.dtype, device="meta")
        return entry._replace(shape=tuple(self._cut(entry.key, whole, rank).shape))

    def _cut(self, key: str, tensor: Tensor, rank: int) -> Tensor:
        return cut(key, tensor, split_dim(key), split_groups(key, self.experts), rank, self.shards)

    def write(self, key: str, tensor: Tensor) -> int:
        """The next tensor of ``order``; returns the bytes written."""
        return sum(
            file.write(key, self._cut(key, tensor, rank)) for rank, file in enumerate(self._files)
        )

    def close(self) -> None:
        """See the base class."""
        for file in self._files:
            file.close()
