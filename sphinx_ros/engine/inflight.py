"""All questions that are being answered -> passes of the network, each a step of all of them.

Threads bring rows and wait for them. One of the waiting threads makes the passes, for all; when
its own rows are done another one goes on. So a question joins those in flight at the next pass and
leaves as soon as it is answered. Knows no text and no picture.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import numpy as np
import torch

from sphinx_ros.engine.choosing import Choice, Wish, choose_best
from sphinx_ros.engine.frame import Frame
from sphinx_ros.engine.row import Feed, Row
from sphinx_ros.engine.talk import Talk
from sphinx_ros.model.cache import Span
from sphinx_ros.model.network import Network
from sphinx_ros.runtime.forks import OwnLock
from sphinx_ros.runtime.interrupts import held_back
from sphinx_ros.runtime.memory import free_memory, memory_error, out_of_memory
from sphinx_ros.runtime.sending import send

TOKENS = 1024
"""Tokens of a pass, from which on further questions wait for the next one: what a pass needs of
memory is bounded, however many ask."""

LISTEN = 0.05
"""Seconds between looks at time limits while another use of the network is waited for."""


Fed = tuple[Row, Feed, np.ndarray]
"""A row, what it feeds, and the slots of that."""


class _Ticket:
    """The rows that one call brought."""

    def __init__(self, rows: Sequence[Row]):
        self.rows, self.wake = rows, threading.Event()

    @property
    def done(self) -> bool:
        return all(row.done for row in self.rows)


class InFlight:
    """Rows that step together.

    network: what steps them. lock: held during each pass; whoever else uses the network takes it.
    make_room: gives a frame its cache and that number of free slots. give_memory: frees what is
    not needed now; whether there was any.
    """

    def __init__(
        self,
        network: Network,
        lock: OwnLock,
        make_room: Callable[[Frame, int], None],
        give_memory: Callable[[], bool],
    ):
        self._network, self._lock = network, lock
        self._make_room, self._give_memory = make_room, give_memory
        self._tickets: list[_Ticket] = []
        self._left: list[Row] = []  # whose slots are free as soon as no pass uses them
        self._over: list[Talk] = []  # likewise
        self._driver: _Ticket | None = None
        self._guard = threading.Lock()  # of all of these

    def run(self, rows: Sequence[Row]) -> None:
        """Answer the rows, together with those that others bring meanwhile.

        What ends a row is kept in it; a failure of the network is that of all its rows.

        Raises:
            SphinxError: in a forked child.
            KeyboardInterrupt: and whatever else is raised in this thread from outside.
        """
        if self._lock.acquire(timeout=0):  # a forked child is told so before it waits for anything
            self._lock.release()
        ticket = _Ticket(rows)
        with self._guard:
            self._tickets.append(ticket)
            self._driver = self._driver or ticket
            for row in rows:
                row.frame.begin()
        try:
            while not ticket.done:
                if self._driver is ticket:
                    self._pass(ticket)
                else:
                    self._wait(ticket)
        finally:
            self._leave(ticket)

    def _wait(self, ticket: _Ticket) -> None:
        """Until another thread has news, or a limit is reached meanwhile."""
        ticket.wake.wait(LISTEN)
        ticket.wake.clear()

    def _leave(self, ticket: _Ticket) -> None:
        """Take a call's rows out, and let another thread go on with the rest."""
        for row in ticket.rows:
            row.done = True
        with self._guard:
            self._tickets.remove(ticket)
            if self._driver is ticket:
                waiting = [other for other in self._tickets if not other.done]
                self._driver = waiting[0] if waiting else None
            following = self._driver
            self._left += ticket.rows
            if following is None:  # nobody makes a pass
                self._release()
        if following is not None:
            following.wake.set()

    def _release(self) -> None:
        """Free what rows held whose calls have ended; not during a pass."""
        while self._left:
            row = self._left.pop()
            row.release()
            row.frame.end()
        while self._over:
            self._over.pop().release()

    def let_go(self, talk: Talk) -> None:
        """A conversation is over: its slots are free before the next pass.

        Waits for nothing: what calls it may be the garbage collector, in any thread.
        """
        self._over.append(talk)
        if self._guard.acquire(blocking=False):
            try:
                if self._driver is None:
                    self._release()
            finally:
                self._guard.release()

    # In the thread that makes the passes

    def _pass(self, own: _Ticket) -> None:
        """Step all rows once; less where this thread's own are done before it comes to that."""
        with self._guard:
            tickets = list(self._tickets)
            self._release()
        rows = [row for ticket in tickets for row in ticket.rows]
        self._lock.let_others()
        while not self._lock.acquire(timeout=LISTEN):
            _check(rows)
            if own.done:
                return
        try:
            _check(rows)
            live = []
            for row in rows:
                if row.done:
                    row.release()
                else:
                    live.append(row)
            if live:
                with held_back(once=True):  # a pass is whole or not at all
                    self._step_or_drop(live)
        finally:
            self._lock.release()
        for ticket in tickets:
            if ticket.done:
                ticket.wake.set()

    def _step_or_drop(self, live: list[Row]) -> None:
        """One pass; out of memory ends the youngest question, any other failure all of them."""
        try:
            self._step(live)
        except Exception as error:
            if out_of_memory(error):
                free_memory()
                if self._give_memory():
                    return  # the next pass has what frames have given up
                youngest = live[-1]
                youngest.error = memory_error(youngest.doing, error)
                dropped = [youngest]
            else:
                dropped = live
                for row in live:
                    row.error = error
            for row in dropped:
                row.done = True
                row.release()

    @torch.inference_mode()
    def _step(self, live: list[Row]) -> None:
        fed: list[Fed] = []
        try:
            for row, feed in self._feeds(live):
                fed.append((row, feed, self._slots(row, feed)))
            choices = iter(self._choices(_by_frame(fed)))
        except BaseException:
            for row, _, slots in fed:
                row.frame.free(slots)
            raise
        for row, feed, slots in _by_frame(fed):
            row.absorb(feed, slots, [next(choices) for _ in feed.all_wishes])
            if row.done:
                row.release()

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


def _check(rows: Sequence[Row]) -> None:
    for row in rows:
        if not row.done:
            row.check()
