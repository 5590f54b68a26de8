"""A path that a checkpoint needs -> a file that can be read, or the reason why not.

Copies of checkpoints go wrong in a few ways: links whose target stayed behind, pointers that git
made of large files, web pages that a download saved in a file's place, files cut short. Each is
named here, before a reader of the format meets it and blames the format. Imports no torch.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

from sphinx_ros.errors import CheckpointError, shortened

LARGEST_JSON = 256 << 20
"""Bytes: more than any list of tensors has."""

COPY = "copy it from where the checkpoint came from"
"""What helps against most damage."""

_LFS = b"version https://git-lfs.github.com/spec/"
_PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<head")


def readable(path: Path, remedy: str = COPY) -> int:
    """The size of a file, which is there, has content, can be opened and is what it seems to be.

    Raises:
        CheckpointError: what is in the file's place, and the remedy.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise CheckpointError(f"{named(path)} {absent(path, error)}; {remedy}") from error
    if stat.S_ISDIR(found.st_mode):
        raise CheckpointError(f"{path} is a folder, expected a file; {remedy}")
    if not stat.S_ISREG(found.st_mode):
        raise CheckpointError(f"{path} is no regular file (a device or a pipe); {remedy}")
    if not found.st_size:
        raise CheckpointError(f"{path} is empty (0 bytes), as a broken copy leaves it; {remedy}")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise CheckpointError(
            f"{path} can't be read ({error.strerror}); give this user the right to read it, as "
            f"with chmod, or {remedy}"
        ) from error
    if head.startswith(_LFS):
        raise CheckpointError(
            f"{path} ({found.st_size} bytes) is a git-lfs pointer, not the file itself: run `git "
            "lfs pull` where it was cloned, and copy it again"
        )
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        raise CheckpointError(
            f"{path} ({found.st_size} bytes) is a web page, which a download saved in place of "
            "the file (often a page to sign in at); download it again with a tool that is signed "
            "in, or by `sphinx-ros fetch`"
        )
    return found.st_size


def absent(path: Path, error: OSError | ValueError, gone: str = "is missing") -> str:
    """What is wrong with a path that can't be looked up, in words that follow its name."""
    number = getattr(error, "errno", None)
    if number == errno.ELOOP:
        return "is a link that leads back to itself"
    if number in (errno.ENOENT, errno.ENOTDIR):
        if os.path.islink(path):
            return f"is a link to {os.readlink(path)}, which is not there"
        return gone
    return f"can't be looked up ({getattr(error, 'strerror', None) or error})"


def named(path: Path) -> str:
    """A path in an error, cut where it is longer than any real one."""
    return shortened(str(path), 500)


def there(path: Path) -> bool:
    """Whether a folder has an entry of this name, be it a link to nowhere."""
    return os.path.lexists(path)


def is_file(path: Path) -> bool:
    """Whether a file is there. Of what can't be looked up it is False (pathlib raises)."""
    return os.path.isfile(path)


def why_no_file(path: Path) -> str:
    """Why there is no file at a path, in words that follow its name; "" where there is one."""
    try:
        return "" if stat.S_ISREG(path.stat().st_mode) else "is no file"
    except (OSError, ValueError) as error:
        return absent(path, error)


def read_json(path: Path, remedy: str = COPY) -> dict:
    """A file's JSON object.

    Raises:
        CheckpointError: the file is absent, is no JSON in UTF-8, or holds something else; and the
            remedy.
    """
    size = readable(path, remedy)
    if size > LARGEST_JSON:
        raise CheckpointError(
            f"{path} has {size} bytes, expected a JSON object of at most {LARGEST_JSON}; {remedy}"
        )
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except RecursionError as error:
        raise CheckpointError(
            f"{path} is nested too deeply to be read as JSON; {remedy}"
        ) from error
    except (ValueError, OSError) as error:
        raise CheckpointError(
            f"{path} can't be read as JSON in UTF-8 ({error}); {remedy}"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}, expected a JSON object; {remedy}"
        )
    return content
