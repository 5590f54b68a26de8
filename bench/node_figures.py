"""Records of the processes of `bench/node.py` -> figures, and a table of them."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

WARM = 10
"""Answers at the start of a run that are not counted: first calls of the middleware are slow."""


def quantiles(values: Any) -> dict[str, float]:
    """p50, p95 and p99."""
    found = np.percentile(np.asarray(values, float), [50, 95, 99])
    return dict(zip(("p50", "p95", "p99"), map(float, found), strict=True))


def overhead(run: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Quantiles in ms of the three times, "begin", "reception" and "back"; see the module."""
    frames = {frame[0]: frame for frame in run["frames"]}
    pairs = [(frames[look[0]], look[2]) for look in run["looks"] if look[0] in frames][WARM:]
    return {
        "begin": quantiles([1e3 * (ended - frame[2]) for frame, ended in pairs]),
        "reception": quantiles([1e3 * (ended - frame[1]) for frame, ended in pairs]),
        "back": quantiles(run["back_ms"][WARM:]),
    }


def age(run: dict[str, Any]) -> dict[str, float]:
    """Ages at publication in ms, and the number of answers that break the bound."""
    frames = run["frames"]
    following = {one[0]: after for one, after in itertools.pairwise(frames)}
    looks = [look for look in run["looks"][1:] if look[0] in following]
    over = [stamp for stamp, begun, _ in looks if following[stamp][3] < begun]
    return {
        "answers": len(looks),
        "over": len(over),
        **quantiles([1e3 * (ended - stamp) for stamp, _, ended in looks]),
        "run_p50": quantiles([1e3 * (ended - begun) for _, begun, ended in looks])["p50"],
        "period": quantiles([1e3 * (b[2] - a[2]) for a, b in itertools.pairwise(frames)])["p50"],
    }


def growth(run: dict[str, Any]) -> float:
    """Memory after the last mark over that after 100 looks, less one."""
    marks = {int(number): size for number, size in run["memory"].items()}
    return marks[max(marks)] / marks[100] - 1


def table(found: dict[str, Any]) -> str:
    """What people read."""
    lines = [
        "overhead, ms     callback -> published   reception -> published          camera -> back"
    ]
    lines.append(" " * 16 + "".join(f"{'p50':>10}{'p95':>7}{'p99':>7}" for _ in range(3)))
    for name, times in found["overhead_ms"].items():
        cells = "".join(
            f"{times[part]['p50']:10.1f}{times[part]['p95']:7.1f}{times[part]['p99']:7.1f}"
            for part in ("begin", "reception", "back")
        )
        lines.append(f"{name:16}{cells}")
    lines.append(f"{'30 Hz, 1080p':16}{'CPU %':>8}{'idle':>7}{'looks/s':>9}   age p50 / p99, ms")
    for kind in ("raw", "compressed"):
        busy = found[f"busy_{kind}"]
        lines.append(
            f"{kind:16}{100 * busy['cpu']:8.1f}{100 * busy['cpu_idle']:7.1f}"
            f"{busy['looked_per_s']:9.1f}   {busy['p50']:.0f} / {busy['p99']:.0f} "
            f"(run {busy['run_p50']:.0f}, period {busy['period']:.0f})"
        )
    lines.append(f"decoding such a JPEG takes {found['decode_ms']:.0f} ms")
    if "demo" in found:
        lines.append(f"demonstration model, 480: {found['demo']}")
    lines.append(f"answers older than a run and a period: {found['age_over_bound']}")
    lines.append(
        f"arrived: {found['arrived_profile']:.1%} with the profile, "
        f"{found['arrived_default']:.1%} without"
    )
    lines.append(
        f"memory after {found['memory_looks']} looks: {100 * found['memory_growth']:+.2f} % "
        f"({found['memory_bytes']})"
    )
    return "\n".join(lines)
