"""What a card is and what it can do at most: facts, bandwidth, rates of products; and its clock.

Work on a card is asynchronous, so every time here begins and ends with a synchronisation.
"""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(
    action: Callable[[], Any], device: torch.device, repeat: int = 10, warm: int = 1
) -> float:
    """Seconds of an action on an idle device, the median of ``repeat`` after ``warm`` others."""
    for _ in range(warm):
        action()
    times = []
    for _ in range(repeat):
        synchronise(device)
        begun = time.perf_counter()
        action()
        synchronise(device)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def facts(device: torch.device) -> dict[str, Any]:
    """What this machine is."""
    found: dict[str, Any] = {
        "device": str(device),
        "cpu_cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "measured_at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        found |= {
            "card": card.name,
            "card_gb": card.total_memory / 1e9,
            "free_gb": torch.cuda.mem_get_info(device)[0] / 1e9,
            "compute_capability": f"{card.major}.{card.minor}",
            "multiprocessors": card.multi_processor_count,
            "cuda": torch.version.cuda or torch.version.hip or "",
            "cudnn": str(torch.backends.cudnn.version()),
            "driver": driver(),
        }
    return found


def driver() -> str:
    """The version of the driver, "" where nvidia-smi does not tell."""
    ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (told.stdout.splitlines() or [""])[0].strip()


def bandwidth(device: torch.device, quick: bool) -> dict[str, float]:
    """GB/s of a plain copy, bytes read and written, and of a plain sum, bytes read."""
    size = 1 << 24 if quick else 2 << 30
    if device.type == "cuda":
        size = min(size, torch.cuda.mem_get_info(device)[0] // 8)
    source = torch.rand(size // 4, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / seconds(lambda: target.copy_(source), device) / 1e9
    summed = source.nbytes / seconds(source.sum, device) / 1e9
    return {
        "copy_gb_per_s": copied,
        "sum_gb_per_s": summed,
        "bandwidth_gb_per_s": max(copied, summed),
    }


@contextlib.contextmanager
def tf32(products: bool, convolutions: bool) -> Iterator[None]:
    """Whether float32 may be rounded to ten bits (TF32) in a block; torch's own settings are no
    for products and yes for convolutions.
    """
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = products
    torch.backends.cudnn.allow_tf32 = convolutions
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def product_rates(device: torch.device, quick: bool) -> dict[str, float]:
    """TFLOP/s of a large square product of random numbers, by number type."""
    side = 256 if quick else 8192
    found = {}
    for name, dtype, rounded in (
        ("float32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("bfloat16", torch.bfloat16, False),
    ):
        one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        with tf32(rounded, rounded):
            found[f"product_{name}_tflops"] = (
                2 * side**3 / seconds(lambda a=one, b=other: a @ b, device, 7) / 1e12
            )
    return found


def kernels(action: Callable[[], Any], device: torch.device, repeat: int = 5) -> dict[str, float]:
    """How many kernels an action starts, and how many ms the card works on them.

    The rest of the action's time the card waits for the host.
    """
    from torch.profiler import ProfilerActivity, profile

    action()
    synchronise(device)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(repeat):
            action()
        synchronise(device)
    spans = [
        event.time_range.elapsed_us()
        for event in seen.events()
        if event.device_type is torch.autograd.DeviceType.CUDA
    ]
    if not spans:
        raise RuntimeError("torch's profiler saw no kernel on this card")
    return {"kernels": len(spans) / repeat, "kernels_ms": sum(spans) / repeat / 1e3}


def peak(device: torch.device, action: Callable[[], Any]) -> int:
    """The most bytes that tensors took on the card during an action."""
    torch.cuda.reset_peak_memory_stats(device)
    action()
    synchronise(device)
    return torch.cuda.max_memory_allocated(device)
