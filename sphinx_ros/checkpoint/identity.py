"""The name of a checkpoint -> what tells it from others of that name.

A folder keeps its name when it is trained anew, calibrated or exchanged. Whoever goes on with the
answers of an earlier run compares these, so that no two models answer in one run.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from sphinx_ros.checkpoint.adapter import fingerprint
from sphinx_ros.checkpoint.hub import beside
from sphinx_ros.checkpoint.intact import is_file
from sphinx_ros.checkpoint.layout import ADAPTER, CALIBRATION
from sphinx_ros.checkpoint.names import parted
from sphinx_ros.checkpoint.stored import open_checkpoint

DIGITS = 16
"""Hexadecimal ones of each hash."""


def identity(
    checkpoint: str | Path, *, variant: str | None = None, tokenizer: str | Path | None = None
) -> dict[str, str]:
    """Hashes of its weights, network (what config.json and the variant say), tokenizer, adapter
    and calibration; "" of what it has not.

    variant, tokenizer: see :func:`sphinx_ros.checkpoint.loading.load_checkpoint`.

    Raises:
        CheckpointError: it can't be opened.
    """
    stored = open_checkpoint(checkpoint, variant=variant, tokenizer=tokenizer)
    layout, folder = stored.layout, parted(checkpoint)[1]
    told = json.dumps([layout.params, layout.llama_type], sort_keys=True)
    calibrations = [one / CALIBRATION for one in beside(checkpoint)]
    return {
        "weights": fingerprint(stored)[:DIGITS],
        "network": hashlib.sha256(told.encode()).hexdigest()[:DIGITS],
        "tokenizer": _hash_of(layout.tokenizer),
        "adapter": _hash_of(None if folder is None else folder / ADAPTER),
        "calibration": _hash_of(next((one for one in calibrations if is_file(one)), None)),
    }


def _hash_of(path: Path | None) -> str:
    if path is None:
        return ""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()[:DIGITS]
