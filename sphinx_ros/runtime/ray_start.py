"""Ray, started here or joined elsewhere, or a named error. Imports no Ray."""

from __future__ import annotations

import os
import socket
from typing import Any
from urllib.parse import urlsplit

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.runtime.printable import one_line

REACH = 10.0
"""Seconds for a connection to a cluster."""


def start_ray(ray: Any, cluster: str = "", **given: Any) -> None:
    """Start Ray or connect to it, without its statistics for its makers unless these are wanted.

    ray: the module. cluster: its address, "" for one that is started here. given: keywords of
    ``ray.init``.

    Raises:
        SphinxError: it can't be started, or nobody answers there; NOT_ACTIVE.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if ":" in cluster:
            _reach(cluster)
        ray.init(**given)
    except Exception as error:  # Ray raises that itself, as where a machine is too busy to start
        where = f"no Ray cluster answers at {cluster}" if cluster else "Ray can't start"
        said = one_line(error) or type(error).__name__
        raise SphinxError(f"{where}: {said}", status=Status.NOT_ACTIVE) from None


def _reach(address: str) -> None:
    """Raises OSError or ValueError: nothing listens there. Ray itself would try for minutes."""
    place = urlsplit(f"//{address.removeprefix('ray://')}")
    socket.create_connection((place.hostname or "", place.port or 0), REACH).close()
