"""Frames and a network -> memory for prefixes and what is asked behind them. Knows no text."""

from __future__ import annotations

import torch

from sphinx_ros.engine.frame import ROOM, Frame, Frames
from sphinx_ros.model.network import Network


class Rooms:
    """Gives frames their caches, and takes them back. Who calls holds the engine's lock."""

    def __init__(self, network: Network, frames: Frames):
        self._network, self._frames = network, frames

    def make(self, frame: Frame, number: int) -> None:
        """Give a frame its cache, and slots enough for more tokens."""
        if frame.cache is None:
            self.prefill(frame, max(ROOM, number))
        elif frame.lacks(number):
            had = frame.cache.length - frame.start
            more = max(had, number)
            frame.fill(self._network.new_cache(1, frame.start + had + more, frame.cache))
        else:
            return
        if frame.key:
            self._frames.keep(frame)

    @torch.inference_mode()
    def prefill(self, frame: Frame, room: int) -> None:
        """Compute the prefix of a frame from its image tokens."""
        length = frame.start + room
        cache, self._frames.spare = self._frames.spare, None
        if cache is None or cache.length != length:
            cache = self._network.new_cache(1, length)
        tokens = torch.tensor([frame.ids], device=self._network.device)
        self._network.hidden(self._network.embed(tokens, frame.image), cache=cache)
        frame.fill(cache)

    def give_up(self) -> bool:
        """Let go of all that can be computed again; whether there was anything."""
        given = self._frames.shrink(lambda: True) or self._frames.spare is not None
        self._frames.spare = None
        return given
