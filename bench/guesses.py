"""Ideas for better guesses: numbers moved by the optical flow, phrases that were written before.

``drafts.py`` measures them. Neither is in the package: on the demonstration model they cost more
than they save.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from sphinx_ros.engine.row import WINDOW
from sphinx_ros.engine.style import Guide, Mode, Pieces, State
from sphinx_ros.image.shrink import shrunk_square

SIDE = 224
"""Pixels of the squares between which the flow is computed."""

PHRASE = 4
"""Tokens that are guessed to follow a phrase again."""

STEP = WINDOW, 2
"""Guesses after a wrong one, and the factor after right ones: those of the engine."""


def grey(rgb: np.ndarray) -> np.ndarray:
    """[H, W, 3] uint8 -> the padded square that the network sees, small and grey."""
    return cv2.cvtColor(shrunk_square(rgb, SIDE), cv2.COLOR_RGB2GRAY)


def flow_between(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """[S, S, 2] float32: where each pixel of the square before has gone, pixels (Farneback)."""
    return cv2.calcOpticalFlowFarneback(before, now, None, 0.5, 3, 15, 3, 5, 1.2, 0)


def groups_of(ids: Sequence[int], pieces: Pieces) -> list[list[range]]:
    """Where the decimals of the numbers stand in an answer, bracket by bracket."""
    states = list(itertools.accumulate(ids, pieces.after, initial=State()))[1:]
    groups: list[list[range]] = []
    for at, (state, token) in enumerate(zip(states, ids, strict=True)):
        if state.mode is not Mode.DECIMALS or token not in pieces.digits:
            continue
        if state.decimals > 1 and groups:
            groups[-1][-1] = range(groups[-1][-1].start, at + 1)
        elif state.number and groups:
            groups[-1].append(range(at, at + 1))
        else:
            groups.append([range(at, at + 1)])
    return groups


def moved(ids: Sequence[int], pieces: Pieces, flow: np.ndarray) -> tuple[int, ...]:
    """An answer whose boxes and points have gone with the median flow inside them."""
    out, side = list(ids), flow.shape[0]
    for group in groups_of(ids, pieces):
        if len(group) not in (2, 4):
            continue
        texts = ["".join(pieces.texts[ids[at]] for at in places) for places in group]
        values = [float(f"0.{text}") for text in texts]
        x0, y0, x1, y1 = (int(value * side) for value in (*values, *values)[:4])
        patch = flow[y0 : y1 + 1, x0 : x1 + 1].reshape(-1, 2)
        if not len(patch):
            continue
        by = np.median(patch, 0) / side
        for number, (places, value) in enumerate(zip(group, values, strict=True)):
            steps = 10 ** len(places)
            new = min(max(round((value + by[number % 2]) * steps), 0), steps - 1)
            for at, digit in zip(places, f"{new:0{len(places)}d}", strict=True):
                out[at] = pieces.digits[int(digit)]
    return tuple(out)


def repeated(written: Sequence[int]) -> list[int]:
    """What followed when the last two tokens stood there before, up to :data:`PHRASE` tokens."""
    for at in range(len(written) - 2, 1, -1):
        if written[at - 2 : at] == written[-2:]:
            return list(written[at : at + PHRASE])
    return []


def replay(
    ids: Sequence[int], guide: Guide, guess: Callable[[list[int]], list[int]]
) -> tuple[int, int, int]:
    """Passes, guesses and right guesses that an answer would take, as the engine goes about it.

    ids: the answer, end signal included. guess: what may follow the tokens that are written.
    """
    written: list[int] = []
    state, passes, offered, right, most = State(), 0, 0, 0, len(ids)
    while len(written) < len(ids):
        guessed = guess(written)[:most] or list(guide.guess(state))
        passes, offered, agreed = passes + 1, offered + len(guessed), 0
        for token in ids[len(written) :]:
            written.append(token)
            state = guide.after(state, token)
            if guessed[agreed : agreed + 1] != [token]:
                break
            agreed += 1
        right += agreed
        if guessed:
            most = STEP[1] * most if agreed == len(guessed) else STEP[0]
        while len(written) < len(ids) and (forced := guide.forced(state)):
            for token in forced[: len(ids) - len(written)]:
                written.append(token)
                state = guide.after(state, token)
    return passes, offered, right
