"""Cameras and node of the demonstration, as processes with their logs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from sphinx_ros.ros.demo_questions import CAMERAS
from sphinx_ros.ros.environment import prepare, widen_transport
from sphinx_ros.runtime.lifeline import end_with_parent

CAMERA = [sys.executable, "-m", "sphinx_ros.ros.world_camera"]
NODE = [sys.executable, "-m", "sphinx_ros.ros.node"]
STOP_SECONDS = 20.0
RATE = 5.0  # pictures per second of each camera


def surroundings() -> None:
    """Keep the demonstration on this machine, and let its pictures through."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(100 + os.getpid() % 100))
    prepare()
    widen_transport("demo")


class Processes:
    """The cameras and the node; what they say goes to NAME.log in a folder.

    On a slow machine pictures are old and answers late, so the node has no limit for either: the
    client's requests carry their own.
    """

    def __init__(self, source: str, checkpoint: str, folder: Path):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        node = ["-p", f"checkpoint:={checkpoint}", "-p", f"cameras:={list(CAMERAS)}"]
        node += ["-p", "max_image_age:=0.0", "-p", "default_timeout:=3600.0"]
        commands = {}
        for seed, camera in enumerate(CAMERAS, 1):
            own = ["-r", f"__ns:=/{camera}", "-p", f"source:={source}", "-p", f"seed:={seed}"]
            commands[f"camera_{camera}"] = [*CAMERA, "--ros-args", *own, "-p", f"rate:={RATE}"]
            for topic, name in (("image", "image_raw"), ("depth", "depth/image_raw")):
                node += ["-p", f"{camera}.{topic}:=/{camera}/{name}"]
        commands["node"] = [*NODE, "--ros-args", *node]
        self.running: dict[str, subprocess.Popen] = {}
        for name, command in commands.items():
            with (folder / f"{name}.log").open("w") as log:
                self.running[name] = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    preexec_fn=partial(end_with_parent, os.getpid()),
                )

    def died(self) -> str:
        """The name of a process that has ended by itself, "" while all run."""
        return next((n for n, p in self.running.items() if p.poll() is not None), "")

    def logs(self) -> str:
        """The last lines of each, and where the rest is."""
        parts = []
        for name in self.running:
            path = self._folder / f"{name}.log"
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            parts.append("\n".join([f"--- {path}", *lines[-15:]]))
        return "\n".join(parts)

    def stop(self) -> None:
        """Interrupt all as Ctrl-C does, and kill one that has not ended in STOP_SECONDS."""
        for process in self.running.values():
            process.send_signal(signal.SIGINT)
        for process in self.running.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
