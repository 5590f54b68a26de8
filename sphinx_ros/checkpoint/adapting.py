"""A network and the files that it was read from -> the same network with another adapter.

What no adapter touches is shared by both, so that one goes on answering while the other is made.
Nothing is subtracted: what an adapter had changed is read again, so that each network is, bit for
bit, what is loaded by its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from sphinx_ros.checkpoint.adapter import fitting, read_adapter
from sphinx_ros.checkpoint.expected import empty_model
from sphinx_ros.checkpoint.keeping import Keeping
from sphinx_ros.checkpoint.placing import place
from sphinx_ros.checkpoint.stored import Stored
from sphinx_ros.model.sharing import sharing


@dataclass(frozen=True)
class Origin:
    """Where a network's tensors are from.

    base: the opened checkpoint without an adapter, whose ``model`` stays without storage. keep: in
    which form they are kept. touched: parameters that an adapter has changed.
    """

    base: Stored
    keep: Keeping
    touched: Set[str] = frozenset()

    @classmethod
    def of(cls, stored: Stored, keep: Keeping) -> Origin:
        """That of a network which has just been read."""
        plain = dataclasses.replace(stored, model=empty_model(stored.config), adapter=None)
        return cls(plain, keep, _touched(stored))

    def adapted(self, model, adapter: Path | None):
        """The network with the adapter of a folder in place of what it has now; None: with none.

        model: the ``SphinxModel`` of this origin, which keeps its own weights.

        Raises:
            CheckpointError: no adapter is there, or it was made for other weights.
        """
        stored = self.base
        if adapter is not None:
            fits = fitting(read_adapter(adapter), adapter, stored)
            stored = dataclasses.replace(stored, adapter=fits)
        changed = sorted(self.touched | _touched(stored))
        made = sharing(model, changed)
        made.forget_prepared()
        modules, before = dict(made.named_modules()), dict(model.named_modules())
        for key in changed:
            owner = key.rpartition(".")[0]
            plain, old = stored.model.get_submodule(owner), before[owner]
            in_use: list[Tensor] = [*old.parameters(), *old.buffers()]
            place(made, modules, stored, self.keep, key, like=plain, in_use=in_use)
        made.origin = dataclasses.replace(self, touched=_touched(stored))
        return made


def _touched(stored: Stored) -> Set[str]:
    return frozenset() if stored.adapter is None else frozenset(stored.adapter.factors)
