"""`sphinx-ros serve`: a checkpoint -> a server that browsers, programs and robots ask."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from sphinx_ros.checkpoint.hub import find
from sphinx_ros.checkpoint.names import check_adapter
from sphinx_ros.commands.arguments import OK, Parser, add_number, add_port
from sphinx_ros.commands.model_options import add_model_options, model_options
from sphinx_ros.commands.serve_fleet import add_fleet_options, check_single, serve_fleet
from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.prompt.checks import LEAST_SECONDS, MAX_SECONDS
from sphinx_ros.remote.address import TOKEN, demanded_token
from sphinx_ros.runtime.extras import extra

MEBI = 1 << 20

NAME = r"[\w./-]{1,100}"
"""The form of an adapter's name."""

ABOUT = """Serve a checkpoint over HTTP: a page at /, a door for each task under /v1, and
/v1/chat/completions for clients of OpenAI. See docs/serve.md.

examples:
  sphinx-ros serve
  sphinx-ros serve --port 0
  sphinx-ros serve --checkpoint sphinx-v2-1k --device cuda
  sphinx-ros serve --adapter plates=runs/plates/adapter --adapter mugs=runs/mugs/adapter
  sphinx-ros serve --replicas 4
  SPHINX_ROS_TOKEN=secret sphinx-ros serve --host 0.0.0.0 --allow-host gpu-box.example.org

then, elsewhere:
  curl -s http://127.0.0.1:8000/healthz
  curl -s --data-binary @photo.jpg -H "Content-Type: image/jpeg" \\
      "http://127.0.0.1:8000/v1/ground?text=the+red+mug"
  curl -s -F image=@photo.jpg -F "query=ground: the red mug" -F query=pose \\
      http://127.0.0.1:8000/v1/answer
  curl -sN -F image=@photo.jpg -F stream=true http://127.0.0.1:8000/v1/caption
"""


def parser() -> Parser:
    """The verb's command line."""
    made = Parser("serve", description=ABOUT)
    made.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 for all (default: 127.0.0.1, this machine alone)",
    )
    add_port(made, 8000)
    made.add_argument(
        "--token",
        default=None,
        help="clients must send it as Authorization: Bearer TOKEN; other users can read a command "
        f"line, so rather set {TOKEN} in the environment (default: none)",
    )
    made.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which clients call this server, beside addresses, localhost and --host: a "
        "second name of this machine, or that of a proxy which changes the Host header, whose "
        "page may ask, then; may be given several times; * for any",
    )
    add_number(made, "--slots", (1, 256), 16, "requests that are answered at a time")
    waiting = "requests that may wait; others are refused at once"
    add_number(made, "--line", (0, 100_000), 64, waiting)
    seconds = "time limit of a request that says none, from its arrival"
    span = (LEAST_SECONDS, MAX_SECONDS)
    add_number(made, "--timeout", span, 120.0, seconds, "SECONDS", float)
    body = "largest body of a request, in MiB"
    add_number(made, "--max-body", (0.001, 4096), 32, body, "MIB", float)
    made.add_argument(
        "--adapter",
        action="append",
        type=adapter,
        default=[],
        metavar="NAME=FOLDER",
        help="an adapter of the checkpoint (sphinx-ros tune) that requests may ask for by its "
        "name, as model; may be given several times",
    )
    add_fleet_options(made)
    add_model_options(made)
    return made


def adapter(text: str) -> tuple[str, str]:
    """A type for argparse: "plates=runs/plates/adapter" -> name and folder."""
    name, equals, folder = text.partition("=")
    if not (equals and folder and re.fullmatch(NAME, name)):
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not NAME=FOLDER, with a name of letters, digits, - _ . and /, as "
            "plates=runs/plates/adapter"
        )
    return name, folder


def adapters(options: argparse.Namespace) -> dict[str, str]:
    """Name -> folder of all adapters. Raises BadRequest, CheckpointError: one can't be used."""
    named = dict(options.adapter)
    if named and len(options.devices or ()) > 1:
        raise BadRequest(
            "--adapter needs the network on one device: leave out --devices, or serve one adapter "
            f"as --checkpoint {options.checkpoint}+FOLDER"
        )
    names = [options.checkpoint, *(name for name, _ in options.adapter)]
    for name in named:
        if names.count(name) > 1:
            raise BadRequest(f"the name {name} is there twice: give each model one of its own")
        check_adapter(Path(named[name]).expanduser(), f"--adapter {name}: ")
    return named


def run(argv: Sequence[str]) -> int:
    """Serve until SIGINT or SIGTERM. Raises what keeps the model from being loaded."""
    options = parser().parse_args(argv)
    check_single(options)
    find(options.checkpoint)  # a wrong name need not wait for torch
    named = adapters(options)
    with extra("serve", "sphinx-ros serve"):
        from sphinx_ros.serve.app import Settings, application
        from sphinx_ros.serve.guard import host_names
        from sphinx_ros.serve.server import Server, bound
    from sphinx_ros.serve.desk import Desk, Limits
    from sphinx_ros.serve.lending import Lender

    hosts = host_names(options.host, options.allow_host)
    given = {**model_options(options), **({"adapters": named} if named else {})}
    limits = Limits(slots=options.slots, line=options.line, timeout=options.timeout)
    token = demanded_token(options.token)
    settings = Settings(
        token=token,
        hosts=tuple(hosts),
        trusted=tuple(options.allow_host),
        max_body=int(options.max_body * MEBI),
        limits={
            "slots": limits.slots,
            "line": limits.line,
            "timeout": limits.timeout,
            "pixels": limits.pixels,
        },
    )
    with contextlib.closing(bound(options.host, options.port)) as listening:

        def answer(backend: Any, **how: Any) -> None:
            """Answer requests by a backend until a signal comes. how: of :class:`Server`."""
            server = Server(application(backend, settings), **how)
            server.run_until_signal(listening, _said(options, bool(token)))

        if options.replicas is not None:
            return serve_fleet(options, given, limits, answer)
        lender = Lender(options.checkpoint, **given)
        desk = Desk(lender, lender.health, limits)
        answer(desk, on_end=desk.cancel, over=lambda: lender.failure is not None)
    if lender.failure is not None:
        desk.close(0.5)
        raise lender.failure
    _end(desk, lender)


def _said(options: argparse.Namespace, token: bool) -> str:
    who = "with its token" if token else "without a token"
    several = ""
    if options.replicas is not None:
        low, high = options.replicas
        several = f" by {low if low == high else f'{low}..{high}'} replicas"
    return (
        f"sphinx-ros: serving {options.checkpoint}{several} on {{address}} ({who}); Ctrl-C ends it"
    )


def _end(desk: Any, lender: Any) -> NoReturn:
    """Let the model go and end the process, without what the interpreter would do now.

    It would take torch apart, which on a busy machine lasts seconds, or wait for a look or a load.
    """
    if desk.close(0.5) and lender.settled.is_set():
        lender.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(OK)
