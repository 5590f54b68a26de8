"""Heads that read what the network should know by then, and their losses; thrown away afterwards.

:class:`PatchHead` reads the projected image tokens, the ones that the decoder will see: what is in
their patch, and where. :class:`PlaceHead` reads the decoder, one layer before the last, where a
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


class PatchHead(nn.Module):
    """[B, P, dim] to kind, colour, size, whether the patch stands for its thing, box places, joint
    presence and offset, joint places."""

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
                "anchor": ((anchor > 0) == batch.anchor[owned].bool()).float().mean().item(),
                "empty": accuracy(self.kind(tokens[empty]), kind[empty]),
                "iou": paired_iou(read, target).mean().item(),
            }
        if person.any():
            extra, scores["joint"] = self._joints(tokens, batch, person, grid)
            loss = loss + extra
        return loss, scores

    def _joints(self, tokens, batch, person, grid):
        """Joints as presence and offset in their own patch, and as places from every patch."""
        joints, mine = batch.joints[person], tokens[person]  # [N, 17, 3], [N, dim]
        known = joints[..., 2] > 0
        cell = torch.arange(grid * grid, device=tokens.device)
        cells = torch.stack((cell % grid, cell // grid), -1).float()  # x, y of each patch
        cells = cells.expand(len(tokens), -1, -1)[person][:, None]  # [N, 1, 2]
        inside = joints[..., :2] * grid - cells
        here = known & (inside >= 0).all(-1) & (inside < 1).all(-1)
        presence = self.presence(mine).float()
        loss = F.binary_cross_entropy_with_logits(
            presence, here.float(), pos_weight=torch.tensor(5.0, device=tokens.device)
        )
        if here.any():
            offset = self.offset(mine).unflatten(-1, (17, 2)).float()
            loss = loss + F.l1_loss(offset[here], inside[here])
        target = joints[..., :2][known]
        places = self.joints(mine).unflatten(-1, (17, 2, MARKS))[known]
        placing, read = ruler_loss(places, target)
        return loss + placing, (read - target).norm(dim=-1).mean().item()


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
