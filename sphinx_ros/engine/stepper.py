"""Questions that step together -> one pass of the network, packed: all of them as one row.

A token sees its frame's prefix and what its own question has fed. Knows no text and no thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from sphinx_ros.engine.answered import Feed
from sphinx_ros.engine.choosing import Choice, Wish, choose_best
from sphinx_ros.engine.frame import Frame
from sphinx_ros.engine.row import Row
from sphinx_ros.model.cache import Span
from sphinx_ros.model.network import Network
from sphinx_ros.runtime.sending import send

TOKENS = 1024
"""Tokens of a pass, from which on further questions wait for the next one: what a pass needs of
memory is bounded, however many ask."""

Fed = tuple[Row, Feed, np.ndarray]
"""A row, what it feeds, and the slots of that."""


class Stepper:
    """Steps rows, all together.

    network: what steps them. make_room: gives a frame its cache and that number of free slots.
    """

    def __init__(self, network: Network, make_room: Callable[[Frame, int], None]):
        self._network, self._make_room = network, make_room

    @torch.inference_mode()
    def step(self, live: Sequence[Row]) -> None:
        """One pass; each row takes what was chosen for it. After an error none has changed.

        An interruption of the thread while they take it, as Ctrl-C, ends the row that it met; the
        others are as after any pass.
        """
        fed: list[Fed] = []
        try:
            for row, feed in self._feeds(live):
                fed.append((row, feed, self._slots(row, feed)))
            fed = _by_frame(fed)
            choices = iter(self._choices(fed))
            taking = [(one, [next(choices) for _ in one[1].all_wishes]) for one in fed]
        except BaseException:
            for row, _, slots in fed:
                row.frame.free(slots)
            raise
        _absorb(taking)

    def _feeds(self, live: Sequence[Row]) -> list[tuple[Row, Feed]]:
        """What a pass takes: of all questions, or of the first that it has room for."""
        found: list[tuple[Row, Feed]] = []
        total = 0
        for row in live:
            feed = row.feed()
            total += feed.size
            if found and total > TOKENS:
                break
            found.append((row, feed))
        if total <= self._network.cheap_tokens:
            branched = [(row, row.branched(feed)) for row, feed in found]
            if sum(feed.size for _, feed in branched) <= self._network.cheap_tokens:
                return branched
        return found

    def _slots(self, row: Row, feed: Feed) -> np.ndarray:
        self._make_room(row.frame, feed.size)
        place = row.place
        taken = [row.frame.take(row.number, range(place, place + feed.chain))]
        place += feed.chain
        for number, branch in enumerate(feed.branches):
            after = range(place, place + len(branch.tokens))
            taken.append(row.frame.take(branch_owner(row.number, number), after))
        return np.concatenate(taken)

    def _choices(self, fed: list[Fed]) -> list[Choice]:
        """One pass of the network, rows of a frame side by side."""
        device = self._network.device
        tokens: list[int] = []
        positions: list[int] = []
        wanted: list[int] = []
        wishes: list[Wish] = []
        frames: list[Frame] = []
        at: list[np.ndarray] = []
        visible: list[np.ndarray] = []
        for frame, group in _groups(fed):
            base: list[int] = []
            owner: list[int] = []
            branch: list[int] = []
            places: list[int] = []
            slots: list[np.ndarray] = []
            for row, feed, taken in group:
                number = len(taken)
                wanted += range(len(tokens) + len(feed.tokens) - 1, len(tokens) + number)
                tokens += [*feed.tokens, *feed.guessed]
                wishes += feed.all_wishes
                first = row.place
                places += range(first, first + feed.chain)
                owner += [row.number] * number
                branch += [row.number] * feed.chain
                for which, one in enumerate(feed.branches):
                    size = len(one.tokens)
                    tokens += one.tokens
                    places += range(first + feed.chain, first + feed.chain + size)
                    branch += [branch_owner(row.number, which)] * size
                base += [row.base] * number
                slots.append(taken)
            positions += places
            frames.append(frame)
            at.append(np.concatenate(slots))
            visible.append(frame.visible(*map(np.array, (base, owner, branch, places))))
        given = send([*map(np.array, (tokens, positions, wanted)), *at], device)
        parts = zip(frames, given[3:], send(visible, device), strict=True)
        spans = [Span(frame.cache, slots, seen) for frame, slots, seen in parts]
        return choose_best(self._network.step(given[0], given[1], spans, given[2]), wishes)


def branch_owner(question: int, number: int) -> int:
    """Who owns the slots of a question's branch, for one pass; a digit's, so ten at most."""
    return -(question * 10 + number + 1)


def _absorb(taking: list[tuple[Fed, list[Choice]]]) -> None:
    """Let rows take what was chosen for them, each of them whatever becomes of the others."""
    try:
        while taking:
            (row, feed, slots), choices = taking[0]
            row.absorb(feed, slots, choices)
            del taking[0]
            if row.done:
                row.release()
    except BaseException as error:
        if taking:
            (row, _, slots), _ = taking.pop(0)
            row.drop(slots, error)
        _absorb(taking)
        if not isinstance(error, Exception):
            raise


def _by_frame(fed: list[Fed]) -> list[Fed]:
    """Those of one frame next to each other, frames and rows in the order they came."""
    first: dict[int, int] = {}
    for row, _, _ in fed:
        first.setdefault(id(row.frame), len(first))
    return sorted(fed, key=lambda one: first[id(one[0].frame)])


def _groups(
    fed: list[Fed],
) -> list[tuple[Frame, list[Fed]]]:
    groups: list[tuple[Frame, list]] = []
    for one in fed:
        frame = one[0].frame
        if not groups or groups[-1][0] is not frame:
            groups.append((frame, []))
        groups[-1][1].append(one)
    return groups
