"""A picture's prefix and the tokens of all questions behind it, in one cache that nothing copies.

    positions   0 .. start - 1   the prefix: BOS, image tokens, the text that all questions share
                start ..         slots: each holds one token of one question, wherever one is free

Several frames are alive and found again by their key, within a budget of bytes. Knows no text.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from sphinx_ros.model.network import KeyValues

ROOM = 256
"""Slots that are made at first; more when they are needed, twice as many each time."""

NOBODY = 0
"""Who owns a free slot. Questions are numbered from 1."""


class Frame:
    """One picture that was looked at.

    Attributes:
        key: what it is found by. ids: of the prefix's text, BOS first. image: its image tokens
        [1, W, dim], which stand behind BOS. start: positions of the prefix.
        cache: keys and values; None while their memory is given to others: what is asked next
        computes the prefix again from the image tokens. given: how often that was.
        asked: questions that are being answered now; a frame that is asked keeps its memory.
        encode_ms, prefill_ms: what the look took.
    """

    def __init__(self, key: bytes, ids: Sequence[int], image: Tensor):
        self.key, self.ids, self.image = key, list(ids), image
        self.start = len(self.ids) + image.shape[1]
        self.cache: KeyValues | None = None
        self.asked = self.given = 0
        self.encode_ms = self.prefill_ms = 0.0
        self.owner = self.place = np.zeros(0, np.int64)
        self._lock = threading.RLock()  # of asked and given

    def begin(self) -> None:
        """One more question is being answered."""
        with self._lock:
            self.asked += 1

    def end(self) -> None:
        """One of them has been answered."""
        with self._lock:
            self.asked -= 1

    @property
    def nbytes(self) -> int:
        """Memory of the cache and the image tokens in this process."""
        return self.image.nbytes + (self.cache.nbytes if self.cache is not None else 0)

    def fill(self, cache: KeyValues) -> None:
        """Take a cache that holds the prefix; the one before it, if any, begins it."""
        self.cache = cache
        more = cache.length - len(self.owner)
        empty = np.zeros(max(more, 0), np.int64)
        self.owner, self.place = np.append(self.owner, empty), np.append(self.place, empty)

    def give_up(self) -> bool:
        """Let the cache go, unless somebody is asking; whether it did."""
        with self._lock:
            if self.asked:
                return False
            self.cache, self.given = None, self.given + 1
            self.owner = self.place = np.zeros(0, np.int64)
            return True

    def lacks(self, number: int) -> bool:
        """Whether fewer slots than ``number`` are free."""
        return int((self.owner[self.start :] == NOBODY).sum()) < number

    def take(self, owner: int, places: Sequence[int]) -> np.ndarray:
        """The lowest free slots, for tokens at these positions of one question."""
        free = np.flatnonzero(self.owner[self.start :] == NOBODY)[: len(places)] + self.start
        self.owner[free], self.place[free] = owner, places
        return free

    def free(self, slots: Sequence[int] | np.ndarray, given: int | None = None) -> None:
        """Give slots back; given: unless the memory was given up since, with all in it."""
        with self._lock:
            if self.cache is not None and len(slots) and given in (None, self.given):
                self.owner[np.asarray(slots, int)] = NOBODY

    def pass_on(self, slots: np.ndarray, owner: int) -> None:
        """Slots of one question are another one's from now on."""
        self.owner[slots] = owner

    @property
    def used(self) -> int:
        """Positions up to the last one that holds anything."""
        taken = np.flatnonzero(self.owner[self.start :])
        return self.start + (int(taken[-1]) + 1 if len(taken) else 0)

    def visible(
        self, base: np.ndarray, owner: np.ndarray, branch: np.ndarray, place: np.ndarray
    ) -> np.ndarray:
        """[n, used] bool: which positions each of n tokens sees.

        base: positions of the prefix that it sees. owner: its question. branch: who owns its own
        slot, the question or one of its branches. place: its position there.
        """
        used = self.used
        there = self.owner[:used]
        own = (there == owner[:, None]) | (there == branch[:, None])
        return own & (self.place[:used] <= place[:, None]) | (np.arange(used) < base[:, None])


class Frames:
    """Frames by their keys, the one used last at the end.

    budget: bytes of all of them together; the one used last stays even where it is larger.
    spare: the cache of the frame given up last, for the next one: no memory is asked for anew.
    """

    def __init__(self, budget: int):
        self.budget = budget
        self.spare: KeyValues | None = None
        self.hits = self.evicted = 0
        self._frames: OrderedDict[bytes, Frame] = OrderedDict()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def nbytes(self) -> int:
        """Memory of all frames."""
        with self._lock:
            return sum(frame.nbytes for frame in self._frames.values())

    def find(self, key: bytes) -> Frame | None:
        """The frame of a key, which counts as used now."""
        with self._lock:
            frame = self._frames.get(key)
            if frame is not None:
                self.hits += 1
                self._frames.move_to_end(key)
            return frame

    def keep(self, frame: Frame) -> None:
        """A frame is used now. Those not used for longest give up their memory for it, if need be;
        never one that is being asked.
        """
        with self._lock:
            self._frames[frame.key] = frame
            self._frames.move_to_end(frame.key)
            self.shrink(lambda: self.nbytes > self.budget)

    def clear(self) -> None:
        """Forget all frames; who still holds one can go on asking it."""
        with self._lock:
            self._frames.clear()
            self.spare = None

    def shrink(self, while_: Callable[[], bool]) -> bool:
        """Give frames up, the one used last and those being asked excepted; whether any was."""
        with self._lock:
            before = self.evicted
            for frame in list(self._frames.values())[:-1]:
                if not while_():
                    break
                cache = frame.cache
                if frame.give_up():
                    del self._frames[frame.key]
                    self.spare = cache
                    self.evicted += 1
            return self.evicted > before
