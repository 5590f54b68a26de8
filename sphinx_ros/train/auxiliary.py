"""What the network has found so far -> losses, by heads that are thrown away after training.

:class:`PatchHead` reads the projected image tokens, the ones that the decoder will see: what is in
their patch, and where. :class:`FineHead` reads the ConvNeXt one stage before its last, where thin
and small things still have cells of their own: what shows there, and which joint is there.
:class:`PlaceHead` reads the decoder, one layer before the last, where a coordinate is about to be
written: which coordinate. Positions are learnt as places on a ruler of MARKS marks, where two
neighbouring marks share the probability. A linear layer learns that far faster than a coordinate.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.train import recipe
from sphinx_ros.train.data import Batch
from sphinx_ros.train.recipe import MARKS
from sphinx_ros.train.targets import JOINTS
from sphinx_ros.world.truth import COLOURS, KINDS, SIZES

Losses = dict[str, Tensor]
"""Losses by the names of their weights in the recipe."""

PERSON = 1 + KINDS.index("person")


def weighed(losses: Losses, weights: dict[str, float]) -> Tensor:
    """The sum of the losses by their weights, in the order of ``weights``."""
    return torch.stack([w * losses[name] for name, w in weights.items() if name in losses]).sum()


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
    return cross + recipe.RULER_WEIGHT * F.l1_loss(read, target), read


class PlaceHead(nn.Module):
    """Hidden states [M, dim] to the coordinate each is about to write, on the ruler."""

    def __init__(self, dim: int):
        super().__init__()
        self.place = nn.Linear(dim, MARKS)

    def forward(self, hidden: Tensor, target: Tensor) -> tuple[Tensor, float]:
        """Loss and mean absolute error for targets [M], fractions of the square."""
        loss, read = ruler_loss(self.place(hidden), target)
        return loss, (read - target).abs().mean().item()


def heat(points: tuple[Tensor, Tensor], grid: int) -> tuple[Tensor, Tensor]:
    """Where each joint is, as a distribution over the cells of a grid.

    points: (index [M, 2] (picture, joint), place [M, 2] as fractions). Returns [N, grid^2], for
    each of the N joints of a picture that somebody shows, and their index [N] = picture * JOINTS +
    joint. The four cells around a point share it by nearness; people share a joint equally.
    """
    index, place = points
    key, row = (index[:, 0] * JOINTS + index[:, 1]).unique(return_inverse=True)
    at = (place * grid - 0.5).clamp(0, grid - 1)  # in cells, from the middle of the first one
    low = at.floor().clamp(max=grid - 2)
    nearness = (1 - (at - low), at - low)  # to the lower and to the upper neighbour, [M, 2] each
    column, line = low.long().unbind(1)
    out = torch.zeros(len(key), grid, grid, device=place.device)
    for dx, dy in itertools.product((0, 1), (0, 1)):
        share = nearness[dx][:, 0] * nearness[dy][:, 1]
        out.index_put_((row, line + dy, column + dx), share, accumulate=True)
    return out.flatten(1) / out.sum((1, 2))[:, None], key


def heat_loss(logits: Tensor, points: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of [B, grid^2, JOINTS] with where each joint is; 0 where nobody is."""
    if not len(points[0]):
        return logits.sum() * 0.0
    target, key = heat(points, round(logits.shape[1] ** 0.5))
    places = logits.float().transpose(1, 2).flatten(0, 1)[key].log_softmax(-1)  # [N, grid^2]
    return -(target * places).sum(-1).mean()


class FineHead(nn.Module):
    """[B, C, g, g], the map of the ConvNeXt's last but one stage, to kind, colour and joints."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.read = nn.Linear(width, 1 + len(KINDS) + len(COLOURS) + JOINTS)

    def forward(self, features: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Loss and readable scores."""
        cells = self.norm(features.flatten(2).transpose(1, 2))  # [B, g^2, C]
        kind, colour, joints = self.read(cells).split((1 + len(KINDS), len(COLOURS), JOINTS), -1)
        target = batch.fine_kind
        shown, empty = target > 0, target == 0
        if not shown.any():
            return kind.sum() * 0.0, {}
        losses = {
            "kind": F.cross_entropy(kind[shown], target[shown]),
            "empty": F.cross_entropy(kind[empty], target[empty]),
            "colour": F.cross_entropy(colour[shown], batch.fine_colour[shown]),
            "presence": heat_loss(joints, batch.points),
        }
        loss = weighed(losses, recipe.FINE_WEIGHT)
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
        self.presence = nn.Linear(dim, JOINTS)
        self.offset = nn.Linear(dim, JOINTS * 2)
        self.joints = nn.Linear(dim, JOINTS * 2 * MARKS)

    def forward(self, tokens: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Loss and readable scores; tokens [B, P, dim] are the patches' projected tokens.

        The scores have each loss under its name and "_loss", before it is weighed.
        """
        losses, scores = self._things(tokens, batch)
        if (batch.kind == PERSON).any() and len(batch.points[0]):
            more, scores["joint"] = self._people(tokens, batch)
            losses |= more
        said = {f"{name}_loss": loss.item() for name, loss in losses.items()}
        return weighed(losses, recipe.PATCH_WEIGHT), scores | said

    def _things(self, tokens: Tensor, batch: Batch) -> tuple[Losses, dict[str, float]]:
        """What each patch's owner is, where it is, and how much the patch stands for it."""
        owned, empty = batch.kind > 0, batch.kind == 0
        mine, nothing, sizes = tokens[owned], tokens[empty], batch.size[owned]
        kinds, target = self.kind(mine), batch.kind[owned]
        colours, emptiness = self.colour(mine), self.kind(nothing)
        anchor = self.anchor(mine).squeeze(-1).float()
        wrong = thing_sums(anchor.sigmoid(), batch.owner, owned) - 1
        boxes, read = ruler_loss(self.box(mine).unflatten(-1, (4, MARKS)), batch.box[owned])
        losses = {
            # Apart, because nine of ten patches are empty: in one mean the kinds would not count.
            "kind": F.cross_entropy(kinds, target),
            "empty": F.cross_entropy(emptiness, batch.kind[empty]),
            "colour": F.cross_entropy(colours, batch.colour[owned]),
            "anchor": F.binary_cross_entropy_with_logits(anchor, batch.anchor[owned]),
            "sum": wrong.square().mean(),
            "box": boxes,
        }
        if (sizes >= 0).any():
            losses["size"] = F.cross_entropy(self.size(mine), sizes, ignore_index=-1)
        scores = {
            "kind": accuracy(kinds, target),
            "colour": accuracy(colours, batch.colour[owned]),
            "sum": losses["sum"].sqrt().item(),
            "empty": accuracy(emptiness, batch.kind[empty]),
            "iou": paired_iou(read, batch.box[owned]).mean().item(),
        }
        return losses, scores

    def _people(self, tokens: Tensor, batch: Batch) -> tuple[Losses, float]:
        """Where the joints are, and the mean distance of the joints as read from them."""
        placing, distance = self._joints(tokens, batch)
        losses = {
            "presence": heat_loss(self.presence(tokens), batch.points),
            "offset": self._offsets(tokens, batch.points),
            "joint": placing,
        }
        return losses, distance

    def _offsets(self, tokens: Tensor, points: tuple[Tensor, Tensor]) -> Tensor:
        """Loss of where in its own patch each joint is, in patches."""
        grid = round(tokens.shape[1] ** 0.5)
        (picture, joint), place = points[0].unbind(1), points[1] * grid
        cell = place.floor().clamp(0, grid - 1)
        own = tokens[picture, (cell[:, 1] * grid + cell[:, 0]).long()]  # [M, dim]
        offset = self.offset(own).unflatten(-1, (JOINTS, 2)).float()
        return F.l1_loss(offset[torch.arange(len(own)), joint], place - cell)

    def _joints(self, tokens: Tensor, batch: Batch) -> tuple[Tensor, float]:
        """Loss of the joints as places, from every patch of a person, and their mean distance."""
        person = batch.kind == PERSON
        joints, mine = batch.joints[person], tokens[person]  # [N, JOINTS, 3], [N, dim]
        known = joints[..., 2] > 0
        target = joints[..., :2][known]
        places = self.joints(mine).unflatten(-1, (JOINTS, 2, MARKS))[known]
        placing, read = ruler_loss(places, target)
        return placing, (read - target).norm(dim=-1).mean().item()


def thing_sums(values: Tensor, owner: Tensor, owned: Tensor) -> Tensor:
    """Sum of ``values`` [N], those of the N ``owned`` patches [B, P], for each thing: [things]."""
    most = int(owner.max()) + 1
    pictures = torch.arange(len(owner), device=owner.device)[:, None]
    things = (owner + most * pictures)[owned]
    names, row = things.unique(return_inverse=True)
    return torch.zeros(len(names), device=values.device).index_add(0, row, values)


def accuracy(logits: Tensor, target: Tensor) -> float:
    """Share of rows whose best class is the target."""
    return (logits.argmax(-1) == target).float().mean().item()


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes [N, 4] with boxes [N, 4]."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(-1)

    def area(box: Tensor) -> Tensor:
        """Areas of boxes [N, 4]."""
        return (box[:, 2:] - box[:, :2]).clamp(min=0).prod(-1)

    return both / (area(a) + area(b) - both).clamp(min=1e-9)
