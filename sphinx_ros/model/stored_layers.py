"""What linear layers share whose weights are stored in another form than they are multiplied in.

A few rows, as when answers are decoded, are bound by the bytes that are read: there the CPU has
kernels that read the stored form. Many rows are bound by arithmetic: there a block of the weights
at a time becomes floating point, so that neither case ever has the whole layer in two forms (a
packed one has, where its numbers are asked for: it is not made for what learns).
"""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn

from sphinx_ros.model import native

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
    is_native: whether few rows are multiplied by :func:`native.product` with :meth:`matrix`.
    """

    stored_rows = 0
    is_native = False

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

    def matrix(self) -> native.Matrix:
        """The stored form, where ``is_native``; valid as long as the weights are."""
        raise NotImplementedError

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
        y = None
        if self.is_native and not rows.is_cuda and len(rows) <= native.MOST:
            y = native.product(rows, self.matrix()).to(rows.dtype)
        elif len(rows) <= self.stored_rows:
            y = self.product_from_stored(rows)
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
