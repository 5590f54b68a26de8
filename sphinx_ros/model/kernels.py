"""What this machine multiplies stored weights with, tried once and compared with plain arithmetic.

torch's kernels for 8 and 4 bits and for packed matrices are not public, that for groups is new:
each is used only where it is there and right.
Knows no layer.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from sphinx_ros.model.quantities import GROUP


def pack(values: Tensor) -> Tensor:
    """0..15 [out, in] uint8 to tiles [out / tile, in, tile / 2] of two values a byte."""
    tiles = values.unflatten(0, (-1, tile_rows())).transpose(1, 2)
    low, high = tiles.unflatten(-1, (2, -1)).unbind(-2)
    return (low | high << 4).contiguous()


def unpack(packed: Tensor) -> Tensor:
    """The inverse of :func:`pack`."""
    return torch.cat((packed & 15, packed >> 4), -1).transpose(1, 2).flatten(0, 1)


def scaled_into(into: Tensor, packed: Tensor, steps: Tensor) -> Tensor:
    """Values of :func:`pack` as floating point, to ``into`` [out, in], in few operations.

    steps: [in / GROUP, out, 2], what a value counts and what 8 stands for. For a GPU, where each
    operation reads and writes the whole; a CPU would convert the types in a copy of its own.
    """
    halves = len(packed), 2, packed.shape[2]  # a tile's rows: those of low values, of high ones
    places = into.unflatten(1, (-1, GROUP)).unflatten(0, halves)
    steps = steps.float().transpose(0, 1)[:, :, None].unflatten(0, halves)
    scale, eight = steps.unbind(-1)  # [tiles, 2, rows, groups, 1]
    zero = eight - 8 * scale
    for half, values in enumerate((packed & 15, packed >> 4)):
        values = values.transpose(1, 2).unflatten(2, (-1, GROUP))
        torch.addcmul(zero[:, half], values, scale[:, half], out=places[:, half])
    return into


@functools.cache
def tile_rows() -> int:
    """Rows that are interleaved: 64 where the CPU has AVX-512, else 32."""
    return 64 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 32


INT8_STEP = 16
"""The kernel for 8-bit weights takes so many inputs at a time. On AVX-512 it reads past the end of
each row whose length is no multiple (torch 2.14: wrong products, or a segmentation fault)."""


@functools.cache
def int8_kernel(device: str) -> bool:
    """Whether torch's kernel for 8-bit weights is there and right; it is not a public one."""
    if device != "cpu":
        return False
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, 64, generator=draw).bfloat16()
    w = torch.randint(-127, 128, (64, 64), generator=draw, dtype=torch.int8)
    try:
        y = torch._weight_int8pack_mm(x, w, torch.ones(64, dtype=torch.bfloat16))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    want = x.float() @ w.float().T
    return bool((y.float() - want).norm() < 0.02 * want.norm())


@functools.cache
def int4_kernel() -> bool:
    """Whether torch's CPU kernel for 4-bit weights is there and reads what :func:`pack` writes."""
    draw = torch.Generator().manual_seed(0)
    rows = 2 * tile_rows()
    w = torch.randint(0, 16, (rows, 64), generator=draw, dtype=torch.int32)
    steps = torch.rand(2, rows, 2, generator=draw).bfloat16()
    x = torch.randn(1, 64, generator=draw).bfloat16()
    try:
        theirs = torch._convert_weight_to_int4pack_for_cpu(w, 1)
        y = torch._weight_int4pack_mm_for_cpu(x, theirs, GROUP, steps)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    scale, zero = steps.float().permute(2, 1, 0)[..., None]
    want = x.float() @ ((w.unflatten(1, (-1, GROUP)).float() - 8) * scale + zero).flatten(1).T
    same = torch.equal(theirs.flatten(), pack(w.to(torch.uint8)).flatten())
    return same and bool((y.float() - want).norm() < 0.02 * want.norm())


@functools.cache
def grouped_kernel(device: torch.device) -> bool:
    """Whether bfloat16 rows are multiplied group by group where the groups' ends stay on the GPU.

    torch 2.14 does so for compute capability 9 and 10; elsewhere it brings the ends to the host.
    """
    if device.type != "cuda" or not hasattr(F, "grouped_mm"):
        return False
    if torch.cuda.get_device_capability(device)[0] not in (9, 10):
        return False
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(5, 64, generator=draw).to(device, torch.bfloat16)
    w = torch.randn(4, 64, 64, generator=draw).to(device, torch.bfloat16)
    ends = torch.tensor([1, 1, 4, 5], dtype=torch.int32, device=device)
    group = torch.tensor([0, 2, 2, 2, 3], device=device)
    for weights in (w, w.mT):
        try:
            y = F.grouped_mm(x, weights, offs=ends)
        except (RuntimeError, NotImplementedError):
            return False
        want = torch.bmm(x[:, None].float(), weights[group].float())[:, 0]
        if not bool((y.float() - want).norm() < 0.02 * want.norm()):
            return False
    return True


def packed_bfloat16(weight: Tensor) -> Tensor:
    """A bfloat16 matrix [out, in] in oneDNN's order; ``to_dense()`` undoes it, exactly. Where
    :func:`packed_kernel` is true.
    """
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 1)


def product_with_packed(x: Tensor, packed: Tensor) -> Tensor:
    """X [N, in], bfloat16, and a matrix of :func:`packed_bfloat16` to [N, out]."""
    return torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")


def packed_address(packed: Tensor) -> int:
    """Where the numbers of a packed matrix begin; it may be another address later. 0: unknown."""
    try:
        return torch.ops.mkldnn.data_ptr(packed)
    except (AttributeError, RuntimeError):
        return 0


def packed_bytes(packed: Tensor) -> int:
    """How many bytes the numbers of a packed matrix take, padding included. 0: unknown."""
    try:
        return torch.ops.mkldnn._nbytes(packed)
    except (AttributeError, RuntimeError):
        return 0


@functools.cache
def packed_kernel() -> bool:
    """Whether this CPU multiplies bfloat16, and torch's products with packed matrices, which
    torch.compile uses and nobody else is meant to, are there and right.
    """
    if slow_bfloat16(torch.device("cpu")):
        return False
    draw = torch.Generator().manual_seed(0)
    w = torch.randn(96, 64, generator=draw).bfloat16()
    try:
        packed = packed_bfloat16(w)
        if not torch.equal(packed.to_dense(), w):
            return False
        for rows in (1, 5):
            x = torch.randn(rows, 64, generator=draw).bfloat16()
            want = x.float() @ w.float().T
            y = product_with_packed(x, packed)
            if not bool((y.float() - want).norm() < 0.02 * want.norm()):
                return False
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return True


def slow_bfloat16(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 matrices far slower than float32 ones."""
    if device.type != "cpu":
        return False
    try:
        return not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except (AttributeError, RuntimeError):
        return True
