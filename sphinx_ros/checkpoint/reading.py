"""A tensor file -> its tensors by key, memory-mapped: opening reads a table of contents, no more.

What a file claims about its tensors is compared with what it holds, so that nobody computes with
the bytes beside a tensor. Builds no network.
"""

from __future__ import annotations

import collections
import pickle
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from sphinx_ros.checkpoint.intact import readable
from sphinx_ros.checkpoint.layout import INDEX, PREFIX, files_of, weight_map
from sphinx_ros.errors import CheckpointError, first_line

_TRANSFORMERS = (".self_attn.q_proj.", ".self_attn.k_proj.", "embed_tokens.", "lm_head.")
"""Parts of the names that the transformers library gives a language model's parameters."""


def read_shard(path: Path) -> dict[str, Tensor]:
    """The tensors of one shard by key (without ``llma.``), memory-mapped.

    path: a .pth file, a .safetensors file or the index of several.

    Raises:
        CheckpointError: a file is absent, truncated, or holds more than tensors.
    """
    if path.name == INDEX:
        content: Mapping = _read_set(path)
    elif path.suffix == ".safetensors":
        content = _read_safetensors(path)
    else:
        content = _read_pth(path)
    bare = [str(key) for key in content if not str(key).startswith(PREFIX)]
    if bare:
        foreign = any(part in key for key in bare for part in _TRANSFORMERS)
        whose = "the transformers library's names" if foreign else "a text-only LLaMA file's, say"
        raise CheckpointError(
            f"{path}: {some(bare)} without the prefix {PREFIX!r} ({whose}); expected the keys of "
            "a SPHINX checkpoint. A language model alone has no visual weights"
        )
    return {key.removeprefix(PREFIX): tensor.detach() for key, tensor in content.items()}


def _read_set(index: Path) -> dict[str, Tensor]:
    places = weight_map(index)
    found: dict[str, str] = {}
    content: dict[str, Tensor] = {}
    for file in files_of(index):
        readable(file, f"copy or download it again, {index.name} names it")
        for key, tensor in _read_safetensors(file).items():
            if key in found:
                raise CheckpointError(
                    f"{file}: key {key} is also in {found[key]}; a file of the set is there under "
                    "two names, copy the set again"
                )
            content[key], found[key] = tensor, file.name
    wrong = sorted(key for key in {*places, *found} if places.get(key) != found.get(key))
    if wrong:
        at, said = found.get(wrong[0], "none of the files"), places.get(wrong[0], "no file")
        raise CheckpointError(
            f"{index}: {some(wrong)}: the index names {said}, found in {at}; index and files "
            "must belong together, copy them again"
        )
    return content


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    size = readable(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}
    except Exception as error:  # of the library, of torch, or of the system
        _damaged(path, size, "a safetensors file", error)


def _read_pth(path: Path) -> Mapping[str, Tensor]:
    size = readable(path)
    records = _records(path, size)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and was not opened, because loading it could run "
            f"code: {first_line(error)} Get the file from its original source"
        ) from error
    except Exception as error:  # damaged pickles end in errors of every kind
        _damaged(path, size, "a PyTorch file", error)
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(map(torch.is_tensor, content.values())):
        raise CheckpointError(
            f'{path} holds no state dict; expected {{"model": {{"{PREFIX}...": tensor}}}}'
        )
    _check_storage(path, content, records)
    return content


def _records(path: Path, size: int) -> collections.Counter[int]:
    """Size -> how many records of tensors a file has of it.

    Raises:
        CheckpointError: no zip archive, one that is compressed, or of the other byte order.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
            order = next((r for r in records if r.filename.endswith("/byteorder")), None)
            byteorder = archive.read(order).decode() if order else sys.byteorder
    except zipfile.BadZipFile as error:
        with open(path, "rb") as file:
            old = file.read(1) == b"\x80"  # a pickle: what torch wrote before it wrote archives
        if not old:
            _damaged(path, size, "a PyTorch file", error)
        raise CheckpointError(
            f"{path} ({size} bytes) is truncated, or was written by PyTorch before 1.6 and can't "
            "be memory-mapped: torch.save(torch.load(FILE, weights_only=True), NEW) writes it anew"
        ) from error
    except Exception as error:  # a damaged directory
        _damaged(path, size, "a PyTorch file", error)
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise CheckpointError(
            f"{path} is a compressed archive, expected one that torch.save wrote; download it "
            "again, and do not pack it"
        )
    if byteorder.strip() != sys.byteorder:
        raise CheckpointError(
            f"{path} has the byte order {byteorder!r}, and this machine {sys.byteorder!r}; save "
            "it anew on a machine like this one"
        )
    return collections.Counter(r.file_size for r in records if "/data/" in r.filename)


def _check_storage(path: Path, content: Mapping, records: collections.Counter[int]) -> None:
    """Refuse tensors that are not the bytes of a record: torch maps as many bytes as the pickle
    says, without looking at the record.

    records: size in bytes -> number of records of that size.
    """
    sizes: dict[int, tuple[int, str]] = {}
    for key, tensor in content.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            kind = "quantised" if tensor.is_quantized else str(tensor.layout).split(".")[-1]
            where = " without numbers" if tensor.device.type == "meta" else ""
            raise CheckpointError(
                f"{path}: {key} is a {kind} tensor{where}, expected plain numbers (strided, in "
                "this file); save the checkpoint from a model that is loaded whole"
            )
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = (storage.nbytes(), str(key))
    left = collections.Counter(records)
    for size, key in sizes.values():
        left[size] -= 1
        if size and left[size] < 0:
            raise CheckpointError(
                f"{path}: {key} has {size} bytes of numbers by the table of contents, and the "
                "file holds no such record for it; it is truncated or damaged. Download it again "
                "and compare the sizes"
            )


def _damaged(path: Path, size: int, kind: str, error: Exception) -> NoReturn:
    raise CheckpointError(
        f"{path} ({size} bytes) can't be read as {kind}, it is truncated or damaged: "
        f"{first_line(error).rstrip('.')}. Copy or download it again and compare the sizes"
    ) from error


def some(keys: list[str]) -> str:
    """Up to five keys in words."""
    rest = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return f"key{'s' * (len(keys) > 1)} {', '.join(key[:200] for key in keys[:5])}{rest}"
