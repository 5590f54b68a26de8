"""One question while it is answered: what it feeds into the next pass, and what it makes of it.

Knows no network: it is given choices, and tells what it wants to be chosen from.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence

import numpy as np

from sphinx_ros.engine.answered import Answered, Feed
from sphinx_ros.engine.branches import branches
from sphinx_ros.engine.choosing import Choice
from sphinx_ros.engine.ending import Ending
from sphinx_ros.engine.frame import Frame
from sphinx_ros.engine.guesses import Draft
from sphinx_ros.engine.sampling import INTERRUPTED, LENGTH, STOP, Draw
from sphinx_ros.engine.style import Guide, State
from sphinx_ros.engine.talk import Talk
from sphinx_ros.engine.watch import Watch
from sphinx_ros.errors import Cancelled

WINDOW = 6
"""Guesses that are offered after one was wrong; twice as many after all of them were right."""

_numbers = itertools.count(1)


class Row:
    """A question behind a frame's prefix.

    frame: what it asks about. prompt: ids behind the part of the prefix that it shares. shared:
    how many ids of the prefix that are. limit: most tokens of the answer. draft: ids that the
    answer may turn out to be, or to be like, end signal included. doing: what is done, for
    messages. talk: the conversation that it belongs to. draw: how its tokens are drawn; nothing is
    guessed then, as a wrong guess would take a draw.
    """

    def __init__(
        self,
        frame: Frame,
        prompt: Sequence[int],
        shared: int,
        *,
        guide: Guide,
        ending: Ending,
        limit: int,
        watch: Watch,
        draft: Sequence[int] = (),
        report: Sequence[int] = (),
        doing: str = "",
        talk: Talk | None = None,
        draw: Draw | None = None,
    ):
        self.number = next(_numbers)
        self.frame, self.watch, self.doing = frame, watch, doing
        self.base = frame.image.shape[1] + shared  # positions of the prefix that it sees
        self._ids, self._asked, self._fed = list(prompt), len(prompt), 0
        self._guide, self._ending, self._limit = guide, ending, limit
        self._draft, self._report = Draft(draft, guide.digits), tuple(report)
        self._window = len(draft)
        self._state, self._slots, self._talk = State(), np.zeros(0, int), talk
        self._draw, self._held = draw, 0
        self._probabilities: list[float] = []
        self._shares: list[tuple[float, ...]] = []
        self._kept: int | None = None  # tokens of the answer, once it has ended
        self.reason = LENGTH
        self._passes = self._accepted = 0
        self._begun = self._ended = time.perf_counter()
        self._first = math.nan
        self._first_shares: tuple[float, ...] = ()
        self.error: BaseException | None = None
        self.done = False

    @property
    def written(self) -> list[int]:
        """Ids behind the question."""
        return self._ids[self._asked :]

    def feed(self) -> Feed:
        """What goes into the next pass."""
        if self._talk is not None and not self._fed:
            self._slots = self._talk.take(self.frame, self.base, self._ids, self.number)
            self._fed = self._held = len(self._slots)
        guessed = self._guesses()
        states = [self._state]
        for token in guessed:
            states.append(self._guide.after(states[-1], token))
        wishes = [self._guide.wish(state) for state in states]
        if self._draw is not None:
            wishes[0] = wishes[0]._replace(draw=self._draw)
        if self._report and not self.written:
            wishes[0] = wishes[0]._replace(report=self._report)
        return Feed(self._ids[self._fed :], guessed, wishes)

    def branched(self, feed: Feed) -> Feed:
        """The same with all digits that may follow; as it is where a guess goes further."""
        left = self._limit - len(self.written) - 1 - len(feed.guessed)
        if self._draft.rest(self._window) or self._draw is not None:
            return feed
        state = self._state
        for token in feed.guessed:
            state = self._guide.after(state, token)
        found = branches(self._guide, state)
        fits = all(len(branch.tokens) <= left for branch in found)
        return feed._replace(branches=found if fits else ())

    def _guesses(self) -> list[int]:
        if self._draw is not None:
            return []
        left = self._limit - len(self.written) - 1
        guessed = self._draft.rest(self._window) or self._guide.guess(self._state)
        return list(guessed)[: max(left, 0)]

    @property
    def place(self) -> int:
        """Position, counted from the beginning, of the token that is fed next."""
        return self.base + self._fed

    def absorb(self, feed: Feed, slots: np.ndarray, choices: Sequence[Choice]) -> None:
        """Take what a pass has chosen. slots: of the feed's tokens, guesses and branches."""
        self._passes += 1
        self._fed += len(feed.tokens)
        right = self._follow(choices, feed.guessed)
        kept, chosen = len(feed.tokens) + right, range(0)
        if right == len(feed.guessed) and not self._over:
            chosen = self._follow_branch(feed, choices[right + 1 :])
            self.frame.pass_on(slots[chosen.start : chosen.stop], self.number)
        used = [*range(kept), *chosen]
        self._accepted += right
        self._fed += right + len(chosen)
        self._slots = np.append(self._slots, slots[used])
        self.frame.free(np.delete(slots, used))
        if feed.guessed:
            self._window = 2 * self._window if right == len(feed.guessed) else WINDOW
        while not self._over:
            forced = self._guide.forced(self._state)
            if not forced:
                break
            for token in forced:
                self._put(Choice(token, math.nan))
                if self._kept is not None:
                    break
        self._ended = time.perf_counter()
        self.done = self.done or self._over

    @property
    def _over(self) -> bool:
        return self._kept is not None or self.error is not None

    def _follow(self, choices: Sequence[Choice], guessed: Sequence[int]) -> int:
        """Write what was chosen behind the last known token, and behind each guess that was right;
        how many were.
        """
        for at, choice in enumerate(choices):
            if math.isnan(self._first):
                self._first = time.perf_counter()
            if self._report and not self.written:
                self._first_shares, choice = choice.shares, choice._replace(shares=())
            self._put(choice)
            if self._over or at == len(guessed) or choice.token != guessed[at]:
                return at
        return len(guessed)

    def _follow_branch(self, feed: Feed, choices: Sequence[Choice]) -> range:
        """Go on with the branch of the token that was written last, if there is one: which of the
        feed's tokens are right.
        """
        begin, at = feed.chain, 0
        for branch in feed.branches:
            size = len(branch.tokens)
            if branch.tokens[0] == self._ids[-1]:
                right = 1 + self._follow(choices[at : at + size], branch.tokens[1:])
                return range(begin, begin + right)
            begin, at = begin + size, at + size
        return range(0)

    def _put(self, choice: Choice) -> None:
        """Write one token behind those there are; tell who listens."""
        self._ids.append(choice.token)
        self._state = self._guide.after(self._state, choice.token)
        self._draft.follow(choice.token)
        self._probabilities.append(choice.probability)
        self._shares.append(choice.shares)
        self._kept = self._ending.length(self.written)
        if self._kept is not None:
            self.reason = STOP
            return
        if len(self._probabilities) >= self._limit:
            self._kept = self._limit
        if self.done:  # who asked has gone
            return
        try:
            self.watch.token(choice)
        except KeyboardInterrupt:  # of the thread that makes the pass, whoever is listening
            raise
        except BaseException as error:  # a listener's failure is its question's alone
            self.error = error

    def check(self) -> None:
        """Ask the watch whether to go on."""
        try:
            if self.watch.should_stop():
                self.reason, self.done = INTERRUPTED, True
        except KeyboardInterrupt:  # as in _put
            raise
        except BaseException as error:
            self.error, self.done = error, True

    def drop(self, slots: np.ndarray, error: BaseException) -> None:
        """End here: :meth:`absorb` was left in the middle. slots: those that it was given.

        error: why; that of the question only where it is no interruption of the thread.
        """
        if not isinstance(error, Exception):
            error = Cancelled("a pass was interrupted in the middle of this answer: ask again")
        self.error, self.done = self.error or error, True
        self._slots = np.append(self._slots, slots)  # some are in it already, or free
        self._talk = None  # of its ids and slots no conversation can go on
        self.release()

    def release(self) -> None:
        """Give the slots back, or leave them to the conversation. Any number of times."""
        slots, self._slots = self._slots, np.zeros(0, int)
        if self._talk is None:
            self.frame.free(slots)
        elif len(slots):
            self._talk.put(self.frame, self.base, self._ids[: self._fed], slots)

    def answer(self) -> Answered:
        """What was written, without the end signal. Raises what ended it, if that was an error."""
        if self.error is not None:
            raise self.error
        kept = len(self._probabilities) if self._kept is None else self._kept
        first = self._first if self._probabilities else self._ended
        return Answered(
            self.written[:kept],
            self._probabilities[:kept],
            self._shares[:kept],
            self.written,
            self.reason,
            self._passes,
            self._accepted,
            1e3 * (first - self._begun),
            1e3 * (self._ended - first),
            self._first_shares if self._report else (),
            self.base + self._asked,
            self.base,
            self._held,
        )
