"""Data -> rows of tokens to learn, rows held out, and held-out questions to be answered.

Knows no network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sphinx_ros.errors import BadRequest
from sphinx_ros.teach.example import Data, Example
from sphinx_ros.teach.held_out import parted
from sphinx_ros.teach.packed import Packing, Words
from sphinx_ros.teach.plan import Plan
from sphinx_ros.teach.shown import Shown

PackedRow = tuple[Shown, list[Words]]
"""A picture, and conversations about it that share a row."""


@dataclass(frozen=True)
class Rows:
    """What a run learns from and is scored by.

    Attributes:
        learnt, held: rows to learn, and held out. asked: held-out examples of one round that are
            answered in full. digest: SHA-256 of all rows, which tells the data from others.
    """

    learnt: list[PackedRow]
    held: list[PackedRow]
    asked: list[Example]
    digest: str


def rows_of(data: Data, packing: Packing, plan: Plan) -> Rows:
    """Pack all examples; one that does not fit into a row is kept as a bad row of ``data``.

    Raises:
        BadRequest: no row is left to learn.
    """
    words: dict[int, Words] = {}
    for one in data.examples:
        with data.row(one.where):
            words[id(one)] = packing.words(one)
    found = data.pictures
    usable = {
        shown: [one for one in examples if id(one) in words] for shown, examples in found.items()
    }
    images = dict.fromkeys(shown.image for shown, some in usable.items() if some)
    drawn, rest = (set(some) for some in parted([*images], plan.held_out, plan.seed))
    learnt = [shown for shown in usable if shown.image in drawn]
    held = [shown for shown in usable if shown.image in rest and shown == Shown(shown.image)]

    def packed(pictures: Sequence[Shown]) -> list[PackedRow]:
        return [
            (shown, row)
            for shown in pictures
            for row in packing.rows([words[id(one)] for one in usable[shown]])
        ]

    rows = packed(learnt)
    if not rows:
        first = data.bad[0]
        raise BadRequest(
            f"none of {len(data.examples)} examples can be learnt; the first bad row: "
            f"{first.where}: {first.why}"
        )
    single = [one for shown in held for one in usable[shown] if len(one.rounds) == 1]
    order = np.random.default_rng([plan.seed, 2]).permutation(len(single))
    asked = [single[i] for i in sorted(order[: plan.ask])]
    held_rows = packed(held)
    return Rows(rows, held_rows, asked, _digest([*rows, *held_rows]))


def learnt_tokens(rows: Sequence[PackedRow]) -> int:
    """How many tokens of some rows are learnt."""
    return sum(sum(one.learnt) for _, row in rows for one in row)


def _digest(rows: Sequence[PackedRow]) -> str:
    digest = hashlib.sha256()
    for shown, row in rows:
        digest.update(f"{shown}\n".encode(errors="surrogateescape"))
        for one in row:
            digest.update(np.array(one.ids, np.int32).tobytes() + bytes([*one.learnt, one.known]))
    return digest.hexdigest()
