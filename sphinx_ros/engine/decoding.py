"""Temperature, top-p, seed and stop texts, checked -> how an answer is written. Knows no network.

Boxes and joints are written with the best token each time; a conversation may ask for draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from sphinx_ros.engine.sampling import Draw, seeded
from sphinx_ros.prompt.checks import (
    checked_seed,
    checked_stop,
    checked_temperature,
    checked_top_p,
)

COLDEST = 1e-4
"""Below this temperature the best token is taken: a draw hardly takes any other, and logits that
are divided by less can leave the numbers there are."""


@dataclass(frozen=True)
class Decoding:
    """How the tokens of an answer are chosen, and which texts end it.

    Attributes:
        temperature: 0 takes the best token each time. top_p, seed: see
            :func:`sphinx_ros.engine.sampling.choose`; without a seed the draws are left to chance.
        stop: texts that end the answer, which are no part of it.
    """

    temperature: float = 0.0
    top_p: float = 0.95
    seed: int | None = None
    stop: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        temperature: float = 0.0,
        top_p: float = 0.95,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
    ) -> Decoding:
        """Checked. Raises BadRequest with value, limit and remedy."""
        return cls(
            checked_temperature(temperature),
            checked_top_p(top_p),
            checked_seed(seed),
            checked_stop(stop),
        )

    def draw(self, device: torch.device) -> Draw | None:
        """How one answer's tokens are drawn; None: the best ones are taken."""
        if self.temperature < COLDEST:
            return None
        generator = None if self.seed is None else seeded(self.seed, device)
        return Draw(self.temperature, self.top_p, generator)


BEST = Decoding()
"""The best token each time, until the model ends the answer."""
