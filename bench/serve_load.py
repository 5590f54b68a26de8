"""A server as a process of its own, and clients that ask it: used by ``serve.py``.

The clients are threads with a connection each, as robots are; nothing of sphinx_ros is in them.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
STARTS = 240.0
"""Seconds in which a server must be ready."""
TICK = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def served(*words: str) -> Iterator[Server]:
    """`sphinx-ros serve` with these words, ready to answer, one thread for each model."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "sphinx_ros", "serve", "--port", "0", *words]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, env=environment)
        try:
            yield Server(process, _ready(process, log))
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(process: subprocess.Popen, log: Any) -> str:
    """The address that it prints, once its model is loaded."""
    end = time.monotonic() + STARTS
    while time.monotonic() < end and process.poll() is None:
        log.seek(0)
        if found := re.search(r"http://\S+:\d+", log.read()):
            with contextlib.suppress(OSError):
                if Connection(found[0]).get("/healthz")[0] == 200:
                    return found[0]
        time.sleep(0.2)
    log.seek(0)
    raise SystemExit(f"the server did not start:\n{log.read()[-3000:]}")


@dataclass
class Server:
    """A server that is ready."""

    process: subprocess.Popen
    address: str

    def figures(self) -> dict[str, float]:
        """What /metrics says of the models; those of a fleet are asked every two seconds."""
        time.sleep(3.5)
        page = Connection(self.address).get("/metrics")[1].decode()
        rows = re.findall(r"^sphinx_(\w+?)(?:_total)? ([-+.\de]+)$", page, re.MULTILINE)
        return {name: float(value) for name, value in rows}

    def processes(self) -> dict[int, str]:
        """Process id -> name, of the server and all that it started."""
        parents, names = {}, {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, IndexError):
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rpartition(")")[2].split()[1]
                )
                names[int(entry.name)] = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                )
        found, front = {self.process.pid}, {self.process.pid}
        while front:
            front = {pid for pid, parent in parents.items() if parent in front} - found
            found |= front
        return {pid: names[pid] for pid in found if pid in names}

    def models(self) -> list[int]:
        """The processes of the replicas."""
        return [pid for pid, name in self.processes().items() if name.startswith(REPLICA)]

    def spent(self) -> dict[str, float]:
        """Seconds of a processor that the door, the models and all others of a fleet have used."""
        door, models = [self.process.pid], self.models()
        others = [pid for pid in self.processes() if pid not in (*door, *models)]
        each = {"door": door, "models": models, "ray": others}
        return {name: sum(map(_spent, pids)) / TICK for name, pids in each.items()}


REPLICA = "ray::ServeReplica:sphinx:replica"


def _spent(pid: int) -> int:
    """Ticks; none of a process that has ended."""
    try:
        more = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(more[11]) + int(more[12])


class Connection:
    """One client's connection, opened anew where it was closed."""

    def __init__(self, address: str, timeout: float = 60.0):
        parts = urlsplit(address)
        self._line = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body."""
        return self._asked("GET", path, None)

    def post(self, path: str, body: bytes | None) -> tuple[int, bytes]:
        """Status and body."""
        return self._asked("POST", path, body)

    def _asked(self, verb: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"Content-Type": "image/jpeg"} if body else {}
        try:
            self._line.request(verb, path, body, headers)
            answer = self._line.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._line.close()
            raise


@dataclass(frozen=True)
class Request:
    """What is asked: lines of queries about a picture, none for a look alone.

    by_name: whether the picture is named, and not sent.
    """

    picture: bytes = field(repr=False)
    queries: tuple[str, ...]
    by_name: bool = False

    def path(self) -> str:
        """Its address."""
        words = [f"query={quote(one)}" for one in self.queries]
        if self.by_name:
            name = hashlib.blake2b(self.picture, digest_size=16).hexdigest()
            words.append(f"picture={name}")
        return f"/v1/{'answer' if self.queries else 'pictures'}?{'&'.join(words)}"


@dataclass(frozen=True)
class Reply:
    """What became of a request. begun, ended: seconds of the steady clock. http: 0 where nothing
    came. said: the JSON, None where it was none.
    """

    request: Request
    begun: float
    ended: float
    http: int
    said: Any

    @property
    def answered(self) -> bool:
        """Whether every query was answered."""
        if self.http != 200:
            return False
        named = {one["status"] for one in self.said.get("answers", ())}
        return named <= {"OK", "NOT_FOUND", "PARSE_FAILED"}

    @property
    def refused(self) -> bool:
        """Whether it was refused, or a query ended, by name."""
        if self.http == 200:
            return isinstance(self.said, dict) and not self.answered
        return isinstance(self.said, dict) and bool(self.said.get("error", {}).get("code"))


def load(address: str, next_request: Callable[[], Request | None], clients: int) -> list[Reply]:
    """All replies to the requests of a source that is asked until it says None."""
    replies: list[Reply] = []

    def client() -> None:
        line = Connection(address)
        while (request := next_request()) is not None:
            replies.append(ask(line, request))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies


def ask(line: Connection, request: Request) -> Reply:
    """One request and its reply."""
    begun, http, said = time.monotonic(), 0, None
    try:
        http, body = line.post(request.path(), None if request.by_name else request.picture)
        said = json.loads(body)
    except (OSError, ValueError, http_client_error):
        pass
    return Reply(request, begun, time.monotonic(), http, said)


http_client_error = http.client.HTTPException
