"""A checkpoint's folder -> what is in it, what follows from that, and what is still needed.

Files and tables of contents are read, no numbers; no network is built. A folder that has all of
``config.json``, ``meta.json`` and ``tokenizer.model`` says everything itself; where they are
missing, as in the model card, the tensors' shapes and the caller say it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from sphinx_ros.checkpoint.completing import Completed, completed
from sphinx_ros.checkpoint.hub import resolve
from sphinx_ros.checkpoint.layout import CONFIG, META, TOKENIZER, Layout, files_of, read_layout
from sphinx_ros.checkpoint.reading import read_shard
from sphinx_ros.checkpoint.released import RELEASED
from sphinx_ros.checkpoint.shards import check_distinct, whole_shape
from sphinx_ros.checkpoint.sizes import Sizes, read_sizes
from sphinx_ros.errors import CheckpointError


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    layout: its files; ``params`` is complete, ``llama_type`` is "" and ``tokenizer`` None where
    they are needed. shards: of each its memory-mapped tensors by key (without ``llma.``).
    variants: what ``llama_type`` can be. vocabulary: rows of the embedding, None where there is
    none. inferred: what was read from shapes, a line each. assumed: what nothing tells. needs:
    what must be given, a sentence each; empty for what can be loaded.
    """

    layout: Layout
    shards: tuple[dict[str, Tensor], ...]
    variants: tuple[str, ...]
    vocabulary: int | None
    inferred: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All tensor files."""
        return tuple(file for shard in self.layout.shards for file in files_of(shard))


def survey(
    checkpoint: str | Path, variant: str | None = None, tokenizer: str | Path | None = None
) -> Survey:
    """Look at a checkpoint by name or folder.

    variant, tokenizer: see :func:`sphinx_ros.checkpoint.loading.load_checkpoint`; "" is not given.

    Raises:
        CheckpointError: a file that can't be read; shapes that tell no network; a variant that
            can't have these tensors.
    """
    layout = read_layout(resolve(checkpoint), variant or None, tokenizer or None)
    shards = tuple(read_shard(path) for path in layout.shards)
    check_distinct(layout, shards)
    keys = dict.fromkeys(key for shard in shards for key in shard)
    shapes = {key: whole_shape(key, [s[key] for s in shards if key in s]) for key in keys}
    rows = shapes.get("tok_embeddings.weight")
    vocabulary = rows[0] if rows else None
    if "dim" in layout.params and layout.llama_type and layout.tokenizer:
        return Survey(layout, shards, (layout.llama_type,), vocabulary)
    sizes = read_sizes(layout.folder, shapes)
    made = Completed(layout.params)
    inferred: list[str] = []
    if "dim" not in layout.params:
        made = completed(sizes, layout.params)
        inferred.append(_read(sizes, made))
    variants = _variants(sizes, layout, str(checkpoint))
    if not layout.llama_type and len(variants) == 1:
        inferred.append(f"variant {variants[0]}, the only one it can be")
    chosen = variants[0] if len(variants) == 1 else ""
    return Survey(
        dataclasses.replace(layout, params=made.params, llama_type=chosen),
        shards,
        variants,
        vocabulary,
        tuple(inferred),
        tuple(made.assumed),
        tuple(_needs(layout, sizes, made, variants)),
    )


def _variants(sizes: Sizes, layout: Layout, name: str) -> tuple[str, ...]:
    """What the variant can be: what is said, else what is published with these shapes."""
    fitting = sizes.variants
    said = layout.llama_type
    if said and said not in fitting:
        parts = ", ".join(sorted(name for name in sizes.towers if name not in ("view", "patch")))
        decoder = "experts" if sizes.experts is not None else "no experts"
        raise CheckpointError(
            f"{layout.folder}: variant {said} does not fit the files, which hold {parts} and a "
            f"decoder with {decoder}; expected one of {', '.join(fitting) or 'no known variant'}"
        )
    if said:
        return (said,)
    if not fitting:
        raise CheckpointError(
            f"{layout.folder}: no variant that this release reads has the towers "
            f"{', '.join(sorted(sizes.towers))}; copy all files of the checkpoint again"
        )
    asked = RELEASED.get(name.lower())
    if asked is not None and asked in sizes.released:
        return (asked.variant,)
    return tuple(dict.fromkeys(item.variant for item in sizes.released)) or fitting


def _read(sizes: Sizes, made: Completed) -> str:
    """In words what was read from the shapes, and where the rest is from."""
    heads = ""
    if made.params["n_heads"] and "n_heads" not in made.unknown:
        keys = made.params.get("n_kv_heads") or made.params["n_heads"]
        heads = f"{made.params['n_heads']} heads ({keys} of keys and values), "
    whose = " or ".join(item.title for item in sizes.released)
    experts = f", {sizes.experts} experts" if sizes.experts is not None else ""
    return (
        f"sizes from the tensors: dim {sizes.decoder['dim']}, {sizes.decoder['n_layers']} layers, "
        f"{heads}{sizes.hidden} feed-forward channels{experts}, {sizes.vocabulary} words, "
        f"{', '.join(k for k in sizes.towers if k not in ('view', 'patch'))}; "
        + (f"as {whose}" if whose else "none of the published checkpoints")
    )


def _needs(layout: Layout, sizes: Sizes, made: Completed, variants: Sequence[str]) -> list[str]:
    """What must be given before the checkpoint can be loaded."""
    needs = []
    if made.unknown:
        needs.append(
            f"{layout.folder / CONFIG} is missing or lacks key{'s' * (len(made.unknown) > 1)} "
            f"{', '.join(made.unknown)}, which no tensor tells, because the widths are no "
            f"multiples of the usual channels of a head: write it with {made.asked}, as the "
            "network was trained; the other sizes are read from the tensors"
        )
    if len(variants) > 1:
        known = [_explained(name, sizes) for name in variants]
        named = RELEASED.get(layout.folder.name.lower())
        hint = named is not None and named.variant in variants
        needs.append(
            f"{layout.folder / META} with key 'llama_type' is missing, and no tensor tells the "
            f"variant: give variant (--variant), one of {', '.join(known)}"
            + (f"; the folder's name suggests {named.variant}" if hint and named else "")
        )
    if layout.tokenizer is None:
        where = sizes.released[0].tokenizer if sizes.released else "the one it was trained with"
        needs.append(
            f"{layout.folder / TOKENIZER} is missing: give tokenizer (--tokenizer), the path of "
            f"the sentencepiece model with {sizes.vocabulary} pieces: {where}"
        )
    return needs


def _explained(variant: str, sizes: Sizes) -> str:
    """A variant, and the published checkpoints that it would be."""
    titles = [item.title for item in sizes.released if item.variant == variant]
    if not titles:
        return variant
    size = next(item.config.image_size for item in sizes.released if item.variant == variant)
    return f"{variant} ({', '.join(titles)}: pictures of {size} pixels)"
