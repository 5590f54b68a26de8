"""Child processes for tests: what they do, which there are, and whether they live. No torch.

The functions that take ``say`` are work for :class:`sphinx_ros.runtime.crew.Crew`.
"""

import os
import sys
import time
from pathlib import Path

import patience


def rest(folder, say):
    """Leave a file with this process's number as its name, say "here", and wait."""
    (Path(folder) / str(os.getpid())).touch()
    say("here")
    time.sleep(60)


def fail(error, say):
    """Raise."""
    raise error


def torch_is_loaded(say):
    """Say whether anything has imported torch."""
    say(f"torch: {'torch' in sys.modules}")
    time.sleep(60)


def lives(pid):
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def followers_of(pid):
    """The processes that a leader has started and that live."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == pid and b"runtime.follower" in words and lives(entry.name):
            found.append(int(entry.name))
    return sorted(found)


def until(condition, seconds=patience.PATIENCE):
    """Wait for a condition, and return what it gives; fails where it does not come."""
    found = patience.until(condition, seconds)
    assert found, "it never came"
    return found
