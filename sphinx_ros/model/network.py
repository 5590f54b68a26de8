"""What its users may ask of a network, whether one process has it or several share it.

:class:`~sphinx_ros.model.sphinx.SphinxModel` is the first, the ``Leader`` of
:mod:`sphinx_ros.runtime.leader` the second. Both are made to fit it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from sphinx_ros.model.cache import Span
from sphinx_ros.model.config import ModelConfig


class KeyValues(Protocol):
    """Room for the keys and values of every layer; made and written by its network only."""

    @property
    def batch(self) -> int:
        """Sequences there is room for."""

    @property
    def length(self) -> int:
        """Positions there is room for."""

    @property
    def nbytes(self) -> int:
        """Memory it takes in this process."""


class Network(Protocol):
    """Pictures and token ids to logits. B batch, T tokens of this call.

    A cache is what :meth:`new_cache` of the same network returned.
    """

    @property
    def config(self) -> ModelConfig:
        """Sizes of the whole network."""

    @property
    def device(self) -> torch.device:
        """Where tensors are taken and given."""

    @property
    def origin(self) -> Any:
        """Where the weights are from, for who puts others of the same files in their place; None
        where that can't be done.
        """

    @property
    def cheap_tokens(self) -> int:
        """Tokens up to which a pass costs little more than one of two; 0: each costs its share."""

    def new_cache(self, batch: int, length: int, like: Any = None) -> KeyValues:
        """A cache for ``batch`` sequences of up to ``length`` positions.

        It begins as ``like``, a cache of the same network for as many sequences.
        """

    def prepare(self) -> None:
        """Get ready for many small passes. Any number of times; no answer changes."""

    def encode_image(self, picture: Tensor) -> Tensor:
        """Pictures [B, 3, S, S], CLIP-normalised, to image tokens [B, image_words, dim].

        Raises:
            ValueError: another size than S = config.image_size.
        """

    def embed(self, tokens: Tensor, image: Tensor | None = None) -> Tensor:
        """Ids [B, T] to embeddings [B, T (+ image_words), dim]; the image follows the first id."""

    def hidden(
        self,
        x: Tensor,
        *,
        cache: Any = None,
        start: int = 0,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Embeddings [B, T, dim] to normalised hidden states [B, T, dim].

        Without a cache the T positions see each other causally, or as ``mask`` [B, 1, T, T] says
        (True = may look). With one they are written from ``start`` on and see everything before.
        ``positions`` ([T] or [B, T], default start..start+T-1) are the rotary positions.

        Raises:
            ValueError: the positions do not fit into the cache.
        """

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., dim] to float32 logits [..., vocabulary]."""

    def __call__(
        self,
        tokens: Tensor,
        image: Tensor | None = None,
        *,
        cache: Any = None,
        start: int = 0,
        last_only: bool = False,
    ) -> Tensor:
        """Ids [B, T] to float32 logits [B, T, vocabulary]; [B, 1, vocabulary] with ``last_only``.

        image: image tokens, only with ``start`` 0. start: the position of the first token in the
        cache, image positions counted.
        """

    def step(
        self, tokens: Tensor, positions: Tensor, spans: Sequence[Span], wanted: Tensor
    ) -> Tensor:
        """One packed pass: ids [N] in spans -> float32 logits [M, vocabulary] of those wanted.

        positions: [N] rotary positions. spans: in the order of the tokens, each of one cache for
        one sequence. wanted: [M] which of the N tokens.
        """
