"""Checkpoints: names, files and layouts -> a network, and back. Knows no picture and no text.

hub.py, released.py      names -> folders
layout.py, shards.py     folders -> files, keys, shapes, splits
stored.py, pages.py      files -> tensors that are still on disk, and their pages of memory
loading.py, saving.py    a network <-> a folder
writing.py               tensors, one at a time -> a folder, whole or not at all
convert.py, mix.py       folders -> folders
inspection.py            a folder -> what is in it and what it needs
working.py               a network -> what a look at a picture needs beside it
"""

_LAZY = {
    "load_checkpoint": "loading",
    "open_checkpoint": "stored",
    "save_checkpoint": "saving",
    "expected_keys": "layout",
}
__all__ = [*_LAZY]


def __getattr__(name: str):
    """Load the public names on first use (PEP 562), because they bring torch."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
