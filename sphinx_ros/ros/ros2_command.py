"""`ros2 sphinx ground the red mug`: the verbs of :mod:`sphinx_ros.ros.query_words` for ros2cli.

ros2cli finds the class by the entry point `ros2cli.command`; without ros2cli nobody imports this.
"""

from __future__ import annotations

import argparse
from typing import Any

from ros2cli.command import CommandExtension

from sphinx_ros.ros.query_words import Words, add_verbs


class SphinxCommand(CommandExtension):
    """Ask a sphinx_ros node about what its camera sees."""

    def add_arguments(
        self, parser: argparse.ArgumentParser, cli_name: str, *, argv: Any = None
    ) -> None:
        """The verbs."""
        add_verbs(parser)

    def main(self, *, parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
        """Ask, print the answer; the exit code of `ros2`."""
        from sphinx_ros.ros.query_client import ask  # rclpy: only once something is asked

        return ask(Words.of(args))
