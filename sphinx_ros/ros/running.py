"""The life of a ROS process: start, spin until SIGINT or SIGTERM, let go of everything, end.

What a node does at its start and at its end is handed in.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from sphinx_ros.errors import SphinxError
from sphinx_ros.ros.environment import prepare, sweep_shared_memory, widen_transport
from sphinx_ros.ros.quiet import LogHandler, QuietLog, writers
from sphinx_ros.ros.usage import answer_words
from sphinx_ros.runtime.allocator import bound_memory

log = logging.getLogger("sphinx_ros")

REFUSED = (ValueError, SphinxError, rclpy.exceptions.ParameterException)
"""What `make` raises that can't use its parameters: one line and exit status 2, no trace."""

LAST_WORDS = 0.25, 1.5  # least and most seconds in which answers to cancelled requests leave
QUIET, SPIN = 2, 0.04  # spins without a callback that end the wait, their seconds (timers go on)
GRACE = 8.0  # seconds for the end; after them the process ends whatever still hangs


def run(
    name: str,
    make: Callable[[], Any],
    args: Sequence[str] | None = None,
    *,
    threads: Callable[[Any], int] = lambda node: 1,
    begin: Callable[[Any], None] = lambda node: None,
    end: Callable[[Any], None] = lambda node: None,
) -> int:
    """Run one node until SIGINT or SIGTERM, then end the process with status 0.

    The handlers are our own, so that `end` can answer waiting clients while the context still
    lives; those of rclpy would have taken it down first.

    Args:
        name: the command, for what is printed.
        make: makes the node.
        args: words of the command line after the command; None: those of this process.
        threads: how many callbacks may run at once.
        begin: called with the node before the first callback.
        end: called with the node after the last signal, before clients are let go; after a defect
            as well, which ends the process with its trace and status 1.

    Returns:
        0 where only help was asked for, 2 for words or parameters that can't be used.
    """
    words = list(sys.argv[1:] if args is None else args)
    if (status := answer_words(name, words)) is not None:
        return status
    bound_memory()
    prepare()
    sweep_shared_memory()
    widen_transport(name)
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    try:
        rclpy.init(args=[name, *words], signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # what rcl can't read after --ros-args
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    status = 0
    try:
        node = make()
    except REFUSED as error:
        print(f"{name}: {error}", file=sys.stderr)
        status = 2
    else:
        try:
            _live(node, threads, begin, end, over)
        except Exception:
            traceback.print_exc()
            status = 1
    _leave(status)
    return status


def _live(
    node: Any,
    threads: Callable[[Any], int],
    begin: Callable[[Any], None],
    end: Callable[[Any], None],
    over: threading.Event,
) -> None:
    """From the first callback to the last; the node is destroyed afterwards, whatever happens.

    What this package logs meanwhile goes into the node's log, and quietly.
    """
    count = threads(node)
    executor = MultiThreadedExecutor(count) if count > 1 else SingleThreadedExecutor()
    executor.add_node(node)
    write = writers(node.get_logger())
    handler = LogHandler(QuietLog(write.error), QuietLog(write.warning))
    try:
        begin(node)
        while not over.is_set() and rclpy.ok():
            _spin(executor, handler, 0.1)
    finally:
        impatient = threading.Timer(GRACE, os._exit, (1,))
        impatient.daemon = True
        impatient.start()
        try:
            end(node)
        finally:
            _let_go(node, executor, handler)


def _let_go(node: Any, executor: Any, handler: LogHandler) -> None:
    """Answer who has asked, and take the node away."""
    _say_last_words(executor, handler)
    time.sleep(0.1)  # callbacks that run now still need what the next lines take away
    executor.shutdown(timeout_sec=0.3)
    handler.detach()
    release(node)


def _say_last_words(executor: Any, handler: LogHandler) -> None:
    """Answer what has come in already: a spin takes one request, and hundreds may wait."""
    begun = now = time.monotonic()
    least, most = LAST_WORDS
    idle = 0
    while now - begun < least or (idle < QUIET and now - begun < most):
        before = now
        _spin(executor, handler, SPIN)
        now = time.monotonic()
        idle = idle + 1 if now - before >= SPIN else 0


def _spin(executor: Any, handler: LogHandler, seconds: float) -> None:
    try:
        try:
            executor.spin_once(timeout_sec=seconds)
        finally:
            handler.flush()
    except Exception as error:  # one bad callback is no reason to leave the robot blind
        log.error("a callback failed: %s: %s", type(error).__name__, error, exc_info=error)


def release(node: Any) -> None:
    """Destroy a node and all that hangs on it, action servers and clients included.

    `destroy_node` leaves those alone, and one handle that is still held keeps the participant of
    the middleware alive: its shared memory then outlives the process.
    """
    destroy_waitables(node)
    node.destroy_node()


def destroy_waitables(node: Any) -> None:
    """Destroy the action servers and clients of a node."""
    for part in list(node.waitables):
        if hasattr(part, "destroy"):
            part.destroy()


def _leave(status: int) -> None:
    """End the process without what the interpreter would do now.

    It would take torch apart, which on a busy machine lasts longer than launch waits, or wait for
    a picture that is just being encoded. What the middleware holds has to be let go of before.
    """
    rclpy.try_shutdown()
    gc.collect()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
