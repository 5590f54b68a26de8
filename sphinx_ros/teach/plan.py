"""How a checkpoint is taught, as plain values. Knows no tensor."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from sphinx_ros.errors import BadRequest

FREE = ("patience", "shard", "keep_gb")
"""Settings that may change when a run goes on: no weight depends on them."""


@dataclass(frozen=True)
class Plan:
    """The settings of a run; all but those of ``FREE`` must be the same to go on.

    Attributes:
        checkpoint: what is taught, by name. data: files and folders.
        rank, alpha: of the adapter. projection_rank: of its factors beside the projections,
            through which all passes that is seen; None: rank. full: all weights of the decoder and
            the projections learn, and the result is a whole checkpoint. towers: the visual
            encoders learn as well.
        epochs: times that each row is learnt. batch: rows of a step. tokens: text of a row.
        rate: highest learning rate. warmup: share of the steps in which it rises; then it falls
            by a cosine to nothing. decay: of weights. clip: largest norm of the gradient.
        held_out: share of the pictures that are not learnt, but scored. patience: checks without
            a lower held-out loss after which the run ends; 0: never.
        ask: held-out questions that are answered in full before, during and after, at most.
        checkpointing: see :func:`sphinx_ros.teach.learning.answers_loss`. seed: of everything
            drawn. keep_gb: of looks at pictures that are kept in memory. quantise: the decoder is
            held in 8 or 4 bits ("int8", "int4", "nf4") while the factors beside it learn. mirror:
            pictures whose labels are boxes and joints are learnt as their mirror images as well.
            crops: so are so many parts of each, drawn anew for each run. remember: files and
            folders like ``data``, whose answers are to stay those of the checkpoint.
            remember_weight: of their loss, which is small as long as they have not moved far,
            and would be drowned by what is new. remember_views: of so many of these questions the
            checkpoint's own answers about each mirror image and part of their picture are
            remembered as well. strength: share of what was learnt that counts in
            the result and its scores; not with ``full``.
            shard: where several processes learn, each has a part of the weights.
    """

    checkpoint: str = "demo"
    data: tuple[str, ...] = ()
    rank: int = 16
    alpha: float = 32.0
    projection_rank: int | None = None
    full: bool = False
    towers: bool = False
    epochs: int = 10
    batch: int = 4
    tokens: int = 400
    rate: float = 1e-3
    warmup: float = 0.03
    decay: float = 0.0
    clip: float = 1.0
    held_out: float = 0.1
    patience: int = 3
    ask: int = 64
    checkpointing: bool = False
    seed: int = 0
    keep_gb: float = 4.0
    quantise: str | None = None
    mirror: bool = False
    crops: int = 0
    remember: tuple[str, ...] = ()
    remember_weight: float = 5.0
    remember_views: int = 0
    strength: float = 1.0
    shard: bool = False

    def check_works(self, processes: int) -> None:
        """Whether the settings fit each other and a number of processes. Raises BadRequest."""
        if self.full and self.remember:
            raise BadRequest(
                "where all learns nothing is left of the checkpoint to compare with: leave out "
                "--full or --remember"
            )
        if self.full and self.projection_rank is not None:
            raise BadRequest(
                "without factors none has a rank: leave out --full or --projection-rank"
            )
        if self.full and self.strength != 1:
            raise BadRequest(
                "without factors nothing can be weakened: leave out --full or --strength"
            )
        if self.remember_views and not self.remember:
            raise BadRequest(
                "nothing is remembered about the views of pictures where nothing is remembered: "
                "give --remember, or leave out --remember-views"
            )
        if self.remember_views and not (self.mirror or self.crops):
            raise BadRequest(
                "pictures have no other views: give --mirror or --crops, or leave out "
                "--remember-views"
            )
        if self.remember_views and self.shard and not self.ask:
            raise BadRequest(
                "to answer about the views of pictures each process gathers the whole decoder: "
                "give --ask, or leave out --remember-views"
            )
        if self.full and self.quantise:
            raise BadRequest("what all learns can't be held in fewer bits: leave out --quantise")
        if self.shard and self.quantise:
            raise BadRequest(
                "a decoder in fewer bits is whole in each process: leave out --shard or --quantise"
            )
        if self.shard and processes == 1:
            raise BadRequest(
                "--shard spreads the weights over processes, and there is one: start "
                "torchrun --nproc-per-node 2 -m sphinx_ros tune ..., or leave it out"
            )
        if self.batch < processes:
            raise BadRequest(
                f"a step of {self.batch} rows (--batch) is too small for {processes} processes: "
                f"give at least {processes}"
            )

    def steps(self, rows: int) -> int:
        """Steps of the whole run."""
        return self.epochs * self.steps_of_epoch(rows)

    def steps_of_epoch(self, rows: int) -> int:
        """Steps in which every row is learnt once."""
        return max(1, math.ceil(rows / self.batch))

    def rate_at(self, step: int, steps: int) -> float:
        """Learning rate of a step, counted from 0: it rises in a line, then falls by a cosine."""
        warm = max(1, round(self.warmup * steps))
        if step < warm:
            return self.rate * (step + 1) / warm
        share = (step - warm) / max(1, steps - warm)
        return self.rate * 0.5 * (1 + math.cos(math.pi * share))

    def as_json(self) -> dict[str, Any]:
        """The settings by name."""
        lists = {"data": list(self.data), "remember": list(self.remember)}
        return dataclasses.asdict(self) | lists

    def check_goes_on(self, before: dict[str, Any]) -> None:
        """Whether a run with these settings goes on from one with those of ``before``.

        Raises:
            BadRequest: a setting that must be the same differs; named.
        """
        before = Plan().as_json() | before  # an older release did not know all of them
        for name, value in self.as_json().items():
            if name not in FREE and before[name] != value:
                raise BadRequest(
                    f"the run was begun with {name} {before[name]!r}, and is to go on with "
                    f"{value!r}: give the same, or another folder as --out"
                )
