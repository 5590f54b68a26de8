"""Number types of a network, and in how many bits its decoder can be stored. Knows no tensor."""

from __future__ import annotations

GROUP = 32
"""Inputs that share a scale and a zero point in int4."""

BITS = {"int8": 8.0, "int4": 4 + 32 / GROUP, "nf4": 4 + 8 / 64 + 32 / (64 * 256)}
"""Bits per weight, scales included (int8: per channel, next to nothing; int4: two bfloat16 per
group; nf4: 8 bits per 64 weights, and 32 bits per 256 of these)."""

KINDS = tuple(BITS)
"""How a decoder can be quantised."""

DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Number type -> bytes, of those that a checkpoint can be loaded in."""
