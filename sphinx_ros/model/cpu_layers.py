"""bfloat16 weights on a CPU, in the form in which it multiplies them fastest.

packed   in the order in which the processor reads them, where it multiplies bfloat16
wide     as they are, where it multiplies float32 only
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sphinx_ros.model import native
from sphinx_ros.model.kernels import (
    packed_address,
    packed_bfloat16,
    packed_bytes,
    product_with_packed,
)
from sphinx_ros.model.stored_layers import StoredLinear


class PackedLinear(StoredLinear):
    """bfloat16 weights in oneDNN's own order, for any number of rows: what each plain product has
    to do anew, and for few rows is most of its time, is done once.

    Where that order is the one of :mod:`sphinx_ros.model.native`, few rows are multiplied there.
    In times of a plain sum of the same bytes (2 cores with AVX-512 and bfloat16 products, 2048 to
    5632 rows of 2048 or 5632; the sum reads 31 to 36 GB/s): 1 to 4 rows 1.0, oneDNN 1.3 to 1.5, a
    plain layer 1.6 to 2.3; 8 rows 1.1, 16 rows 1.6. The numbers are the same up
    to rounding.
    """

    stored_rows = sys.maxsize

    def __init__(self, weight: Tensor):
        super().__init__(weight.shape)
        self.register_buffer("weight", packed_bfloat16(weight))
        self.is_native = self._in_blocks(weight)

    def _in_blocks(self, weight: Tensor) -> bool:
        """Whether oneDNN chose the order that the functions of this package read."""
        if not native.fits(weight.shape) or not native.native_blocks():
            return False
        if packed_bytes(self.weight) != weight.nbytes or not packed_address(self.weight):
            return False
        x = torch.randn(1, self.in_features, generator=torch.Generator().manual_seed(0)).bfloat16()
        y, want = native.product(x, self.matrix()), product_with_packed(x, self.weight).float()
        return bool((y - want).norm() <= 0.01 * want.norm())

    def matrix(self) -> native.Matrix:
        """See the base class."""
        return native.Matrix(
            native.BFLOAT16, self.out_features, self.in_features, packed_address(self.weight)
        )

    def block_into(self, into: Tensor, low: int) -> Tensor:
        """See the base class; the order of all weights is undone for it."""
        return into.copy_(self.weight.to_dense()[low : low + len(into)])

    def product_from_stored(self, x: Tensor) -> Tensor:
        """See the base class."""
        return product_with_packed(x.bfloat16(), self.weight).to(x.dtype)


class WideLinear(StoredLinear):
    """bfloat16 weights that meet float32 activations. They stay where they are, mapped or not."""

    stored_rows = 3

    def __init__(self, weight: Tensor):
        super().__init__(weight.shape)
        self.weight = nn.Parameter(weight, requires_grad=False)
        on_cpu = weight.device.type == "cpu" and weight.is_contiguous()
        self.is_native = on_cpu and native.fits_rows(weight.shape) and native.native()

    def matrix(self) -> native.Matrix:
        """See the base class."""
        address = self.weight.data_ptr()
        return native.Matrix(native.WIDE_BFLOAT16, self.out_features, self.in_features, address)

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
