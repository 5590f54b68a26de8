"""What the node's transitions take, and what cleanup gives back: resident memory in each state.

    python bench/lifecycle.py --checkpoint demo [--checkpoint FOLDER ...] [--json FILE]

Starts the node with autostart off, in a process of its own, and leads it through configure,
activate, an answer, deactivate and cleanup with each checkpoint in turn, without a restart.
"Before" is the node that waits to be configured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy

STATM_PAGE = os.sysconf("SC_PAGE_SIZE")
SECONDS = 600.0  # that a transition or an answer may take


def resident(pid: int) -> float:
    """Megabytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * STATM_PAGE / 1e6


class Manager:
    """Calls the services of /bench/sphinx, as a lifecycle manager does."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("bench_lifecycle")

    def call(self, name: str, kind: Any, **fields: Any) -> Any:
        """The response of a service. Raises TimeoutError."""
        client = self.node.create_client(kind, f"/bench/sphinx/{name}")
        if not client.wait_for_service(60.0):
            raise TimeoutError(f"/bench/sphinx/{name} did not appear")
        future = client.call_async(kind.Request(**fields))
        rclpy.spin_until_future_complete(self.node, future, timeout_sec=SECONDS)
        self.node.destroy_client(client)
        if not future.done():
            raise TimeoutError(f"/bench/sphinx/{name} did not answer in {SECONDS:g} s")
        return future.result()

    def go(self, transition: str) -> float:
        """Seconds of a transition. Raises RuntimeError where it failed."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        begun = time.perf_counter()
        if not self.call(
            "change_state", ChangeState, transition=Transition(label=transition)
        ).success:
            raise RuntimeError(f"{transition} failed; the node's log says why")
        return time.perf_counter() - begun

    def choose(self, checkpoint: str) -> None:
        """Set the checkpoint. Raises RuntimeError where it is refused."""
        from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
        from rcl_interfaces.srv import SetParameters

        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=checkpoint)
        asked = [Parameter(name="checkpoint", value=value)]
        (result,) = self.call("set_parameters", SetParameters, parameters=asked).results
        if not result.successful:
            raise RuntimeError(result.reason)


def lead(manager: Manager, pid: int, checkpoint: str) -> dict[str, Any]:
    """One checkpoint through all states."""
    from sphinx_ros.ros import messages as m

    manager.choose(checkpoint)
    row: dict[str, Any] = {"checkpoint": checkpoint, "configure_s": manager.go("configure")}
    manager.go("activate")
    picture = m.image_message(np.full((480, 640, 3), 128, np.uint8), m.Header())
    manager.call("ground", m.Ground, text="red mug", image=picture)
    row["answering_mb"] = resident(pid)
    manager.go("deactivate")
    row["cleanup_s"] = manager.go("cleanup")
    row["after_mb"] = resident(pid)
    return row


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", action="append", help="may be given several times")
    parser.add_argument("--json", type=Path, help="write the numbers there")
    options = parser.parse_args()
    command = [sys.executable, "-m", "sphinx_ros.ros.node", "--ros-args", "-r", "__ns:=/bench"]
    node = subprocess.Popen([*command, "-p", "autostart:=false"])
    rclpy.init()
    try:
        manager = Manager()
        time.sleep(8.0)  # what a model needs is imported meanwhile
        before = resident(node.pid)
        print(f"before: {before:.0f} MB")
        rows = []
        for checkpoint in options.checkpoint or ["demo"]:
            row = lead(manager, node.pid, checkpoint)
            row["after_over_before"] = row["after_mb"] / before
            rows.append(row)
            print(
                f"{checkpoint}: configure {row['configure_s']:.1f} s, answering "
                f"{row['answering_mb']:.0f} MB, after cleanup {row['after_mb']:.0f} MB "
                f"({row['after_over_before']:.2f} of before)"
            )
    finally:
        rclpy.try_shutdown()
        node.terminate()
        node.wait(20)
    if options.json:
        worst = max(row["after_over_before"] for row in rows)
        text = json.dumps(
            {"before_mb": before, "after_over_before": worst, "rows": rows}, indent=1
        )
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
