"""Linear layers whose weights are stored in fewer bits than they are multiplied with.

    int8   8 bits and a scale per output channel
    int4   4 bits, a scale and a zero point per 32 inputs of a channel: 5 bits in all
    nf4    4 bits as bitsandbytes stores them

What the official ``util/quant.py`` quantises (its default is NF4) is quantised: every linear
layer of the decoder, see :func:`sphinx_ros.model.keys.quantised`. Vision and projections stay as
they are. The forms of bfloat16 on a CPU are those of :mod:`sphinx_ros.model.cpu_layers`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sphinx_ros.model import native
from sphinx_ros.model.cpu_layers import PackedLinear, WideLinear
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
from sphinx_ros.model.stored_layers import StoredLinear


class Int8Linear(StoredLinear):
    """Symmetric 8-bit weights, one scale per output channel; nearest rounding."""

    stored_rows = 16

    def __init__(self, weight: Tensor, device):
        super().__init__(weight.shape)
        on_cpu = torch.device(device).type == "cpu"
        self.is_native = on_cpu and native.fits_rows(weight.shape) and native.native_int8_rows()
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

    def matrix(self) -> native.Matrix:
        """See the base class."""
        given = self.weight.data_ptr(), self.scale.data_ptr()
        return native.Matrix(native.INT8_ROWS, self.out_features, self.in_features, *given)


class BlockedInt8Linear(Int8Linear):
    """The same weights in the order of :mod:`sphinx_ros.model.native`, which multiplies few rows:
    one takes as long as reading the weights, 8 take 1.5 to 1.7 times that; of torch's kernel one
    takes 1.4 to 1.7 times that, 8 take 4 to 5 (2 cores with AVX-512).
    """

    stored_rows = 0

    def __init__(self, weight: Tensor):
        super().__init__(weight, "cpu")
        del self.ones
        self.is_native = True
        plain = self.get_buffer("weight")
        self.register_buffer("totals", plain.sum(1, dtype=torch.int32))
        self.register_buffer("weight", native.blocks(plain, 4))

    def matrix(self) -> native.Matrix:
        """See the base class."""
        given = self.weight, self.scale, self.totals
        return native.Matrix(
            native.INT8,
            self.out_features,
            self.in_features,
            *(tensor.data_ptr() for tensor in given),
        )

    def block_into(self, into: Tensor, low: int) -> Tensor:
        """See the base class."""
        high = low + len(into)
        return into.copy_(native.unblocked(self.weight, low, high)).mul_(
            self.scale[low:high, None]
        )


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


class BlockedInt4Linear(Int4Linear):
    """The same weights in the order of :mod:`sphinx_ros.model.native`."""

    stored_rows = 0
    is_native = True

    def __init__(self, weight: Tensor):
        super().__init__(weight, "cpu")
        values = unpack(self.get_buffer("weight"))
        self.register_buffer("weight", native.paired(native.blocks(values, 8)))
        steps = self.get_buffer("steps").transpose(0, 1).flatten(1)  # [out, 2 for each group]
        self.register_buffer("steps", native.blocks(steps.contiguous(), 2))

    def matrix(self) -> native.Matrix:
        """See the base class."""
        given = self.weight.data_ptr(), self.steps.data_ptr()
        return native.Matrix(native.INT4, self.out_features, self.in_features, *given)

    def block_into(self, into: Tensor, low: int) -> Tensor:
        """See the base class."""
        high = low + len(into)
        wide = into if into.dtype == torch.float32 else into.float()
        blocks = self.weight[low // native.OUTS : -(-high // native.OUTS)]
        values = native.unblocked(
            native.unpaired(blocks), low % native.OUTS, low % native.OUTS + len(into)
        )
        wide.copy_(values)
        steps = native.unblocked(self.steps, low, high).float().unflatten(1, (-1, 2))
        scale, eight = steps.unbind(-1)
        wide.unflatten(1, (-1, GROUP)).sub_(8).mul_(scale[..., None]).add_(eight[..., None])
        return wide if wide is into else into.copy_(wide)


def stored_linear(
    kind: str, weight: Tensor, device, dtype: torch.dtype, computes_on=None
) -> nn.Module:
    """A linear layer [in] -> [out] that stores ``weight`` [out, in] as ``kind`` says; no bias yet.

    dtype: what it is given and gives. computes_on: where the layer will be moved to; None: device.
    int4 needs rows and inputs that fill its tiles; a layer that does not gets 8 bits.

    Raises:
        ImportError: nf4 without bitsandbytes.
    """
    if kind == "packed":
        return PackedLinear(weight.bfloat16())
    if kind == "wide":
        return WideLinear(weight.to(device, torch.bfloat16))
    if kind == "nf4":
        return _nf4(weight, device, dtype)
    on_cpu = torch.device(computes_on or device).type == "cpu"
    blocked = on_cpu and native.fits(weight.shape) and native.native_blocks()
    if kind == "int4" and Int4Linear.takes(weight.shape):
        return BlockedInt4Linear(weight) if blocked else Int4Linear(weight, device)
    return BlockedInt8Linear(weight) if blocked else Int8Linear(weight, device)


def _nf4(weight: Tensor, device, dtype: torch.dtype) -> nn.Module:
    import bitsandbytes as bnb

    out, wide = weight.shape
    layer = bnb.nn.Linear4bit(
        wide, out, bias=False, compute_dtype=dtype, quant_type="nf4", device="meta"
    )
    layer.weight = bnb.nn.Params4bit(weight.to(dtype), requires_grad=False, quant_type="nf4")
    return layer.to(device)  # this is where it quantises
