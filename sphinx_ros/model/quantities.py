"""In how many bits a decoder can be stored, as facts. Knows no tensor."""

from __future__ import annotations

GROUP = 32
"""Inputs that share a scale and a zero point in int4."""

BITS = {"int8": 8.0, "int4": 4 + 32 / GROUP, "nf4": 4 + 8 / 64 + 32 / (64 * 256)}
"""Bits per weight, scales included (int8: per channel, next to nothing; int4: two bfloat16 per
group; nf4: 8 bits per 64 weights, and 32 bits per 256 of these)."""

KINDS = tuple(BITS)
