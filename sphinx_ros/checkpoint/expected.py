"""A configuration -> the keys and shapes that its checkpoint has. Opens no file."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

from sphinx_ros.checkpoint.layout import PREFIX
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.keys import split_dim
from sphinx_ros.model.ranks import ALONE, Ranks

_TOLERATED = re.compile(
    r".*\.position_ids|.*\.inv_freq"
    r"|clip\.(attn_mask|logit_bias|logit_scale|positional_embedding|text_projection)"
    r"|clip\.(token_embedding|ln_final|transformer)\..*"
    r"|dinov2_vitg14\.mask_token"
    r"|qformer\.qformer\.encoder\.layer\.\d+\.(intermediate|output)\..*"
    r"|qformer\.qformer\.embeddings\..*"
    r"|qformer\.(language_projection|language_model)\..*"
)


class Expected(NamedTuple):
    """What the released layout holds under one key."""

    shape: tuple[int, ...]  # of the whole tensor
    split_dim: int | None  # dimension that is spread over the shards; None: whole in every shard
    used: bool  # False: present in the files, and inference does without it


def tolerated(key: str) -> bool:
    """Whether a surplus key (without ``llma.``) is harmless.

    Buffers, the text half of CLIP and parts of BLIP-2 that some library versions write and
    inference does without.
    """
    return _TOLERATED.fullmatch(key) is not None


class NoStartValues(TorchFunctionMode):
    """Tensors are not filled with random numbers while this is on.

    Without storage there is nothing to fill, and torch would import its compiler for it, which
    takes longer than all else that loading the demonstration model does.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "kaiming_uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def empty_model(config: ModelConfig, ranks: Ranks = ALONE):
    """The ``SphinxModel`` of a configuration, with shapes and without storage.

    Raises:
        ValueError: heads or channels that the processes can't share equally.
    """
    from sphinx_ros.model.sphinx import SphinxModel

    with torch.device("meta"), NoStartValues():
        return SphinxModel(config, ranks)


def expected_keys(config: ModelConfig) -> dict[str, Expected]:
    """All keys that the official code writes for a configuration, ``llma.`` included.

    The model's own parameters, and those of CLIP's text half and DINOv2's mask token, which the
    files hold and inference doesn't read. Shapes come from a model without storage.
    """
    shapes = {k: tuple(v.shape) for k, v in empty_model(config).state_dict().items()}
    unused: dict[str, tuple[int, ...]] = {
        "dinov2_vitg14.mask_token": (1, config.towers.dinov2.width)
    }
    if "clip" in config.recipe.towers:
        text = shapes["clip.visual.proj"][1]
        unused |= {
            "clip.positional_embedding": (77, text),
            "clip.text_projection": (text, text),
            "clip.logit_scale": (),
            "clip.token_embedding.weight": (49408, text),
            "clip.ln_final.weight": (text,),
            "clip.ln_final.bias": (text,),
            "clip.visual.proj": shapes["clip.visual.proj"],
        }
    both = shapes | unused
    return {PREFIX + k: Expected(v, split_dim(k), k not in unused) for k, v in both.items()}
