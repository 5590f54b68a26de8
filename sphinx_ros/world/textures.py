"""Seeds -> small surface pictures (wood, checker, stripes, noise, plain) for tables and walls.

They are pale greys on purpose: the colour comes from the surface that wears them, which keeps
one set of textures enough for any number of tables. Knows no renderer.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 128
STYLES = ("plain", "noise", "wood", "checker", "stripes", "tiles", "spots", "cloth")


def _fractal(rng: np.random.Generator, cells_x: int, cells_y: int) -> np.ndarray:
    """Smooth noise [SIDE, SIDE] in 0..1 made of four octaves."""
    total = np.zeros((SIDE, SIDE), np.float32)
    for octave in range(4):
        shape = (max(1, cells_y << octave), max(1, cells_x << octave))
        grid = rng.random(shape, dtype=np.float32)
        total += cv2.resize(grid, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) / 2**octave
    low, high = total.min(), total.max()
    return (total - low) / max(high - low, 1e-6)


def texture(style: str, seed: int) -> np.ndarray:
    """[SIDE, SIDE, 3] uint8 picture of one of STYLES; the same seed gives the same picture."""
    rng = np.random.default_rng([seed, STYLES.index(style)])
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    n = int(rng.integers(2, 5))
    fine = rng.random((SIDE, SIDE), dtype=np.float32)
    tint: float | np.ndarray = 1.0
    if style == "plain":
        value = 0.95 + 0.03 * fine
    elif style == "noise":
        value = 0.65 + 0.35 * _fractal(rng, n * 2, n * 2)
    elif style == "wood":
        bend = _fractal(rng, 2, 8)
        value = 0.7 + 0.18 * np.sin((y * n + 0.9 * bend) * 2 * np.pi * 2) + 0.08 * bend
        value -= 0.05 * _fractal(rng, 2, 32)
    elif style == "checker":
        value = 0.68 + 0.3 * ((np.floor(x * 2) + np.floor(y * 2)) % 2)
    elif style == "stripes":
        value = 0.8 + 0.17 * np.sign(np.sin(x * n * 2 * np.pi))
    elif style == "tiles":
        edge = np.minimum(np.minimum((x * n) % 1, (y * n) % 1) * SIDE / n, 3) / 3
        value = 0.6 + 0.32 * edge + 0.06 * _fractal(rng, 6, 6)
    elif style == "spots":
        value = 0.92 - 0.3 * (((x * n) % 1 - 0.5) ** 2 + ((y * n) % 1 - 0.5) ** 2 < 0.06)
    else:
        value = 0.8 + 0.1 * np.sin(x * 64 * np.pi) * np.sin(y * 64 * np.pi) + 0.1 * fine
        tint = 0.95 + 0.05 * _fractal(rng, 3, 3)
    picture = np.clip(value * tint, 0, 1)
    return np.repeat((picture * 255).astype(np.uint8)[..., None], 3, axis=2)


def library(count: int = 24) -> list[np.ndarray]:
    """`count` textures going round the STYLES; index i has style STYLES[i % len(STYLES)]."""
    return [texture(STYLES[i % len(STYLES)], i) for i in range(count)]
