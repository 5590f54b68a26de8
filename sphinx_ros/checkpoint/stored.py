"""A checkpoint's folder -> tensors that are still on disk, whatever layout and number of files.

Everything that loads, converts, mixes or inspects a checkpoint takes its tensors from here, one
at a time. Knows no device and no arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sphinx_ros.checkpoint.hub import resolve
from sphinx_ros.checkpoint.layout import Layout, read_layout, split_dim, split_groups
from sphinx_ros.checkpoint.pages import forget_pages, read_ahead, span
from sphinx_ros.checkpoint.shards import check_keys, check_shapes, files_of, merge, read_shard
from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.ranks import ALONE, Ranks
from sphinx_ros.prompt.tokenizer import Tokenizer


@dataclass(frozen=True)
class Stored:
    """An opened and checked checkpoint.

    shards: of each shard its memory-mapped tensors by key (without ``llma.``). model: the
    ``SphinxModel`` without storage.
    """

    layout: Layout
    shards: tuple[dict[str, Tensor], ...]
    model: torch.nn.Module
    tokenizer: Tokenizer

    @property
    def config(self) -> ModelConfig:
        """Sizes of the network."""
        return self.model.config

    @property
    def files(self) -> tuple[Path, ...]:
        """All tensor files."""
        return tuple(file for shard in self.layout.shards for file in files_of(shard))

    @property
    def keys(self) -> list[str]:
        """All tensors in the files, those that inference does without included."""
        return list(dict.fromkeys(key for shard in self.shards for key in shard))

    def parts(self, key: str) -> list[Tensor]:
        """What each shard that has the key holds of it."""
        return [shard[key] for shard in self.shards if key in shard]

    def split(self, key: str) -> tuple[int | None, int]:
        """(dimension that is spread over the shards or None, groups of rows), see layout.py."""
        return split_dim(key), split_groups(key, self.config.num_experts)

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a whole tensor."""
        parts, (dim, _) = self.parts(key), self.split(key)
        return tuple(
            sum(p.shape[i] for p in parts) if i == dim else size
            for i, size in enumerate(parts[0].shape)
        )

    def dtype(self, key: str) -> torch.dtype:
        """Number type of a tensor.

        Raises:
            CheckpointError: the shards have it in several.
        """
        kinds = {part.dtype for part in self.parts(key)}
        if len(kinds) > 1:
            raise CheckpointError(
                f"{self.layout.folder}: {key} is of other types in other files "
                f"({', '.join(sorted(map(str, kinds)))}); save the files anew in one type"
            )
        return kinds.pop()

    def whole(
        self, key: str, device="cpu", dtype: torch.dtype | None = None, ranks: Ranks = ALONE
    ) -> Tensor:
        """A tensor as a copy of its own, merged from the shards; of one that is split among
        several processes this one's part.
        """
        dim, groups = self.split(key)
        parts, dtype = self.parts(key), dtype or self.dtype(key)
        return merge(parts, dim, device, dtype, groups, ranks.rank, ranks.size)

    def mapped(self, key: str) -> Tensor:
        """A whole tensor as it is stored: not copied where one file holds all of it."""
        return self.parts(key)[0] if self._in_one_file(key) else self.whole(key)

    def _in_one_file(self, key: str) -> bool:
        return self.split(key)[0] is None or len(self.parts(key)) == 1

    def take(
        self, key: str, device="cpu", dtype: torch.dtype | None = None, ranks: Ranks = ALONE
    ) -> Tensor:
        """As :meth:`whole`, but where that would be a copy of what one file holds, bit for bit,
        it is the mapped tensor itself, read into memory.
        """
        first = self.parts(key)[0]
        as_it_is = ranks.size == 1 and self._in_one_file(key) and first.is_contiguous()
        if as_it_is and torch.device(device).type == "cpu" and dtype in (None, first.dtype):
            read_ahead(first)
            return first
        return self.whole(key, device, dtype, ranks)

    def unequal_copy(self, key: str) -> str | None:
        """The name of a file whose copy of a tensor that all shards repeat differs from the
        first one's; None where all agree, or where the tensor is split.
        """
        if self.split(key)[0] is not None:
            return None
        parts = self.parts(key)
        for path, part in zip(self.layout.shards, parts, strict=False):
            if part is not parts[0] and not same_bits(part, parts[0]):
                return path.name
        return None

    def release(self, key: str, unless: Iterable[Tensor] = ()) -> None:
        """Give the mapped pages of a tensor back to the system, those excepted on which one of
        ``unless`` lies; they are read anew when needed.
        """
        in_use = [span(tensor)[0] for tensor in unless if tensor.device.type == "cpu"]
        for part in self.parts(key):
            low, high = span(part)
            if not any(low <= address < high for address in in_use):
                forget_pages(part)


def open_checkpoint(checkpoint: str | Path) -> Stored:
    """Everything about a checkpoint but its numbers: files, keys and shapes, checked.

    Raises:
        CheckpointError: an unknown name; a file that is absent, truncated or not plain tensors; a
            key that is missing, surplus or misshapen.
    """
    layout = read_layout(resolve(checkpoint))
    tokenizer = Tokenizer(layout.tokenizer)
    model = _empty_model(layout, tokenizer.n_words)
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    shards = [read_shard(path) for path in layout.shards]
    check_keys(layout, shards, shapes)
    check_shapes(layout, shards, shapes, model.config.num_experts)
    return Stored(layout, tuple(shards), model, tokenizer)


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal shapes, types and bytes: a NaN equals itself, 0 and -0 differ."""
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(as_bytes(a), as_bytes(b))


def as_bytes(tensor: Tensor) -> Tensor:
    """The bytes [n] uint8 of a tensor on the CPU, without a copy where it is contiguous."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _empty_model(layout: Layout, vocab_size: int):
    """The network of a layout, with shapes and without storage."""
    from sphinx_ros.model.sphinx import SphinxModel

    try:
        config = ModelConfig.from_json(layout.params, layout.llama_type, vocab_size)
        with torch.device("meta"):
            return SphinxModel(config)
    except CheckpointError as error:
        raise CheckpointError(f"{layout.folder}: {error}") from error
    except (TypeError, ValueError, AttributeError, AssertionError, ArithmeticError) as error:
        raise CheckpointError(
            f"{layout.folder / 'config.json'} describes no possible network ({error}); copy the "
            "file that belongs to these weights"
        ) from error
