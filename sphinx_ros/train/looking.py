"""What in the picture each word of a turn is about: targets for a few attention heads.

A decoder this small finds the step from "the red mug" to the image tokens of the red mug by
chance, and late. So while it trains, two heads of a few layers are told where to look: at a noun
of the question, at the things it names; at the end of a region, at the thing in it; where a
coordinate or an answer word is to be written, at the thing (or joint) that it is about; at the
first token where there is no such thing (any more). For a count the things share the attention
equally, and the first token stands for a fixed number of things, so that what comes back tells
how many there are. Nothing of this exists at inference: the weights are those of the plain
network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.model.decoder import Attention, RMSNorm, rotate
from sphinx_ros.prompt.english import plural
from sphinx_ros.train import recipe
from sphinx_ros.train.targets import patch_at
from sphinx_ros.world.nouns import Noun
from sphinx_ros.world.truth import COLOURS, KINDS, SIZES, Observation

HEADS = 2
"""So many heads of a layer, the first ones, are told where to look; the others are free."""

COUNT_REFERENCES = (1.0, 5.0)
"""For a count the first token is looked at as much as so many things, by the head of that number:
one thing tells small numbers apart, five tell large ones apart."""

NOUN_WORDS = {kind: kind for kind in KINDS} | {plural(kind): kind for kind in KINDS}
NOUN_WORDS |= {"object": "", "objects": ""}
BETWEEN = ("in", "a", "an", "the")  # may stand between "person" and the colour of the shirt


@dataclass(frozen=True)
class Look:
    """The token at ``at`` is about ``thing`` (1 + index; 0: about nothing that is there), or, if
    not -1, about ``patch``, counted row by row. weight: its share of that token's attention,
    times the loss weight of the look.
    head: the one that looks there, -1 for all that are told.
    """

    at: int
    thing: int
    patch: int
    weight: float
    head: int = -1


class Gaze:
    """Where the tokens of the turns about one observation look; owners: its patch owners."""

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

    def things(self, at: int, indices) -> list[Look]:
        """Equal shares for the things, or the first token where there are none."""
        if not len(indices):
            return [Look(at, 0, -1, 1.0)]
        return [Look(at, i + 1, self.patches[i], 1 / len(indices)) for i in indices]

    def question(self, item, pieces: list[str]) -> list[Look]:
        """At each noun the things it is true of, colour and size before it (or shirt) included;
        at the end of a region the thing in it.
        """
        out: list[Look] = []
        size = colour = before = ""
        for at, word in enumerate(piece.strip() for piece in pieces):
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

    def answer(self, item, pieces: list[str]) -> list[Look]:
        """For each piece of a turn's answer what it is about; ``at`` counts from the answer."""
        weight = recipe.LOOK_WEIGHT.get(item.kind, 1.0)
        looks = self._answer(item, pieces)
        return [replace(k, weight=weight * k.weight) for k in looks]

    def _answer(self, item, pieces: list[str]) -> list[Look]:
        things = item.target.get("objects", [])
        if item.kind == "relation_yesno":  # two things at once: a head for each, to be compared
            return [
                Look(0, i + 1, self.patches[i], 1.0, head) for head, i in enumerate(things[:HEADS])
            ]
        if item.kind == "pose":
            return self._joints(things[0], pieces)
        if item.kind == "count":
            return self._count(things)
        if "0." not in item.answer:
            about = things[:1] if item.kind == "what_relation" else things
            return [look for at in range(len(pieces) - 1) for look in self.things(at, about)]
        out: list[Look] = []
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

    def _count(self, things: list[int]) -> list[Look]:
        """Equal shares for the things, and the first token's, for each head its own."""
        out = []
        for head, first in enumerate(COUNT_REFERENCES):
            share = 1 / (len(things) + first)
            out.append(Look(0, 0, -1, first * share, head))
            out += [Look(0, i + 1, self.patches[i], share, head) for i in things]
        return out

    def _joints(self, person: int, pieces: list[str]) -> list[Look]:
        """Coordinates of joints look at the patch with the joint."""
        points = [(x, y) for x, y, v in self.truth.objects[person].keypoints if v > 0]
        out, numbers = [], 0
        for at, piece in enumerate(pieces):
            numbers += "0." in piece
            joint = (numbers - 1) // 2
            if ("0." in piece or piece.isdigit()) and 0 <= joint < len(points):
                out.append(Look(at, person + 1, self.patch(*points[joint]), 1.0))
        return out


def looking_loss(
    attention: Attention,
    norm: RMSNorm,
    x: Tensor,
    rope: tuple[Tensor, Tensor],
    mask: Tensor,
    looks: Tensor,
    shares: Tensor,
    owner: Tensor,
    first: int,
) -> tuple[Tensor, float]:
    """Cross-entropy of the heads' attention with where it should be, and its mean mass there.

    x: [B, L, dim] input of the attention's block. rope, mask [B, 1, L, L]: as the block gets
    them. looks: [M, 5] int (row of the batch, query column, thing, patch or -1, head or -1);
    shares: [M]. owner: [B, P] whose patch it is. first: column of the first patch.
    """
    heads, size = min(HEADS, attention.kv_heads), attention.head_dim
    normal = norm(x)
    query, key = (
        rotate(F.linear(normal, w.weight[: heads * size]).unflatten(-1, (heads, size)), *rope)
        for w in (attention.wq, attention.wk)
    )  # [B, L, heads, size]
    row, column, thing, patch, head = looks.unbind(1)
    score = torch.einsum("bqhd,bkhd->bqhk", query, key)[row, column] / size**0.5
    score = score.masked_fill(~mask[row, 0, column][:, None], float("-inf")).softmax(-1)
    cells = torch.arange(owner.shape[1])
    there = (
        torch.where(patch[:, None] >= 0, cells == patch[:, None], owner[row] == thing[:, None])
        & (thing > 0)[:, None]
    )
    mass = (score[..., first : first + owner.shape[1]] * there[:, None]).sum(-1)  # [M, heads]
    mass = torch.where(thing[:, None] > 0, mass, score[..., 0])
    told = (head[:, None] == -1) | (head[:, None] == torch.arange(heads))  # [M, heads]
    told = told * shares[:, None]
    loss = -(told * (mass + 1e-6).log()).sum() / told.sum()
    return loss, ((told * mass).sum() / told.sum()).item()
