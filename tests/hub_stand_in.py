"""A small HTTP server that answers as a hub does: what a repository holds, and its files.

Enough of the protocol for huggingface_hub to list a folder, download with ranges and go on with
what was interrupted. It can be told to break a connection, to lie about a file and to be slow.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

REPOSITORY = "owner/models"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """One repository, served from a folder at ``url``.

    break_after: bytes after which every connection that sends more is cut. corrupt: names of files
    that arrive with other bytes; short: that lack their last ones. pause: seconds between blocks.
    asked: (method, path, range) of all requests.
    """

    def __init__(self, folder: Path):
        self.folder, self.asked = folder, []
        self.break_after: int | None = None
        self.corrupt: set[str] = set()
        self.short: set[str] = set()
        self.pause = 0.0
        self.status: int | None = None
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def sha256(self, path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        start = f"/api/models/{REPOSITORY}/"
        if self.hub.status:
            return self._json({"error": "said so"}, self.hub.status)
        if not path.startswith((start, f"/{REPOSITORY}/resolve/")):
            return self._json({"error": "Repository not found"}, 404, "RepoNotFound")
        if path.startswith(start):
            raw = urlsplit(self.path).path.removeprefix(start)
            kind, revision, *folder = map(unquote, raw.split("/"))  # a slash in one is %2F
            if revision not in (COMMIT, "main", "v1", "refs/pr/1"):
                return self._json({"error": "no such revision"}, 404, "RevisionNotFound")
            return self._info() if kind == "revision" else self._tree("/".join(folder))
        name = path.removeprefix(f"/{REPOSITORY}/resolve/").partition("/")[2]
        return self._file(name)

    def _info(self):
        self._json({"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "siblings": []})

    def _tree(self, folder):
        if not (self.hub.folder / folder).is_dir():
            return self._json({"error": "no such folder"}, 404, "EntryNotFound")
        rows = []
        for path in sorted((self.hub.folder / folder).iterdir()):
            row = {
                "type": "directory",
                "oid": "0" * 40,
                "size": 0,
                "path": str(path.relative_to(self.hub.folder)),
            }
            if path.is_file():
                row |= {"type": "file", "size": path.stat().st_size}
                if path.suffix in (".pth", ".safetensors", ".model"):
                    row["lfs"] = {
                        "oid": self.hub.sha256(path),
                        "size": row["size"],
                        "pointerSize": 130,
                    }
            rows.append(row)
        return self._json(rows)

    def _json(self, content, status=200, code=None):
        body = json.dumps(content).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _file(self, name):
        path = self.hub.folder / name
        if not path.is_file():
            return self._json({"error": "Entry not found"}, 404, "EntryNotFound")
        body = path.read_bytes()
        etag = self.hub.sha256(path)
        if path.name in self.hub.corrupt:
            body = bytes(b ^ 1 for b in body)
        if path.name in self.hub.short:
            body = body[:-7]
        begin = 0
        if span := self.headers.get("Range"):
            begin = int(span.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(OSError):
                self._send(body[begin:])
        return None

    def _send(self, body: bytes):
        sent = 0
        for low in range(0, len(body), 1 << 14):
            block = body[low : low + (1 << 14)]
            if self.hub.break_after is not None and sent + len(block) > self.hub.break_after:
                self.connection.shutdown(2)  # the rest never comes
                return
            self.wfile.write(block)
            sent += len(block)
            if self.hub.pause:
                time.sleep(self.hub.pause)
