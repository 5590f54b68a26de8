"""Out of memory: what it looks like, and what it is called. Imports torch only where it is loaded.

One definition for the whole package; Python, the node and the command line name it alike.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from types import TracebackType

from sphinx_ros.errors import SphinxError, Status, first_line

_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "insufficient memory",
    "alloc_failed",
    "bad_alloc",
)
"""How torch on a CPU, drivers, cuBLAS and OpenCV say it, in errors of general classes."""

LESS_MEMORY = "use a smaller checkpoint, dtype bfloat16, or a device with more memory"


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    if isinstance(error, SphinxError):
        return error.status is Status.OUT_OF_MEMORY
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if not isinstance(error, RuntimeError) and type(error).__module__ != "cv2":
        return False
    return any(part in str(error).lower() for part in _WORDS)


def free_memory() -> None:
    """Give cached accelerator memory back, if torch is loaded and has any."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        with contextlib.suppress(RuntimeError):  # a device that has failed frees nothing
            cuda.empty_cache()


def available_memory() -> int:
    """Bytes that the system can still give this process: of the machine, and of the containers
    and services (control groups) that it is in. Where it does not say so, all there are.
    """
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # no Linux
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(0, int(min([free, *map(_left_in, _groups())])))


GROUPS = "/sys/fs/cgroup"


def _groups() -> list[str]:
    """Folders of the control groups of this process that limit memory, the outermost last."""
    found = []
    with contextlib.suppress(OSError, ValueError):
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            lines = [line.strip().split(":", 2) for line in file]
        for number, kinds, path in lines:
            second = number == "0"  # version 2 has one tree for all kinds of limits
            if second or "memory" in kinds.split(","):
                root = GROUPS if second else f"{GROUPS}/memory"
                parts = path.strip("/").split("/")
                found += ["/".join([root, *parts[:n]]) for n in range(len(parts), -1, -1)]
    return found


def _left_in(group: str) -> float:
    """Bytes that a control group still allows, the files that it has cached not counted; infinity
    where it has no limit or says none.
    """
    for names in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError, KeyError):
            limit, used = (int(_read(f"{group}/{name}")) for name in names[:2])
            lines = _read(f"{group}/memory.stat").splitlines()
            return limit - used + int(dict(line.split() for line in lines)[names[2]])
    return float("inf")


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def memory_in_use() -> dict[str, int]:
    """Bytes that this process holds, by kind: "resident", and "device", "device peak" on a GPU."""
    sizes = {}
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no Linux
        with open("/proc/self/statm", encoding="ascii") as file:
            sizes["resident"] = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is not None and cuda.is_initialized():
        sizes["device"] = sum(map(cuda.memory_allocated, range(cuda.device_count())))
        sizes["device peak"] = sum(map(cuda.max_memory_allocated, range(cuda.device_count())))
    return sizes


def memory_error(doing: str, error: BaseException) -> SphinxError:
    """The named error for one of which :func:`out_of_memory` is true."""
    return SphinxError(
        f"out of memory while {doing}: {first_line(error)}; {LESS_MEMORY}",
        status=Status.OUT_OF_MEMORY,
    )


class memory_named:
    """A block in which each out-of-memory error becomes one :class:`SphinxError` with a remedy.

    doing: what the block does, for the message. What the failed functions held is let go, so that
    who keeps the error does not keep their memory.
    """

    def __init__(self, doing: str):
        self._doing = doing

    def __enter__(self) -> memory_named:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, SphinxError) or not out_of_memory(error):
            return
        traceback.clear_frames(trace)
        free_memory()
        raise memory_error(self._doing, error) from error
