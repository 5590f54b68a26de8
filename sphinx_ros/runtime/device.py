"""Names of devices and number types -> torch's; what torch is told before it allocates."""

from __future__ import annotations

import os

import torch

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.model.quantities import DTYPES


def request_large_pages() -> None:
    """Let torch request large pages where Linux gives them on request only.

    A look's large tensors then cost a page fault per 2 MB, not per 4 kB. torch reads the
    environment once, at the first allocation of the process: a later call changes nothing.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def choose_device(device: str | torch.device | None) -> torch.device:
    """The named device, or the best there is. Raises BadRequest for one that is not there."""
    if device is None or device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise BadRequest(f"device {quoted(device)} is unknown; use cpu, cuda or cuda:N") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise BadRequest(
            f"device {device} asked for, {torch.cuda.device_count()} CUDA devices found; use"
            ' device "cpu", or install a driver and a CUDA build of torch'
        )
    try:
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise BadRequest(f"device {device} can't be used ({reason}); use cpu or cuda") from error
    return chosen


def choose_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The named floating type, or bfloat16 on CUDA and float32 elsewhere.

    Raises:
        BadRequest: a name that is none of :data:`~sphinx_ros.model.quantities.DTYPES`, or
            a type of torch in which no network computes.
    """
    if dtype is None or dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    chosen = getattr(torch, dtype) if isinstance(dtype, str) and dtype in DTYPES else dtype
    if not isinstance(chosen, torch.dtype) or not chosen.is_floating_point or chosen.itemsize < 2:
        raise BadRequest(f"dtype {quoted(dtype)} is unknown; use one of {', '.join(DTYPES)}")
    return chosen
