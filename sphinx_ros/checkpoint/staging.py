"""A folder that is whole or not there: written beside its place, then renamed. Knows no format."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sphinx_ros.errors import CheckpointError


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` to write into, which becomes ``target`` when all went well.

    Otherwise it is deleted, and if the process is killed it stays under a name that nobody takes
    for a checkpoint; the next run deletes it.

    Raises:
        CheckpointError: ``target`` holds something, or its folder can't be written to.
    """
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise CheckpointError(f"{target} is there already; name a new folder, or delete that one")
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    try:
        for left in target.parent.glob(f".{target.name}.partial-*"):
            if not _alive(left.name.rpartition("-")[2]):
                shutil.rmtree(left, ignore_errors=True)
        partial.mkdir(parents=True)
    except OSError as error:
        raise CheckpointError(f"{target} can't be made: {error.strerror}") from error
    try:
        yield partial
        for path in partial.iterdir():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        if target.is_dir():
            target.rmdir()
        partial.rename(target)
    except OSError as error:
        raise CheckpointError(
            f"writing {target} failed: {error.strerror or error}; nothing was left behind"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except OSError:
        pass  # somebody else's
    return True
