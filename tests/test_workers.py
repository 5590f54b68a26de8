"""Processes that share jobs: results in order, and nobody waits for one that is lost."""

import multiprocessing
import operator
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE
from process_support import lives, until

from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.runtime.workers import Workers

ROOT = Path(__file__).resolve().parent.parent
INTERRUPTED = """
import sys, time
from sphinx_ros.runtime.workers import Workers

if __name__ == "__main__":
    try:
        with Workers(2, time.sleep, (0,)) as workers:
            for _ in workers.map(time.sleep, [0, 60, 60, 60]):
                print("one", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_results_come_in_order():
    with Workers(2, operator.neg, (1,)) as workers:
        assert list(workers.map(operator.neg, range(5))) == [0, -1, -2, -3, -4]
        assert list(workers.map(operator.neg, [7])) == [-7], "the same processes again"
    assert not multiprocessing.active_children()


def test_what_the_work_raises_comes_here():
    with pytest.raises(ZeroDivisionError), Workers(1, operator.neg, (1,)) as workers:
        list(workers.map((1).__truediv__, [0]))
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("prepare", "given", "work", "job"),
    [
        (operator.neg, (1,), os._exit, 1),
        (operator.neg, (1,), signal.raise_signal, signal.SIGKILL),
        (os._exit, (3,), operator.neg, 1),
        (operator.neg, ("no number",), operator.neg, 1),
    ],
    ids=["ended", "killed", "ended while prepared", "not prepared"],
)
def test_a_lost_process_is_said_at_once(prepare, given, work, job):
    with (
        pytest.raises(SphinxError, match="one of 1 processes has ended.*--fewer") as caught,
        Workers(1, prepare, given, "--fewer") as workers,
    ):
        list(workers.map(work, [job, job, job]))
    assert caught.value.status is Status.NOT_ACTIVE
    until(lambda: not multiprocessing.active_children())


def children_of(pid):
    """All living processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == pid and lives(stat.parent.name):
            found.append(stat.parent.name)
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc who is there")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_ends_all_of_them(tmp_path, number):
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout.readline() == b"one\n", "they work"
    children = until(lambda: children_of(process.pid))
    assert len(children) >= 2
    process.send_signal(number)
    said, _ = process.communicate(timeout=PATIENCE)
    assert said == (b"interrupted\n" if number == signal.SIGINT else b"")
    until(lambda: not any(map(lives, children)))
