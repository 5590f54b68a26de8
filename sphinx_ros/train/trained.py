"""A batch -> losses of the miniature network; the running average of its values. Knows no file."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.model import keys
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.layers import Attention
from sphinx_ros.model.rotary import rotary_table
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.train import recipe
from sphinx_ros.train.auxiliary import FineHead, PatchHead, PlaceHead
from sphinx_ros.train.data import Batch
from sphinx_ros.train.looking import Sight, looking_loss


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
        self._packed: tuple[Tensor, int] | None = None
        for number, layer in enumerate(self.model.layers):
            self._attend_packed(layer.attention)
            self._take(f"normed {number}", layer.attention_norm)
        self._take("last", self.model.layers[-2])

    def _take(self, name: str, module: nn.Module) -> None:
        """Keep what a module makes of the batch that is learnt from, until `_taken` is cleared."""

        def keep(_: nn.Module, given: tuple, made: Tensor) -> None:
            if self.training:
                self._taken[name] = made

        module.register_forward_hook(keep)

    def _attend_packed(self, attention: Attention) -> None:
        """Let a layer attend by :func:`packed_attention` while packed turns are learnt."""
        plain = attention._attend

        def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
            if self._packed is None:
                return plain(q, k, v, mask)
            return packed_attention(q, k, v, *self._packed)

        attention._attend = attend  # type: ignore[method-assign]

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

        The second layer has the targets of the questions, the last two those of the answers, and
        those between them the steps on the way to an answer.
        """
        last = len(self.model.layers) - 1
        words, answers = batch.question_targets, batch.answer_targets
        told = {1: ("words", words)}
        if answers is not None:
            for number in range(2, last - 1):
                told[number] = ("steps", answers.at_step(number - 2))
            told[last - 1] = told[last] = ("answers", answers.at_step(-1))
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
        assert batch.position is not None
        positions = packed_positions(batch.position, config.image_words)
        turn = with_image(batch.turn, config.image_words)
        mask = turn_mask(turn)
        x = model.embed(batch.tokens, image)
        bias = torch.zeros(mask.shape).masked_fill_(~mask, float("-inf"))
        self._packed = bias, int((turn[0] == 0).sum())
        hidden = model.hidden(x, positions=positions, mask=mask)
        self._packed = None
        text, read = self.reading(batch, hidden)
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
    of_model, _, key = name.partition(".")
    return of_model == "model" and keys.in_decoder(key)


def with_image(text: Tensor, image_tokens: int) -> Tensor:
    """[B, T] values of text tokens to [B, T + image_tokens], 0 at the image's places."""
    filler = torch.zeros_like(text[:, :1]).expand(-1, image_tokens)
    return torch.cat((text[:, :1], filler, text[:, 1:]), dim=1)


def packed_positions(text: Tensor, image_tokens: int) -> Tensor:
    """Rotary positions [B, T + image_tokens]: BOS 0, the image from 1 on, then the text.

    text: positions [B, T] counted in text tokens.
    """
    image = torch.arange(1, image_tokens + 1, device=text.device).expand(len(text), -1)
    return torch.cat((text[:, :1], image, text[:, 1:] + image_tokens), dim=1)


def turn_mask(turn: Tensor) -> Tensor:
    """[B, 1, L, L] bool: a token sees the prefix (turn 0) and its own turn, never what follows."""
    length = turn.shape[1]
    same = (turn[:, None, :] == turn[:, :, None]) | (turn[:, None, :] == 0)
    causal = torch.ones(length, length, dtype=torch.bool, device=turn.device).tril()
    return (same & causal)[:, None]


def packed_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, prefix: int) -> Tensor:
    """Attention of packed turns in plain products: half the time of torch's fused kernels here.

    q, k, v: [B, H, L, D]. bias: [B, 1, L, L], -inf where a token does not look, whose first
    ``prefix`` columns and rows are the common prefix: its tokens look at nothing behind it.
    """
    q, bias = q * q.shape[-1] ** -0.5, bias.to(q.dtype)
    out = []
    for rows, seen in ((slice(prefix), prefix), (slice(prefix, None), k.shape[2])):
        score = torch.matmul(q[:, :, rows], k[:, :, :seen].transpose(-1, -2))
        score.add_(bias[:, :, rows, :seen])  # in place: the products' gradient does not need it
        out.append(torch.matmul(score.softmax(-1), v[:, :, :seen]))
    return torch.cat(out, 2)


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
