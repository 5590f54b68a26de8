"""Linear layers whose weights are stored in fewer bits than they are multiplied with.

    wide   bfloat16, for a CPU that multiplies float32 only
    int8   8 bits and a scale per output channel
    int4   4 bits, a scale and a zero point per 32 inputs of a channel: 5 bits in all
    nf4    4 bits as bitsandbytes stores them

What the official ``util/quant.py`` quantises (its default is NF4) is quantised: every linear
layer of the decoder, see :func:`sphinx_ros.model.keys.quantised`. Vision and projections stay as
they are.

A few rows, as when answers are decoded, are bound by the bytes that are read: there the CPU has
kernels that read the stored form. Many rows are bound by arithmetic: there a block of the weights
at a time becomes floating point, so that neither case ever has the whole layer in two forms.
"""

from __future__ import annotations

import abc

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.model.kernels import (
    INT8_STEP,
    int4_kernel,
    int8_kernel,
    pack,
    scaled_into,
    tile_rows,
    unpack,
)
from sphinx_ros.model.quantities import GROUP

BLOCK = 2048
"""Output channels that become floating point at a time. Smaller blocks give products so short
that starting two threads costs as much as computing them."""

FEW_ROWS, FEW_BLOCK = 64, 512
"""Up to so many rows a block is the left factor and smaller: it is in the cache when it is
multiplied, and MKL takes half the time for a narrow right factor that it takes for a flat left
one. In times of one row read as stored (2 cores with AVX2): 8 rows 4, before 10; 64 rows 14,
before 20."""

LANES = 16
"""A narrow right factor is filled up to a multiple of so many columns: 4 to 16 cost the same."""


class StoredLinear(nn.Module, abc.ABC):
    """y = x W^T + b with a stored W; subclasses say how a block of W becomes floating point.

    The layer is made without a bias: set ``bias`` to a parameter [out] to add one.

    stored_rows: for at most so many rows the product that reads the stored form is the faster way.
    """

    stored_rows = 0

    def __init__(self, shape: torch.Size):
        super().__init__()
        self.out_features, self.in_features = shape
        self.register_parameter("bias", None)

    @abc.abstractmethod
    def block_into(self, into: Tensor, low: int) -> Tensor:
        """Rows of the weights from ``low`` on, as floating point, to ``into`` [rows, in]."""

    def block(self, low: int, high: int, dtype: torch.dtype) -> Tensor:
        """Rows low..high of the weights, [high - low, in]."""
        into = torch.empty(high - low, self.in_features, dtype=dtype, device=self.weight.device)
        return self.block_into(into, low)

    def product_from_stored(self, x: Tensor) -> Tensor | None:
        """X [N, in] to [N, out] without the bias, from the stored form; None where this machine
        has no kernel for it. For at most ``stored_rows`` rows.
        """
        return None

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]; what is stored is not learnt, and gradients pass through."""
        rows = x.reshape(-1, self.in_features)
        if torch.is_grad_enabled() and x.requires_grad:
            y = _Passing.apply(rows, self)
        else:
            y = self._product(rows)
        return y.view(*x.shape[:-1], self.out_features)

    def _product(self, rows: Tensor) -> Tensor:
        """X [N, in] to [N, out], bias included, the faster way."""
        y = self.product_from_stored(rows) if len(rows) <= self.stored_rows else None
        if y is None:
            y = self.product_by_blocks(rows, rows.new_empty(len(rows), self.out_features))
        elif self.bias is not None:
            y = y + self.bias
        return y

    def product_by_blocks(self, x: Tensor, out: Tensor) -> Tensor:
        """X [N, in] to ``out`` [N, out], bias included, a block of the weights at a time."""
        few = len(x) <= FEW_ROWS and x.device.type == "cpu" and x.dtype == torch.float32
        rows = min(FEW_BLOCK if few else BLOCK, self.out_features)
        wide = x.new_empty(rows, self.in_features)
        if few:
            columns = x.new_zeros(self.in_features, -(-len(x) // LANES) * LANES)
            columns[:, : len(x)] = x.T
            turned = x.new_empty(self.out_features, columns.shape[1])
        for low in range(0, self.out_features, rows):
            high = min(low + rows, self.out_features)
            block = self.block_into(wide[: high - low], low)
            if few:
                torch.mm(block, columns, out=turned[low:high])
            else:
                torch.mm(x, block.T, out=out[:, low:high])
        if few:
            out.copy_(turned[:, : len(x)].T)
        return out if self.bias is None else out.add_(self.bias)


def linear_into(layer: nn.Module, x: Tensor, out: Tensor) -> Tensor:
    """What a linear layer makes of x [N, in], written to ``out`` [N, out]; without gradients."""
    if isinstance(layer, StoredLinear):
        return layer.product_by_blocks(x, out)
    if layer.bias is None:
        return torch.mm(x, layer.weight.T, out=out)
    return torch.addmm(layer.bias, x, layer.weight.T, out=out)


class WideLinear(StoredLinear):
    """bfloat16 weights that meet float32 activations."""

    stored_rows = 3

    def __init__(self, weight: Tensor):
        super().__init__(weight.shape)
        self.weight = nn.Parameter(weight, requires_grad=False)

    def block_into(self, into: Tensor, low: int) -> Tensor:
        """See the base class."""
        return into.copy_(self.weight[low : low + len(into)])

    def product_from_stored(self, x: Tensor) -> Tensor | None:
        """See the base class."""
        if x.is_cuda:
            return None
        # a product of one row reads the weights as they are, and adds up in float32
        y = [F.linear(row, self.weight) for row in x.to(self.weight.dtype).split(1)]
        return (y[0] if len(y) == 1 else torch.cat(y)).to(x.dtype)


class _Passing(torch.autograd.Function):
    """The product of a stored layer, for what is learnt in front of it."""

    @staticmethod
    def forward(ctx, rows: Tensor, layer: StoredLinear) -> Tensor:
        """X [N, in] to [N, out]."""
        ctx.layer = layer
        return layer._product(rows)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        """Of [N, out] that of [N, in], a block of the weights at a time."""
        layer = ctx.layer
        passed = grad.new_zeros(len(grad), layer.in_features)
        for low in range(0, layer.out_features, BLOCK):
            high = min(low + BLOCK, layer.out_features)
            passed.addmm_(grad[:, low:high], layer.block(low, high, grad.dtype))
        return passed, None


class Int8Linear(StoredLinear):
    """Symmetric 8-bit weights, one scale per output channel; nearest rounding."""

    stored_rows = 16

    def __init__(self, weight: Tensor, device):
        super().__init__(weight.shape)
        weight = weight.float()
        scale = weight.abs().amax(1).clamp(min=1e-12) / 127
        stored = (weight / scale[:, None]).round_().to(torch.int8)
        self.register_buffer("weight", stored.to(device))
        self.register_buffer("scale", scale.to(device))
        self.register_buffer("ones", torch.ones_like(self.scale, dtype=torch.bfloat16))

    def block_into(self, into: Tensor, low: int) -> Tensor:
        """See the base class."""
        high = low + len(into)
        weight, scale = self.weight[low:high], self.scale[low:high, None]
        if into.is_cuda:  # which converts types in the operation
            return torch.mul(weight, scale, out=into)
        return into.copy_(weight).mul_(scale)

    def product_from_stored(self, x: Tensor) -> Tensor | None:
        """See the base class."""
        if self.in_features % INT8_STEP or not int8_kernel(x.device.type):
            return None
        # the kernel's own scales would be bfloat16
        y = torch._weight_int8pack_mm(x.bfloat16(), self.weight, self.ones)
        return (y.float() * self.scale).to(x.dtype)


class Int4Linear(StoredLinear):
    """Asymmetric 4-bit weights by groups of :data:`GROUP` inputs; nearest rounding.

    The rows are interleaved as torch's CPU kernel wants them: tiles of 32 or 64 rows (by the
    width of the processor's registers), in which each byte holds the values of one input for a row
    of the upper half and one of the lower half.
    """

    stored_rows = 64

    def __init__(self, weight: Tensor, device):
        super().__init__(weight.shape)
        groups = weight.float().unflatten(1, (-1, GROUP))
        low, high = groups.amin(-1), groups.amax(-1)
        scale = ((high - low) / 15).clamp(min=1e-9).bfloat16()
        zero = (low + 8 * scale.float()).bfloat16()  # what the value 8 stands for
        values = (groups - zero.float()[..., None]) / scale.float()[..., None] + 8
        stored = values.round_().clamp_(0, 15).to(torch.uint8).flatten(1)
        self.register_buffer("weight", pack(stored).to(device))
        steps = torch.stack((scale, zero), -1).transpose(0, 1).contiguous()
        self.register_buffer("steps", steps.to(device))  # [in / GROUP, out, 2]

    @staticmethod
    def takes(shape: torch.Size) -> bool:
        """Whether weights of this shape can be stored so."""
        return shape[0] % tile_rows() == 0 and shape[1] % GROUP == 0

    def block_into(self, into: Tensor, low: int) -> Tensor:
        """See the base class."""
        high, tile = low + len(into), tile_rows()
        if into.is_cuda:
            return scaled_into(
                into, self.weight[low // tile : high // tile], self.steps[:, low:high]
            )
        wide = into if into.dtype == torch.float32 else into.float()
        wide.copy_(unpack(self.weight[low // tile : high // tile]))  # [rows, in]
        scale, zero = self.steps[:, low:high].float().permute(2, 1, 0)[..., None]
        wide.unflatten(1, (-1, GROUP)).sub_(8).mul_(scale).add_(zero)
        return wide if wide is into else into.copy_(wide)

    def product_from_stored(self, x: Tensor) -> Tensor | None:
        """See the base class."""
        if x.is_cuda or not int4_kernel():
            return None
        packed = self.weight.view(self.out_features, self.in_features // 2)
        y = torch._weight_int4pack_mm_for_cpu(x.bfloat16(), packed, GROUP, self.steps)
        return y.to(x.dtype)


def stored_linear(kind: str, weight: Tensor, device, dtype: torch.dtype) -> nn.Module:
    """A linear layer [in] -> [out] that stores ``weight`` [out, in] as ``kind`` says; no bias yet.

    dtype: what it is given and gives. int4 needs rows and inputs that fill its tiles; a layer that
    does not gets 8 bits.

    Raises:
        ImportError: nf4 without bitsandbytes.
    """
    if kind == "wide":
        return WideLinear(weight.to(device, torch.bfloat16))
    if kind == "nf4":
        return _nf4(weight, device, dtype)
    if kind == "int4" and Int4Linear.takes(weight.shape):
        return Int4Linear(weight, device)
    return Int8Linear(weight, device)


def _nf4(weight: Tensor, device, dtype: torch.dtype) -> nn.Module:
    import bitsandbytes as bnb

    out, wide = weight.shape
    layer = bnb.nn.Linear4bit(
        wide, out, bias=False, compute_dtype=dtype, quant_type="nf4", device="meta"
    )
    layer.weight = bnb.nn.Params4bit(weight.to(dtype), requires_grad=False, quant_type="nf4")
    return layer.to(device)  # this is where it quantises


class Widened(nn.Module):
    """A module that keeps bfloat16 parameters and computes with float32 copies of them, which are
    made for each call. For what is no linear layer: convolutions, and attention that reads its
    parameters by itself.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *args, **kwargs):
        """What the module makes of the same arguments."""
        wide = {
            name: parameter.float()
            for name, parameter in self.module.named_parameters()
            if parameter.dtype == torch.bfloat16
        }
        return torch.func.functional_call(self.module, wide, args, kwargs)
