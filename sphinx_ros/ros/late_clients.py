"""Clients that are not fully discovered yet -> their answers reach them all the same.

DDS may bring a client's request before the service has found where that client listens. Fast DDS's
rmw waits 0.1 s, rclpy says "failed to send response" in a RuntimeWarning, and the client waits for
ever. So a service here sends such an answer again (:func:`send_again`), and a client of ours first
asks something that may be asked as often as it takes (:func:`meet`), since the same happens to the
answers of an action, which rclpy gives nobody a hold on.
"""

from __future__ import annotations

import functools
import heapq
import logging
import re
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from sphinx_ros.ros import messages as m

log = logging.getLogger("sphinx_ros")

UNDELIVERED = "failed to send response (timeout)"
"""What rclpy's warning about an answer that nobody hears begins with."""

PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 4.0)
"""Seconds before each further try to send an answer; a client that no try reaches has gone."""

REST = 0.3
"""Seconds between any two tries: rclpy holds Python's lock for the 0.1 s of each."""

WAITING = 32
"""Answers that wait for another try; of more, the newest are not sent again."""

MEETING = 0.5
"""Seconds for which one try of :func:`meet` is waited for."""


class _Undelivered(threading.local):
    """Whether the last answer of this thread did not go out."""

    noted = False


class _Late(NamedTuple):
    """An answer that is to be sent again. at: steady time of the next try. tried: how many more
    there have been.
    """

    at: float
    number: int
    tried: int
    send: Callable[[Any, Any], None]
    response: Any
    header: Any


_undelivered = _Undelivered()


class _Sender:
    """Sends late answers again, one at a time, in a thread that ends when there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._late: list[_Late] = []  # a heap
        self._thread: threading.Thread | None = None
        self._number = 0

    def add(self, send: Callable[[Any, Any], None], response: Any, header: Any) -> None:
        """Send an answer again, from a moment on."""
        self._put(0, send, response, header)

    def _put(self, tried: int, send: Callable, response: Any, header: Any) -> None:
        with self._lock:
            self._number += 1
            at = time.monotonic() + PAUSES[tried]
            if len(self._late) >= WAITING:
                log.warning("an answer was not delivered: too many clients can't be found")
                return
            heapq.heappush(self._late, _Late(at, self._number, tried, send, response, header))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="send again", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._late:
                    self._thread = None
                    return
                left = self._late[0].at - time.monotonic()
                late = heapq.heappop(self._late) if left <= 0 else None
            if late is None:
                time.sleep(min(left, 0.05))  # one that is due sooner may come meanwhile
                continue
            self._try(late)
            time.sleep(REST)

    def _try(self, late: _Late) -> None:
        try:
            if _sent(late.send, late.response, late.header):
                return
        except Exception:  # the service has been destroyed: its client knows
            return
        if late.tried + 1 < len(PAUSES):
            self._put(late.tried + 1, late.send, late.response, late.header)
        else:
            log.warning(
                "an answer was not delivered: its client was not found in %.0f s", sum(PAUSES)
            )


_sender = _Sender()


def send_again(node: Any) -> None:
    """Let every service that a node has now send an answer again that did not go out."""
    for service in node.services:
        service.send_response = functools.partial(_send, service.send_response)


def _send(send: Callable[[Any, Any], None], response: Any, header: Any) -> None:
    """An answer; where its client can't hear it yet, it is sent again."""
    if not _sent(send, response, header):
        _sender.add(send, response, header)


def _sent(send: Callable[[Any, Any], None], response: Any, header: Any) -> bool:
    """Send, and hear whether rclpy warns that nobody listens."""
    _listen()
    _undelivered.noted = False
    send(response, header)
    return not _undelivered.noted


def _listen() -> None:
    """Hear the warning, each time and in the thread that sends; all others are shown as before.

    Called before each answer: who ignores warnings for a while puts a filter before ours.
    """
    warnings.filterwarnings("always", re.escape(UNDELIVERED), RuntimeWarning)
    shown = warnings.showwarning
    if getattr(shown, "hears_undelivered", False):
        return

    def show(message: Any, *where: Any, **more: Any) -> None:
        """As `warnings.showwarning`."""
        if str(message).startswith(UNDELIVERED):
            _undelivered.noted = True
        else:
            shown(message, *where, **more)

    show.hears_undelivered = True  # type: ignore[attr-defined]
    warnings.showwarning = show


def meet(
    node: Any, target: str, until: Callable[[Callable[[], bool], float], bool], seconds: float
) -> bool:
    """Wait until a node hears, and can answer, all that ours has made so far; whether it does.

    What is announced first is discovered first. So an answer to a client that is made last says
    that all before it are discovered as well.

    Args:
        node: ours. target: the other's full name, as ``"/sphinx"``.
        until: handles messages of ours until something is true or so many seconds are over;
            returns whether it is true. What it raises goes through.
        seconds: for all of it.
    """
    end = time.monotonic() + seconds
    asking = node.create_client(m.GetParameters, f"{target.rstrip('/')}/get_parameters")
    sent: list[Any] = []
    try:
        while not any(one.done() for one in sent):
            if not until(asking.service_is_ready, end - time.monotonic()):
                return False
            sent.append(asking.call_async(m.GetParameters.Request()))
            left = end - time.monotonic()
            if (
                not until(lambda: any(one.done() for one in sent), min(MEETING, left))
                and left <= 0
            ):
                return False
    finally:
        node.destroy_client(asking)
    return True
