"""`sphinx-ros serve --replicas`: the same server, of several models on Ray Serve."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sphinx_ros.commands.arguments import OK, Parser, add_number
from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.prompt.checks import MAX_SECONDS
from sphinx_ros.runtime.extras import extra

MOST = 100_000
"""Replicas that may be asked for: a typing error is told at once."""

DRAIN = 30.0
"""Seconds in which requests may be finished, unless others are given."""


def add_fleet_options(parser: Parser) -> None:
    """The options that make it several."""
    group = parser.add_argument_group("several models, on Ray Serve (docs/fleet.md)")
    group.add_argument(
        "--replicas",
        type=replicas,
        default=None,
        metavar="N",
        help="models, each in a process of its own; 2..8: as many as the work needs",
    )
    group.add_argument(
        "--address",
        default="",
        help="of a Ray cluster, such as auto or 10.0.0.1:6379 (default: this machine alone)",
    )
    group.add_argument(
        "--join",
        action="store_true",
        help="the replicas run there already: be one more door to them",
    )
    share = (
        "processors of each, and its threads (default: its share of this machine; 1 in a cluster)"
    )
    add_number(group, "--replica-cpus", (0.01, 1024), None, share, kind=float)
    share = "GPUs of each; 0.5 puts two on one (default: 1 where there are any)"
    add_number(group, "--replica-gpus", (0, 64), None, share, kind=float)
    rest = "in which requests may be finished when a model or all of it ends"
    add_number(group, "--drain", (0, MAX_SECONDS), DRAIN, rest, "SECONDS", float)


def check_single(options: argparse.Namespace) -> None:
    """Raises BadRequest: one model is to be served, and options of several are given."""
    given = {
        "--address": options.address,
        "--join": options.join,
        "--replica-cpus": options.replica_cpus is not None,
        "--replica-gpus": options.replica_gpus is not None,
        "--drain": options.drain != DRAIN,
    }
    if options.replicas is None and any(given.values()):
        first = next(name for name, is_given in given.items() if is_given)
        raise BadRequest(
            f"{first} is for several models: give --replicas as well, the number of them, or "
            f"leave {first} out"
        )


def replicas(said: str) -> tuple[int, int]:
    """(least, most) replicas of "4" or "2..8". Raises ArgumentTypeError: it is neither."""
    found = re.fullmatch(r"(\d{1,6})(?:\.\.(\d{1,6}))?", said.strip())
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= low <= high <= MOST:
        raise argparse.ArgumentTypeError(
            f"{quoted(said)} is no number of replicas: give 4, or bounds such as 2..8, "
            f"from 1 to {MOST}"
        )
    return low, high


def serve_fleet(
    options: argparse.Namespace, given: Mapping[str, Any], limits: Any, answer: Callable[..., None]
) -> int:
    """Serve by several replicas. given: options of each model.

    limits: :class:`~sphinx_ros.serve.desk.Limits` of each. answer: answers requests by a backend
    until it is to end; ``patience`` are the seconds in which what was begun may be finished.
    """
    if options.address and _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # read when ray is imported
    with extra("serve,fleet", "--replicas"):
        from sphinx_ros.serve.fleet_start import Fleet, fleet_of

    if options.join and not options.address:
        raise BadRequest("--join needs the --address of the Ray cluster where the replicas run")
    low, high = options.replicas
    fleet = Fleet(
        low,
        high,
        address=options.address,
        join=options.join,
        cpus=options.replica_cpus,
        gpus=options.replica_gpus,
        drain=options.drain,
    )
    with fleet_of(fleet, options.checkpoint, given, limits) as backend:
        answer(backend, patience=math.ceil(options.drain))
    return OK


def _has_token() -> bool:
    """Whether a token of Ray is here; Ray 2.60 uses it unasked for its own clusters alone."""
    names = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
    return any(map(os.environ.get, names)) or (Path.home() / ".ray" / "auth_token").is_file()
