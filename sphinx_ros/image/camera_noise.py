"""A camera's pictures -> how far two pictures of a scene at rest differ.

Measured from the camera itself, per size of block. The scale is the standard deviation of the
difference of a picture to the one before, per channel and per brightness (shot noise grows with
it; Foi et al., IEEE TIP 2008), by clipped second moments, which things that move do not enter. The
tail is that of *returns*: by how much a block leaves its level in one picture and comes back in
the next, which noise does and things that move seldom do. Pictures that were compressed have a far
longer tail than a normal distribution, since a coefficient of a block jumps as a whole. Knows no
model and no ROS.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

ALARM = 1e-3
"""Probability that a picture of a scene at rest is taken for a new one."""

BLOCKS = (1, 4, 16)
"""Sides of the blocks that are compared, in the smallest ones."""

FLOORS = (0.5, 0.2, 0.1)
"""Least noise of a block's difference for each of these, in levels of 255: what rounding to 8 bits
does. A camera that repeats its pictures has none of its own."""

LARGEST = (64.0, 20.0, 6.0)
"""The most that a limit can be for each of these, in levels: what differs by more is new, however
noisy the camera."""

MARGIN = 1.3
"""What limits are multiplied by, for places that are noisier than others of their brightness, as
edges are in compressed pictures."""

BANDS = 8
"""Bands of brightness whose noise is measured apart."""

FEW = 200
"""Fewer samples say nothing about a band: it takes the noise between its neighbours'."""

SAMPLES = 6_000
"""Blocks, about, that are measured of each size."""

PAIRS = 15
"""How many pairs of pictures tell the noise: the median of what each tells."""

_STEPS, _FINE = 512, 16  # differences are counted in steps of 1/16 of a level, up to 32 levels
_CENTRES = (np.arange(BANDS) + 0.5) * 256 / BANDS


@dataclass(frozen=True)
class Blocks:
    """A picture as means of blocks.

    size: width and height of the picture, pixels. levels: for each of BLOCKS [h, w, 3], values 0
    to 255; the first uint8, the others float32.
    """

    size: tuple[int, int]
    levels: tuple[np.ndarray, ...]


class Noise:
    """What the last pictures of a camera tell of its noise."""

    def __init__(self) -> None:
        self._before: list[Blocks] = []  # one or two pictures, the last one first
        self._told: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=PAIRS)

    def add(self, blocks: Blocks) -> None:
        """The next picture of the camera. One of another size begins anew."""
        if self._before and self._before[0].size != blocks.size:
            self._before.clear()
            self._told.clear()
        if self._before:
            if np.array_equal(self._before[0].levels[0], blocks.levels[0]):
                return  # the same picture, sent twice
            self._told.append(_told(blocks, *self._before))
        self._before = [blocks, *self._before[:1]]

    def deviations(self) -> np.ndarray:
        """[BLOCKS, 3, BANDS]: standard deviation of the difference of two pictures' blocks."""
        if not self._told:
            return np.broadcast_to(np.reshape(FLOORS, (-1, 1, 1)), (len(BLOCKS), 3, BANDS))
        return np.median([sigma for sigma, _ in self._told], axis=0)

    def limits(self) -> np.ndarray:
        """[BLOCKS, 3, 256]: by how much a block of that level may differ, in levels.

        Exceeded by one of all blocks of a picture of a scene at rest with the probability ALARM.
        """
        sigma = self.deviations()
        tails = [tail for _, tail in self._told]
        reach = np.median(tails, axis=0) if tails else np.ones(len(BLOCKS))
        rows = [np.interp(np.arange(256), _CENTRES, row) for row in sigma.reshape(-1, BANDS)]
        limits = np.reshape(rows, (len(BLOCKS), 3, 256)) * (MARGIN * reach[:, None, None])
        return np.minimum(limits, np.reshape(LARGEST, (-1, 1, 1)))


def gain(before: Blocks, after: Blocks) -> np.ndarray:
    """[3]: by how much the whole of each channel became brighter, as a factor."""
    old, new = (blocks.levels[-1].reshape(-1, 3) for blocks in (before, after))
    return np.median((new + 8) / (old + 8), axis=0)


def _told(now: Blocks, last: Blocks, first: Blocks | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Deviations [BLOCKS, 3, BANDS] and reach [BLOCKS] in deviations, by two or three pictures."""
    sigmas, reaches = [], []
    up, down = gain(last, now), gain(last, first) if first else None
    tests = sum(level.size for level in now.levels)
    for k, level in enumerate(last.levels):
        every = max(1, level.shape[0] * level.shape[1] // SAMPLES)

        def some(blocks: Blocks, k: int = k, every: int = every) -> np.ndarray:
            return blocks.levels[k].reshape(-1, 3)[::every].astype(np.float32)

        old = some(last)
        onward = some(now) - old * up
        band = (old * (BANDS / 256)).astype(np.int64)
        sigma = _deviation(np.abs(onward), band, FLOORS[k])
        reach = NormalDist().inv_cdf(1 - ALARM / tests / 2)
        if first is not None:
            back = some(first) - old * down
            returned = np.minimum(np.abs(onward), np.abs(back))
            returned[onward * back < 0] = 0
            reach = max(reach, _reach(returned / sigma[np.arange(3), band], ALARM / tests))
        sigmas.append(sigma)
        reaches.append(reach)
    return np.array(sigmas), np.array(reaches)


def _deviation(far: np.ndarray, band: np.ndarray, floor: float) -> np.ndarray:
    """[3, BANDS] of absolute differences [N, 3], those beyond five deviations left out."""
    steps = np.minimum(far * _FINE, _STEPS - 1).astype(np.int64)
    row = np.arange(3) * BANDS + band
    counts = np.bincount((row * _STEPS + steps).ravel(), minlength=3 * BANDS * _STEPS)
    counts = counts.reshape(3 * BANDS, _STEPS)
    levels = (np.arange(_STEPS) + 0.5) / _FINE
    below, squares = counts.cumsum(1), (counts * levels**2).cumsum(1)
    total, rows = below[:, -1], np.arange(3 * BANDS)
    middle = (below >= total[:, None] / 2).argmax(1)
    sigma = np.maximum(levels[middle] / 0.6745, floor)
    for _ in range(4):
        end = np.minimum(5 * _FINE * sigma, _STEPS - 1).astype(np.int64)
        sigma = np.sqrt(squares[rows, end] / np.maximum(below[rows, end], 1))
        sigma = np.maximum(sigma, floor)
    sigma, total = sigma.reshape(3, BANDS), total.reshape(3, BANDS)
    for channel in range(3):
        known = np.flatnonzero(total[channel] >= FEW)
        if len(known):
            sigma[channel] = np.interp(np.arange(BANDS), known, sigma[channel][known])
    return sigma


def _reach(returns: np.ndarray, chance: float) -> float:
    """The value that a return exceeds with that probability: a Weibull tail through two quantiles.

    Of a Weibull distribution the logarithm of a quantile is linear in log(log(1 / p)).
    """
    near, far = 1e-2, max(1e-4, 4 / returns.size)
    low, high = np.quantile(returns, (1 - near, 1 - far))
    if far >= near or not 0 < low < high:
        return float(high)
    growth = math.log(high / low) / math.log(math.log(far) / math.log(near))
    return float(high) * (math.log(chance) / math.log(far)) ** growth
