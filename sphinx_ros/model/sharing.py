"""A network -> another one that shares its tensors, all but a few. Knows no layer."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def sharing(module: M, keys: Iterable[str]) -> M:
    """A copy of a module in which the parameters of some keys can be replaced: the original keeps
    its own. All tensors are the same ones until then, as are the modules without such a key.

    keys: as ``layers.0.attention.wq.weight``.
    """
    made = copy.copy(module)
    for kind in ("_parameters", "_buffers", "_modules"):
        vars(made)[kind] = dict(vars(module)[kind])
    below: dict[str, list[str]] = {}
    for key in keys:
        first, _, rest = key.partition(".")
        if rest:
            below.setdefault(first, []).append(rest)
    for name, rests in below.items():
        made._modules[name] = sharing(module._modules[name], rests)
    return made
