"""In which form a parameter of a network is kept: plain, wide, or in fewer bits. Knows no file."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sphinx_ros.errors import BadRequest
from sphinx_ros.model.cpu_layers import Widened
from sphinx_ros.model.kernels import packed_kernel, slow_bfloat16
from sphinx_ros.model.keys import quantised
from sphinx_ros.model.moe import MixtureOfExperts
from sphinx_ros.model.quant import stored_linear
from sphinx_ros.model.visual_layers import JointProjection


class Keeping:
    """In which form each parameter is kept.

    Attributes:
        device, dtype: as asked for. wide: whether bfloat16 is stored and float32 computed. packs:
            whether the decoder's matrices, which are bfloat16 then, are copied into the order in
            which this CPU reads them, where it has one.
    """

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        quantise: str | None,
        computes_on: torch.device | None = None,
        pack: bool = False,
    ):
        self.device, self.dtype, self.quantise = device, dtype, quantise
        place = computes_on or device
        self.wide = dtype == torch.bfloat16 and slow_bfloat16(place)
        self.packs = pack and place.type == "cpu" and packed_kernel()
        self._computed = torch.float32 if self.wide else dtype
        self._place = place

    def _stored(self, kind: str, weight: Tensor) -> nn.Module:
        return stored_linear(kind, weight, self.device, self._computed, self._place)

    def kind(self, key: str, owner: nn.Module) -> str | None:
        """As which stored layer a parameter is kept; None: as the plain parameter it is."""
        if self.quantise and quantised(key):
            return self.quantise
        matrix = type(owner) is nn.Linear and key.endswith(".weight")
        if self.packs and matrix and quantised(key):
            return "packed"
        experts = isinstance(owner, MixtureOfExperts)  # its own parameters are all experts
        return "wide" if self.wide and (matrix or experts) else None

    def type_of(self, key: str, owner: nn.Module, leaf: str) -> torch.dtype:
        """The number type of a plain parameter."""
        shape = getattr(owner, leaf).shape
        large = isinstance(owner, (nn.Embedding, nn.Conv2d, JointProjection))
        # small ones, and BLIP-2 makes its pictures what this one is
        large &= not (isinstance(owner, nn.Conv2d) and owner.in_channels == 3)
        large |= isinstance(owner, nn.Linear)  # a linear layer that its owner reads by itself
        return self.dtype if large and len(shape) > 1 else self._computed

    def put(self, model, modules: dict, key: str, kind: str, weight: Tensor) -> list[Tensor]:
        """Replace the module, or the experts' parameter, that a key names by a stored one; what
        that keeps comes back.
        """
        owner, _, leaf = key.rpartition(".")
        module = modules[owner]
        try:
            if isinstance(module, MixtureOfExperts):
                each = weight.unflatten(0, (module.experts, -1))
                turned = each.transpose(1, 2) if leaf == "w2" else each
                layers = [self._stored(kind, one.contiguous()) for one in turned]
                module._parameters.pop(leaf, None)
                setattr(module, leaf, nn.ModuleList(layers))
                return [tensor for layer in layers for tensor in _tensors(layer)]
            new = self._stored(kind, weight)
        except ImportError as error:
            raise BadRequest(
                f"quantise {kind!r} needs bitsandbytes ({error}): pip install bitsandbytes, or "
                "use int8 or int4"
            ) from error
        if module.bias is not None:
            new.bias = module.bias  # its own key follows
        parent, _, name = owner.rpartition(".")
        setattr(model.get_submodule(parent), name, new)
        modules[owner] = new
        return _tensors(new)

    def finish(self, model: nn.Module) -> None:
        """Let what keeps bfloat16 without being a stored layer compute in float32."""
        if self.wide:
            for name, module in list(model.named_modules()):
                kinds = {parameter.dtype for parameter in module.parameters()}
                if isinstance(module, nn.Conv2d) and torch.bfloat16 in kinds:
                    parent, _, leaf = name.rpartition(".")
                    setattr(model.get_submodule(parent), leaf, Widened(module))


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
