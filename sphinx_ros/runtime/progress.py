"""How far a long job is -> a bar on a terminal, a line per tenth in a log. Knows no job."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TextIO

from tqdm import tqdm

TENTHS = 10
"""Lines that a log gets of a whole job, at most."""


class Progress:
    """Progress of one job on standard error; use it as a context manager or close it.

    what, unit: words for people, such as "rendering" and "scene"; the unit "B" means bytes.
    total: how many units the whole job has. done: how many are done already. shown: False
    prints nothing. stream: where it is written (default: standard error).
    """

    def __init__(
        self,
        total: int,
        what: str,
        unit: str,
        done: int = 0,
        shown: bool = True,
        stream: TextIO | None = None,
    ):
        self.total, self.what, self.unit, self.done = total, what, unit, done
        self._stream = stream or sys.stderr
        self._shown, self._started = shown, time.monotonic()
        self._told = self._tenth()
        terminal = shown and self._stream.isatty()
        self._bar = (
            tqdm(
                total=total,
                initial=done,
                desc=what,
                unit=unit,
                unit_scale=unit == "B",
                file=self._stream,
            )
            if terminal
            else None
        )

    def advance(self, units: int = 1) -> None:
        """So many more units are done."""
        self.reach(self.done + units)

    def reach(self, done: int, **beside: object) -> None:
        """``done`` units are done in all; ``beside`` is shown by name after the bar."""
        self.done = min(done, self.total)
        if self._bar is not None:
            self._bar.update(self.done - self._bar.n)
            if beside:
                self._bar.set_postfix(beside)
        elif self._shown and self._tenth() > self._told:
            self._told = self._tenth()
            said = "".join(f", {name} {value}" for name, value in beside.items())
            print(self._line() + said, file=self._stream, flush=True)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """A block that prints to the same terminal: the bar is out of its way, and then below."""
        if self._bar is not None:
            self._bar.clear()
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.refresh()

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()

    def _tenth(self) -> int:
        return TENTHS * self.done // max(1, self.total)

    def _line(self) -> str:
        """ "scenes: 20 % (200 of 1000), 31 s"."""
        if self.unit == "B":
            done, total = (tqdm.format_sizeof(n, "B") for n in (self.done, self.total))
        else:
            done, total = str(self.done), str(self.total)
        share = 100 * self.done // max(1, self.total)
        took = time.monotonic() - self._started
        return f"{self.what}: {share} % ({done} of {total}), {took:.0f} s"

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
