"""Servers that misbehave, and pictures that are new, for tests of the model elsewhere."""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from serve_support import served

from sphinx_ros import Sphinx
from sphinx_ros.errors import Cancelled, SphinxError, Status
from sphinx_ros.events import Finished, Piece
from sphinx_ros.remote.wire import event_to_json
from sphinx_ros.serve.work import Busy, Health
from sphinx_ros.types import Answer, Timing

NUMBERS = itertools.count()


def fresh_picture(width=64, height=48):
    """[H, W, 3] uint8 that nobody has looked at."""
    return np.random.default_rng(1000 + next(NUMBERS)).integers(
        0, 255, (height, width, 3), np.uint8
    )


class Hand:
    """A backend in the hand of a test; it answers "one two" to each question.

    ``go`` holds it between the words. ``refuse``: errors for the next works, one each; None
    lets one pass.
    ``known``: names of pictures. ``sent``: works that brought one. ``change`` alters each answer.
    """

    def __init__(self):
        self.go = threading.Event()
        self.go.set()
        self.refuse, self.works, self.gone, self.known = [], [], 0, set()
        self.state, self.change = "ready", lambda answer: None

    @property
    def sent(self):
        return [work for work in self.works if work.encoded is not None]

    def health(self):
        return Health(self.state, "" if self.state == "ready" else "not yet", "hand", "cpu")

    def figures(self):
        return {}

    async def do(self, work):
        import asyncio

        if self.refuse and (error := self.refuse.pop(0)) is not None:
            raise error
        if work.encoded is None and work.picture not in self.known:
            raise SphinxError(f"no picture {work.picture}", status=Status.NO_IMAGE)
        again = work.picture in self.known
        self.known.add(work.picture)
        self.works.append(work)
        ended = False
        try:
            look = {"type": "look", "picture": work.picture, "width": 64, "height": 48}
            yield {**look, "cached": again, "look_ms": 0.0 if again else 1.5}
            numbers = range(len(work.tasks))
            for word in ("one", " two"):
                for number in numbers:
                    yield event_to_json(Piece(word, number), work.tasks[number])
                while not self.go.is_set():
                    await asyncio.sleep(0.005)
            for number in numbers:
                answer = Answer("one two", raw_text="one two", milliseconds=3.0, tokens=2)
                told = event_to_json(Finished(answer, number), work.tasks[number])
                self.change(told["answer"])
                yield told
            ended = True
        finally:
            self.gone += not ended


class Held:
    """A model that answers "yes" to each question, when ``go`` is set or it is cancelled.

    ``asked``: a question has come. ``looks``: pictures.
    """

    name, device, trouble = "held", "cpu", ""

    def __init__(self):
        self.go, self.closed, self.looks = threading.Event(), threading.Event(), 0
        self.asked = threading.Event()

    def look(self, rgb, **_):
        self.looks += 1
        return HeldSeen(self, rgb)

    def close(self):
        self.closed.set()


class HeldSeen:
    """A picture that a :class:`Held` has looked at."""

    cached, key, drafts, timing = False, b"", {}, Timing(1.0, 1.0)

    def __init__(self, model, rgb):
        self.model, (self.height, self.width) = model, rgb.shape[:2]

    def answer(self, queries, cancel=lambda: False, **_):
        self.model.asked.set()
        while not self.model.go.wait(0.005):
            if cancel():
                return [Cancelled("cancelled", partial_text="ye") for _ in queries]
        return [Answer("yes", raw_text="yes") for _ in queries]

    def stream(self, queries, **options):
        for number, result in enumerate(self.answer(queries, **options)):
            yield Finished(result, number)

    def _stream(self, queries, return_errors, options):
        return self.stream(queries, **options)


@contextlib.contextmanager
def in_hand():
    """A :class:`Hand` that is served, with its ``address``, and a connection to it."""
    backend = Hand()
    with served(backend) as address:
        sphinx = Sphinx.connect(address)
        backend.address = address
        yield backend, sphinx
        backend.go.set()
        sphinx.close()


def busy(seconds):
    """What a server says that has too much to do."""
    return Busy("too many requests", seconds)


@contextlib.contextmanager
def process_in_hand():
    """The process of a server with a :class:`Hand` of its own, and its address."""
    code = "from remote_support import serve; serve()"
    here = Path(__file__).resolve().parent
    paths = {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ | paths
    ) as started:
        try:
            yield started, started.stdout.readline().strip()
        finally:
            started.kill()


def serve():
    """Serve a :class:`Hand` until this process is killed; prints the address."""
    with served(Hand()) as address:
        print(address, flush=True)
        threading.Event().wait()


@contextlib.contextmanager
def listening(answer):
    """The address of a socket each of whose connections is given to a function, in a thread."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    held.append(connection)
                    threading.Thread(target=answer, args=[connection], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for one in held:
            one.close()


def free_port():
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]
