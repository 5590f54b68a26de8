"""Everything that needs a GPU: equality with the official numbers, costs, memory, stopping.

    bash bench/gpu.sh [--out FOLDER] [--quick] [--device cuda] [--sections parity demo ...]

Needs torch, numpy, sentencepiece and Pillow: no ROS, no OpenCV, no network. Sections are measured
by one process each, so that one that fails, hangs or loses the card ends no other. After each part
of one FOLDER/gpu.json (flat keys) and FOLDER/gpu.md (the same as tables) are written anew.

Exit codes: 0 all is measured and equal; 1 parity fails; 2 wrong use, or something is missing on
this machine; 3 parity holds, and something could not be measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gpu_card
import torch
from gpu_report import JSON, TABLE, Report, described

Section = Callable[[Report, torch.device, bool], None]

SECONDS = {"environment": 40, "parity": 200, "demo": 80, "stop": 35, "full": 130, "big": 50}
"""The sections in their order, and the seconds after which each is given up: under nine minutes
in all."""


def environment(report: Report, device: torch.device, quick: bool) -> None:
    """Section "environment": the machine, and what it can do at most."""
    report.add(gpu_card.facts(device) | {"quick": quick})
    with report.part("environment_bandwidth"):
        report.add(gpu_card.bandwidth(device, quick))
    with report.part("environment_products"):
        report.add(gpu_card.product_rates(device, quick))


def section(name: str) -> Section:
    """What measures a section; loaded when it is its turn."""
    if name == "environment":
        return environment
    if name == "parity":
        import gpu_parity

        return gpu_parity.measure
    if name in ("demo", "stop"):
        import gpu_demo

        return gpu_demo.measure if name == "demo" else gpu_demo.stop
    import gpu_full_size

    return gpu_full_size.measure if name == "full" else gpu_full_size.decoder_13b


def here(name: str, options: argparse.Namespace) -> None:
    """Measure a section in this process."""
    report = Report(options.out)
    with report.part(name):
        section(name)(report, torch.device(options.device), options.quick)


def apart(name: str, options: argparse.Namespace) -> None:
    """Measure a section in a process of its own, and name how that ended if not well."""
    command = [sys.executable, __file__, "--sections", name, "--here", "--go-on"]
    command += ["--out", str(options.out), "--device", options.device]
    command += ["--quick"] * options.quick
    why = ""
    try:
        code = subprocess.run(command, timeout=SECONDS[name], check=False).returncode
        why = "" if code in (0, 1, 3) else f"its process ended with {code}"
    except subprocess.TimeoutExpired:
        why = f"it took more than {SECONDS[name]} s"
    if why:
        Report(options.out).add({f"failed_{name}": why})


def parsed() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Keys of the JSON, in their tables:\n" + described(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("build/gpu"), metavar="FOLDER",
                        help="where the results go (default: build/gpu)")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="toy sizes: does the code run?")
    parser.add_argument("--device", default="cuda", help="default: cuda")
    parser.add_argument("--sections", nargs="+", choices=SECONDS, default=list(SECONDS))
    parser.add_argument("--here", action="store_true", help="all in this process")
    parser.add_argument("--go-on", action="store_true", help="beside what FOLDER holds already")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(
            f"no CUDA device is usable by torch {torch.__version__}; --device cpu --quick tries "
            "the code without one"
        )
    return options


def outcome(found: dict, sections: list[str]) -> int:
    """The exit code."""
    if "parity" in sections and not found.get("parity_ok"):
        return 1
    return 3 if any(name.startswith("failed_") for name in found) else 0


def main() -> int:
    """Measure, print, write."""
    options = parsed()
    if not options.go_on:
        for name in (JSON, TABLE):
            (options.out / name).unlink(missing_ok=True)
    measure = here if options.here else apart
    for name in options.sections:
        if not options.go_on:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
        measure(name, options)
    if options.go_on:
        return 0
    found = json.loads((options.out / JSON).read_text())
    print((options.out / TABLE).read_text())
    print(f"written: {options.out / JSON} and {options.out / TABLE}")
    return outcome(found, options.sections)


if __name__ == "__main__":
    sys.exit(main())
