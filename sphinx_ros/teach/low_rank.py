"""A network -> the same network with low-rank factors that learn, and these as an adapter.

The factors are put beside linear layers by the library peft (LoRA, arXiv 2106.09685); B begins as
zeros, so an untaught network answers as before.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from sphinx_ros.checkpoint.adapter import Adapter
from sphinx_ros.errors import BadRequest
from sphinx_ros.model import keys
from sphinx_ros.model.cpu_layers import WideLinear
from sphinx_ros.model.quant import Int4Linear, Int8Linear
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.runtime.extras import extra

TAUGHT = (keys.LANGUAGE, keys.PROJECTIONS)
"""Parts of the network that learn unless more is asked for."""

NAME = "default"
"""By which peft keeps the factors."""


def stored_kinds() -> tuple[type[nn.Module], ...]:
    """Classes of linear layers that are held in fewer bits; bitsandbytes' where it was loaded."""
    loaded = sys.modules.get("bitsandbytes")
    ours = (Int8Linear, Int4Linear, WideLinear)
    return ours if loaded is None else (*ours, loaded.nn.Linear4bit)


def linear_layers(model: SphinxModel, towers: bool) -> list[str]:
    """Names of the linear layers that get factors: of the decoder, the projections, and with
    ``towers`` the visual encoders. Experts and routers have none, and those of the decoder's
    output learn as the others.
    """
    return [
        name
        for name, module in model.named_modules()
        if (type(module) is nn.Linear or isinstance(module, stored_kinds()))
        and (towers or keys.part(f"{name}.weight") in TAUGHT)
        and not name.endswith(".gate")
        and ".feed_forward.w" not in name.rpartition(".")[0]  # experts, where they are stored
    ]


def add_factors(
    model: SphinxModel,
    rank: int,
    alpha: float,
    towers: bool,
    seed: int,
    projection_rank: int | None = None,
) -> None:
    """Put factors beside the linear layers; they learn, and nothing else does.

    projection_rank: of those beside the projections, which are scaled as the others; None: rank.

    Raises:
        BadRequest: peft is missing.
    """
    with extra("tune", "sphinx-ros tune"):
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora.layer import Linear as WithFactors
    settings: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "lora_dropout": 0.0}
    names = linear_layers(model, towers)
    if projection_rank is not None:
        wider = [re.escape(name) for name in names if _projects(f"{name}.weight")]
        settings["rank_pattern"] = dict.fromkeys(wider, projection_rank)
        settings["alpha_pattern"] = dict.fromkeys(wider, alpha / rank * projection_rank)
    # as a pattern: peft would take a plain name for the end of longer ones, too
    config = LoraConfig(target_modules="|".join(map(re.escape, names)), bias="none", **settings)
    config._register_custom_module(dict.fromkeys(stored_kinds(), WithFactors))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # peft does not know these layers
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, adapter_name=NAME)
    if projection_rank is not None:
        _check_ranks(model, projection_rank)
    for name, parameter in model.named_parameters():
        learns = ".lora_" in name
        parameter.requires_grad_(learns)
        if learns:  # a base in half precision would round their small steps away
            parameter.data = parameter.data.float()


def _check_ranks(model: SphinxModel, projection_rank: int) -> None:
    """Older versions of peft pass over ranks of single layers. Raises BadRequest."""
    found = factors(model)
    if any(len(a) != projection_rank for key, (a, _) in found.items() if _projects(key)):
        raise BadRequest(
            "this version of peft knows no ranks of single layers: pip install 'peft>=0.15', or "
            "leave out --projection-rank"
        )


def _projects(key: str) -> bool:
    return keys.part(key) == keys.PROJECTIONS


@contextmanager
def weakened(model: nn.Module, strength: float) -> Iterator[None]:
    """A block in which only so much counts of what was taught, of 0 nothing; without gradients."""
    layers = [module for module in model.modules() if NAME in getattr(module, "scaling", ())]
    before = [layer.scaling[NAME] for layer in layers]
    try:
        for layer, scale in zip(layers, before, strict=True):
            layer.scaling[NAME] = strength * scale
        with torch.no_grad():
            yield
    finally:
        for layer, scale in zip(layers, before, strict=True):
            layer.scaling[NAME] = scale


def factors(model: nn.Module) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Parameter -> its (A, B), as an :class:`Adapter` has them."""
    return {
        f"{name}.weight": (module.lora_A[NAME].weight, module.lora_B[NAME].weight)
        for name, module in model.named_modules()
        if hasattr(module, "lora_A") and NAME in module.lora_A
    }


def adapter_of(
    taught: Mapping[str, torch.Tensor], rank: int, alpha: float, base: str, name: str
) -> Adapter:
    """What was learnt: factors by the names of their parameters. base, name: fingerprint and name
    of the checkpoint.
    """
    ends = [f".lora_{letter}.{NAME}.weight" for letter in "AB"]
    layers = [key.removesuffix(ends[0]) for key in taught if key.endswith(ends[0])]
    pairs = {f"{layer}.weight": tuple(taught[layer + end] for end in ends) for layer in layers}
    return Adapter(rank, alpha, base, name, pairs)


def let_all_learn(model: SphinxModel, towers: bool) -> None:
    """All weights of the decoder and the projections learn, and with ``towers`` all others."""
    for name, parameter in list(model.named_parameters()):
        learns = towers or keys.part(name) in TAUGHT
        owner, _, leaf = name.rpartition(".")
        # copies of their own in float32: what was read may be the mapped file
        value = parameter.detach().float().clone() if learns else parameter.detach()
        model.get_submodule(owner)._parameters[leaf] = nn.Parameter(value, requires_grad=learns)
