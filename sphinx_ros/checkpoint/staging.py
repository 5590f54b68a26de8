"""A folder that is whole or not there: written out of sight, then in place. Knows no format."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sphinx_ros.errors import CheckpointError, quoted

INSIDE = ".sphinx_ros.partial-"
"""How the names of what is written inside a folder begin."""

LOCK, FILES = "lock", "files"
"""What is in it."""


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A folder on the disk of ``target`` to write files into, which ``target`` holds when all went
    well; otherwise they are deleted.

    A new ``target`` appears by one renaming of the folder, which was beside it. An empty folder
    stays the one it is, be it a mount point, the current folder or what a link leads to: the files
    are in a hidden folder inside it, and are moved up at the end, the largest last.

    What a killed process leaves has a name that nobody takes for a checkpoint, and the next run
    for the same ``target`` deletes it. Who writes holds a lock (flock), and what can be locked is
    left over: numbers of processes would tell nothing, because each container has its own.

    Raises:
        CheckpointError: ``target`` holds something or is being written by another process, or
            nothing can be written there.
    """
    place, inside = _place(target)
    beside = f".{place.name}.partial-"
    for folder, start in ((place.parent, beside), (place, INSIDE)):
        _clean(target, folder, start)
    partial = (place if inside else place.parent) / (INSIDE if inside else beside)
    partial = partial.with_name(partial.name + secrets.token_hex(4))
    try:
        with _locked(target, partial):
            yield partial / FILES
            _finish(partial / FILES, place, inside)
    except OSError as error:
        raise CheckpointError(
            f"writing {target} failed: {error.strerror or error}; nothing was left behind"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _locked(target: Path, partial: Path) -> BinaryIO:
    """Make a folder to write into; the open file that says so."""
    try:
        partial.mkdir(parents=True)
        lock = open(partial / LOCK, "wb")
        with suppress(OSError):  # some file systems have no locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (partial / FILES).mkdir()
    except OSError as error:
        raise CheckpointError(f"{target} can't be made: {error.strerror}") from error
    return lock


def _place(target: Path) -> tuple[Path, bool]:
    """Where a folder is to be, links followed, and whether one is there, which is empty."""
    try:
        place = Path(os.path.realpath(target))
        there = place.is_dir()
        held = _held(place) if there else []
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        why = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{target} can't be made: {why}") from error
    if held or (not there and os.path.lexists(place)):
        what = f" and holds {quoted(held[0])}" if held else ""
        raise CheckpointError(
            f"{target} is there already{what}; name a new folder, or delete that one"
        )
    return place, there


def _held(folder: Path) -> list[str]:
    """Names in a folder, without what is being written into it."""
    return sorted(name for name in os.listdir(folder) if not name.startswith(INSIDE))


def _clean(target: Path, folder: Path, start: str) -> None:
    """Delete what killed processes left in a folder under names that begin so.

    Raises:
        CheckpointError: one of them is being written.
    """
    for left in folder.glob(f"{glob.escape(start)}*"):
        try:
            with open(left / LOCK, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass  # killed before it had made one
        except BlockingIOError as error:
            raise CheckpointError(
                f"{target} is being written by another process, in {left}; wait for that, or "
                "name another folder"
            ) from error
        except OSError:
            continue  # of another user, or without locks: nobody can tell
        shutil.rmtree(left, ignore_errors=True)


def _finish(files: Path, place: Path, inside: bool) -> None:
    """Write a folder's files to the disk, and let ``place`` hold them, all or none."""
    order = sorted(files.iterdir(), key=lambda path: path.stat().st_size)
    for path in order:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
    if not inside:
        files.rename(place)
        return
    if _held(place):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
    try:
        for path in order:
            path.rename(place / path.name)
    except BaseException:
        for path in order:
            (place / path.name).unlink(missing_ok=True)
        raise
