"""Heads that read what the network should know by then, and their losses; thrown away afterwards.

:class:`PatchHead` reads the projected image tokens, the ones that the decoder will see: what is in
their patch, and where. :class:`FineHead` reads the ConvNeXt one stage before its last, where thin
and small things still have cells of their own: what shows there, and which joint is there.
:class:`PlaceHead` reads the decoder, one layer before the last, where a
coordinate is about to be written: which. Positions are learnt as places on a ruler of 24 marks
(two neighbouring marks share the probability), which a linear layer learns far quicker than a
coordinate.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.train.data import Batch
from sphinx_ros.world.truth import COLOURS, KINDS, SIZES

MARKS = 24

SUM_WEIGHT = 10.0
"""Loss weight of how far the patches of a thing are from standing for exactly one thing."""


def two_hot(x: Tensor) -> Tensor:
    """Fractions [...] to a distribution over MARKS marks [..., MARKS]."""
    place = x.clamp(0, 1) * (MARKS - 1)
    low = place.floor().clamp(max=MARKS - 2)
    high = place - low
    out = torch.zeros(*x.shape, MARKS, device=x.device)
    out.scatter_(-1, low.long()[..., None], (1 - high)[..., None])
    return out.scatter_(-1, low.long()[..., None] + 1, high[..., None])


def ruler_loss(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of places [..., MARKS] against fractions [...], and the fractions they read as."""
    places = logits.float()
    read = (places.softmax(-1) * torch.linspace(0, 1, MARKS, device=places.device)).sum(-1)
    cross = -(two_hot(target) * places.log_softmax(-1)).sum(-1).mean()
    return cross + 10 * F.l1_loss(read, target), read


class PlaceHead(nn.Module):
    """Hidden states [M, dim] to the coordinate each is about to write, on the ruler."""

    def __init__(self, dim: int):
        super().__init__()
        self.place = nn.Linear(dim, MARKS)

    def forward(self, hidden: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """Loss and mean absolute error for targets [M], fractions of the square."""
        loss, read = ruler_loss(self.place(hidden), target)
        return loss, (read - target).abs().mean().item()


def heat(points: tuple[Tensor, Tensor], pictures: int, grid: int) -> tuple[Tensor, Tensor]:
    """Where each joint is, as a distribution over the cells of a grid.

    points: (index [M, 2] (picture, joint), place [M, 2] as fractions). Returns [N, grid^2], for
    each of the N joints of a picture that somebody shows, and their index [N] = picture * 17 +
    joint. The four cells around a point share it by nearness; people share a joint equally.
    """
    index, place = points
    key, row = (index[:, 0] * 17 + index[:, 1]).unique(return_inverse=True)
    out = torch.zeros(len(key), grid, grid, device=place.device)
    at = (place * grid - 0.5).clamp(0, grid - 1)
    low = at.floor().clamp(max=grid - 2)
    high = at - low
    low = low.long()
    for dx in (0, 1):
        for dy in (0, 1):
            share = (high[:, 0] if dx else 1 - high[:, 0]) * (high[:, 1] if dy else 1 - high[:, 1])
            out.index_put_((row, low[:, 1] + dy, low[:, 0] + dx), share, accumulate=True)
    return out.flatten(1) / out.sum((1, 2))[:, None], key


def heat_loss(logits: Tensor, points: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of [B, grid^2, 17] with where each joint is; 0 where nobody is."""
    if not len(points[0]):
        return logits.sum() * 0.0
    target, key = heat(points, len(logits), round(logits.shape[1] ** 0.5))
    places = logits.float().transpose(1, 2).flatten(0, 1)[key].log_softmax(-1)  # [N, grid^2]
    return -(target * places).sum(-1).mean()


class FineHead(nn.Module):
    """[B, C, g, g], the map of the ConvNeXt's last but one stage, to kind, colour and joints."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.read = nn.Linear(width, 1 + len(KINDS) + len(COLOURS) + 17)

    def forward(self, features: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Loss and readable scores."""
        cells = self.norm(features.flatten(2).transpose(1, 2))  # [B, g^2, C]
        kind, colour, joints = self.read(cells).split((1 + len(KINDS), len(COLOURS), 17), -1)
        target = batch.fine_kind
        shown, empty = target > 0, target == 0
        if not shown.any():
            return kind.sum() * 0.0, {}
        loss = F.cross_entropy(kind[shown], target[shown])
        loss = loss + 0.5 * F.cross_entropy(kind[empty], target[empty])
        loss = loss + 0.5 * F.cross_entropy(colour[shown], batch.fine_colour[shown])
        loss = loss + 0.5 * heat_loss(joints, batch.points)
        return loss, {"fine_kind": accuracy(kind[shown], target[shown])}


class PatchHead(nn.Module):
    """[B, P, dim] to kind, colour, size, how much the patch stands for its thing, box places,
    joint presence and offset, joint places.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.kind = nn.Linear(dim, 1 + len(KINDS))
        self.colour = nn.Linear(dim, len(COLOURS))
        self.size = nn.Linear(dim, len(SIZES))
        self.anchor = nn.Linear(dim, 1)
        self.box = nn.Linear(dim, 4 * MARKS)
        self.presence = nn.Linear(dim, 17)
        self.offset = nn.Linear(dim, 17 * 2)
        self.joints = nn.Linear(dim, 17 * 2 * MARKS)

    def forward(self, tokens: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Loss and readable scores; tokens [B, P, dim] are the patches' projected tokens."""
        grid = round(tokens.shape[1] ** 0.5)
        kind = batch.kind
        owned, empty, person = kind > 0, kind == 0, kind == 1 + KINDS.index("person")
        mine = tokens[owned]
        # Apart, because nine of ten patches are empty and would leave the kinds no say.
        loss = 2 * F.cross_entropy(self.kind(mine), kind[owned])
        loss = loss + F.cross_entropy(self.kind(tokens[empty]), kind[empty])
        loss = loss + F.cross_entropy(self.colour(mine), batch.colour[owned])
        anchor = self.anchor(mine).squeeze(-1).float()
        loss = loss + F.binary_cross_entropy_with_logits(anchor, batch.anchor[owned])
        wrong = thing_sums(anchor.sigmoid(), batch.owner, owned) - 1
        loss = loss + SUM_WEIGHT * wrong.square().mean()
        sizes = batch.size[owned]
        if (sizes >= 0).any():
            loss = loss + 0.5 * F.cross_entropy(self.size(mine), sizes, ignore_index=-1)
        target = batch.box[owned]
        boxes, read = ruler_loss(self.box(mine).unflatten(-1, (4, MARKS)), target)
        loss = loss + boxes
        with torch.no_grad():
            scores = {
                "kind": accuracy(self.kind(mine), kind[owned]),
                "colour": accuracy(self.colour(mine), batch.colour[owned]),
                "sum": wrong.square().mean().sqrt().item(),
                "empty": accuracy(self.kind(tokens[empty]), kind[empty]),
                "iou": paired_iou(read, target).mean().item(),
            }
        if person.any() and len(batch.points[0]):
            loss = loss + 0.5 * heat_loss(self.presence(tokens), batch.points)
            loss = loss + self._offsets(tokens, batch.points, grid)
            extra, scores["joint"] = self._joints(tokens, batch, person)
            loss = loss + extra
        return loss, scores

    def _offsets(self, tokens, points, grid):
        """Loss of where in its own patch each joint is, in patches."""
        (picture, joint), place = points[0].unbind(1), points[1] * grid
        cell = place.floor().clamp(0, grid - 1)
        own = tokens[picture, (cell[:, 1] * grid + cell[:, 0]).long()]  # [M, dim]
        offset = self.offset(own).unflatten(-1, (17, 2)).float()
        return 2 * F.l1_loss(offset[torch.arange(len(own)), joint], place - cell)

    def _joints(self, tokens, batch, person):
        """Joints as places, from every patch of a person."""
        joints, mine = batch.joints[person], tokens[person]  # [N, 17, 3], [N, dim]
        known = joints[..., 2] > 0
        target = joints[..., :2][known]
        places = self.joints(mine).unflatten(-1, (17, 2, MARKS))[known]
        placing, read = ruler_loss(places, target)
        return placing, (read - target).norm(dim=-1).mean().item()


def thing_sums(values: Tensor, owner: Tensor, owned: Tensor) -> Tensor:
    """Sum of ``values`` [N], those of the N ``owned`` patches [B, P], for each thing: [things]."""
    most = int(owner.max()) + 1
    things = (owner + most * torch.arange(len(owner))[:, None])[owned]
    names, row = things.unique(return_inverse=True)
    return torch.zeros(len(names)).index_add(0, row, values)


def accuracy(logits: Tensor, target: Tensor) -> float:
    """Share of rows whose best class is the target."""
    return (logits.argmax(-1) == target).float().mean().item()


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes [N, 4] with boxes [N, 4]."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(-1)

    def area(box):
        return (box[:, 2:] - box[:, :2]).clamp(min=0).prod(-1)

    return both / (area(a) + area(b) - both).clamp(min=1e-9)
