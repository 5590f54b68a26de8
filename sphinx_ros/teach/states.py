"""Tensors and numbers of a run -> a file that is whole or not there, and back."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import torch

from sphinx_ros.errors import CheckpointError
from sphinx_ros.runtime.files import replaced


def write_state(path: Path, value: Any) -> None:
    """Write plain values and tensors in place of an older file.

    Raises:
        OSError: the disk is full, or the folder can't be written; the old file is unharmed.
    """
    with replaced(path) as file:
        noting = _Noting(file)
        try:
            torch.save(value, noting)
        except RuntimeError as error:  # of torch, whatever the file said
            raise noting.error or error from None


class _Noting:
    """A file that remembers why it could not be written."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """As a file does it."""
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """As a file does it."""
        self._file.flush()


def read_state(path: Path) -> Any:
    """What :func:`write_state` wrote; tensors on the host.

    Raises:
        CheckpointError: it is not there, or damaged.
    """
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path} can't be read ({first[:120]}): copy it again, or begin another run (--out)"
        ) from error
