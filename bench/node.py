"""What the node costs beside its model: time, CPU, age and loss of pictures, memory.

    python bench/node.py [--repeat 3] [--count 150] [--frames 10000] [--demo] [--json FILE]

Three processes that talk over DDS: a camera (`node_camera.py`), the node (`node_measured.py`: the
class, the executor and the threads of `sphinx_node`), and this one, which starts them and counts.

overhead: the node has a model that answers at once and one standing query, and each picture is
answered before the next one comes. Three times are told of each picture: from the *begin* of the
camera's callback to the return of the publisher's `publish`; from the picture's *reception* by the
middleware in the node's process (its own time stamp) to that moment, which has in it that rclpy
wakes up and copies the bytes into a Python message; and from the stamp that the camera sets before
it publishes to the answer *back* in the camera's process. The model's call is inside all.
`overhead_p95_ms_raw1080` is the first for 1080p raw, `received_p95_ms_raw1080` the second: of
--repeat runs the one with the lowest p95, as other work on a machine can only add to it.

busy: 30 pictures of 1080p per second, and a model that takes 0.5 s for each look and waits without
using the processor. CPU is the node's own; `decode_ms` is what it costs to decode such a JPEG.

age: at publication, a picture may be as old as one run of the model and one period of the camera:
no newer one may have been there when the run began. `age_over_bound` counts the answers that break
this; the period is the time until the next picture came.

transport: of 30 pictures of 1080p per second, how many arrive, with config/fastdds.xml and with
the default settings of Fast DDS.

memory: resident bytes after --frames looks at 640x480 pictures over those after 100, less one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from node_figures import age, growth, overhead, table

from sphinx_ros.ros.demo_processes import surroundings
from sphinx_ros.runtime.files import write_text

HERE = Path(__file__).resolve().parent
SIZES = {"480": (640, 480), "1080": (1920, 1080)}
KINDS = "raw", "compressed"
BUSY = 0.5
"""Seconds of a look of the model that waits."""


class Bench:
    """Runs of camera and node. folder: for records and logs."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._environment = dict(os.environ)

    def plain(self) -> Bench:
        """The same with the default settings of Fast DDS in both processes."""
        other = Bench(self._folder)
        other._environment.pop("FASTDDS_DEFAULT_PROFILES_FILE", None)
        other._environment.pop("FASTRTPS_DEFAULT_PROFILES_FILE", None)
        other._environment["FASTDDS_BUILTIN_TRANSPORTS"] = "DEFAULT"
        return other

    @contextlib.contextmanager
    def node(self, model: str, hold: float, kind: str) -> Iterator[subprocess.Popen]:
        """The node, ready; interrupted at the end, when its record is written."""
        log = self._folder / "node.log"
        words = ["-r", "image:=/camera/image_raw", "-p", f"image_transport:={kind}"]
        words += ["-p", "queries:=['detect: objects']", "-p", "max_image_age:=0.0"]
        command = [str(HERE / "node_measured.py"), str(self.record), model, str(hold)]
        process = self._start([*command, "--ros-args", *words], log)
        try:
            await_words(process, log, ": ready", 120.0)
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)

    def camera(self, kind: str, size: str, rate: float, count: int) -> subprocess.Popen:
        """The camera, started."""
        path = str(self._folder / "camera.json")
        words = [kind, *map(str, SIZES[size]), str(rate), str(count)]
        return self._start(
            [str(HERE / "node_camera.py"), path, *words], self._folder / "camera.log"
        )

    def _start(self, words: list[str], log: Path) -> subprocess.Popen:
        with log.open("w") as out:
            return subprocess.Popen(
                [sys.executable, *words], stdout=out, stderr=out, env=self._environment
            )

    @property
    def record(self) -> Path:
        """Where the node writes what it has seen."""
        return self._folder / "node.json"

    def run(
        self,
        kind: str,
        size: str,
        rate: float,
        count: int,
        model: str = "instant",
        hold: float = 0,
    ) -> dict[str, Any]:
        """One run; the records of both, and the CPU seconds per second of the node."""
        with self.node(model, hold, kind) as node:
            idle = cpu_share(node.pid, 2.0)
            camera = self.camera(kind, size, rate, count)
            time.sleep(3.0)  # it has started
            share = cpu_share(node.pid, min(10.0, max(count / rate - 2.0, 1.0)))
            if camera.wait(count / rate * 3 + 60):
                raise RuntimeError((self._folder / "camera.log").read_text())
        sent = json.loads((self._folder / "camera.json").read_text())
        return sent | json.loads(self.record.read_text()) | {"cpu": share, "cpu_idle": idle}


def await_words(process: subprocess.Popen, log: Path, words: str, seconds: float) -> None:
    """Wait until a log holds the words. Raises RuntimeError with the log."""
    end = time.monotonic() + seconds
    while words not in log.read_text():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the node did not become ready: {log.read_text()}")
        time.sleep(0.1)


def cpu_share(pid: int, seconds: float) -> float:
    """CPU seconds per second that a process uses, over so many seconds."""

    def used() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, begun = used(), time.monotonic()
    time.sleep(seconds)
    return (used() - before) / (time.monotonic() - begun)


def decode_ms() -> float:
    """Median milliseconds in which a 1080p JPEG of the camera is decoded here."""
    from node_camera import picture

    from sphinx_ros.image.decode import decode_compressed

    data, times = picture("compressed", *SIZES["1080"])[0].data, []
    for _ in range(7):
        begun = time.perf_counter()
        decode_compressed(data)
        times.append(1e3 * (time.perf_counter() - begun))
    return float(np.median(times))


def measure(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    found: dict[str, Any] = {"overhead_ms": {}}
    for size in SIZES:
        for kind in KINDS:
            runs = [
                overhead(bench.run(kind, size, 15, options.count)) for _ in range(options.repeat)
            ]
            best = min(runs, key=lambda one: one["begin"]["p95"])
            found["overhead_ms"][f"{kind}{size}"] = best
            found[f"overhead_p95_ms_{kind}{size}"] = best["begin"]["p95"]
            found[f"received_p95_ms_{kind}{size}"] = best["reception"]["p95"]
            print(f"overhead {kind} {size}: {best}", flush=True)
    found["decode_ms"] = decode_ms()
    over = 0
    for kind in KINDS:
        run = bench.run(kind, "1080", 30, 450, hold=BUSY)
        found[f"busy_{kind}"] = {name: run[name] for name in ("cpu", "cpu_idle")} | age(run)
        found[f"busy_{kind}"]["looked_per_s"] = len(run["looks"]) / 15
        over += found[f"busy_{kind}"]["over"]
        if kind == "raw":
            found["arrived_profile"] = len(run["frames"]) / run["sent"]
        print(f"busy {kind}: {found[f'busy_{kind}']}", flush=True)
    plain = bench.plain().run("raw", "1080", 30, 300, hold=BUSY)
    found["arrived_default"] = len(plain["frames"]) / plain["sent"]
    if options.demo:
        run = bench.run("raw", "480", 30, 600, model="loaded")
        found["demo"] = {"cpu": run["cpu"], **age(run)}
        over += found["demo"]["over"]
        print(f"demonstration model: {found['demo']}", flush=True)
    found["age_over_bound"] = over
    run = bench.run("raw", "480", 100, options.frames + 1000)
    found["memory_looks"] = len(run["looks"])
    found["memory_growth"] = growth(run)
    found["memory_bytes"] = run["memory"]
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=3, help="runs of each overhead (default: 3)")
    parser.add_argument("--count", type=int, default=150, help="pictures of a run (default: 150)")
    parser.add_argument(
        "--frames", type=int, default=10_000, help="looks whose memory is compared"
    )
    parser.add_argument("--demo", action="store_true", help="the demonstration model as well")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    options = parser.parse_args()
    surroundings()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Bench(Path(folder)), options)
    print(table(found))
    if options.json:
        write_text(options.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
