"""The figures of ``serve.py`` -> the table that people read."""

from __future__ import annotations

from typing import Any


def table(found: dict[str, Any]) -> str:
    """What people read."""
    titles = "answers/s", "tokens/s", "p50 ms", "door ms", "model ms", "processors of: models"
    lines = [f"{'replicas':>10}" + "".join(f"{one:>12}" for one in titles) + ", door, Ray"]
    for number, row in found["replicas"].items():
        shares = (row[f"{name}_cpus"] for name in ("models", "door", "ray"))
        lines.append(
            f"{number:>10}{row['answers_s']:12.2f}{row['tokens_s']:12.1f}{row['p50_ms']:12.0f}"
            f"{row['door_cpu_ms']:12.1f}{row['models_cpu_ms']:12.1f}    "
            + ", ".join(f"{one:.2f}" for one in shares)
        )
    scalings = ", ".join(f"{one:.2f}" for one in found["scalings"])
    hits, killed = found["hit_rate"], found["kill"]
    moved = "no picture moved"
    if killed["moved"]:
        moved = (
            f"{killed['moved']} pictures moved, the first after {killed['moved_s']:.2f} s, "
            f"the last after {killed['all_moved_s']:.2f} s"
        )
    lines += [
        f"scaling {found['replica_scaling']:.2f} (of the rounds {scalings}); looks spared: "
        f"{hits['one process']:.3f} by one process, {hits['two replicas']:.3f} by two, ratio "
        f"{found['hit_rate_ratio']:.3f}",
        f"two plain processes without a fleet answer {found['machine_scaling']:.2f} times what "
        f"one does ({found['plain_cpu_ms']:.0f} ms of a processor for a request, then "
        f"{found['two_plain_cpu_ms']:.0f}): the fleet reaches {found['fleet_share']:.2f} of that",
        f"kill -9 of one under load: {killed['requests']} requests, "
        f"{killed['unanswered_after_kill']} without an answer or a name, "
        f"{killed['refused_after_kill']} refused by name; {moved}; the slowest answer took "
        f"{killed['slowest_after_kill_s']:.1f} s",
        f"a look sends {found['look_bytes'] / 1e3:.0f} kB; a replica holds "
        f"{found['replica_mb']:.0f} MB; load average {found['load_average']:.1f} on "
        f"{found['processors']} processors",
    ]
    return "\n".join(lines)
