"""The node's parameters -> the loaded model. Imports torch; runs in the worker's thread."""

from __future__ import annotations

from typing import Any

from sphinx_ros.ros.params import Config


def load_sphinx(config: Config) -> Any:
    """The model that the parameters name. Raises SphinxError with a remedy."""
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
    )
