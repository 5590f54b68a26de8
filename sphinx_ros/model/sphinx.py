"""SPHINX: the towers' mixed embeddings in front of the decoder. Tensors only, no text, no files.

    picture [B, 3, S, S] -> image tokens [B, image_words, dim]
    token ids [B, T] (+ image tokens) -> logits [B, T, vocabulary]

The image tokens stand between the first text token (BOS) and the rest, each view between the
learned ``start_img`` and ``end_img``. Source: accessory/model/LLM/llama_ens*.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.model.blip2 import Blip2
from sphinx_ros.model.cache import Cache, Span
from sphinx_ros.model.clip_vit import Clip
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.convnext import ConvNext
from sphinx_ros.model.decoder import Decoder
from sphinx_ros.model.dinov2 import Dino
from sphinx_ros.model.ranks import ALONE, Ranks
from sphinx_ros.model.scratch import reused_memory
from sphinx_ros.model.views import dino_renormalise, tower_views


class SphinxModel(Decoder):
    """The whole network. Parameter names are the official ones without the prefix ``llma.``.

    origin: where its weights are from, set by who read them.
    """

    origin: Any = None

    def __init__(self, config: ModelConfig, ranks: Ranks = ALONE):
        super().__init__(config, ranks)
        towers, recipe = config.towers, config.recipe
        mixed = 0
        if "clip" in recipe.towers:
            self.clip = Clip(towers.clip, towers)
            mixed += towers.clip.width
        self.openclip_convnext_xxl = ConvNext(towers.convnext)
        self.dinov2_vitg14 = Dino(towers.dinov2, towers)
        mixed += towers.convnext.width + towers.dinov2.width
        if recipe.qformer:
            self.qformer = Blip2(towers.qformer, towers)
            self.qformer_proj = nn.Sequential(
                nn.Linear(towers.qformer.width, config.dim), nn.LayerNorm(config.dim)
            )
        self.visual_proj = nn.Sequential(nn.Linear(mixed, config.dim), nn.LayerNorm(config.dim))
        self.start_img = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.end_img = nn.Parameter(torch.zeros(1, 1, config.dim))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.norm.weight.device

    def mixed_features(self, vit: Tensor, conv: Tensor) -> Tensor:
        """Views [N, 3, v, v] and [N, 3, n, n] to channel-concatenated tokens [N, 1 + g^2, C]."""
        recipe = self.config.recipe
        parts = []
        if "clip" in recipe.towers:
            parts.append(self.clip(vit))
        parts.append(self.openclip_convnext_xxl(conv, self.config.patch_grid))
        parts.append(self.dinov2_vitg14(dino_renormalise(vit, recipe.fused_renorm)))
        return torch.cat(parts, dim=-1)

    def view_embeddings(self, picture: Tensor) -> list[Tensor]:
        """The projected tokens of each view, [B, tokens, dim] each, without start and end marks.

        picture: [B, 3, S, S] CLIP-normalised, S = config.image_size.
        """
        return self.projected(*self.view_features(picture))

    def view_features(self, picture: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the towers alone make of a picture: mixed tokens [B, V, 1 + g^2, C] of the views,
        and the Q-Former's [B, V, Q, W] where there is one.
        """
        config = self.config
        vit, conv = tower_views(config, picture)
        batch, views = vit.shape[:2]
        vit, conv = vit.flatten(0, 1), conv.flatten(0, 1)
        mixed = self.ranks.spread(self.mixed_features, vit, conv).unflatten(0, (batch, views))
        if not config.recipe.qformer:
            return mixed, None
        return mixed, self.ranks.spread(self.qformer, vit).unflatten(0, (batch, views))

    def projected(self, mixed: Tensor, queries: Tensor | None) -> list[Tensor]:
        """The features of :meth:`view_features` -> tokens, as :meth:`view_embeddings` has them."""
        config = self.config
        if queries is not None:
            queries = self.qformer_proj(queries)
        out = []
        for view in range(mixed.shape[1]):
            tokens = mixed[:, view]
            if config.recipe.halved_crops and view > 0:
                tokens = halve_grid(tokens, config.patch_grid)
            tokens = self.visual_proj(tokens)
            out.append(tokens if queries is None else torch.cat((queries[:, view], tokens), 1))
        return out

    def encode_image(self, picture: Tensor) -> Tensor:
        """[B, 3, S, S] CLIP-normalised to image tokens [B, image_words, dim], marks included."""
        picture = picture.to(self.norm.weight)
        with reused_memory():
            return self.marked(self.view_embeddings(picture))

    def marked(self, views: list[Tensor]) -> Tensor:
        """Tokens of each view -> image tokens [B, image_words, dim], each view between marks."""
        batch = len(views[0])
        start, end = (mark.expand(batch, -1, -1) for mark in (self.start_img, self.end_img))
        return torch.cat([part for view in views for part in (start, view, end)], dim=1)

    def embed(self, tokens: Tensor, image: Tensor | None = None) -> Tensor:
        """Ids [B, T] to embeddings [B, T (+ image_words), dim]; the image follows the first id."""
        x = self.ranks.join(self.tok_embeddings(tokens), -1).to(self.norm.weight)
        if image is None:
            return x
        return torch.cat((x[:, :1], image.to(x), x[:, 1:]), dim=1)

    def forward(
        self,
        tokens: Tensor,
        image: Tensor | None = None,
        *,
        cache: Cache | None = None,
        start: int = 0,
        last_only: bool = False,
    ) -> Tensor:
        """Float32 logits [B, T, vocabulary], or [B, 1, vocabulary] with ``last_only``.

        tokens: ids [B, T]. image: image tokens of :meth:`encode_image`, only with ``start`` 0.
        start: the position of the first token in the cache, image positions counted.
        As in the official code row 0 with an image belongs to the last image token, and row i
        predicts token i + 1.
        """
        x = self.hidden(self.embed(tokens, image), cache=cache, start=start)
        x = x[:, -1:] if last_only else x[:, x.shape[1] - tokens.shape[1] :]
        return self.logits(x)

    def step(
        self, tokens: Tensor, positions: Tensor, spans: Sequence[Span], wanted: Tensor
    ) -> Tensor:
        """One packed pass: ids [N] in spans -> float32 logits [M, vocabulary] of those wanted.

        positions: [N] rotary positions. wanted: [M] which of the N tokens.
        """
        if self._captured is not None:
            logits = self._captured.step(tokens, positions, spans, self._plain_step)
            if logits is not None:
                return logits[wanted]
        return self._plain_step(tokens, positions, spans, wanted)

    def _plain_step(
        self,
        tokens: Tensor,
        positions: Tensor,
        spans: Sequence[Span],
        wanted: Tensor | None = None,
    ) -> Tensor:
        """:meth:`step` operation by operation; of all tokens where none are named."""
        x = self.packed(self.embed(tokens[None])[0], positions, spans)
        return self.logits(self.norm(x if wanted is None else x[wanted]))


def halve_grid(tokens: Tensor, grid: int) -> Tensor:
    """Class token kept, patches [B, grid^2, C] averaged bilinearly to (grid / 2)^2."""
    first, patches = tokens[:, :1], tokens[:, 1:]
    image = patches.transpose(1, 2).unflatten(2, (grid, grid))
    image = F.interpolate(image, size=(grid // 2, grid // 2), mode="bilinear")
    return torch.cat((first, image.flatten(2).transpose(1, 2)), dim=1)
