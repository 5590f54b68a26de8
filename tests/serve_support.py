"""A server for tests: the real application on a port that the system chose, in a thread."""

import contextlib
import hashlib
import threading

import cv2
import httpx
import numpy as np
from patience import PATIENCE

from sphinx_ros.serve.app import Settings, application
from sphinx_ros.serve.desk import Desk, Limits
from sphinx_ros.serve.server import Server, address_of, bound
from sphinx_ros.serve.work import Health


def jpeg(rgb):
    """The bytes of a JPEG file of [H, W, 3] uint8 RGB."""
    return cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]))[1].tobytes()


def name_of(data):
    """The name of a picture, as a client makes it."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def lent(model, limits=None, name="small"):
    """A desk for a model that is loaded already."""
    return Desk(lambda: model, lambda: Health("ready", "", name, "cpu"), limits or Limits())


@contextlib.contextmanager
def served(backend, settings=None, port=0):
    """The address of a server, as long as the block lasts. port: 0 for any."""
    listening = bound("127.0.0.1", port)
    server = Server(
        application(backend, settings or Settings()), getattr(backend, "cancel", lambda: None)
    )
    thread = threading.Thread(target=server.run_on, args=[listening])
    thread.start()
    try:
        yield address_of(listening)
    finally:
        server.end()
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the server did not end"


def client(address, **options):
    """A client of it."""
    return httpx.Client(base_url=address, timeout=PATIENCE, **options)


def figures(asked):
    """The figures of a server: name with labels -> number."""
    lines = asked.get("/metrics").text.splitlines()
    rows = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}
