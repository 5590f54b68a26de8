"""native.c -> products of a few rows with a stored matrix, and its structures, where they work.

Who loads networks hands in what compiles C (:func:`compile_with`); without it, without a
compiler, or with SPHINX_ROS_NATIVE=0 in the environment, torch does the same. Matrices in blocks
need a CPU with AVX-512 and its products of bfloat16 and of bytes, rows of 8 bits one with AVX2,
other rows any. Knows no layer.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from collections.abc import Callable
from ctypes import c_int64, c_void_p
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

log = logging.getLogger("sphinx_ros")

SOURCE = Path(__file__).with_name("c") / "native.c"
OUTS = 64
"""Outputs of one block of a matrix: ``OUTS`` of blocks.h."""

LANES = 16
"""Sizes must be multiples of it: the most ``LANES`` of vectors.h."""

LONGEST = 1 << 14
"""Inputs of a matrix in rows: sums of more products of 8 bits might not fit into 32 bits."""

MOST = 32
"""Rows of one product and tokens of one pass: ``MOST`` of blocks.h."""

FLOAT32, BFLOAT16, INT8, INT4, WIDE_BFLOAT16, INT8_ROWS = range(6)
"""Kinds of matrices: those of matrix.h."""


_compile: Callable[[Path], ctypes.CDLL] | None = None


def compile_with(compiler: Callable[[Path], ctypes.CDLL]) -> None:
    """What makes functions of a C file, once they are needed; raises OSError where it can't."""
    global _compile
    if _compile is not compiler:
        _compile = compiler
        for found in (functions, native, native_blocks, native_int8_rows):
            found.cache_clear()


class Matrix(ctypes.Structure):
    """A matrix [outs, ins]: float32 as in a linear layer, or in blocks. See matrix.h."""

    _fields_ = [
        *((name, c_int64) for name in ("kind", "outs", "ins")),
        *((name, c_void_p) for name in ("weight", "scale", "totals")),
    ]


class Ready(ctypes.Structure):
    """Memory for the rows of a product in every form."""

    _fields_ = [
        (name, c_void_p) for name in ("turned", "narrow", "whole", "halves", "step", "totals")
    ]


def ready(rows: int, ins: int) -> tuple[Ready, Tensor]:
    """Memory for so many rows of so many inputs, and what owns it."""
    forms = rows * ins  # numbers of 4 bytes: no form takes more
    owner = torch.empty(forms + MOST + forms // 32 + 1)
    at = owner.data_ptr()
    step = at + 4 * forms
    return Ready(at, at, at, at, step, step + 4 * MOST), owner


def fits(shape: tuple[int, ...] | torch.Size) -> bool:
    """Whether a matrix [out, in] consists of whole blocks, and of whole steps for each number."""
    return len(shape) == 2 and shape[0] % OUTS == 0 and shape[1] % LANES == 0


def fits_rows(shape: tuple[int, ...] | torch.Size) -> bool:
    """Whether a matrix [out, in] in rows consists of whole vectors, and is not too wide."""
    whole = len(shape) == 2 and shape[0] % LANES == 0 and shape[1] % (2 * LANES) == 0
    return whole and shape[1] <= LONGEST


def blocks(weight: Tensor, step: int) -> Tensor:
    """A matrix [out, in] in blocks, [out / OUTS, in / step, OUTS, step]; step: 2 for bfloat16, 4
    for 8 bits, 8 for 4 bits (which :func:`paired` makes bytes of).
    """
    return weight.view(-1, OUTS, weight.shape[1] // step, step).transpose(1, 2).contiguous()


def paired(values: Tensor) -> Tensor:
    """Numbers 0..15 in blocks of 8, uint8, to bytes [.., 4]: the first four are the low halves."""
    low, high = values.unflatten(-1, (2, 4)).unbind(-2)
    return (low | high << 4).contiguous()


def unpaired(stored: Tensor) -> Tensor:
    """The inverse of :func:`paired`."""
    return torch.cat((stored & 15, stored >> 4), -1)


def unblocked(stored: Tensor, low: int, high: int) -> Tensor:
    """Rows low..high of what :func:`blocks` was given."""
    first, last = low // OUTS, -(-high // OUTS)
    rows = stored[first:last].transpose(1, 2).flatten(0, 1).flatten(1)
    return rows[low - OUTS * first : high - OUTS * first]


def product(x: Tensor, matrix: Matrix) -> Tensor:
    """X [N, ins], N at most :data:`MOST`, to [N, outs], float32.

    In blocks of bfloat16 x is rounded to bfloat16, of 8 and 4 bits to 16 bits of its row's
    largest; with rows of 8 bits to 14 bits of that.
    """
    if len(x) > MOST or x.shape[1] != matrix.ins:
        raise ValueError(f"{tuple(x.shape)}: expected up to {MOST} rows of {matrix.ins}")
    x = x.float().contiguous()
    y = x.new_empty(len(x), matrix.outs)
    memory, _owner = ready(len(x), matrix.ins)
    functions().product(
        ctypes.byref(matrix),
        x.data_ptr(),
        y.data_ptr(),
        ctypes.byref(memory),
        len(x),
        torch.get_num_threads(),
    )
    return y


@functools.cache
def native() -> bool:
    """Whether the functions are there, for float32 at least; says once why not."""
    if os.environ.get("SPHINX_ROS_NATIVE", "1") == "0" or _compile is None:
        return False
    try:
        functions()
    except (OSError, AttributeError) as error:  # AttributeError: a library of something else
        log.info("passes of few tokens are torch's, which are slower: %s", error)
        return False
    return _right(FLOAT32) and _right(WIDE_BFLOAT16)


@functools.cache
def native_blocks() -> bool:
    """Whether they are there for matrices in blocks, too."""
    able = native() and bool(functions().has_blocks())
    return able and all(map(_right, (BFLOAT16, INT8, INT4)))


@functools.cache
def native_int8_rows() -> bool:
    """Whether they are there for matrices of 8 bits in rows."""
    return native() and bool(functions().has_madd()) and _right(INT8_ROWS)


def _right(kind: int) -> bool:
    """Whether products of small matrices are those of plain arithmetic."""
    with _disable_current_modes():  # numbers, whatever stands for tensors around us
        return _right_numbers(kind)


def _right_numbers(kind: int) -> bool:
    draw = torch.Generator().manual_seed(0)
    w = torch.randn(2 * OUTS, 64, generator=draw)
    scale = w.abs().amax(1) / (7 if kind == INT4 else 127)
    whole = (w / scale[:, None]).round()
    totals = whole.sum(1, dtype=torch.int32)
    steps = torch.stack((scale, torch.zeros_like(scale)), 1)[:, None].expand(-1, 2, 2)
    stored: Tensor
    if kind == FLOAT32:
        stored = w
    elif kind in (BFLOAT16, WIDE_BFLOAT16):
        stored = w.bfloat16() if kind == WIDE_BFLOAT16 else blocks(w.bfloat16(), 2)
    elif kind in (INT8, INT8_ROWS):
        stored = whole.to(torch.int8) if kind == INT8_ROWS else blocks(whole.to(torch.int8), 4)
    else:
        stored = paired(blocks((whole + 8).to(torch.uint8), 8))
        scale = blocks(steps.bfloat16().flatten(1).contiguous(), 2)
        w = whole * steps[:, :1, 0].bfloat16().float()
    matrix = Matrix(kind, *w.shape, stored.data_ptr(), scale.data_ptr(), totals.data_ptr())
    for rows in (1, 7, MOST):
        x = torch.randn(rows, 64, generator=draw)
        want = x @ w.T
        if not bool((product(x, matrix) - want).norm() < 0.02 * want.norm()):
            log.warning("%s multiplies wrongly here; torch's own products are used", SOURCE.name)
            return False
    return True


@functools.cache
def functions() -> ctypes.CDLL:
    """The compiled functions; structures go by reference. Raises OSError."""
    if _compile is None:
        raise OSError("nothing that compiles C has been handed in")
    return typed(_compile(SOURCE))


def typed(found: ctypes.CDLL) -> ctypes.CDLL:
    """The same functions, that say what they take. Raises AttributeError: these are others."""
    found.product.argtypes = [*[c_void_p] * 4, c_int64, ctypes.c_int]
    found.pass_of.argtypes = [*[c_void_p] * 3, c_int64, *[c_void_p] * 3, c_int64, ctypes.c_int]
    found.product.restype = found.pass_of.restype = None
    found.has_blocks.restype = found.has_madd.restype = ctypes.c_int
    return found
