"""The network that learns, in one process or in several: whole in each, or spread over them.

Where each process has the whole network, only gradients are summed: those of an adapter are less
than 1 % of the weights, so that is the faster way as long as the network fits a device. Otherwise
PyTorch's FSDP spreads weights, gradients and moments, frozen weights included, and gathers a layer
where it is computed. The towers are whole in each process unless they learn.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sphinx_ros.errors import BadRequest
from sphinx_ros.model import keys
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.runtime.peers import Peers
from sphinx_ros.teach.low_rank import TAUGHT

T = TypeVar("T")


class Learner(nn.Module):
    """A network whose weights are there while something is done with it.

    spread: whether each process has a part of the weights, as :func:`spread_weights` made it.
    """

    def __init__(self, model: SphinxModel):
        super().__init__()
        self.model, self.spread = model, False

    def forward(self, work: Callable[[], T]) -> T:
        """Do some work with the network: a call of this module, so that FSDP gathers weights."""
        return work()

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """A block in which each process has all weights, and may do with them what no other does.

        Only without gradients. The network must fit the device.
        """
        blocks: Any = list(self.model.layers) if self.spread else []
        for block in blocks:
            block.set_reshard_after_forward(False)
            block.unshard()
        try:
            yield
        finally:
            for block in blocks:
                block.reshard()
                block.set_reshard_after_forward(True)


def spread_weights(learner: Learner, peers: Peers, device: torch.device) -> None:
    """Spread the weights over the processes, by FSDP; on the host before, on ``device`` behind.

    Raises:
        BadRequest: this PyTorch is too old.
    """
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError:
        fully_shard = None
    if fully_shard is None or "ignored_params" not in inspect.signature(fully_shard).parameters:
        raise BadRequest(f"--shard needs PyTorch 2.7 or newer, this is {torch.__version__}")
    mesh = init_device_mesh(device.type, (peers.size,))
    whole = _whole(learner)
    for parameter in whole:
        parameter.data = parameter.data.to(device)
    for block in learner.model.layers:
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
    # the root has embeddings, output, projections, and towers that learn
    fully_shard(learner, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    learner.spread = True


def _whole(learner: Learner) -> set[nn.Parameter]:
    """Parameters that every process keeps: of towers that do not learn, and single numbers."""
    named = dict(learner.model.named_parameters())
    parts = {keys.part(name) for name, one in named.items() if one.requires_grad} | set(TAUGHT)
    return {one for name, one in named.items() if keys.part(name) not in parts or one.dim() == 0}


def whole_value(value: Any) -> Any:
    """A tensor on the host, gathered where it is spread: all processes call this. Others as is."""
    if not isinstance(value, Tensor):
        return value
    gather = getattr(value.detach(), "full_tensor", None)
    return (value.detach() if gather is None else gather()).cpu()


def like(value: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, on the device of another and spread as that is."""
    value = value.to(other.device)
    if not hasattr(other, "device_mesh"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, other.device_mesh, other.placements)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an optimizer as whole tensors on the host."""
    state = optimizer.state_dict()
    each = {
        number: {name: whole_value(value) for name, value in one.items()}
        for number, one in state["state"].items()
    }
    return {**state, "state": each}


def take_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put what :func:`optimizer_state` gave into an optimizer of the same parameters."""
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.dim() and value.shape == parameter.shape:
                values[name] = like(value, parameter)
