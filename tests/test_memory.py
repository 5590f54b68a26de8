"""Out of memory has one name and one sentence, whoever ran out."""

import errno
import os
import subprocess
import sys
import weakref

import cv2
import numpy as np
import pytest
import torch

from sphinx_ros.errors import BadImage, SphinxError, Status
from sphinx_ros.runtime import memory
from sphinx_ros.runtime.memory import memory_error, memory_named, out_of_memory

HUGE = 2**58


def of(function):
    """The error that a function raises."""
    with pytest.raises(Exception) as caught:
        function()
    return caught.value


FULL = {
    "Python": MemoryError(),
    "numpy": of(lambda: np.empty(HUGE, np.uint8)),
    "torch on a CPU": of(lambda: torch.empty(HUGE, dtype=torch.uint8)),
    "torch on a GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "OpenCV": of(lambda: cv2.resize(np.zeros((4, 4), np.uint8), (2**30, 2**30))),
    "the system": OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    "a mapped file": RuntimeError("unable to mmap 9 bytes: Cannot allocate memory (12)"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
    "C++": RuntimeError("std::bad_alloc"),
    "this package": SphinxError("full", status=Status.OUT_OF_MEMORY),
}
OTHER = {
    "a text that names it": ValueError("the label 'out of memory' is unknown"),
    "another of torch": RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"),
    "another of OpenCV": of(lambda: cv2.resize(np.zeros((0, 0), np.uint8), (2, 2))),
    "another of the system": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "another of this package": BadImage("out of memory is written on the picture"),
    "Ctrl-C": KeyboardInterrupt(),
}


@pytest.mark.parametrize("who", FULL)
def test_each_is_recognised_and_named(who):
    error = FULL[who]
    assert out_of_memory(error)
    if isinstance(error, SphinxError):
        return
    with pytest.raises(SphinxError) as named, memory_named("looking at a picture"):
        raise error
    assert named.value.status is Status.OUT_OF_MEMORY and named.value.__cause__ is error
    assert str(named.value).startswith("out of memory while looking at a picture: ")
    assert "smaller checkpoint" in str(named.value) and "\n" not in str(named.value)


@pytest.mark.parametrize("who", OTHER)
def test_everything_else_passes_as_it_is(who):
    error = OTHER[who]
    assert not out_of_memory(error)
    with pytest.raises(type(error)) as same, memory_named("looking"):
        raise error
    assert same.value is error


def test_it_is_named_once():
    with pytest.raises(SphinxError) as named, memory_named("outer"), memory_named("inner"):
        raise MemoryError
    assert str(named.value).startswith("out of memory while inner: MemoryError; use")


def test_a_long_message_is_cut():
    assert len(str(memory_error("doing", RuntimeError("\n" + "x" * 5000 + "\ntrace")))) < 500


def test_an_error_that_is_kept_keeps_no_memory():
    class Large:
        pass

    kept = []

    def fill():
        large = Large()
        kept.append(weakref.ref(large))
        raise MemoryError

    with pytest.raises(SphinxError) as named, memory_named("filling"):
        fill()
    assert kept[0]() is None and named.value.__traceback__ is not None


def test_torch_is_not_loaded_for_it():
    code = (
        "import sys; from sphinx_ros.runtime.memory import *\n"
        "try:\n    with memory_named('starting'): raise MemoryError\n"
        "except Exception as error: print(error.status, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout == "OUT_OF_MEMORY False\n", ran.stderr


@pytest.mark.parametrize(
    ("limit", "used", "cached"),
    [
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_what_is_available_in_a_container_is_what_it_may_use(
    tmp_path, monkeypatch, limit, used, cached
):
    free = memory.available_memory()
    monkeypatch.setattr(memory, "_groups", lambda: [str(tmp_path / "none"), str(tmp_path)])
    for name, text in ((limit, 9000), (used, 5000), ("memory.stat", f"anon 7\n{cached} 1500")):
        (tmp_path / name).write_text(f"{text}\n")
    assert memory.available_memory() == 9000 - 5000 + 1500
    (tmp_path / limit).write_text("max\n")
    assert memory.available_memory() == pytest.approx(free, rel=0.5)
    (tmp_path / limit).write_text("100\n")
    assert memory.available_memory() == 0
