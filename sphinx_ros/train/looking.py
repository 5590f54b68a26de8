"""What each word of a turn is about -> attention targets for a few heads, and their loss.

A decoder this small finds the step from "the red mug" to the image tokens of the red mug by
chance, and late. So two heads of a few layers have targets while it trains. At a noun of the
question they look at the things it names, and at the end of a region at the thing in it. Where a
coordinate or an answer word is to be written they look at the thing (or joint) that it is about,
and at the first token where there is no such thing (any more). For a count the things share the
attention equally, and the first token stands for a fixed number of things, so that the result
tells how many there are. What an expression passes on its way ("second cube from the left": the
leftmost cube, then the second) is looked at by one layer after another. Nothing of this exists at
inference: the weights are those of the plain network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.model.layers import Attention
from sphinx_ros.model.rotary import rotate
from sphinx_ros.prompt.english import plural
from sphinx_ros.train import recipe
from sphinx_ros.train.recipe import COUNT_REFERENCES, STEPS, TOLD_HEADS
from sphinx_ros.train.targets import patch_at
from sphinx_ros.world.nouns import Noun
from sphinx_ros.world.truth import COLOURS, KINDS, SIZES, Observation
from sphinx_ros.world.turn import Turn

NOUN_WORDS = {kind: kind for kind in KINDS} | {plural(kind): kind for kind in KINDS}
NOUN_WORDS |= {"object": "", "objects": ""}
BETWEEN = ("in", "a", "an", "the")  # may stand between "person" and the colour of the shirt


@dataclass(frozen=True)
class Target:
    """An attention target: the token at ``at`` looks at a thing, a patch or the first token.

    at: the token's place. thing: 1 + index of the thing; 0: nothing that is there, and the target
    is the first token. patch: the patch that is the target in place of the thing's own patches,
    counted row by row; -1: none. weight: the target's share of the token's attention, times its
    loss weight. head: the head that looks there; -1: all heads that have targets. step: the layer,
    counted from that behind the words' one; -1: those of the question's or answer's targets.
    """

    at: int
    thing: int
    patch: int
    weight: float
    head: int = -1
    step: int = -1


class Targets(NamedTuple):
    """M attention targets of a batch; each is [M]. thing, patch, head, step, weight: see `Target`.

    row: which row of the batch. column: the token that looks, counted in text tokens.
    """

    row: Tensor
    column: Tensor
    thing: Tensor
    patch: Tensor
    head: Tensor
    step: Tensor
    weight: Tensor

    @staticmethod
    def of(rows: Sequence[Sequence[Target]]) -> Targets:
        """The targets of each row of a batch."""
        flat = [
            (b, k.at, k.thing, k.patch, k.head, k.step) for b, row in enumerate(rows) for k in row
        ]
        indices = torch.tensor(flat, dtype=torch.long).reshape(-1, 6)
        weight = torch.tensor([target.weight for targets in rows for target in targets])
        row, column, thing, patch, head, step = indices.unbind(1)
        return Targets(row, column, thing, patch, head, step, weight)

    def at_step(self, step: int) -> Targets:
        """Those of one step."""
        return Targets(*(field[self.step == step] for field in self))


class Sight(NamedTuple):
    """What the queries and keys of a forward pass were, beside the hidden states.

    rope: the rotary table. mask: [B, 1, L, L] bool, True = may look. owner: [B, P] whose patch it
    is. first: column of the first patch among the L.
    """

    rope: tuple[Tensor, Tensor]
    mask: Tensor
    owner: Tensor
    first: int


class Gaze:
    """Attention targets of the turns about one observation; owners: its patch owners."""

    def __init__(self, truth: Observation, owners: np.ndarray):
        self.truth, self.grid = truth, owners.shape[0]
        self.place = Letterbox.of(truth.camera.width, truth.camera.height)
        present = set(np.unique(owners).tolist())
        # what is too small to own a patch is where its middle is
        self.patches = [
            -1 if number in present else self.patch(*thing.centre)
            for number, thing in enumerate(truth.objects, start=1)
        ]

    def patch(self, x: float, y: float) -> int:
        """Index of the patch at a pixel."""
        return patch_at(self.place, self.grid, x, y)

    def things(self, at: int, indices: Sequence[int]) -> list[Target]:
        """Equal shares for the things, or the first token where there are none."""
        if not len(indices):
            return [Target(at, 0, -1, 1.0)]
        return [Target(at, i + 1, self.patches[i], 1 / len(indices)) for i in indices]

    def question(self, item: Turn, pieces: list[str]) -> list[Target]:
        """At each noun the things it is true of, colour and size before it (or shirt) included;
        at the end of a region the thing in it.
        """
        out: list[Target] = []
        size = colour = before = ""
        for at, word in spelled(pieces):
            if word == "]":
                out += self.things(at, item.target.get("objects", [])[:1])
            elif word in SIZES:
                size = word
            elif word in COLOURS:
                colour = word
                if before == "person":
                    out += self.things(at, self._named(Noun("person", colour)))
                    before = colour = ""
            elif word in NOUN_WORDS:
                before = NOUN_WORDS[word]
                out += self.things(at, self._named(Noun(before, colour, size)))
                size = colour = ""
            elif word not in BETWEEN:
                size = colour = before = ""
        return out

    def _named(self, noun: Noun) -> list[int]:
        return [i for i, thing in enumerate(self.truth.objects) if noun.matches(thing)]

    def answer(self, item: Turn, pieces: list[str]) -> list[Target]:
        """For each piece of a turn's answer what it is about; ``at`` counts from the answer."""
        weight = recipe.TARGET_WEIGHT.get(item.kind, 1.0)
        targets = self._answer(item, pieces)
        if steps := item.target.get("steps"):
            targets += self._on_the_way({target.at for target in targets}, steps)
        return [replace(k, weight=weight * k.weight) for k in targets]

    def _on_the_way(self, places: Iterable[int], steps: Sequence[int]) -> list[Target]:
        """At each place one thing after another; the last one where there are fewer steps."""
        return [
            replace(target, step=number)
            for at in sorted(places)
            for number in range(STEPS)
            for target in self.things(at, [steps[min(number, len(steps) - 1)]])
        ]

    def _answer(self, item: Turn, pieces: list[str]) -> list[Target]:
        things = item.target.get("objects", [])
        if item.kind == "relation_yesno":  # two things at once: a head for each, to be compared
            heads = enumerate(things[:TOLD_HEADS])
            return [Target(0, i + 1, self.patches[i], 1.0, head) for head, i in heads]
        if item.kind == "pose":
            return self._joints(things[0], pieces)
        if item.kind == "count":
            return self._count(things)
        if "0." not in item.answer:
            about = things[:1] if item.kind == "what_relation" else things
            return [target for at in range(len(pieces) - 1) for target in self.things(at, about)]
        out: list[Target] = []
        numbers = 0
        for at, piece in enumerate(pieces):
            coordinate = "0." in piece or piece.strip().isdigit()
            numbers += "0." in piece
            box = (numbers - 1 if coordinate else numbers) // 4  # a label is about the box to come
            if 0 <= box < len(things):
                out += self.things(at, [things[box]])
            elif len(things) > 1 and not coordinate and box == len(things):
                out += self.things(at, [])  # no more of them: the list ends here
        return out

    def _count(self, things: list[int]) -> list[Target]:
        """Equal shares for the things, and the first token's, for each head its own."""
        out = []
        for head, first in enumerate(COUNT_REFERENCES):
            share = 1 / (len(things) + first)
            out.append(Target(0, 0, -1, first * share, head))
            out += [Target(0, i + 1, self.patches[i], share, head) for i in things]
        return out

    def _joints(self, person: int, pieces: list[str]) -> list[Target]:
        """Coordinates of joints look at the patch with the joint."""
        keypoints = self.truth.objects[person].keypoints
        assert keypoints is not None
        points = [(x, y) for x, y, v in keypoints if v > 0]
        out, numbers = [], 0
        for at, piece in enumerate(pieces):
            numbers += "0." in piece
            joint = (numbers - 1) // 2
            if ("0." in piece or piece.isdigit()) and 0 <= joint < len(points):
                out.append(Target(at, person + 1, self.patch(*points[joint]), 1.0))
        return out


def spelled(pieces: Sequence[str]) -> list[tuple[int, str]]:
    """(place of its last piece, word); what letters spell is one word, in lower case.

    A word that is a piece keeps its capital: "Can you see" names no can.
    """
    out: list[tuple[int, str]] = []
    inside = False  # of a word that single letters spell
    for at, piece in enumerate(pieces):
        letter = len(piece.strip()) == 1 and piece.strip().isalpha()
        if letter and piece[0] != " " and inside:
            out[-1] = (at, out[-1][1] + piece.lower())
        else:
            out.append((at, piece.strip().lower() if letter else piece.strip()))
        inside = letter or piece == " "
    return out


def looking_loss(
    attention: Attention, x: Tensor, sight: Sight, targets: Targets
) -> tuple[Tensor, float]:
    """Cross-entropy of the heads' attention with its targets, and its mean mass there.

    x: [B, L, dim], what the attention is given. targets: columns counted in the L positions.
    """
    score = _attention(attention, x, sight, targets)  # [M, heads, L]
    mass = _mass(score, sight, targets)  # [M, heads]
    heads = torch.arange(score.shape[1])
    head, weight = targets.head[:, None], targets.weight[:, None]
    told = ((head == -1) | (head == heads)) * weight
    loss = -(told * (mass + 1e-6).log()).sum() / told.sum()
    return loss, ((told * mass).sum() / told.sum()).item()


def _attention(attention: Attention, x: Tensor, sight: Sight, targets: Targets) -> Tensor:
    """[M, heads, L] attention of the tokens that look, in the heads that have targets."""
    heads, size = min(TOLD_HEADS, attention.kv_heads), attention.head_dim
    query, key = (
        rotate(F.linear(x, w.weight[: heads * size]).unflatten(-1, (heads, size)), *sight.rope)
        for w in (attention.wq, attention.wk)
    )  # [B, L, heads, size]
    asks = query[targets.row, targets.column]  # [M, heads, size]; rows in order
    each = asks.split(targets.row.bincount(minlength=len(key)).tolist())
    pairs = zip(each, key, strict=True)
    score = torch.cat([torch.einsum("mhd,khd->mhk", q, k) for q, k in pairs]).float() / size**0.5
    hidden = ~sight.mask[targets.row, 0, targets.column]  # [M, L]
    return score.masked_fill(hidden[:, None], float("-inf")).softmax(-1)


def _mass(score: Tensor, sight: Sight, targets: Targets) -> Tensor:
    """[M, heads] how much of the attention [M, heads, L] lies on the target."""
    count = sight.owner.shape[1]
    patch, thing = targets.patch[:, None], targets.thing[:, None]
    is_target = torch.where(
        patch >= 0, torch.arange(count) == patch, sight.owner[targets.row] == thing
    )
    patches = score[..., sight.first : sight.first + count]
    on_thing = (patches * (is_target & (thing > 0))[:, None]).sum(-1)
    return torch.where(thing > 0, on_thing, score[..., 0])
