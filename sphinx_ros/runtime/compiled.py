"""A C file -> its functions, compiled once per machine for its very processor, and kept.

What is kept lies in ~/.cache/sphinx_ros (or $XDG_CACHE_HOME), named by all that it was made of.
OpenMP is the one that torch has loaded, so that both share one set of threads.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from sphinx_ros.runtime.files import replaced

COMPILERS = ("cc", "gcc")
"""clang's OpenMP is not the one that torch has loaded."""

TELLING = ("flags", "model", "vendor", "cpu family", "Features", "CPU ", "isa", "uarch")
"""How the lines of /proc/cpuinfo begin that ``-march=native`` may depend on."""

FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC")

SECONDS = 60.0
"""That all of it may take; compiling takes one or two."""


@functools.cache
def processor() -> bytes:
    """What this processor is and can do, in Linux's words; nothing where Linux does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return b""
    lines = text.split("\n\n")[0].splitlines()
    return "\n".join(line for line in lines if line.startswith(TELLING)).encode()


def compiled(source: Path) -> ctypes.CDLL:
    """The functions of a C file and its headers; torch must have been imported.

    Raises:
        OSError: they can't be had here; the message says why.
    """
    found = list(dict.fromkeys(filter(None, map(shutil.which, COMPILERS))))
    if not found:
        raise OSError(f"there is no C compiler ({' or '.join(COMPILERS)}): install gcc")
    reasons, end = [], time.monotonic() + SECONDS
    for compiler in found:
        try:
            return _of(source, Compiler(compiler, end))
        except subprocess.CalledProcessError as error:
            reasons.append(_first_line(error.stderr) or str(error))
        except (OSError, subprocess.SubprocessError) as error:
            reasons.append(str(error))
    raise OSError(f"{source.name} can't be compiled or loaded: {'; '.join(reasons)}")


class Compiler(NamedTuple):
    """A command, and the steady time at which nobody waits for it any more."""

    command: str
    end: float

    def __call__(self, *words: str) -> bytes:
        """What it says, in English. Raises OSError, SubprocessError; nothing goes on then."""
        with subprocess.Popen(
            [self.command, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        ) as running:
            try:
                out, said = running.communicate(timeout=max(self.end - time.monotonic(), 0.1))
            except BaseException:
                os.killpg(running.pid, signal.SIGKILL)
                raise
        if running.returncode:
            raise subprocess.CalledProcessError(running.returncode, self.command, out, said)
        return out


def _of(source: Path, compiler: Compiler) -> ctypes.CDLL:
    version = compiler("--version")
    parts = [source, *sorted(source.parent.glob("*.h"))]
    made_of = [*(part.read_bytes() for part in parts), version, *map(str.encode, FLAGS)]
    made_of += [platform.machine().encode(), processor()]
    name = f"{source.stem}-{hashlib.sha256(b'|'.join(made_of)).hexdigest()[:20]}.so"
    folder, made = _own_folder(), b""
    if folder is not None and processor():
        try:
            if not _is_whole(folder / name):
                made = _made(source, compiler)
                with replaced(folder / name) as file:
                    file.write(made + _digest(made))  # behind what the system reads of it
                (folder / name).chmod(0o700)
            return ctypes.CDLL(str(folder / name))
        except OSError:  # a full disk, one that runs nothing, something in the way: without it
            pass
    with tempfile.TemporaryDirectory(prefix="sphinx_ros_") as once:
        path = Path(once) / name
        path.write_bytes(made or _made(source, compiler))
        return ctypes.CDLL(str(path))


def _made(source: Path, compiler: Compiler) -> bytes:
    """The shared library. Its OpenMP calls are left open, for those that torch has loaded."""
    with tempfile.TemporaryDirectory(prefix="sphinx_ros_") as folder:
        parts, whole = f"{folder}/parts.o", f"{folder}/whole.so"
        compiler(*FLAGS, "-c", str(source), "-o", parts)
        compiler("-shared", parts, "-o", whole)
        return Path(whole).read_bytes()


def _own_folder() -> Path | None:
    """Where it is kept; None where nobody can write, or others could: code is loaded from it."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(base) / "sphinx_ros"
    if not folder.is_absolute() or not Path(base).parent.is_dir():  # there is no home
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return None
    return folder if _is_ours(folder, stat.S_IFDIR) and os.access(folder, os.W_OK) else None


def _is_ours(path: Path, kind: int) -> bool:
    """Whether it is there and of a kind, belongs to this user, and nobody else can write to it."""
    try:
        found = path.lstat()
    except OSError:
        return False
    others = stat.S_IWGRP | stat.S_IWOTH
    ours = found.st_uid == os.geteuid() and not found.st_mode & others
    return ours and stat.S_IFMT(found.st_mode) == kind


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _is_whole(path: Path) -> bool:
    """Whether a file of ours is there to its end: to load less may end the process.

    Raises:
        OSError: something else has the name, or it can't be read.
    """
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(f"{path} is no file")
    if not _is_ours(path, stat.S_IFREG):
        return False
    data = path.read_bytes()
    return data[-32:] == _digest(data[:-32])


def _first_line(said: bytes | None) -> str:
    """The first line of a compiler's complaint that names an error."""
    lines = (said or b"").decode("utf-8", "replace").splitlines()
    return next((line for line in lines if "error" in line), lines[0] if lines else "")[:300]
