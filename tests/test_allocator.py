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
draw, kept = random.Random(0), []
def pictures():
    for _ in range(60):
        data = bytearray(draw.randrange(3 << 18, 8 << 20))
        kept.append(bytearray(2000))  # what stays on top of a heap, as messages do
        del data
begun = resident()
threads = [threading.Thread(target=pictures) for _ in range(8)]
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
    assert int(bounded) < 48 << 20, "40 MB with the settings, 50 to 80 without"
