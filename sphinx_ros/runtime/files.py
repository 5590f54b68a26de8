"""Files that are whole or not there: written out of sight, then put in place. Knows no format."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
"""What systems answer that can't open a file without a name (O_TMPFILE)."""


@contextlib.contextmanager
def replaced(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file to write; it takes the place of ``path`` when the block ends without error.

    Until then the old file stays as it is. While it is written the new one has no name where the
    system can do that (Linux), so that not even a killed process leaves it behind.

    Raises:
        OSError: the folder can't be written, or the disk is full; the old file is unharmed.
    """
    path = Path(path)
    descriptor, name = _unnamed(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), _mode(path))
            if name is None:
                beside.unlink(missing_ok=True)
                _give_name(file.fileno(), beside)
            else:
                beside = Path(name)
        os.replace(beside, path.resolve() if path.is_symlink() else path)
    except BaseException:
        for left in (beside, name):
            if left is not None:
                Path(left).unlink(missing_ok=True)
        raise


def write_bytes(path: str | Path, data: bytes) -> None:
    """``path`` with this content, whole or not at all; see :func:`replaced`."""
    with replaced(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    """``path`` with this text in UTF-8, whole or not at all; see :func:`replaced`."""
    write_bytes(path, text.encode())


def _unnamed(folder: Path) -> tuple[int, str | None]:
    """An open file in the folder and its name; None where it has none."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is not None and os.path.isdir("/proc/self/fd"):
        try:
            return os.open(folder, flag | os.O_RDWR, 0o600), None
        except OSError as error:
            if error.errno not in _UNSUPPORTED or not folder.is_dir():
                raise
    return tempfile.mkstemp(suffix=".tmp", dir=folder)


def _give_name(descriptor: int, path: Path) -> None:
    """Let an open file without a name appear at a path."""
    folder = os.open("/proc/self/fd", os.O_RDONLY)
    try:  # with a folder given, Python follows the link that stands for the open file
        os.link(str(descriptor), path, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _mode(path: Path) -> int:
    """The rights of the file that is replaced, or those that a new one would get."""
    try:
        return path.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
