"""Ctrl-C at a wrong moment: held back until that is over. Knows no command and no node.

Some C++ libraries call Python while they register themselves; an exception that arises there, such
as KeyboardInterrupt, ends the process with an abort instead of an exit code. Processes that share
a network lose each other when one of them leaves a call halfway.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sphinx_ros.errors import BadRequest


@contextmanager
def held_back(once: bool = False) -> Iterator[None]:
    """Ctrl-C inside the block takes effect when the block ends, as KeyboardInterrupt.

    Only in the main thread, which is the one that Ctrl-C reaches, and only where it is heeded: a
    shell starts background jobs with it ignored.

    once: hold back the first only; who presses again does not want to wait.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or not callable(signal.getsignal(signal.SIGINT)):
        yield
        return
    pressed = []

    def press(*_: object) -> None:
        """Note a Ctrl-C; raise at the second where one alone is held back."""
        pressed.append(True)
        if once and len(pressed) > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


class Told(list):
    """Numbers of the signals that came; true as soon as there is one."""


@contextmanager
def noted() -> Iterator[Told]:
    """Ctrl-C and SIGTERM inside the block are noted, for who asks at the next good moment.

    A second one takes effect at once, as KeyboardInterrupt. Only in the main thread, and signals
    that are heeded, see :func:`held_back`.

    Yields:
        What came so far.
    """
    told = Told()
    signals = [
        one for one in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(one) != signal.SIG_IGN
    ]
    if threading.current_thread() is not threading.main_thread():
        signals = []

    def note(number: int, _: object) -> None:
        told.append(number)
        if len(told) > 1:
            raise KeyboardInterrupt

    before = {one: signal.signal(one, note) for one in signals}
    try:
        yield told
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def load_torch() -> None:
    """Import torch with its C++ part; later imports find it loaded.

    Raises:
        BadRequest: it is not installed, as on a robot whose model is on a server.
    """
    with held_back():
        try:
            import torch  # noqa: F401
        except ModuleNotFoundError as error:
            raise BadRequest(
                f"{error.name} is not installed, which a model in this process needs: pip install "
                "sphinx_ros with its dependencies, or ask a server (--server, Sphinx.connect)"
            ) from error
