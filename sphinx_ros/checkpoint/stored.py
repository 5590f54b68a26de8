"""A checkpoint's folder -> tensors that are still on disk, whatever layout and number of files.

Everything that loads, converts, mixes or inspects a checkpoint takes its tensors from here, one
at a time. Knows no device.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sphinx_ros.checkpoint.adapter import Adapter, fitting, read_adapter
from sphinx_ros.checkpoint.expected import empty_model
from sphinx_ros.checkpoint.layout import CONFIG, Layout, files_of
from sphinx_ros.checkpoint.names import parted
from sphinx_ros.checkpoint.pages import forget_pages, read_ahead, span
from sphinx_ros.checkpoint.shards import (
    check_keys,
    check_shapes,
    cut,
    merge,
    unequal_copy,
    whole_shape,
)
from sphinx_ros.checkpoint.sizes import layer_counts
from sphinx_ros.checkpoint.survey import Survey, survey
from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.keys import split_dim, split_groups
from sphinx_ros.model.ranks import ALONE, Ranks
from sphinx_ros.prompt.tokenizer import Tokenizer


@dataclass(frozen=True)
class Stored:
    """An opened and checked checkpoint.

    shards: of each shard its memory-mapped tensors by key (without ``llma.``). model: the
    ``SphinxModel`` without storage. adapter: what is added to the tensors that it names, whoever
    takes them; None for the checkpoint as it is.
    """

    layout: Layout
    shards: tuple[dict[str, Tensor], ...]
    model: torch.nn.Module
    tokenizer: Tokenizer
    adapter: Adapter | None = None

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
        """(dimension spread over the shards or None, groups of rows), see model/keys.py."""
        return split_dim(key), split_groups(key, self.config.num_experts)

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a whole tensor."""
        return whole_shape(key, self.parts(key))

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

    def adds_to(self, key: str) -> bool:
        """Whether the adapter changes a tensor."""
        return self.adapter is not None and key in self.adapter.factors

    def whole(
        self, key: str, device="cpu", dtype: torch.dtype | None = None, ranks: Ranks = ALONE
    ) -> Tensor:
        """A tensor as a copy of its own, merged from the shards; of one that is split among
        several processes this one's part.
        """
        dim, groups = self.split(key)
        parts, dtype = self.parts(key), dtype or self.dtype(key)
        if self.adapter is not None and self.adds_to(key):
            # before it is rounded, quantised or given to several processes
            plain = merge(parts, dim, "cpu", torch.float32, groups)
            made = self.adapter.added(key, plain)
            return cut(key, made, dim, groups, ranks.rank, ranks.size).to(device, dtype)
        return merge(parts, dim, device, dtype, groups, ranks.rank, ranks.size)

    def mapped(self, key: str) -> Tensor:
        """A whole tensor as it is stored: not copied where one file holds all of it."""
        return self.parts(key)[0] if self._in_one_file(key) else self.whole(key)

    def _in_one_file(self, key: str) -> bool:
        """Whether a file has the whole tensor as it is to be taken."""
        if self.adds_to(key):
            return False
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
        parts = [shard.get(key) for shard in self.shards]
        return unequal_copy(key, self.layout.shards, parts)

    def release(self, key: str, unless: Iterable[Tensor] = ()) -> None:
        """Give the mapped pages of a tensor back to the system, those excepted on which one of
        ``unless`` lies; they are read anew when needed.
        """
        there = [one for one in unless if one.device.type == "cpu" and not one.is_mkldnn]
        in_use = [span(tensor)[0] for tensor in there]
        for part in self.parts(key):
            low, high = span(part)
            if not any(low <= address < high for address in in_use):
                forget_pages(part)


def open_checkpoint(
    checkpoint: str | Path, *, variant: str | None = None, tokenizer: str | Path | None = None
) -> Stored:
    """Everything about a checkpoint but its numbers: files, keys and shapes, checked.

    variant, tokenizer: see :func:`sphinx_ros.checkpoint.loading.load_checkpoint`.

    Raises:
        CheckpointError: an unknown name; a file that is absent, truncated or not plain tensors; a
            key that is missing, surplus or misshapen; a variant or a tokenizer that must be given.
    """
    found = survey(checkpoint, variant, tokenizer)
    if found.layout.tokenizer is None or found.needs:
        raise CheckpointError("; ".join(found.needs))
    words = Tokenizer(found.layout.tokenizer)
    _check_tokenizer(words, found)
    model = checked_model(found, words.n_words)
    if found.assumed:
        warnings.warn(
            f"{found.layout.folder}: no file tells {' and '.join(found.assumed)}, which is "
            f"assumed; if it was trained otherwise, write it into {CONFIG}",
            stacklevel=2,
        )
    plain = Stored(found.layout, found.shards, model, words)
    folder = parted(checkpoint)[1]
    if folder is None:
        return plain
    return dataclasses.replace(plain, adapter=fitting(read_adapter(folder), folder, plain))


def checked_model(found: Survey, vocabulary: int) -> torch.nn.Module:
    """The network of a folder without storage; keys, types and shapes of the files fit it.

    Raises:
        CheckpointError: no possible network, or not that of these files.
    """
    layout, shards = found.layout, found.shards
    variant = layout.llama_type or found.variants[0]
    try:
        config = ModelConfig.from_json(layout.params, variant, vocabulary)
        check_layers(found, config)
        model = empty_model(config)
    except CheckpointError as error:
        raise CheckpointError(
            f"{layout.folder / CONFIG}: {error}; copy the file that belongs to these weights"
        ) from error
    except (TypeError, ValueError, AttributeError, AssertionError, ArithmeticError) as error:
        raise CheckpointError(
            f"{layout.folder / CONFIG} describes no possible network ({error}); copy the "
            "file that belongs to these weights"
        ) from error
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    check_keys(layout, shards, shapes)
    check_shapes(layout, shards, shapes, config.num_experts)
    return model


def check_layers(found: Survey, config: ModelConfig) -> None:
    """Compare the numbers of layers with those in the files, before they are built."""
    for key, start, count in layer_counts(config):
        numbers = {
            int(name.removeprefix(start).split(".")[0])
            for shard in found.shards
            for name in shard
            if name.startswith(start) and name.removeprefix(start).split(".")[0].isdecimal()
        }
        if numbers and max(numbers) + 1 != count:
            raise CheckpointError(
                f"key {key!r} is {count}, expected {max(numbers) + 1}, as many as the files have"
            )


def _check_tokenizer(words: Tokenizer, found: Survey) -> None:
    if found.vocabulary not in (None, words.n_words):
        raise CheckpointError(
            f"{words.path} has {words.n_words} pieces, expected {found.vocabulary}, the rows of "
            "the files' embedding (tok_embeddings.weight); give the tokenizer.model that this "
            "checkpoint was trained with"
        )
    for name, number in (("begin", words.bos_id), ("end", words.eos_id)):
        if not 0 <= number < words.n_words:
            raise CheckpointError(
                f"{words.path} has no piece for the {name} of a text (its id is {number}); "
                "expected a tokenizer of the LLaMA family"
            )
