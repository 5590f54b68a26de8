"""A new value of the parameter `checkpoint` -> the model that is loaded, with another adapter.

Knows no ROS.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from sphinx_ros.checkpoint.names import parted
from sphinx_ros.errors import BadRequest
from sphinx_ros.ros.outcomes import name_error
from sphinx_ros.ros.params import Config
from sphinx_ros.ros.state import State
from sphinx_ros.ros.worker import Worker

log = logging.getLogger("sphinx_ros")

NAME = "checkpoint"
"""The parameter."""


def adapted(changes: Iterable[Any], config: Config, worker: Worker) -> str:
    """The checkpoint that changes name, where it is the loaded one with another adapter, or with
    none; "" where they name no checkpoint, or one that has to be loaded.

    A network that several processes share has to be loaded anew as well.
    """
    value = next((change.value for change in changes if change.name == NAME), None)
    here = worker.state is State.READY and not config.server and len(config.devices) < 2
    if not here or not isinstance(value, str):
        return ""
    return value if parted(value)[0] == parted(config.checkpoint)[0] else ""


def adapt(checkpoint: str, config: Config, worker: Worker) -> str:
    """Have the model answer with the adapter of a name; why that can't be, or "".

    The same name reads its adapter again.
    """
    folder = parted(checkpoint)[1]
    if folder is None and checkpoint == config.checkpoint:
        return ""

    def make(model: Any) -> Any:
        """The model with the adapter, or without one. Raises BadRequest: it takes none."""
        if not hasattr(model, "adapt"):
            raise BadRequest("this model takes no adapters")
        return model.adapt(folder)

    try:
        worker.exchange(make)
    except Exception as error:
        name, text = name_error(error)
        log.debug("%s could not be adapted", checkpoint, exc_info=error)
        return f"{NAME}: {text} ({name}); the model goes on with {config.checkpoint}"
    return ""
