"""Checkpoints: names, files and layouts -> a network, and back. Knows no picture.

names.py, released.py           names -> folders or hub places; the published ones as facts
hub.py, download.py             hub places -> folders
intact.py, layout.py            a folder -> its files, sound ones, and what its JSON files say
reading.py, shards.py           files -> tensors by key, checked; several shards -> whole tensors
sizes.py, completing.py         shapes -> the sizes that a missing config.json would give
survey.py, expected.py          a folder -> what is in it and what it needs; the keys it must have
stored.py, pages.py             all that -> tensors that are still on disk, and their memory
loading.py, saving.py           a network <-> a folder
writing.py, pth.py, staging.py  tensors, one at a time -> a folder, whole or not at all
convert.py, mix.py              folders -> folders
inspection.py                   a folder -> a report on it
reference.py, compared.py       a folder's visual encoders beside those of their libraries
look_memory.py                  a network -> what a look at a picture needs beside it
"""

_LAZY = {
    "load_checkpoint": "loading",
    "open_checkpoint": "stored",
    "save_checkpoint": "saving",
    "expected_keys": "expected",
}
__all__ = [*_LAZY]


def __getattr__(name: str):
    """Load the public names on first use (PEP 562), because they bring torch."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
