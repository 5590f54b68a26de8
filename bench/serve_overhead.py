"""What asking a server costs beside its own work: RemoteSphinx against servers on loopback.

    python bench/serve_overhead.py [--pictures 300] [--size 640x480] [--answers 30] [--json FILE]

Each picture is new, so that it is encoded (JPEG 90) and sent; then one question about it is
answered. First by a backend that answers at once: all of the time is overhead. Then by the
demonstration model, on a server and in this process: what lasts beside the look and the answer as
the engine times them. In this process that is the resize, on the server also the way there and the
decoding of the JPEG. Servers are processes of their own.

Keys: overhead_p50_ms, overhead_p95_ms, overhead_p99_ms, upload_bytes (median) of the first;
model_beside_p50_ms, model_beside_p95_ms of the second, here_beside_p50_ms, here_beside_p95_ms of
the third, and model_own_p50_ms, the engine's own time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sphinx_ros import Sphinx
from sphinx_ros.commands.arguments import size
from sphinx_ros.events import Finished
from sphinx_ros.image.decode import decode_compressed
from sphinx_ros.remote.address import QUALITY
from sphinx_ros.remote.upload import encoded
from sphinx_ros.remote.wire import event_to_json
from sphinx_ros.runtime.files import write_text
from sphinx_ros.types import Detection, Results
from sphinx_ros.world.clip import read_clip

ROOT = Path(__file__).resolve().parent.parent

WARM = 10
"""Questions before the first that counts."""


class AtOnce:
    """A backend that has seen every picture and knows the answer."""

    def health(self) -> Any:
        """Ready."""
        from sphinx_ros.serve.work import Health

        return Health("ready", "", "at once", "cpu")

    def figures(self) -> Mapping[str, float]:
        """None."""
        return {}

    async def do(self, work: Any) -> AsyncIterator[dict[str, Any]]:
        """One box for each query."""
        yield {
            "type": "look",
            "picture": work.picture,
            "width": 640,
            "height": 480,
            "cached": False,
            "look_ms": 0.0,
        }
        box = Detection("the mug", (10.0, 20.0, 30.0, 40.0), 0.9)
        for number, query in enumerate(work.queries):
            result = Results((box,), raw_text="[0.1,0.2,0.3,0.4]", milliseconds=0.0, tokens=17)
            yield event_to_json(Finished(result, number), query.task)


def serve() -> None:
    """Serve :class:`AtOnce` until this process is ended; prints the address."""
    from sphinx_ros.serve.app import application
    from sphinx_ros.serve.server import Server, address_of, bound

    listening = bound("127.0.0.1", 0)
    print(f"on {address_of(listening)} ", file=sys.stderr, flush=True)
    Server(application(AtOnce())).run_on(listening)


@contextlib.contextmanager
def process(*words: str) -> Iterator[str]:
    """The address of a server that is started with words after ``python``."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(
        [sys.executable, *words], stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    )
    try:
        assert started.stderr is not None
        said = started.stderr.readline()
        if " on http://" not in f" {said}":
            raise SystemExit(f"the server did not start: {said}{started.stderr.read()}")
        yield said.partition("on ")[2].split()[0]
    finally:
        started.terminate()
        started.wait(20)


def connected(address: str, seconds: float = 120.0) -> Sphinx:
    """A connection to a server whose model may be loading."""
    end = time.monotonic() + seconds
    while True:
        try:
            return Sphinx.connect(address)
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def pictures(width: int, height: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Camera pictures [H, W, 3] without end, each of which is new: the clip's with noise."""
    import cv2

    draw = np.random.default_rng(seed)
    while True:
        for _, jpeg, _ in read_clip():
            rgb = cv2.resize(decode_compressed(jpeg), (width, height))
            noise = draw.integers(-3, 4, rgb.shape, np.int16)
            yield np.clip(rgb + noise, 0, 255).astype(np.uint8)


def overheads(address: str, count: int, width: int, height: int) -> dict[str, list[float]]:
    """Of each question: milliseconds in all, of the model by its own clock, bytes sent."""
    sphinx = connected(address)
    made = asked(sphinx, count, width, height)
    sphinx.close()
    return made


def asked(sphinx: Sphinx, count: int, width: int, height: int) -> dict[str, list[float]]:
    """The same of a model, wherever it is; its pictures' bytes are those of a JPEG."""
    made: dict[str, list[float]] = {"whole": [], "own": [], "bytes": []}
    source = pictures(width, height)
    for number in range(WARM + count):
        rgb = next(source)
        begun = time.perf_counter()
        seen = sphinx.look(rgb)
        found = seen.ground("the mug")
        whole = 1e3 * (time.perf_counter() - begun)
        if number >= WARM:
            made["whole"].append(whole)
            made["own"].append(found.milliseconds + seen.timing.encode + seen.timing.prefill)
            made["bytes"].append(len(encoded(rgb, QUALITY)))
    return made


def measure(
    count: int = 300, answers: int = 30, width: int = 640, height: int = 480
) -> dict[str, float]:
    """The keys of this benchmark. answers: questions to the model, 0 leaves it out."""
    found: dict[str, float] = {}
    with process(str(Path(__file__)), "--serve") as address:
        made = overheads(address, count, width, height)
    for share in (50, 95, 99):
        found[f"overhead_p{share}_ms"] = float(np.percentile(made["whole"], share))
    found["upload_bytes"] = float(np.median(made["bytes"]))
    if answers:
        with process("-m", "sphinx_ros", "serve", "--port", "0", "--device", "cpu") as address:
            there = overheads(address, answers, width, height)
        here = asked(Sphinx.from_pretrained("demo", device="cpu"), answers, width, height)
        for name, made in (("model", there), ("here", here)):
            beside = np.subtract(made["whole"], made["own"])
            for share in (50, 95):
                found[f"{name}_beside_p{share}_ms"] = float(np.percentile(beside, share))
        found["model_own_p50_ms"] = float(np.median(there["own"]))
    return found


def overhead_p95_ms() -> float:
    """The first of them that counts, by itself."""
    return measure(answers=0)["overhead_p95_ms"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--answers", type=int, default=30)
    parser.add_argument("--size", type=size, default=(640, 480))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    found = measure(options.pictures, options.answers, *options.size)
    for name, value in found.items():
        print(f"{name:24} {value:10.2f}")
    if options.json:
        write_text(options.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
