"""Pictures that were sent -> found again by their names, as long as there is room for them.

A picture is kept as the bytes that were sent, and beside it what the model's memory knows it by,
so that a later question need neither decode nor look. Knows no HTTP and no torch.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sphinx_ros.errors import SphinxError, Status

MOST = 1 << 16
"""Pictures, however small: each takes memory beside its file."""

Looked = tuple[bytes, int, int]
"""The key of a look, see :meth:`Sphinx.recall`, and the picture's width and height in pixels."""


@dataclass
class Kept:
    """A picture file.

    asked: how many works are about it now. looked: None before its look. drafts: what was written
    about it, see :attr:`sphinx_ros.seen.Seen.drafts`.
    """

    encoded: bytes
    asked: int = 0
    looked: Looked | None = None
    drafts: Mapping[Any, Any] = field(default_factory=dict)


class Shelf:
    """Picture files by name within a number of bytes and of files; the one used last at the end.

    A picture that is being asked stays, also where it is too large. Any thread may call.
    """

    def __init__(self, budget: int, most: int = MOST):
        self.budget, self.most, self.nbytes = budget, most, 0
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, name: str, encoded: bytes | None) -> Kept:
        """A picture that is going to be asked; each is to be given back once.

        encoded: its bytes, None where it was sent before. Raises SphinxError, NO_IMAGE: it is not
        there.
        """
        with self._lock:
            kept = self._kept.get(name)
            if kept is None and encoded is None:
                raise SphinxError(
                    f"the picture {name} is not known here (any more): send the picture itself",
                    status=Status.NO_IMAGE,
                )
            if kept is None and encoded is not None:
                kept = self._kept[name] = Kept(encoded)
                self.nbytes += len(encoded)
            assert kept is not None
            kept.asked += 1
            self._kept.move_to_end(name)
            self._shrink()
            return kept

    def drafts(self, name: str) -> Mapping[Any, Any]:
        """What was written about a picture; nothing where it is not there."""
        with self._lock:
            kept = self._kept.get(name)
            return {} if kept is None else kept.drafts

    def give_back(self, name: str, bad: bool = False) -> None:
        """A picture was asked. bad: it is none, and is forgotten as soon as nobody asks it."""
        with self._lock:
            kept = self._kept[name]
            kept.asked -= 1
            if bad and not kept.asked:
                self._forget(name)
            self._shrink()

    def _shrink(self) -> None:
        for name in list(self._kept) if self._full else ():
            if not self._full:
                break
            if not self._kept[name].asked:
                self._forget(name)

    @property
    def _full(self) -> bool:
        return self.nbytes > self.budget or len(self._kept) > self.most

    def _forget(self, name: str) -> None:
        self.nbytes -= len(self._kept.pop(name).encoded)
