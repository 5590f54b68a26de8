"""The sizes of a visual encoder -> the same encoder as its library builds it, to compare with.

open_clip, timm and transformers name the parameters of the encoders in :mod:`sphinx_ros.model`.
Nothing but a comparison needs these libraries; the extra ``reference`` installs them. Knows no
text.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.errors import BadRequest
from sphinx_ros.model.towers import Towers
from sphinx_ros.runtime.interrupts import held_back
from sphinx_ros.runtime.printable import one_line

INSTALL = 'pip install "sphinx_ros[reference]"'
"""What brings all of these libraries."""

TESTED = f"install the versions that were tested: {INSTALL} -c requirements/tested.txt"
"""What to do where a library is another one than expected."""


class FromLibrary(nn.Module):
    """An encoder of a library. What it is called with, and what it gives, is as with ours."""

    def key(self, name: str) -> str:
        """What it calls the parameter that our encoder calls ``name``."""
        return name

    def tensors(self, encoder: nn.Module) -> dict[str, Tensor]:
        """The parameters of our encoder, not copied, under the library's names."""
        return {self.key(name): tensor for name, tensor in encoder.state_dict().items()}

    def take(self, encoder: nn.Module) -> None:
        """Let it compute with the parameters of our encoder.

        Raises:
            BadRequest: it has others: another version of the library names them otherwise.
        """
        given = self.tensors(encoder)
        if others := sorted(given.keys() ^ self.state_dict().keys()):
            raise BadRequest(
                f"its parameters have other names ({', '.join(others[:3])}); {TESTED}"
            )
        self.load_state_dict(given, assign=True)


class OpenClip(FromLibrary):
    """CLIP's visual transformer, up to ``ln_post`` on all tokens."""

    def __init__(self, towers: Towers):
        super().__init__()
        from open_clip.transformer import QuickGELU, VisionTransformer

        size = towers.clip
        self.visual = VisionTransformer(
            image_size=towers.view,
            patch_size=towers.patch,
            width=size.width,
            layers=size.layers,
            heads=size.heads,
            mlp_ratio=size.mlp_ratio,
            output_dim=size.width * 3 // 4,
            act_layer=QuickGELU if size.quick_gelu else nn.GELU,
        )

    def forward(self, x: Tensor) -> Tensor:
        """See :class:`sphinx_ros.model.clip_vit.Clip`."""
        vit = self.visual  # its own forward gives the class token alone, projected
        x = vit.conv1(x).flatten(2).transpose(1, 2)
        first = vit.class_embedding.to(x).expand(x.shape[0], 1, -1)
        x = vit.ln_pre(torch.cat((first, x), dim=1) + vit.positional_embedding.to(x))
        # open_clip changed the axis order its blocks expect in 2.26; the wrong one attends over
        # the batch without an error.
        if getattr(vit.transformer, "batch_first", False):
            x = vit.transformer(x)
        else:
            x = vit.transformer(x.transpose(0, 1)).transpose(0, 1)
        return vit.ln_post(x)


class TimmConvNext(FromLibrary):
    """The trunk that open_clip uses for ConvNeXt-XXL, without pooling and classifier."""

    def __init__(self, towers: Towers):
        super().__init__()
        from timm.models.convnext import ConvNeXt

        size = towers.convnext
        self.trunk = ConvNeXt(
            depths=size.depths, dims=size.dims, act_layer=nn.GELU, num_classes=0, norm_eps=1e-5
        )

    def key(self, name: str) -> str:
        """See the base class."""
        return f"trunk.{name}"

    def forward(self, x: Tensor, grid: int) -> Tensor:
        """See :class:`sphinx_ros.model.convnext.ConvNext`."""
        features = self.trunk.head.norm(self.trunk.forward_features(x))
        features = F.interpolate(features, size=(grid, grid), mode="nearest")
        mean = features.mean((2, 3))
        return torch.cat((mean[:, None], features.flatten(2).transpose(1, 2)), dim=1)


class TimmDino(FromLibrary):
    """timm's ViT with its packed SwiGLU.

    The position table is given to it as our encoder interpolates it for a view: timm does not do
    that as DINOv2 does.
    """

    def __init__(self, towers: Towers):
        super().__init__()
        from timm.layers import SwiGLUPacked
        from timm.models.vision_transformer import VisionTransformer

        size = towers.dinov2
        self.grid = towers.view // towers.patch
        self.vit = VisionTransformer(
            img_size=towers.view,
            patch_size=towers.patch,
            embed_dim=size.width,
            depth=size.layers,
            num_heads=size.heads,
            init_values=1e-5,
            num_classes=0,
        )
        for block in self.vit.blocks:
            block.mlp = SwiGLUPacked(size.width, 2 * size.hidden)

    def key(self, name: str) -> str:
        """See the base class."""
        return "vit." + name.replace("mlp.w12.", "mlp.fc1.").replace("mlp.w3.", "mlp.fc2.")

    def tensors(self, encoder: nn.Module) -> dict[str, Tensor]:
        """See the base class."""
        table = {self.key("pos_embed"): encoder.positions(self.grid).detach()}
        return super().tensors(encoder) | table

    def forward(self, x: Tensor) -> Tensor:
        """See :class:`sphinx_ros.model.dinov2.Dino`."""
        return self.vit.forward_features(x)


class TransformersBlip2(FromLibrary):
    """BLIP-2's ViT-g and the Q-Former whose queries read it."""

    def __init__(self, towers: Towers):
        super().__init__()
        from transformers import (
            Blip2QFormerConfig,
            Blip2QFormerModel,
            Blip2VisionConfig,
            Blip2VisionModel,
        )

        size = towers.qformer
        self.query_tokens = nn.Parameter(torch.zeros(1, size.queries, size.width))
        self.vision_model = Blip2VisionModel(
            Blip2VisionConfig(
                hidden_size=size.vit_width,
                intermediate_size=size.vit_hidden,
                num_hidden_layers=size.vit_layers,
                num_attention_heads=size.vit_heads,
                image_size=towers.view,
                patch_size=towers.patch,
                layer_norm_eps=1e-6,
                hidden_act="gelu",
                qkv_bias=True,
            )
        )
        self.qformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=size.width,
                num_hidden_layers=size.layers,
                num_attention_heads=size.heads,
                intermediate_size=size.hidden,
                encoder_hidden_size=size.vit_width,
                cross_attention_frequency=2,
                layer_norm_eps=1e-12,
                hidden_act="gelu",
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """See :class:`sphinx_ros.model.blip2.Blip2`."""
        seen = self.vision_model(pixel_values=x, return_dict=True).last_hidden_state
        queries = self.query_tokens.expand(x.shape[0], -1, -1)
        return self.qformer(
            query_embeds=queries, encoder_hidden_states=seen, return_dict=True
        ).last_hidden_state


class Reference(NamedTuple):
    """Where an encoder is to be had. module: what is imported; package: what is installed."""

    module: str
    package: str
    kind: Callable[[Towers], FromLibrary]

    def version(self) -> str:
        """The installed version, "" where there is none."""
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            return ""

    def build(self, towers: Towers) -> FromLibrary:
        """The encoder, without storage for its parameters.

        Raises:
            BadRequest: the library is not there, does not run, or builds its encoders otherwise;
                the message says what to install.
        """
        if find_spec(self.module) is None:
            raise BadRequest(f"{self.module} is not installed; {INSTALL}")
        try:
            with held_back(), torch.device("meta"):  # torchvision does not bear a Ctrl-C either
                import_module(self.module)
                return self.kind(towers).eval().requires_grad_(False)
        except Exception as error:  # of a library that is damaged, or does not fit this torch
            raise BadRequest(
                f"{self.package} {self.version()} builds no such encoder here "
                f"({type(error).__name__}: {one_line(error)}); {TESTED}"
            ) from error


REFERENCES = {
    "clip": Reference("open_clip", "open_clip_torch", OpenClip),
    "openclip_convnext_xxl": Reference("timm", "timm", TimmConvNext),
    "dinov2_vitg14": Reference("timm", "timm", TimmDino),
    "qformer": Reference("transformers", "transformers", TransformersBlip2),
}
"""Name of an encoder in :class:`sphinx_ros.model.sphinx.SphinxModel` -> its library."""
