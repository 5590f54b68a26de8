"""Memory that was freed goes back to the system, in a process that asked for it."""

import subprocess
import sys

import pytest

CODE = """
import random, sys, threading
from sphinx_ros.runtime.allocator import bound_memory
if sys.argv[1] == "yes" and not bound_memory():
    print("none"); sys.exit()
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
draw, kept, together = random.Random(0), [], threading.Barrier(16)
def pictures():
    for _ in range(20):
        data = bytearray(draw.randrange(3 << 18, 8 << 20))
        kept.append(bytearray(2000))  # what stays on top of a heap, as messages do
        del data
    together.wait()  # a thread that has ended leaves its heap to the next one
begun = resident()
threads = [threading.Thread(target=pictures) for _ in range(16)]
[t.start() for t in threads]; [t.join() for t in threads]
print(resident() - begun)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings")
def test_pictures_of_changing_sizes_leave_little_behind():
    def left(word):
        ran = subprocess.run(
            [sys.executable, "-c", CODE, word], capture_output=True, text=True, check=True
        )
        return ran.stdout.strip()

    bounded = left("yes")
    if bounded == "none":
        pytest.skip("this C library has no such settings")
    assert int(bounded) < 96 << 20, "30 MB with the settings, 180 without"


HOLES = """
from sphinx_ros.runtime.allocator import bound_memory, trim
if not bound_memory():
    print("none"); raise SystemExit
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
kept = [bytearray(b"x" * (1 << 19)) for _ in range(200)]
del kept[::2]
full = resident()
trim()
print(full - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings")
def test_holes_between_what_is_used_go_back_to_the_system():
    ran = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    if ran.stdout.strip() == "none":
        pytest.skip("this C library has no such settings")
    assert int(ran.stdout) > 40 << 20, "of 50 MB"
