"""What a function does to tensors on a GPU -> a CUDA graph that does the same again.

Written by the rules of torch.cuda.graph (warm-up on a side stream, static memory, nothing that
waits), tested without a GPU only: who uses it compares what comes out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sphinx_ros.model.captured import Run

WARM_UP = 2
"""Runs before a capture: libraries allocate and load kernels in the first one."""


class CudaGraphs:
    """Captures as CUDA graphs of one device.

    They share memory and may be started in any order, one after another: what lives there is used
    up when a graph has run.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._shared: tuple[object, torch.cuda.Stream] | None = None

    def __call__(self, run: Run) -> Run:
        """See :data:`Capture`; ``run`` must not wait for the device."""
        if self._shared is None:
            self._shared = torch.cuda.graph_pool_handle(), torch.cuda.Stream(self._device)
        pool, side = self._shared
        current = torch.cuda.current_stream(self._device)
        graph = torch.cuda.CUDAGraph()
        side.wait_stream(current)
        try:
            # where a capture fails torch.cuda.graph leaves its stream the current one: not so this
            with torch.cuda.device(self._device), torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    run()
                # other threads may go on using the device
                with torch.cuda.graph(graph, pool, side, capture_error_mode="thread_local"):
                    run()
        finally:
            current.wait_stream(side)  # the buffers may be given back next
        return graph.replay


def has_graphs(weight: Tensor) -> bool:
    """Whether weights lie where graphs can be captured, and are no fakes that only claim to."""
    return weight.is_cuda and type(weight.data) is Tensor
