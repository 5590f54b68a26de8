"""The options that name a model -> the model that is asked, here or on a server."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable
from typing import Any

from sphinx_ros.checkpoint.names import find
from sphinx_ros.checkpoint.released import RELEASED
from sphinx_ros.errors import BadRequest
from sphinx_ros.model.quantities import DTYPES, KINDS
from sphinx_ros.model.recipes import RECIPES
from sphinx_ros.remote.address import SERVED, TOKEN

Model = Callable[[], Any]
"""Gives the model that is asked, at the first call after it is loaded."""


def add_asked_model(parser: argparse.ArgumentParser) -> None:
    """The options of :class:`AskedModel`: of one that is loaded here, and of one on a server."""
    add_model_options(parser)
    add_server(parser)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """--checkpoint, --variant, --tokenizer, --device, --devices, --dtype, --quantise."""
    add_checkpoint(parser)
    add_missing_files(parser)
    add_device(parser)
    parser.add_argument(
        "--devices",
        type=lambda words: words.split(","),
        default=(),
        metavar="A,B",
        help="several that share one network: cuda:0,cuda:1",
    )
    add_dtype(parser)
    parser.add_argument(
        "--quantise",
        choices=KINDS,
        help="store the decoder in 8 or 4 bits: int8 hardly changes answers, int4 does; nf4 needs "
        "bitsandbytes (default: no)",
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """--checkpoint."""
    parser.add_argument(
        "--checkpoint",
        default="demo",
        metavar="X",
        help='"demo" (the bundled demonstration model, for the simulated tabletop), a published '
        f"name ({', '.join(RELEASED)}), hf://owner/repo/folder or a folder; "
        "X+ADAPTER for one with what sphinx-ros tune taught it (default: demo)",
    )


def add_missing_files(parser: argparse.ArgumentParser) -> None:
    """--variant and --tokenizer, for a folder that holds tensors alone."""
    parser.add_argument(
        "--variant",
        metavar="V",
        help=f"in place of meta.json: {', '.join(RECIPES)}",
    )
    parser.add_argument(
        "--tokenizer", metavar="FILE", help="in place of the folder's tokenizer.model"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device."""
    parser.add_argument(
        "--device", help="cpu, cuda, cuda:1 ... (default: the first CUDA device, else cpu)"
    )


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """--dtype."""
    parser.add_argument(
        "--dtype",
        choices=("auto", *DTYPES),
        help="number type of the weights (default: auto, which is bfloat16 on CUDA and float32 on "
        "the CPU)",
    )


def add_server(parser: argparse.ArgumentParser) -> None:
    """--server and --token, of verbs that a model elsewhere can answer."""
    parser.add_argument(
        "--server",
        default="",
        metavar="URL",
        help="ask the model that `sphinx-ros serve` has there, as http://gpu-box:8000, and load "
        "none; several with commas between: the first that can be reached",
    )
    parser.add_argument(
        "--token",
        help=f"the server's bearer token (default: the environment's {TOKEN}, which no list of "
        "processes shows)",
    )


def check_server(options: argparse.Namespace) -> None:
    """Raises BadRequest: a model is to be loaded, and one on a server to be asked."""
    given = {**model_options(options), "checkpoint": options.checkpoint}
    given = {name: value for name, value in given.items() if value not in ("demo", "auto")}
    if options.server and given:
        names = ", ".join(f"--{name}" for name in given)
        raise BadRequest(f"with --server the model is the server's: leave out {names}")
    if options.token is not None and not options.server:
        raise BadRequest("--token is that of a server: give --server as well")


def model_options(options: argparse.Namespace) -> dict:
    """What :meth:`Sphinx.from_pretrained` takes of :func:`add_model_options`, as far as given."""
    names = ("device", "devices", "dtype", "quantise", "variant", "tokenizer")
    given = {name: getattr(options, name) for name in names}
    return {name: value for name, value in given.items() if value}


def check_model(options: argparse.Namespace) -> None:
    """Refuse at once what no model need be waited for.

    Raises:
        BadRequest: see :func:`check_server`.
        CheckpointError: the checkpoint's name stands for nothing.
    """
    check_server(options)
    if not options.server:
        find(options.checkpoint)


class AskedModel:
    """The model that the options name. It loads where it is first called for, by any thread.

    connecting: keywords of :meth:`Sphinx.connect <sphinx_ros.pipeline.Sphinx.connect>`.
    """

    def __init__(self, options: argparse.Namespace, **connecting: Any):
        self._options, self._connecting = options, connecting
        self._sphinx, self._loading = None, threading.Lock()
        self._identity: dict[str, str] = {}

    def __call__(self) -> Any:
        """The model. Raises SphinxError: checkpoint, device or server can't be used."""
        with self._loading:
            if self._sphinx is None:
                self._sphinx = self._load()
        return self._sphinx

    def identity(self) -> dict[str, str]:
        """What tells it from another model of the same name, by name; of one on a server what that
        calls it. Raises SphinxError: it can't be opened, or the server can't be reached.
        """
        if self._options.server:
            return {SERVED: self().name}
        if not self._identity:
            from sphinx_ros.checkpoint.identity import identity

            files = {name: getattr(self._options, name) for name in ("variant", "tokenizer")}
            self._identity = identity(self._options.checkpoint, **files)
        return self._identity

    def _load(self) -> Any:
        from sphinx_ros.pipeline import Sphinx

        check_model(self._options)  # a wrong name need not wait for torch
        if self._options.server:
            given = {"token": self._options.token, **self._connecting}
            return Sphinx.connect(self._options.server, **given)
        return Sphinx.from_pretrained(self._options.checkpoint, **model_options(self._options))
