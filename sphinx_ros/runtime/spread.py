"""A checkpoint and devices -> its network: in this process, or in several that this one leads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def load_network(
    checkpoint: str | Path,
    devices: list[torch.device],
    load: Callable[..., Any],
    progress: Callable[[int, int], None] | None,
) -> tuple[Any, Any, Any]:
    """A network in this process, or the leader of one in several.

    load: reads the part of one process, as ``load_checkpoint``. progress: of that in this process
    alone, (bytes read, bytes in all).

    Returns:
        What ``load`` returns, with the leader in place of the network where there are several.
    """
    from sphinx_ros.runtime import team

    if team.under_torchrun() > 1:
        return team.join_torchrun(checkpoint, load)
    if len(devices) > 1:
        return team.lead(checkpoint, devices, load)
    return load(checkpoint, device=devices[0], progress=progress)
