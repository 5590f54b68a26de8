"""A folder with an adapter -> what it adds to the matrices of the checkpoint it was made for.

An adapter is low-rank (LoRA, arXiv 2106.09685): a matrix W [out, in] becomes
W + alpha / rank * B A, with A [r, in] and B [out, r]; r is the adapter's rank, or another one that
the matrix has. The file and its keys are those of the library peft; its metadata say for which
weights it was made.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sphinx_ros import __version__
from sphinx_ros.checkpoint.intact import readable
from sphinx_ros.checkpoint.layout import ADAPTER, ADAPTER_CONFIG
from sphinx_ros.errors import CheckpointError, quoted
from sphinx_ros.model import keys
from sphinx_ros.runtime.files import replaced, write_text

REMEDY = "copy it again, or end the run with sphinx-ros tune --resume"

_KEY = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")
BASE, BASE_NAME, RANK, ALPHA = "base_sha256", "base", "rank", "alpha"
"""Keys of the file's metadata."""


@dataclass(frozen=True)
class Adapter:
    """What is added to some matrices of a checkpoint.

    Attributes:
        rank, alpha: as above. base: :func:`fingerprint` of the checkpoint it was made for;
            base_name: what that was called. factors: parameter, as
            ``layers.0.attention.wq.weight`` -> (A [r, in], B [out, r]), float32.
    """

    rank: int
    alpha: float
    base: str
    base_name: str
    factors: Mapping[str, tuple[Tensor, Tensor]]

    @property
    def size(self) -> int:
        """Numbers in it."""
        return sum(a.numel() + b.numel() for a, b in self.factors.values())

    def added(self, key: str, weight: Tensor) -> Tensor:
        """The matrix of a parameter with its part of the adapter, float32."""
        a, b = self.factors[key]
        return weight.float() + (b @ a) * (self.alpha / self.rank)

    def write(self, folder: str | Path) -> Path:
        """Write it as peft does; the folder."""
        from safetensors.torch import save

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors, modules, ranks = {}, [], {}
        for key, pair in self.factors.items():
            modules.append(key.removesuffix(".weight"))
            if len(pair[0]) != self.rank:
                ranks[modules[-1]] = len(pair[0])
            for letter, value in zip("AB", pair, strict=True):
                tensors[f"base_model.model.{modules[-1]}.lora_{letter}.weight"] = value
        said = {
            "format": "pt", BASE: self.base, BASE_NAME: self.base_name,
            RANK: str(self.rank), ALPHA: repr(self.alpha), "sphinx_ros": __version__,
        }  # fmt: skip
        plain = {key: value.detach().cpu().float().contiguous() for key, value in tensors.items()}
        config = {
            "peft_type": "LORA",
            "base_model_name_or_path": self.base_name,
            "r": self.rank,
            "lora_alpha": self.alpha,
            # peft divides a matrix's alpha by its rank, and each is to count as much
            "rank_pattern": {re.escape(name): rank for name, rank in ranks.items()},
            "alpha_pattern": {
                re.escape(name): self.alpha / self.rank * rank for name, rank in ranks.items()
            },
            # as a pattern: peft would take a plain name for the end of longer ones, too
            "target_modules": "|".join(map(re.escape, modules)),
            "bias": "none",
            "inference_mode": True,
        }
        write_text(folder / ADAPTER_CONFIG, json.dumps(config, indent=1) + "\n")
        with replaced(folder / ADAPTER) as file:  # last: a folder with it is whole
            file.write(save(plain, said))
        return folder


@dataclass(frozen=True)
class Taught:
    """What an adapter is.

    folder: where it is; file_bytes: of its tensors' file. base: name of the checkpoint that it was
    made for. ranks: of its matrices, each once. matrices: how many it changes. parameters: part of
    the network -> its own numbers. checked: whether it was made for the checkpoint that is here;
    False: that is not here.
    """

    folder: Path
    file_bytes: int
    base: str
    rank: int
    alpha: float
    ranks: tuple[int, ...]
    matrices: int
    parameters: dict[str, int]
    checked: bool

    @classmethod
    def of(cls, adapter: Adapter, folder: Path) -> Taught:
        """What one that was read is."""
        counts = dict.fromkeys(keys.PARTS, 0)
        for key, pair in adapter.factors.items():
            counts[keys.part(key)] += sum(one.numel() for one in pair)
        return cls(
            folder,
            (folder / ADAPTER).stat().st_size,
            adapter.base_name,
            adapter.rank,
            adapter.alpha,
            tuple(sorted({len(a) for a, _ in adapter.factors.values()})),
            len(adapter.factors),
            {name: count for name, count in counts.items() if count},
            checked=False,
        )

    @property
    def total(self) -> int:
        """Numbers in it."""
        return sum(self.parameters.values())


def read_adapter(folder: Path) -> Adapter:
    """The adapter in a folder.

    Raises:
        CheckpointError: its file can't be read, or is no adapter of this package.
    """
    path = folder / ADAPTER
    readable(path, REMEDY)
    pairs, said = _factors(path)
    rank, alpha, base = _said(path, said)
    factors = {}
    for key, pair in pairs.items():
        shapes = {letter: tuple(value.shape) for letter, value in pair.items()}
        flat = set(pair) == {"A", "B"} and all(len(shape) == 2 for shape in shapes.values())
        if not flat or not shapes["A"][0] or shapes["A"][0] != shapes["B"][1]:
            raise CheckpointError(
                f"{path}: {key} has {shapes}, expected A [r, in] and B [out, r]; {REMEDY}"
            )
        factors[key] = (pair["A"].float(), pair["B"].float())
    if not factors:
        raise CheckpointError(f"{path} holds no matrix; {REMEDY}")
    return Adapter(rank, alpha, base, said.get(BASE_NAME, ""), factors)


def _factors(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
    """What a file holds: parameter -> letter -> tensor; and its metadata."""
    from safetensors import SafetensorError, safe_open

    pairs: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
            for name in file.keys():
                found = _KEY.fullmatch(name)
                if found is None:
                    raise CheckpointError(
                        f"{path} has the key {quoted(name)}, expected names that end with "
                        ".lora_A.weight and .lora_B.weight; other adapters can't be used"
                    )
                pairs.setdefault(f"{found[1]}.weight", {})[found[2]] = file.get_tensor(name)
    except CheckpointError:
        raise
    except (OSError, SafetensorError, struct.error, ValueError) as error:
        raise CheckpointError(f"{path} can't be read ({error}); {REMEDY}") from error
    return pairs, said


def _said(path: Path, said: Mapping[str, str]) -> tuple[int, float, str]:
    """Rank, alpha and the base's fingerprint of a file's metadata."""
    try:
        rank, alpha, base = int(said[RANK]), float(said[ALPHA]), said[BASE]
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"{path} does not say {error} in its metadata, which sphinx-ros tune writes: it is no "
            "adapter of this package"
        ) from error
    if rank < 1 or not math.isfinite(alpha):
        raise CheckpointError(
            f"{path} says rank {quoted(rank)} and alpha {alpha} in its metadata, expected a rank "
            f"of 1 or more and a finite alpha; {REMEDY}"
        )
    return rank, alpha, base


def fitting(adapter: Adapter, folder: Path, stored: Any) -> Adapter:
    """The adapter, if it was made for this checkpoint, a ``Stored``.

    Raises:
        CheckpointError: it was made for other weights, or has a matrix that is not there.
    """
    path, base = folder / ADAPTER, fingerprint(stored)
    if adapter.base != base:
        raise CheckpointError(
            f"{path} was made for {adapter.base_name or 'a checkpoint'} (sha256 "
            f"{adapter.base[:16]}...), not for {stored.layout.folder} ({base[:16]}...): give the "
            "checkpoint that it was tuned from, or tune this one"
        )
    for key, (a, b) in adapter.factors.items():
        wanted = (b.shape[0], a.shape[1])
        if key not in stored.keys or stored.shape(key) != wanted:
            raise CheckpointError(f"{path}: {key} is {list(wanted)}, which the checkpoint lacks")
        if not all(torch.isfinite(value).all() for value in (a, b)):
            raise CheckpointError(
                f"{path}: {key} holds numbers that are not finite: the training diverged; tune "
                "again with a lower --rate"
            )
    return adapter


def fingerprint(stored: Any) -> str:
    """What tells the weights of a checkpoint, a ``Stored``, from others: the same in every layout.

    SHA-256 of the names, types, shapes and first rows of all tensors of the network. Any training
    changes first rows, and to read them takes a moment for 13 billion parameters as well.
    """
    digest = hashlib.sha256()
    for key in sorted(stored.model.state_dict()):
        shape, dim = stored.shape(key), stored.split(key)[0]
        parts = stored.parts(key)[:1] if dim in (None, 0) else stored.parts(key)
        rows = [part if part.dim() < 2 else part[0] for part in parts]
        row = torch.cat(rows) if len(rows) > 1 else rows[0]
        digest.update(f"{key} {stored.dtype(key)} {list(shape)}\n".encode())
        digest.update(row.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
