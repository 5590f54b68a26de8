"""What the tensors tell -> the ``config.json`` that a folder lacks, and what of it is assumed.

The model card shows a checkpoint as two tensor files and nothing else. What shapes tell is read
from them. What they do not tell comes, in this order, from

1. the published checkpoint whose shapes are these (:mod:`sphinx_ros.checkpoint.released`): heads,
   experts for each token, base of the rotary positions, epsilon of the norms, decimals;
2. a ``config.json`` without ``dim``: it may give some sizes and leave the others to the tensors;
3. the heads that a tower of this width has in the published checkpoints;
4. the usual channels of a head, where they divide the width: 128 in the decoder (LLaMA from 7B on,
   Mixtral), 64 in CLIP, DINOv2 and the Q-Former, 88 in BLIP-2's ViT. This is an assumption, and
   loading warns of it;
5. the defaults of :class:`~sphinx_ros.model.config.ModelConfig`: 224 pixels for a view (where
   neither CLIP nor BLIP-2 has a position table that tells it), 2 experts for each token.

A miniature whose widths 4. does not divide is loaded only when its ``config.json`` gives these
keys. What 2. gives counts before all others. Opens no file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sphinx_ros.checkpoint.sizes import Sizes
from sphinx_ros.model.limits import table
from sphinx_ros.model.towers import Towers

_HEADS = (
    ("clip", "width", "heads", 64),
    ("dinov2", "width", "heads", 64),
    ("qformer", "width", "heads", 64),
    ("qformer", "vit_width", "vit_heads", 88),
)
"""Tower, its width, its heads, the usual channels of a head."""

_DECODER_HEAD = 128


@dataclass
class Completed:
    """A ``config.json`` that was put together.

    params: its contents. Where ``unknown`` has a key they hold a possible number of heads in its
    place, which is right for counting parameters and for nothing else. assumed: keys with values
    that nothing tells.
    """

    params: dict
    assumed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def asked(self) -> str:
        """What ``config.json`` must say of the unknown keys, as JSON."""
        asked: dict = {}
        for key in self.unknown:
            place = asked
            *outer, leaf = key.split(".")
            for name in outer:
                place = place.setdefault(name, {})
            place[leaf] = "N"
        return json.dumps(asked).replace('"N"', "N")


def completed(sizes: Sizes, given: Mapping) -> Completed:
    """The ``config.json`` of a network with these sizes, by the rules of this module.

    given: what a ``config.json`` without ``dim`` says.

    Raises:
        CheckpointError: ``given`` has objects that are none.
    """
    if sizes.released:
        item = sizes.released[0]
        habits = {"coordinate_decimals": item.decimals}
        return Completed(dict(item.decoder) | habits | dict(given))
    made = Completed(sizes.decoder | _hidden(sizes) | dict(given))
    made.params["towers"] = towers = _with_given(sizes, table("towers", given.get("towers")))
    dim = sizes.decoder["dim"]
    _set_heads(made, made.params, ("", "dim", "n_heads", _DECODER_HEAD), dim, sizes.kv_rows)
    heads = made.params["n_heads"]
    if isinstance(heads, int) and 0 < heads <= dim and sizes.kv_rows != dim:
        made.params.setdefault("n_kv_heads", sizes.kv_rows // (dim // heads))
    for row in _HEADS:
        tower = sizes.towers.get(row[0])
        if isinstance(tower, dict):
            _set_heads(made, towers[row[0]], row, tower[row[1]])
    return made


def _with_given(sizes: Sizes, given: dict) -> dict:
    """The towers' sizes, those in ``given`` in place of those that were read."""
    towers = dict(given)
    for name, read in sizes.towers.items():
        own = given.get(name)
        if isinstance(read, dict):
            towers[name] = read | table(f"towers.{name}", own)
        elif own is None:
            towers[name] = read
    return towers


def _set_heads(
    made: Completed, of: dict, row: tuple[str, str, str, int], width: int, shared: int = 0
) -> None:
    """Give a width its number of heads, unless it is known. shared: rows of keys and values."""
    tower, name, heads, channels = row
    if of.get(heads) is not None:
        return
    key = f"towers.{tower}.{heads}" if tower else heads
    published = getattr(Towers(), tower) if tower else None
    if published and getattr(published, name) == width:
        of[heads] = getattr(published, heads)
    elif math.gcd(width, shared) % channels == 0:
        of[heads] = width // channels
        made.assumed.append(f"{key} {of[heads]} ({channels} channels a head)")
    else:
        of[heads] = width // math.gcd(width, shared)
        made.unknown.append(key)


def _hidden(sizes: Sizes) -> dict:
    """The keys of ``config.json`` that give the feed-forward its width."""
    if sizes.experts is not None:
        known = {"num_experts": sizes.experts, "num_experts_per_tok": min(2, sizes.experts)}
        return {"hidden_dim": sizes.hidden, "moe": known}
    plain = int(2 * 4 * sizes.decoder["dim"] / 3)
    fewer = {} if plain <= sizes.hidden else {"ffn_dim_multiplier": sizes.hidden / plain}
    return {"multiple_of": sizes.hidden} | fewer  # rounded up to one such multiple
