"""The node's parameters -> the loaded model. Imports torch; runs in the worker's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sphinx_ros.ros.params import Config


def prepare() -> None:
    """Import what a model needs, before one is wanted.

    A node that was cleaned up then holds no more memory than one that was never configured.
    """
    import sphinx_ros.answer.loaded  # noqa: F401


def load_sphinx(config: Config, progress: Callable[[int, int], None] | None = None) -> Any:
    """The model that the parameters name. Raises SphinxError with a remedy.

    progress: called with (bytes read, bytes in all) while it is read.
    """
    import torch

    from sphinx_ros.pipeline import Sphinx

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
