"""What several models behind one address give, and what they cost: `sphinx-ros serve --replicas`.

    python bench/serve.py [--seconds 20] [--rounds 3] [--clients 8] [--pictures 32] [--json FILE]

The demonstration model, a processor and a thread for each; clients, doors and models share this
machine. Servers one after another: one process; then one replica and two, --rounds times by turns,
as the speed of a machine changes from minute to minute; of the last two one is killed. It must be
a quiet machine: doors and clients need what the models leave of the processors.

replica_scaling: requests answered per second by two replicas over those by one, in all rounds
together, each as busy as it can be: --clients for each replica, who ask the next as soon as they
have an answer. A request is a picture's file and eight questions about it, none the same at a
time; all pictures had been looked at. scalings: of each round. tokens_s: tokens that the two write
per second.

machine_scaling: the same of two plain processes over one, each with a model and threads that ask
it, without server, fleet or client: the most that this machine gives, from `serve_plain.py`.
fleet_share: replica_scaling over it.

hit_rate_ratio: of a mix in which --pictures pictures are asked again and again, the share of looks
that were spared, of two replicas over that of the one process. Nothing is asked twice at a time.

unanswered_after_kill: requests of the load during which one replica of two is killed by SIGKILL
that were neither answered nor refused by a named status. refused_after_kill: those by name.
moved_s: from the kill until the other replica had looked at a picture that was the killed one's;
all_moved_s: at all of them. Half as many clients ask meanwhile, so that there are free slots.

overhead_p95_ms: of a client beside the model's own time, from `serve_overhead.py`.

door_cpu_ms, model_cpu_ms: processor time of the door and of the models for a request that is not
streamed, beside what they use while nobody asks. cpus: processors that door, models and the
processes of Ray used under the load. look_bytes: a picture's file, its mean.
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
import serve_plain
from serve_load import Reply, Request, Server, served
from serve_table import table

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
    """Looks, then answers about these pictures: how many in how many seconds, and their cost."""
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
    row = {
        "answers": len(replies),
        "seconds": took,
        "look_cpu_ms": 1e3 * look_cpu,
        "tokens": after["tokens"] - before["tokens"],
        "p50_ms": 1e3 * statistics.median(reply.ended - reply.begun for reply in replies),
    }
    for one in used:
        row[f"{one}_cpus"] = (used[one] - spent[one]) / took
        beside = max(0.0, used[one] - spent[one] - idle[one] * took)
        row[f"{one}_cpu_ms"] = 1e3 * beside / len(replies)
    return row


def together(rows: list[dict[str, float]]) -> dict[str, float]:
    """One row of several rounds: sums per second of the answers and tokens, means of the rest."""
    row = {name: statistics.mean(one[name] for one in rows) for name in rows[0]}
    answers, tokens, seconds = (row.pop(name) for name in ("answers", "tokens", "seconds"))
    return {"answers_s": answers / seconds, "tokens_s": tokens / seconds, **row}


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
    ones, twos = [], []
    for number in range(1, options.rounds + 1):
        with served(*ONE_REPLICA) as server:
            ones.append(rate(server, files, options, options.clients))
            memory = memory_mb(server)
        with served(*TWO_REPLICAS) as server:
            shared = hit_rate(server, files) if number == options.rounds else 0.0
            twos.append(rate(server, files, options, 2 * options.clients))
            killed = kill(server, files, options) if number == options.rounds else {}
    plain = serve_plain.machine_scaling(files, LINES, QUESTIONS, options.clients, options.seconds)
    one, two = together(ones), together(twos)
    scaling = two["answers_s"] / one["answers_s"]
    pairs = zip(ones, twos, strict=True)
    return {
        "replica_scaling": scaling,
        "fleet_share": scaling / plain["machine_scaling"],
        **plain,
        "scalings": [together([b])["answers_s"] / together([a])["answers_s"] for a, b in pairs],
        "hit_rate_ratio": shared / alone,
        "unanswered_after_kill": killed["unanswered_after_kill"],
        "overhead_p95_ms": overhead(),
        "tokens_s": two["tokens_s"],
        "moved_s": killed["moved_s"],
        "all_moved_s": killed["all_moved_s"],
        "refused_after_kill": killed["refused_after_kill"],
        "answers_s_per_replica": one["answers_s"],
        "look_cpu_ms": one["look_cpu_ms"],
        "question_cpu_ms": one["models_cpu_ms"] / QUESTIONS,
        "look_bytes": statistics.mean(map(len, files)),
        "replica_mb": memory,
        "door_cpu_ms": two["door_cpu_ms"],
        "model_cpu_ms": one["models_cpu_ms"],
        "load_average": os.getloadavg()[0],
        "processors": os.cpu_count(),
        "hit_rate": {"one process": alone, "two replicas": shared},
        "replicas": {"1": one, "2": two},
        "kill": killed,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20, help="of each load (default: 20)")
    parser.add_argument("--rounds", type=int, default=3, help="one, two, one, two (default: 3)")
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
