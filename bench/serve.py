"""What several models behind one address give, and what they cost: `sphinx-ros serve --replicas`.

    python bench/serve.py [--seconds 20] [--clients 8] [--pictures 32] [--json FILE]

The demonstration model, a processor and a thread for each; clients, doors and models share this
machine. Four servers, one after another: one process; one replica; two; two, of which one is
killed. It must be a quiet machine: doors and clients need what the models leave of the processors.

replica_scaling: requests answered per second by two replicas over those by one, each as busy as it
can be: --clients for each replica, who ask the next as soon as they have an answer. A request is a
picture's file and eight questions about it, none the same at a time; all pictures had been looked
at. tokens_s: tokens that the two write per second.

hit_rate_ratio: of a mix in which --pictures pictures are asked again and again, the share of looks
that were spared, of two replicas over that of the one process. Nothing is asked twice at a time.

unanswered_after_kill: requests of the load during which one replica of two is killed by SIGKILL
that were neither answered nor refused by a named status. refused_after_kill: those by name.
moved_s: from the kill until the other replica had looked at a picture that was the killed one's;
all_moved_s: at all of them. Half as many clients ask meanwhile, so that there are free slots.

overhead_p95_ms: of a client beside the model's own time, from `serve_overhead.py`.

door_cpu_ms, model_cpu_ms: processor time of the door and of the models for a request that is not
streamed, beside what they use while nobody asks. look_bytes: a picture's file, its mean.
look_cpu_ms, question_cpu_ms: processor time of a replica for one of them, which other work on the
machine hardly changes. answers_s_per_replica: requests of the mix per second, of one replica.
replica_mb: its resident memory.
`serve_plan.py` makes a plan for many robots of the JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import serve_load
from serve_load import Reply, Request, Server, served

from sphinx_ros.runtime.files import write_text
from sphinx_ros.world.clip import read_clip

ONE_REPLICA = ("--replicas", "1", "--replica-cpus", "1")
TWO_REPLICAS = ("--replicas", "2", "--replica-cpus", "1")
QUESTIONS = 8
"""Of a request."""
KINDS = ("cube", "ball", "can", "cone", "mug", "bottle")
LINES = [f"{task}: {kind}" for task in ("detect", "ground") for kind in KINDS]
LINES += ["caption", "pose", "read_text"]


def pictures(number: int) -> list[bytes]:
    """JPEG files of the recorded clip, spread over it."""
    every = [jpeg for _, jpeg, _ in read_clip()]
    return every[:: max(1, len(every) // number)][:number]


def mix(files: list[bytes], seconds: float) -> Callable[[], Request | None]:
    """Requests for some seconds: every picture in turn, each time with other questions.

    They are drawn for each request: drawn for a round of all pictures, a load of few rounds would
    cost by which few draws it met.
    """
    asked, lock, end = itertools.count(), threading.Lock(), time.monotonic() + seconds

    def next_request() -> Request | None:
        with lock:
            number = next(asked)
        if time.monotonic() > end:
            return None
        lines = random.Random(number).sample(LINES, QUESTIONS)
        return Request(files[number % len(files)], tuple(lines))

    return next_request


def rate(server: Server, files: list[bytes], options: Any, clients: int) -> dict[str, float]:
    """Looks, then answers about these pictures, per second, and what they cost."""
    probes, spent = iter([Request(one, ()) for one in files]), server.spent()
    looks = serve_load.load(server.address, lambda: next(probes, None), clients)
    look_cpu = (server.spent()["models"] - spent["models"]) / len(looks)
    before, idle = server.figures(), idling(server)
    spent, begun = server.spent(), time.monotonic()
    replies = serve_load.load(server.address, mix(files, options.seconds), clients)
    took, used = time.monotonic() - begun, server.spent()
    after = server.figures()
    bad = [reply for reply in [*looks, *replies] if not reply.answered]
    if bad:
        raise SystemExit(f"{len(bad)} requests failed, the first with {bad[0].http} {bad[0].said}")
    cost = {
        one: 1e3 * max(0.0, used[one] - spent[one] - idle[one] * took) / len(replies)
        for one in used
    }
    return {
        "answers_s": len(replies) / took,
        "look_cpu_ms": 1e3 * look_cpu,
        "question_cpu_ms": cost["models"] / QUESTIONS,
        "tokens_s": (after["tokens"] - before["tokens"]) / took,
        "p50_ms": 1e3 * statistics.median(reply.ended - reply.begun for reply in replies),
        "door_cpu_ms": cost["door"],
        "model_cpu_ms": cost["models"],
    }


def idling(server: Server, seconds: float = 4.0) -> dict[str, float]:
    """Processors that door and models use while nobody asks."""
    before = server.spent()
    time.sleep(seconds)
    return {name: (used - before[name]) / seconds for name, used in server.spent().items()}


def once(files: list[bytes], times: int = 1) -> Callable[[], Request | None]:
    """All pictures, some times, with one cheap question."""
    rounds = [Request(one, (f"detect: {KINDS[k % 6]}",)) for k in range(times) for one in files]
    each, lock = iter(rounds), threading.Lock()

    def next_request() -> Request | None:
        with lock:
            return next(each, None)

    return next_request


def hit_rate(server: Server, files: list[bytes]) -> float:
    """The share of looks that cost nothing, of each picture asked six times."""
    before = server.figures()
    serve_load.load(server.address, once(files, 6), 4)
    after = server.figures()
    looks, hits = (after[name] - before[name] for name in ("looks", "hits"))
    return hits / (looks + hits)


def kill(server: Server, files: list[bytes], options: Any) -> dict[str, Any]:
    """One replica of two is killed in the middle of a load."""
    serve_load.load(server.address, once(files), options.clients)
    killed: list[float] = []
    looks: list[Reply] = []

    def end_one() -> None:
        os.kill(server.models()[0], signal.SIGKILL)
        killed.append(time.monotonic())
        probes = iter([Request(one, (), by_name=True) for one in files])
        looks.extend(serve_load.load(server.address, lambda: next(probes, None), 4))

    timer = threading.Timer(options.seconds / 3, end_one)
    timer.start()
    clients = max(1, options.clients // 2)
    replies = serve_load.load(server.address, mix(files, options.seconds), clients)
    timer.join()
    (at,) = killed
    # A picture that was looked at before, and is not in the memory of the one that answers.
    moved = [one.ended - at for one in looks if one.http == 200 and not one.said["cached"]]
    after = [one for one in [*replies, *looks] if one.ended > at]
    return {
        "requests": len(replies) + len(looks),
        "unanswered_after_kill": sum(not (one.answered or one.refused) for one in after),
        "refused_after_kill": sum(one.refused for one in after),
        "moved_s": min(moved, default=None),
        "all_moved_s": max(moved, default=None),
        "moved": len(moved),
        "slowest_after_kill_s": max(one.ended - max(at, one.begun) for one in after),
    }


def memory_mb(server: Server) -> float:
    """Resident memory of a replica, MB, the mean."""
    sizes = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in server.models()]
    return statistics.mean(sizes) * os.sysconf("SC_PAGESIZE") / 1e6


def overhead() -> float | None:
    """What a client adds, p95 in ms; None where its benchmark is missing."""
    try:
        from serve_overhead import overhead_p95_ms
    except ImportError:
        return None
    return overhead_p95_ms()


def measure(options: Any) -> dict[str, Any]:
    """All figures."""
    files = pictures(options.pictures)
    with served() as server:
        alone = hit_rate(server, files)
    with served(*ONE_REPLICA) as server:
        one = rate(server, files, options, options.clients)
        memory = memory_mb(server)
    with served(*TWO_REPLICAS) as server:
        shared = hit_rate(server, files)
        two = rate(server, files, options, 2 * options.clients)
        killed = kill(server, files, options)
    return {
        "replica_scaling": two["answers_s"] / one["answers_s"],
        "hit_rate_ratio": shared / alone,
        "unanswered_after_kill": killed["unanswered_after_kill"],
        "overhead_p95_ms": overhead(),
        "tokens_s": two["tokens_s"],
        "moved_s": killed["moved_s"],
        "all_moved_s": killed["all_moved_s"],
        "refused_after_kill": killed["refused_after_kill"],
        "answers_s_per_replica": one["answers_s"],
        "look_cpu_ms": one["look_cpu_ms"],
        "question_cpu_ms": one["question_cpu_ms"],
        "look_bytes": statistics.mean(map(len, files)),
        "replica_mb": memory,
        "door_cpu_ms": two["door_cpu_ms"],
        "model_cpu_ms": one["model_cpu_ms"],
        "load_average": os.getloadavg()[0],
        "processors": os.cpu_count(),
        "hit_rate": {"one process": alone, "two replicas": shared},
        "replicas": {"1": one, "2": two},
        "kill": killed,
    }


def table(found: dict[str, Any]) -> str:
    """What people read."""
    titles = "answers/s", "tokens/s", "p50 ms", "door ms", "model ms"
    lines = [f"{'replicas':>10}" + "".join(f"{one:>12}" for one in titles)]
    for number, row in found["replicas"].items():
        lines.append(
            f"{number:>10}{row['answers_s']:12.2f}{row['tokens_s']:12.1f}{row['p50_ms']:12.0f}"
            f"{row['door_cpu_ms']:12.1f}{row['model_cpu_ms']:12.1f}"
        )
    hits, killed = found["hit_rate"], found["kill"]
    moved = "no picture moved"
    if killed["moved"]:
        moved = (
            f"{killed['moved']} pictures moved, the first after {killed['moved_s']:.2f} s, "
            f"the last after {killed['all_moved_s']:.2f} s"
        )
    lines += [
        f"scaling {found['replica_scaling']:.2f}; looks spared: {hits['one process']:.3f} by one "
        f"process, {hits['two replicas']:.3f} by two, ratio {found['hit_rate_ratio']:.3f}",
        f"kill -9 of one under load: {killed['requests']} requests, "
        f"{killed['unanswered_after_kill']} without an answer or a name, "
        f"{killed['refused_after_kill']} refused by name; {moved}; the slowest answer took "
        f"{killed['slowest_after_kill_s']:.1f} s",
        f"a look sends {found['look_bytes'] / 1e3:.0f} kB; a replica holds "
        f"{found['replica_mb']:.0f} MB; load average {found['load_average']:.1f} on "
        f"{found['processors']} processors",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20, help="of each load (default: 20)")
    parser.add_argument("--clients", type=int, default=8, help="at a time (default: 8)")
    parser.add_argument("--pictures", type=int, default=32, help="of the mix (default: 32)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    options = parser.parse_args()
    found = measure(options)
    print(table(found))
    if options.json:
        write_text(options.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
