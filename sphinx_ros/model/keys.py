"""The name of a parameter -> what it belongs to, and how it is spread and stored. Opens no file.

One row per kind of parameter. Names are the official ones, without the prefix ``llma.`` of the
files. Sources: LLaMA2-Accessory, ``accessory/model/LLM`` (names), ``util/tensor_parallel.py``
(what is spread over the shards) and ``util/quant.py`` (what is quantised).
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

LANGUAGE, CLIP, CONVNEXT = "language model", "CLIP", "ConvNeXt"
DINO, QFORMER, PROJECTIONS = "DINOv2", "BLIP-2, Q-Former", "projections"
PARTS = (LANGUAGE, CLIP, CONVNEXT, DINO, QFORMER, PROJECTIONS)
"""The parts of the network, as a report names them."""


class Kind(NamedTuple):
    """What is known of a parameter by its name.

    part: one of :data:`PARTS`, "" for a name that belongs to none. split: the dimension that is
    spread over shards and devices; None: each has all of it. quantised: whether a decoder in fewer
    bits stores it in these. experts: whether the experts of a layer lie below each other in it.
    """

    part: str
    split: int | None = None
    quantised: bool = False
    experts: bool = False


_KINDS = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        # the embedding is spread along its channels, not along the vocabulary
        (r"tok_embeddings\.weight", Kind(LANGUAGE, split=1)),
        (r"layers\.\d+\.attention\.w[qkv]\.weight", Kind(LANGUAGE, 0, quantised=True)),
        (r"layers\.\d+\.attention\.wo\.weight", Kind(LANGUAGE, 1, quantised=True)),
        (r"layers\.\d+\.feed_forward\.w[13]\.weight", Kind(LANGUAGE, 0, quantised=True)),
        (r"layers\.\d+\.feed_forward\.w2\.weight", Kind(LANGUAGE, 1, quantised=True)),
        (r"layers\.\d+\.feed_forward\.w[123]", Kind(LANGUAGE, 0, quantised=True, experts=True)),
        (r"output\.weight", Kind(LANGUAGE, 0, quantised=True)),
        (r"(layers|norm|tok_embeddings|output)\..*", Kind(LANGUAGE)),
        (r"clip\..*", Kind(CLIP)),
        (r"openclip_convnext_xxl\..*", Kind(CONVNEXT)),
        (r"dinov2_vitg14\..*", Kind(DINO)),
        (r"qformer\..*", Kind(QFORMER)),
        (r"(qformer_proj|visual_proj)\..*|start_img|end_img", Kind(PROJECTIONS)),
        (r".*", Kind("")),
    )
)


@functools.lru_cache(maxsize=1 << 14)
def kind(key: str) -> Kind:
    """The row of a parameter."""
    return next(row for pattern, row in _KINDS if pattern.fullmatch(key))


def part(key: str) -> str:
    """The part of the network that a parameter belongs to, one of :data:`PARTS` or ""."""
    return kind(key).part


def in_decoder(key: str) -> bool:
    """Whether a parameter is the language model's."""
    return kind(key).part == LANGUAGE


def split_dim(key: str) -> int | None:
    """The dimension of a parameter that is spread over the shards."""
    return kind(key).split


def split_groups(key: str, experts: int | None) -> int:
    """Into how many equal blocks of rows a parameter falls before it is spread over the shards.

    The experts of a Mixtral layer lie below each other in one tensor, and every shard holds a part
    of every expert. 1: the parameter is spread as a whole. experts: their number, None for LLaMA.
    """
    return experts if experts and kind(key).experts else 1


def quantised(key: str) -> bool:
    """Whether a parameter is among those that a quantised decoder stores in fewer bits: all linear
    layers of the decoder, experts included, without a mixture's router.
    """
    return kind(key).quantised
