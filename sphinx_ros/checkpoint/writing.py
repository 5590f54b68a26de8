"""Tensors, one at a time -> a checkpoint folder, whole or not at all. Opens no checkpoint.

Both layouts are written as a stream: what a file will hold is known beforehand, so its table of
contents comes first and no more than one tensor has to be in memory. (The writers of torch and of
safetensors want all tensors of a file at once.)
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sphinx_ros.checkpoint.layout import (
    INDEX,
    PREFIX,
    SINGLE,
    shard_name,
    split_dim,
    split_groups,
)
from sphinx_ros.checkpoint.shards import cut
from sphinx_ros.checkpoint.stored import as_bytes
from sphinx_ros.errors import CheckpointError

ALIGNED = 64
"""Tensors begin at multiples of so many bytes, as torch writes them, to be mapped well."""

ZIP64_EXTRA = 20
"""Bytes that a record's head has more where sizes may be of 64 bits."""

SET_BYTES = 5_000_000_000
"""Largest safetensors file, unless asked otherwise."""

STORAGES = {
    torch.float64: torch.DoubleStorage, torch.float32: torch.FloatStorage,
    torch.float16: torch.HalfStorage, torch.bfloat16: torch.BFloat16Storage,
    torch.int64: torch.LongStorage, torch.int32: torch.IntStorage, torch.int16: torch.ShortStorage,
    torch.int8: torch.CharStorage, torch.uint8: torch.ByteStorage, torch.bool: torch.BoolStorage,
}  # fmt: skip
SAFETENSORS_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


class Entry(NamedTuple):
    """A tensor to come. key: without ``llma.``; shape: of the whole."""

    key: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Size of the numbers."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` to write into, which becomes ``target`` when all went well.

    Otherwise it is deleted, and if the process is killed it stays under a name that nobody takes
    for a checkpoint; the next run deletes it.

    Raises:
        CheckpointError: ``target`` holds something, or its folder can't be written to.
    """
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise CheckpointError(f"{target} is there already; name a new folder, or delete that one")
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        for left in target.parent.glob(f".{target.name}.partial-*"):
            if not _alive(left.name.rpartition("-")[2]):
                shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as error:
        raise CheckpointError(f"{target} can't be made: {error.strerror}") from error
    try:
        yield partial
        for path in partial.iterdir():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        if target.is_dir():
            target.rmdir()
        partial.rename(target)
    except OSError as error:
        raise CheckpointError(
            f"writing {target} failed: {error.strerror or error}; nothing was left behind"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:
        pass  # somebody else's
    return True


class SafetensorsSet:
    """One safetensors file, or several and an index; every tensor once."""

    def __init__(self, folder: Path, entries: Sequence[Entry], largest: int = SET_BYTES):
        # wide types first: then every tensor lies at a multiple of its own size
        self.order = sorted(entries, key=lambda e: -e.dtype.itemsize)
        self.bytes = sum(entry.bytes for entry in entries)
        self._files = self._named(folder, self._divide(largest))
        self._left: list[Entry] = []
        self._stream = None

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
        (folder / INDEX).write_text(json.dumps(index, indent=1) + "\n")
        return [(folder / name, file) for name, file in zip(names, files, strict=True)]

    def write(self, key: str, tensor: Tensor) -> int:
        """The next tensor of ``order``; returns the bytes written."""
        if not self._left:
            path, self._left = self._files.pop(0)
            self.close()
            self._stream = open(path, "wb")
            self._stream.write(safetensors_head(self._left))
        entry = self._left.pop(0)
        if (entry.key, entry.shape, entry.dtype) != (key, tuple(tensor.shape), tensor.dtype):
            raise ValueError(f"{entry} was to come, and {key} {tensor.shape} {tensor.dtype} came")
        return self._stream.write(memoryview(as_bytes(tensor).numpy()))

    def close(self) -> None:
        """End the open file."""
        if self._stream is not None:
            self._stream.close()

    abandon = close


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


class ReleasedShards:
    """N files in the released layout: every shard a part of what is split, and all else.

    Raises:
        CheckpointError: a tensor can't be split evenly; nothing has been written then.
    """

    def __init__(self, folder: Path, entries: Sequence[Entry], shards: int, experts: int | None):
        self.order, self.shards, self.experts = list(entries), shards, experts
        parts = [[self._part(e, rank) for e in self.order] for rank in range(shards)]
        self.bytes = sum(entry.bytes for part in parts for entry in part)
        self._files = [
            PthFile(folder / shard_name(rank, shards), part) for rank, part in enumerate(parts)
        ]

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
        """End the files."""
        for file in self._files:
            file.close()

    def abandon(self) -> None:
        """Leave the files as they are."""
        for file in self._files:
            file.abandon()


class _Storage(NamedTuple):
    number: int
    dtype: torch.dtype
    size: int


class _Tensor:
    """Pickles as torch pickles a contiguous tensor."""

    def __init__(self, number: int, entry: Entry):
        meta = torch.empty(entry.shape, device="meta")
        storage = _Storage(number, entry.dtype, meta.numel())
        self._made = (storage, 0, tuple(meta.shape), meta.stride(), False, OrderedDict())

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, self._made


class _Pickler(pickle.Pickler):
    def persistent_id(self, thing):
        if isinstance(thing, _Storage):
            return "storage", STORAGES[thing.dtype], str(thing.number), "cpu", thing.size
        return None


class PthFile:
    """A file as ``torch.save({"model": {...}})`` writes it: a zip archive that is not compressed,
    with the pickled structure and one record per tensor.
    """

    def __init__(self, path: Path, entries: Sequence[Entry]):
        self._entries, self._next = list(entries), 0
        self._file = open(path, "wb+")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._root = path.name.removesuffix(".pth")
        model = {PREFIX + e.key: _Tensor(n, e) for n, e in enumerate(self._entries)}
        with self._zip.open(f"{self._root}/data.pkl", "w") as record:
            _Pickler(record, protocol=2).dump({"model": model})
        self._zip.writestr(f"{self._root}/byteorder", "little")

    def write(self, key: str, tensor: Tensor) -> int:
        """The next tensor; returns the bytes written."""
        entry = self._entries[self._next]
        if (entry.key, entry.shape, entry.dtype) != (key, tuple(tensor.shape), tensor.dtype):
            raise ValueError(f"{entry} was to come, and {key} {tensor.shape} {tensor.dtype} came")
        info = zipfile.ZipInfo(f"{self._root}/data/{self._next}")
        info.file_size = entry.bytes
        self._align(info)
        with self._zip.open(info, "w", force_zip64=True) as record:
            record.write(memoryview(as_bytes(tensor).numpy()))
        self._next += 1
        return entry.bytes

    def _align(self, info: zipfile.ZipInfo) -> None:
        """Lengthen the record's head so that its content begins at a multiple of ALIGNED."""
        head = self._file.tell() + zipfile.sizeFileHeader + len(info.filename) + ZIP64_EXTRA + 4
        info.extra = struct.pack("<2sH", b"FB", -head % ALIGNED) + b"Z" * (-head % ALIGNED)

    def close(self) -> None:
        """Write the archive's directory."""
        self._zip.writestr(f"{self._root}/version", "3\n")
        self._zip.close()
        self._file.close()

    def abandon(self) -> None:
        """Leave the file as it is: no archive."""
        self._zip.fp = None  # or it would try to write its directory when it is collected
        with contextlib.suppress(OSError):
            self._file.close()
