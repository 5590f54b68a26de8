"""Tensors, one at a time -> a file as torch.save writes it. Where the file lies is not known here.

torch's own writer wants all tensors of a file in memory at once. What a file will hold is known
beforehand, so its table of contents comes first here, and then one tensor after the other.
"""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from sphinx_ros.checkpoint.layout import PREFIX
from sphinx_ros.checkpoint.shards import as_bytes

ALIGNED = 64
"""Tensors begin at multiples of this number of bytes, as torch writes them, to be mapped well."""

HEAD = 30
"""Bytes of a record's head before its name, as the zip format has it."""

ZIP64_EXTRA = 20
"""Bytes that a record's head has more where sizes may be of 64 bits."""

STORAGES = {
    torch.float64: torch.DoubleStorage, torch.float32: torch.FloatStorage,
    torch.float16: torch.HalfStorage, torch.bfloat16: torch.BFloat16Storage,
    torch.int64: torch.LongStorage, torch.int32: torch.IntStorage, torch.int16: torch.ShortStorage,
    torch.int8: torch.CharStorage, torch.uint8: torch.ByteStorage, torch.bool: torch.BoolStorage,
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


def expect(entry: Entry, key: str, tensor: Tensor) -> None:
    """Raises ValueError where another tensor came than the one whose turn it is."""
    if (entry.key, entry.shape, entry.dtype) != (key, tuple(tensor.shape), tensor.dtype):
        raise ValueError(f"{entry} was to come, and {key} {tensor.shape} {tensor.dtype} came")


def flush(file: BinaryIO) -> None:
    """Have the system write a file to the disk now."""
    file.flush()
    os.fsync(file.fileno())


class _Storage(NamedTuple):
    """The numbers of one tensor: the record's number, their type and how many they are."""

    number: int
    dtype: torch.dtype
    size: int


class _Tensor:
    """A tensor to come. It pickles as torch pickles a contiguous one: a call of torch's function
    that rebuilds it, with its storage, offset 0, shape and strides.
    """

    def __init__(self, number: int, entry: Entry):
        meta = torch.empty(entry.shape, device="meta")
        storage = _Storage(number, entry.dtype, meta.numel())
        self._arguments: tuple = (
            storage,
            0,
            tuple(meta.shape),
            meta.stride(),
            False,
            OrderedDict(),
        )

    def __reduce__(self):
        """What the pickle holds in this object's place."""
        return torch._utils._rebuild_tensor_v2, self._arguments


class _Pickler(pickle.Pickler):
    """Writes a :class:`_Storage` as torch does: a name for the record with the numbers."""

    def persistent_id(self, thing: object):
        """The name of a storage; None for all else, which is pickled as usual."""
        if isinstance(thing, _Storage):
            return "storage", STORAGES[thing.dtype], str(thing.number), "cpu", thing.size
        return None


class PthFile:
    """A file as ``torch.save({"model": {...}})`` writes it: a zip archive that is not compressed,
    with the pickled structure and one record per tensor.

    file: open for writing; whoever opened it closes it. name: of the file that it will be.
    """

    def __init__(self, file: BinaryIO, name: str, entries: Sequence[Entry]):
        self._entries, self._next, self._file = list(entries), 0, file
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._root = name.removesuffix(".pth")
        model = {PREFIX + e.key: _Tensor(n, e) for n, e in enumerate(self._entries)}
        with self._zip.open(f"{self._root}/data.pkl", "w") as record:
            _Pickler(record, protocol=2).dump({"model": model})
        self._zip.writestr(f"{self._root}/byteorder", "little")

    def write(self, key: str, tensor: Tensor) -> int:
        """The next tensor; returns the bytes written."""
        entry = self._entries[self._next]
        expect(entry, key, tensor)
        info = zipfile.ZipInfo(f"{self._root}/data/{self._next}")
        info.file_size = entry.bytes
        self._align(info)
        with self._zip.open(info, "w", force_zip64=True) as record:
            record.write(memoryview(as_bytes(tensor).numpy()))
        self._next += 1
        return entry.bytes

    def _align(self, info: zipfile.ZipInfo) -> None:
        """Lengthen the record's head so that its content begins at a multiple of ALIGNED."""
        head = self._file.tell() + HEAD + len(info.filename) + ZIP64_EXTRA + 4
        info.extra = struct.pack("<2sH", b"FB", -head % ALIGNED) + b"Z" * (-head % ALIGNED)

    def close(self) -> None:
        """Write the archive's directory, and everything to the disk."""
        self._zip.writestr(f"{self._root}/version", "3\n")
        self._zip.close()
        flush(self._file)

    def abandon(self) -> None:
        """Leave the file as it is: no archive."""
        self._zip.fp = None  # or it would try to write its directory when it is collected
