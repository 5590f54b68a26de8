"""products.c -> functions that multiply a few rows with a stored matrix, where this machine can.

They are for CPUs with AVX-512 and its products of bfloat16 and of bytes, and need gcc at their
first use on a machine: see :mod:`sphinx_ros.runtime.compiled`. Elsewhere, or with
SPHINX_ROS_NATIVE=0 in the environment, torch's own kernels do the same. Knows no layer.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from pathlib import Path

import torch
from torch import Tensor

from sphinx_ros.runtime.compiled import Uncompiled, compiled, cpu_flags

log = logging.getLogger("sphinx_ros")

SOURCE = Path(__file__).with_name("products.c")
OUTS = 64
"""Outputs of one block of a matrix: ``OUTS`` of products.c."""

MOST = 16
"""Rows of one product: ``MOST`` of products.c."""

NEEDED = ("avx512f", "avx512bw", "avx512vl", "avx512_bf16", "avx512_vnni")


def fits(shape: tuple[int, ...] | torch.Size) -> bool:
    """Whether a matrix [out, in] consists of whole blocks, and of whole steps for each number."""
    return len(shape) == 2 and shape[0] % OUTS == 0 and shape[1] % 16 == 0


def blocks(weight: Tensor, step: int) -> Tensor:
    """A matrix [out, in] in blocks, [out / OUTS, in / step, OUTS, step]."""
    return weight.view(-1, OUTS, weight.shape[1] // step, step).transpose(1, 2).contiguous()


def unblocked(stored: Tensor, low: int, high: int) -> Tensor:
    """Rows low..high of what :func:`blocks` was given."""
    first, last = low // OUTS, -(-high // OUTS)
    rows = stored[first:last].transpose(1, 2).flatten(0, 1).flatten(1)
    return rows[low - OUTS * first : high - OUTS * first]


def bfloat16_product(x: Tensor, address: int, outs: int) -> Tensor:
    """X [N, in], bfloat16, N at most MOST, times blocks of 2 at an address: [N, outs], bfloat16."""
    x = x.contiguous()
    y = x.new_empty(len(x), outs)
    _library().product_bfloat16(
        address, x.data_ptr(), y.data_ptr(), outs, x.shape[1], len(x), torch.get_num_threads()
    )
    return y


def int8_product(x: Tensor, weight: Tensor, scale: Tensor, totals: Tensor) -> Tensor:
    """X [N, in] times :func:`blocks` of 4 of int8, N at most MOST: [N, out], float32.

    x: any number type; it is rounded to 16 bits of its row's largest. scale [out] float32: what a
    weight counts. totals [out] int32: the sums of the weights.
    """
    x = x.float().contiguous()
    rows, ins = x.shape
    y = x.new_empty(rows, len(scale))
    halves = torch.empty(2 * rows * ins, dtype=torch.uint8)
    given = (weight, scale, totals, x, y, halves)
    _library().product_int8(
        *(tensor.data_ptr() for tensor in given), len(scale), ins, rows, torch.get_num_threads()
    )
    return y


@functools.cache
def native_products() -> bool:
    """Whether the functions of this module are there, and right; says why not, once."""
    if os.environ.get("SPHINX_ROS_NATIVE", "1") == "0" or not cpu_flags().issuperset(NEEDED):
        return False
    try:
        _library()
    except Uncompiled as error:
        log.info("products of few rows are torch's, which are slower: %s", error)
        return False
    if not _right():
        log.warning("products.c multiplies wrongly here; torch's own products are used")
        return False
    return True


def _right() -> bool:
    """Whether products of small matrices are those of plain arithmetic."""
    draw = torch.Generator().manual_seed(0)
    for rows in (1, 7, MOST):
        w, x = (torch.randn(n, 64, generator=draw).bfloat16() for n in (2 * OUTS, rows))
        whole = torch.randint(-127, 128, w.shape, generator=draw, dtype=torch.int8)
        scale, totals = torch.rand(len(w), generator=draw), whole.sum(1, dtype=torch.int32)
        stored = blocks(w, 2)
        for y, want in (
            (bfloat16_product(x, stored.data_ptr(), len(w)), x.float() @ w.float().T),
            (
                int8_product(x, blocks(whole, 4), scale, totals),
                x.float() @ (whole.float() * scale[:, None]).T,
            ),
        ):
            if not bool((y.float() - want).norm() < 0.01 * want.norm()):
                return False
    return True


@functools.cache
def _library() -> ctypes.CDLL:
    """Raises Uncompiled."""
    library = compiled(SOURCE)
    matrix, size = ctypes.c_void_p, ctypes.c_long
    library.product_bfloat16.argtypes = [*[matrix] * 3, *[size] * 3, ctypes.c_int]
    library.product_int8.argtypes = [*[matrix] * 6, *[size] * 3, ctypes.c_int]
    for function in (library.product_bfloat16, library.product_int8):
        function.restype = None
    return library
