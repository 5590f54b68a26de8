"""What processes keep in shared memory by way of Fast DDS, and what is left when one is killed."""

import fcntl
from pathlib import Path

from sphinx_ros.ros.environment import SEGMENTS, SHARED_MEMORY


def segments(pid: int) -> set[str]:
    """The files that a process has open, its own and those of its peers."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    ours = tuple(f"{SHARED_MEMORY}/{start}" for start in SEGMENTS)
    files = (line.split()[-1] for line in maps.splitlines() if f"{SHARED_MEMORY}/" in line)
    return {file for file in files if file.startswith(ours)}


def kill(process) -> None:
    """Kill a process, and remove what it leaves.

    Fast DDS does that when a later process comes upon it, which the next run's domain may not
    have. Who lives holds a lock on NAME_el for each NAME that is its own.
    """
    held = [Path(name) for name in segments(process.pid)]
    process.kill()
    process.wait()
    for path in held:
        lock = path.with_name(f"{path.name}_el")
        if not _locked(lock):
            for file in (path, lock, path.with_name(f"sem.{path.name}_mutex")):
                file.unlink(missing_ok=True)


def _locked(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
