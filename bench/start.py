"""Where the time from a command to its answer goes, against `import torch` alone in the same run.

    python bench/start.py [--repeat 3] [--json FILE]

Commands run by turns, each in a process of its own; the median counts. Below them the stages of a
first answer, and the libraries that a command imports, each with the time of its own modules. The
aim: a command takes at most twice as long as `import torch`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from sphinx_ros.runtime.files import write_text

WORDS = "the person"
AIM = 2.0
LISTED = 12  # libraries
LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| \s*(\S+)")


def timed(command: list[str], until: str = "") -> tuple[float, float]:
    """(wall, CPU) seconds of a process; with `until`, up to a line that ends so.

    Raises RuntimeError with what it said, where it fails or never says that line.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=surroundings()
    )
    said, wall = [], 0.0
    for line in process.stdout:
        said.append(line)
        if until and line.rstrip().endswith(until):
            wall = time.perf_counter() - begun
            process.terminate()
    status, usage = os.wait4(process.pid, 0)[1:]
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or (until and not wall):
        raise RuntimeError(f"{' '.join(command)} failed: {''.join(said[-5:])}")
    return wall or time.perf_counter() - begun, usage.ru_utime + usage.ru_stime


def surroundings() -> dict[str, str]:
    """The environment of the commands: a node stays on this machine, and its log comes at once."""
    kept = {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **kept}


def commands(scene: str) -> dict[str, tuple[list[str], str]]:
    """Name -> command, and the end of the line up to which it is timed ("": to its end)."""
    python = [sys.executable]
    asked: dict[str, tuple[list[str], str]] = {
        "import torch": ([*python, "-c", "import torch"], ""),
        "sphinx-ros ground": ([*python, "-m", "sphinx_ros", "ground", scene, WORDS], ""),
    }
    if subprocess.run(
        [*python, "-c", "import rclpy, sphinx_ros.msg"], capture_output=True
    ).returncode:
        print("sphinx_node is left out: ROS 2 or the interfaces are not there", file=sys.stderr)
    else:
        asked["sphinx_node until ready"] = ([*python, "-m", "sphinx_ros.ros.node"], "ready")
    return asked


def stages(scene: str) -> dict[str, tuple[float, float]]:
    """(wall, CPU) seconds of each stage of a first answer; in this process, once."""
    rows: dict[str, tuple[float, float]] = {}

    def note(name: str, job):
        wall, cpu = time.perf_counter(), cpu_seconds()
        made = job()
        rows[name] = (time.perf_counter() - wall, cpu_seconds() - cpu)
        return made

    note("import torch", lambda: __import__("torch"))
    sphinx_class = note("import sphinx_ros.pipeline", lambda: __import__("sphinx_ros").Sphinx)
    sphinx = note(
        "load the model, import its libraries", lambda: sphinx_class.from_pretrained("demo")
    )
    import cv2

    rgb = cv2.imread(scene)[:, :, ::-1]
    seen = note("first look", lambda: sphinx.look(rgb))
    note("first answer", lambda: seen.ground(WORDS))
    note("second look and answer", lambda: sphinx.look(255 - rgb).ground(WORDS))
    return rows


def cpu_seconds() -> float:
    """What this process has used."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def libraries(command: list[str]) -> Counter:
    """Seconds that a command spends in the modules of each library while importing them.

    Of torch the parts are told apart, because most of them are imported by others.
    """
    done = subprocess.run(
        [command[0], "-X", "importtime", *command[1:]], capture_output=True, text=True
    )
    own: Counter = Counter()
    for microseconds, module in LINE.findall(done.stderr):
        parts = module.split(".")
        name = ".".join(parts[:2]) if parts[0] == "torch" else parts[0]
        own[name] += 1e-6 * int(microseconds)
    return own


def child(flag: str, scene: str) -> dict[str, tuple[float, float]]:
    """:func:`stages` in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, flag, scene], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def show(title: str, rows: dict[str, tuple[float, float]], base: float) -> None:
    """A table of wall and CPU seconds, and the CPU as a multiple of `base`."""
    print(f"{title:38}{'wall s':>8}{'CPU s':>8}{'x torch':>9}")
    for name, (wall, cpu) in rows.items():
        print(f"{name:38}{wall:8.2f}{cpu:8.2f}{cpu / base:9.2f}")
    print()


def main() -> int:
    """Print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeat", type=int, default=3, help="turns (default: 3)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    parser.add_argument("--stages", metavar="PICTURE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stages:
        print(json.dumps(stages(options.stages)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        scene = str(Path(folder) / "scene.png")
        write_scene(scene)
        asked = commands(scene)
        turns = [{n: timed(*c) for n, c in asked.items()} for _ in range(options.repeat)]
        rows = {
            name: tuple(statistics.median(turn[name][i] for turn in turns) for i in (0, 1))
            for name in asked
        }
        parts = child("--stages", scene)
        shares = libraries(asked["sphinx-ros ground"][0])
    base = rows["import torch"][1]
    show(f"command, median of {options.repeat}", rows, base)
    show("stage of a first answer", parts, base)
    print("imported by `sphinx-ros ground`, seconds of a library's own modules")
    for name, seconds in shares.most_common(LISTED):
        print(f"{name:38}{seconds:8.2f}")
    ratio = rows["sphinx-ros ground"][1] / base
    print(f"\n`sphinx-ros ground` takes {ratio:.1f} times `import torch`; the aim is {AIM:g}")
    if options.json:
        report = {"commands": rows, "stages": parts, "libraries": shares, "ratio": ratio}
        write_text(options.json, json.dumps(report, indent=1) + "\n")
    return 0


def write_scene(path: str) -> None:
    """One picture of the recorded clip."""
    import cv2

    from sphinx_ros.image.decode import decode_compressed
    from sphinx_ros.world.clip import read_clip

    _, jpeg, _ = next(iter(read_clip()))
    cv2.imwrite(path, decode_compressed(jpeg)[:, :, ::-1])


if __name__ == "__main__":
    sys.exit(main())
