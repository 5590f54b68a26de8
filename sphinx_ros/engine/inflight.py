"""All questions that are being answered -> passes of the network, each a step of all of them.

Threads bring rows and wait for them. One of the waiting threads makes the passes, for all; when
its own rows are done another one goes on. So a question joins those in flight at the next pass and
leaves as soon as it is answered. Knows no text and no picture.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from sphinx_ros.engine.frame import Frame
from sphinx_ros.engine.row import Row
from sphinx_ros.engine.stepper import Stepper
from sphinx_ros.engine.talk import Talk
from sphinx_ros.errors import BadRequest
from sphinx_ros.model.network import Network
from sphinx_ros.runtime.forks import OwnLock
from sphinx_ros.runtime.interrupts import held_back
from sphinx_ros.runtime.memory import free_memory, memory_error, out_of_memory

LISTEN = 0.05
"""Seconds between looks at time limits while another use of the network is waited for."""


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
        self._stepper, self._lock = Stepper(network, make_room), lock
        self._give_memory = give_memory
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
            BadRequest: this thread is making a pass.
            KeyboardInterrupt: and whatever else is raised in this thread from outside.
        """
        if self._lock.acquire(timeout=0):  # a forked child is told so before it waits for anything
            self._lock.release()
        self.check_outside()
        ticket = _Ticket(rows)
        with self._guard:
            self._tickets.append(ticket)
            self._driver = self._driver or ticket
            for row in rows:
                row.frame.begin()
        try:
            while not ticket.done:
                if self._driver is ticket:
                    self._drive(ticket)
                else:
                    self._wait(ticket)
        finally:
            self._leave(ticket)

    def check_outside(self) -> None:
        """Raises BadRequest: what is asked in the middle of a pass waits for its own thread."""
        if threading.get_ident() in self._lock.passing:
            raise BadRequest(
                "a question was asked from on_text, on_found or cancel, in the middle of a pass: "
                "ask when the answer has come, or listen with stream()"
            )

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

    def _drive(self, own: _Ticket) -> None:
        """A pass, during which this thread can wait for no other: see :meth:`check_outside`."""
        thread, passing = threading.get_ident(), self._lock.passing
        try:
            passing.add(thread)
            self._pass(own)
        finally:
            passing.discard(thread)

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
            self._stepper.step(live)
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


def _check(rows: Sequence[Row]) -> None:
    for row in rows:
        if not row.done:
            row.check()
