"""A batch -> losses of the miniature network, its start values and its average. Knows no file."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.decoder import rotary_table
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.train import recipe
from sphinx_ros.train.auxiliary import FineHead, PatchHead, PlaceHead
from sphinx_ros.train.data import Batch
from sphinx_ros.train.looking import Sight, looking_loss


def sin_cos_table(grid: int, width: int) -> Tensor:
    """Fixed 2-D position codes [1 + grid^2, width], zero for the class token: a start to learn
    from that already tells neighbours from strangers.
    """
    half = width // 4
    frequency = 1.0 / 100 ** (torch.arange(half) / half)
    angle = torch.arange(grid)[:, None] * frequency * (2 * math.pi / grid)
    code = torch.cat((angle.sin(), angle.cos()), 1)  # [grid, width / 2]
    rows = code[:, None].expand(grid, grid, -1)
    columns = code[None].expand(grid, grid, -1)
    table = torch.cat((rows, columns), -1).flatten(0, 1)
    table = F.pad(table, (0, width - table.shape[1]))
    return torch.cat((torch.zeros(1, width), 0.3 * table))


@torch.no_grad()
def initialise(model: SphinxModel, seed: int) -> None:
    """Start values for training from scratch; the libraries' own suit fine-tuning of deep ones."""
    torch.manual_seed(seed)
    grid = model.config.patch_grid
    for name, p in model.named_parameters():
        if name.endswith("gamma"):
            p.fill_(0.5)
        elif p.dim() <= 1:
            p.fill_(1.0 if name.endswith("weight") else 0.0)
        elif p.dim() == 4:
            p.normal_(0, 1 / math.sqrt(p[0].numel()))
        elif p.dim() == 2 and name.endswith(("weight", "in_proj_weight")):
            p.normal_(0, 0.7 / math.sqrt(p.shape[1]))
        else:
            p.normal_(0, 0.3)
    depth = 1 / math.sqrt(2 * model.config.n_layers)
    for layer in model.layers:
        layer.attention.wo.weight.mul_(depth)
        layer.feed_forward.w2.weight.mul_(depth)
    model.tok_embeddings.weight.normal_(0, 0.3)
    clip, dino = model.clip.visual, model.dinov2_vitg14
    clip.positional_embedding.copy_(sin_cos_table(grid, clip.positional_embedding.shape[-1]))
    dino.pos_embed.copy_(sin_cos_table(grid, dino.pos_embed.shape[-1])[None])
    positions = model.qformer.vision_model.embeddings.position_embedding
    positions.copy_(sin_cos_table(grid, positions.shape[-1])[None])


def grows_into(small: ModelConfig, large: ModelConfig) -> bool:
    """Whether the two are the same, or differ only in ConvNeXt blocks that ``large`` has more."""
    had, has = small.towers.convnext.depths, large.towers.convnext.depths
    if len(had) != len(has) or any(a > b for a, b in zip(had, has, strict=True)):
        return False
    convnext = replace(small.towers.convnext, depths=has)
    return replace(small, towers=replace(small.towers, convnext=convnext)) == large


@torch.no_grad()
def take_up(model: SphinxModel, weights: dict[str, Tensor], smaller: ModelConfig) -> list[str]:
    """Begin ``model`` with the weights of one that may have fewer ConvNeXt blocks per stage.

    The blocks that are new come last in their stage and begin as the identity (layer scale 0), so
    that the grown network answers exactly as the small one did. Returns the new keys.
    """
    had = smaller.towers.convnext.depths
    new = [
        key
        for key in model.state_dict()
        if (block := re.match(r"openclip_convnext_xxl\.stages\.(\d)\.blocks\.(\d+)\.", key))
        and int(block[2]) >= had[int(block[1])]
    ]
    own = model.state_dict()
    for key in new:
        if key.endswith("gamma"):
            own[key].zero_()
    model.load_state_dict({key: own[key] for key in new} | weights)
    return new


class Trained(nn.Module):
    """The network with the auxiliary heads, and the losses of both stages."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.model = SphinxModel(config)
        # a seventh faster on a CPU: the blocks' linear layers want channels last anyway
        self.model.openclip_convnext_xxl.to(memory_format=torch.channels_last)
        self.head = PatchHead(config.dim)
        self.fine = FineHead(config.towers.convnext.dims[-2])
        self.place = PlaceHead(config.dim)
        self._taken: dict[str, Tensor] = {}
        self._take("fine", self.model.openclip_convnext_xxl.stages[-2])
        for number, layer in enumerate(self.model.layers):
            self._take(f"normed {number}", layer.attention_norm)
        self._take("last", self.model.layers[-2])

    def _take(self, name: str, module: nn.Module) -> None:
        """Keep what a module makes of the batch that is learnt from, until `_taken` is cleared."""

        def keep(_: nn.Module, given: tuple, made: Tensor) -> None:
            if self.training:
                self._taken[name] = made

        module.register_forward_hook(keep)

    def learning(self, alone: bool) -> list[nn.Parameter]:
        """The parameters that learn: all, or without the decoder while the towers are alone."""
        return [p for name, p in self.named_parameters() if not (alone and in_decoder(name))]

    def patches(self, image: Tensor) -> Tensor:
        """The patch tokens [B, P, dim] within image tokens of one view."""
        return image[:, -(self.model.config.patch_grid**2) - 1 : -1]

    def towers_loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Stage 1: the auxiliary loss alone."""
        return self.seeing(self.model.encode_image(batch.pictures), batch)

    def seeing(self, image: Tensor, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Loss of what can be read off the image tokens just made, and the map before them."""
        loss, scores = self.head(self.patches(image), batch)
        fine, more = self.fine(self._taken.pop("fine"), batch)
        return loss + fine, scores | more

    def looking(self, batch: Batch, sight: Sight) -> tuple[Tensor, dict[str, float]]:
        """Loss of where the decoder looked in the forward pass just made.

        The second layer has the targets of the questions, the last two those of the answers.
        """
        last = len(self.model.layers) - 1
        told = {
            1: ("words", batch.question_targets),
            last - 1: ("answers", batch.answer_targets),
            last: ("answers", batch.answer_targets),
        }
        total, scores = torch.zeros(()), {}
        for number, (name, targets) in told.items():
            if targets is None or not len(targets.row):
                continue
            targets = targets._replace(column=targets.column + self.model.config.image_words)
            attention, given = self.model.layers[number].attention, self._taken[f"normed {number}"]
            loss, scores[f"{name}{number}"] = looking_loss(attention, given, sight, targets)
            total = total + loss
        return total, scores

    def placing(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Loss of what the last layer is given where a coordinate is about to be written."""
        assert batch.coordinates is not None
        index, value = batch.coordinates
        if not len(index):
            return torch.zeros(()), {}
        row, column = index.unbind(1)
        given = self._taken["last"][row, column + self.model.config.image_words]
        loss, error = self.place(given, value)
        return loss, {"place": error}

    def joint_loss(
        self, batch: Batch, auxiliary: float, looking: float, placing: float
    ) -> tuple[Tensor, dict[str, float]]:
        """Stage 2: loss on the answers of the packed turns, plus ``auxiliary`` of stage 1's,
        ``looking`` of where the decoder looks and ``placing`` of which coordinate it has found.
        """
        model, config = self.model, self.model.config
        image = model.encode_image(batch.pictures)
        extra, scores = self.seeing(image, batch)
        positions = packed_positions(batch, config.image_words)
        mask = turn_mask(with_image(batch.turn, config.image_words))
        x = model.embed(batch.tokens, image)
        text, read = self.reading(batch, model.hidden(x, positions=positions, mask=mask))
        first = config.image_words - config.patch_grid**2
        sight = Sight(rotary_table(config, positions), mask, batch.owner, first)
        looked, seen = self.looking(batch, sight)
        placed, found = self.placing(batch)
        self._taken.clear()
        loss = text + auxiliary * extra + looking * looked + placing * placed
        return loss, scores | read | seen | found

    def reading(self, batch: Batch, hidden: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Loss of the answers' tokens, from the hidden states [B, L, dim] of the packed turns."""
        assert batch.tokens is not None and batch.weight is not None
        learnt = batch.weight > 0
        # a token is predicted from the position before it: shift by one, and past the image
        rows, columns = learnt.nonzero(as_tuple=True)
        before = columns + self.model.config.image_words - 1
        logits = self.model.output(hidden[rows, before]).float()
        losses = F.cross_entropy(logits, batch.tokens[learnt], reduction="none")
        weight = batch.weight[learnt]
        text = (losses * weight).sum() / weight.sum()
        with torch.no_grad():
            right = (logits.argmax(-1) == batch.tokens[learnt]).float()
            token = (right * weight).sum() / weight.sum()
        return text, {"text": text.item(), "token": token.item()}


def in_decoder(name: str) -> bool:
    """Whether a parameter of :class:`Trained` belongs to the language model."""
    return name.startswith(tuple(f"model.{p}" for p in ("layers", "norm", "output", "tok_emb")))


def with_image(text: Tensor, image_tokens: int) -> Tensor:
    """[B, T] values of text tokens to [B, T + image_tokens], 0 at the image's places."""
    filler = torch.zeros_like(text[:, :1]).expand(-1, image_tokens)
    return torch.cat((text[:, :1], filler, text[:, 1:]), dim=1)


def packed_positions(batch: Batch, image_tokens: int) -> Tensor:
    """Rotary positions [B, T + image_tokens]: BOS 0, the image from 1 on, then the text."""
    assert batch.position is not None
    text = batch.position
    image = torch.arange(1, image_tokens + 1).expand(len(text), -1)
    return torch.cat((text[:, :1], image, text[:, 1:] + image_tokens), dim=1)


def turn_mask(turn: Tensor) -> Tensor:
    """[B, 1, L, L] bool: a token sees the prefix (turn 0) and its own turn, never what follows."""
    length = turn.shape[1]
    same = (turn[:, None, :] == turn[:, :, None]) | (turn[:, None, :] == 0)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    return (same & causal)[:, None]


def groups(net: Trained, schedule: recipe.Schedule) -> list[dict]:
    """Parameter groups of AdamW: decoder, vision (slower), each with and without decay."""
    out: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, p in net.named_parameters():
        vision = name.startswith("model.") and not in_decoder(name)
        decay = p.dim() >= 2 and "embed" not in name and "token" not in name
        out.setdefault((vision, decay), []).append(p)
    return [
        {
            "params": ps,
            "factor": schedule.vision_factor if vision else 1.0,
            "weight_decay": schedule.weight_decay if decay else 0.0,
        }
        for (vision, decay), ps in sorted(out.items())
    ]


class Average:
    """Exponential moving average of the parameters; it forgets faster at the start."""

    def __init__(self, net: nn.Module, decay: float):
        self.decay, self.steps = decay, 0
        self.values = [p.detach().clone() for p in net.parameters()]

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take in the current parameters."""
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.values, list(net.parameters()), weight)

    @torch.no_grad()
    def swap(self, net: nn.Module) -> None:
        """Exchange the averaged and the current values, there and back."""
        for mine, p in zip(self.values, net.parameters(), strict=True):
            held = p.detach().clone()
            p.copy_(mine)
            mine.copy_(held)
