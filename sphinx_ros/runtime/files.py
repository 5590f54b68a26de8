"""Files that are whole or not there: written out of sight, then put in place. Knows no format."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
"""What systems answer that can't open a file without a name (O_TMPFILE)."""


@contextlib.contextmanager
def replaced(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file to write; it takes the place of ``path`` when the block ends without error.

    Until then the old file stays as it is. While it is written the new one has no name where the
    system can do that (Linux), so that not even a killed process leaves it behind. A link keeps
    pointing to the file that is replaced, and the file keeps its rights. What is no regular file
    (a terminal, a pipe, /dev/null) is written to as it is.

    Raises:
        OSError: the folder or the file can't be written, or the disk is full; the old file is
            unharmed.
    """
    old = _status(path)
    if old is not None and not stat.S_ISREG(old.st_mode):
        with open(path, "wb") as stream:
            yield stream
        return
    target = Path(os.path.realpath(path))
    effective = os.access in os.supports_effective_ids
    if old is not None and not os.access(target, os.W_OK, effective_ids=effective):
        raise PermissionError(errno.EACCES, "the file is write-protected", str(path))
    beside = target.with_name(f".{secrets.token_hex(8)}.tmp")
    descriptor, named = _opened(beside)
    try:
        with open(descriptor, "w+b") as file:
            yield cast("BinaryIO", file)
            file.flush()
            if old is not None:
                with contextlib.suppress(OSError):  # some file systems know no rights
                    os.fchmod(file.fileno(), old.st_mode & 0o777)
            if not named:
                _give_name(file.fileno(), beside)
            os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error counts
            beside.unlink(missing_ok=True)
        raise


def write_bytes(path: str | Path, data: bytes) -> None:
    """``path`` with this content, whole or not at all; see :func:`replaced`."""
    with replaced(path) as file:
        file.write(data)


def write_text(path: str | Path, text: str) -> None:
    r"""``path`` with this text in UTF-8, whole or not at all; see :func:`replaced`.

    What UTF-8 can't hold, such as the bytes of a foreign file name, becomes ``\udc80`` in letters.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def _status(path: str | Path) -> os.stat_result | None:
    """What is at a path, links followed; None where there is nothing."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _opened(path: Path) -> tuple[int, bool]:
    """A new file in the folder of ``path``, open, and whether it has that name already."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is not None and os.path.isdir("/proc/self/fd"):
        try:
            return os.open(path.parent, flag | os.O_RDWR, 0o666), False
        except OSError as error:
            if error.errno not in _UNSUPPORTED or not path.parent.is_dir():
                raise
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True


def _give_name(descriptor: int, path: Path) -> None:
    """Let an open file without a name appear at a path."""
    folder = os.open("/proc/self/fd", os.O_RDONLY)
    try:  # with a folder given, Python follows the link that stands for the open file
        os.link(str(descriptor), path, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)
