"""Clients that are not fully discovered yet -> their answers reach them all the same.

DDS may bring a client's request before the service has found where that client listens. Fast DDS's
rmw waits 0.1 s, rclpy says "failed to send response" in a RuntimeWarning, and the client waits for
ever. So a service here sends such an answer again (:func:`send_again`), and a client of ours first
asks something that may be asked as often as it takes (:func:`meet`), since the same happens to the
answers of an action, which rclpy gives nobody a hold on.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from rcl_interfaces.srv import GetParameters

log = logging.getLogger("sphinx_ros")

UNDELIVERED = "failed to send response (timeout)"
"""What rclpy's warning about an answer that nobody hears begins with."""

PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 4.0)
"""Seconds between the tries to send an answer; a client that no try reaches has gone."""

MEETING = 0.5
"""Seconds for which one try of :func:`meet` is waited for."""


class _Undelivered(threading.local):
    """Whether the last answer of this thread did not go out."""

    noted = False


_undelivered = _Undelivered()


def send_again(node: Any) -> None:
    """Let every service that a node has now send an answer again that did not go out."""
    for service in node.services:
        service.send_response = functools.partial(_send, service.send_response)


def _send(send: Callable[[Any, Any], None], response: Any, header: Any) -> None:
    """An answer; where its client can't hear it yet, a thread goes on trying."""
    if not _sent(send, response, header):
        again = threading.Thread(
            target=_keep_sending, args=(send, response, header), name="send again", daemon=True
        )
        again.start()


def _keep_sending(send: Callable[[Any, Any], None], response: Any, header: Any) -> None:
    for pause in PAUSES:
        time.sleep(pause)
        try:
            if _sent(send, response, header):
                return
        except Exception:  # the service has been destroyed: its client knows
            return
    log.warning(
        "an answer was not delivered: its client has not been found in %.0f s", sum(PAUSES)
    )


def _sent(send: Callable[[Any, Any], None], response: Any, header: Any) -> bool:
    """Send, and hear whether rclpy warns that nobody listens."""
    _listen()
    _undelivered.noted = False
    send(response, header)
    return not _undelivered.noted


def _listen() -> None:
    """Hear the warning, each time and in the thread that sends; all others are shown as before."""
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
    warnings.filterwarnings("always", re.escape(UNDELIVERED), RuntimeWarning)
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
    asking = node.create_client(GetParameters, f"{target.rstrip('/')}/get_parameters")
    sent: list[Any] = []
    try:
        while not any(one.done() for one in sent):
            left = end - time.monotonic()
            if left <= 0 or not until(asking.service_is_ready, left):
                return False
            sent.append(asking.call_async(GetParameters.Request()))
            until(lambda: any(one.done() for one in sent), min(MEETING, left))
    finally:
        node.destroy_client(asking)
    return True
