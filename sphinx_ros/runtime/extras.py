"""Imports of libraries that an extra of this package brings -> a remedy where one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sphinx_ros.errors import BadRequest


@contextmanager
def extra(name: str, what: str, otherwise: str = "") -> Iterator[None]:
    """A block that imports.

    name: of the extra. what: what needs it, in words. otherwise: what helps as well.

    Raises:
        BadRequest: a library is not there, or not as it is needed.
    """
    try:
        yield
    except ImportError as error:
        if (error.name or "").startswith("sphinx_ros"):
            raise  # no extra brings what is ours
        remedy = f'pip install "sphinx_ros[{name}]"{otherwise and f", or {otherwise}"}'
        raise BadRequest(f"{what} can't be used ({error}): {remedy}") from error
