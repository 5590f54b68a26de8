"""The node's parameters -> the model: loaded here, or on a server. Runs in the worker's thread.

torch is imported where the model is loaded here, and not before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sphinx_ros.ros.params import Config

HEARTBEAT = 1.0
"""Seconds between two looks whether the server is well."""


def prepare(config: Config) -> None:
    """Import what a model needs, before one is wanted.

    A node that was cleaned up then holds no more memory than one that was never configured.
    """
    if not config.server:
        import sphinx_ros.answer.loaded  # noqa: F401


def load_sphinx(config: Config, progress: Callable[[int, int], None] | None = None) -> Any:
    """The model that the parameters name. Raises SphinxError with a remedy.

    progress: called with (bytes read, bytes in all) while it is read.
    """
    from sphinx_ros.pipeline import Sphinx

    if config.server:
        return Sphinx.connect(
            config.server,
            fallback=config.server_fallback,
            token=config.server_token or None,
            quality=config.server_quality,
            heartbeat=HEARTBEAT,
        )
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    return Sphinx.from_pretrained(
        config.checkpoint,
        device=None if config.device == "auto" or config.devices else config.device,
        devices=config.devices,
        dtype=None if config.dtype == "auto" else config.dtype,
        quantise=None if config.quantise == "none" else config.quantise,
        variant=config.variant or None,
        tokenizer=config.tokenizer or None,
        progress=progress,
    )
