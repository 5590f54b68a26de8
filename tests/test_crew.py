"""Child processes end with their parent, and with each other, however rude the end."""

import functools
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from patience import PATIENCE
from process_support import fail, lives, rest, torch_is_loaded, until

from sphinx_ros.errors import CheckpointError, SphinxError, Status
from sphinx_ros.runtime.crew import Crew
from sphinx_ros.runtime.forks import OwnLock

PARENT = """
    import functools, os, sys, threading, time
    sys.path.insert(0, {tests!r})
    from process_support import rest
    from sphinx_ros.runtime.crew import Crew
    crew = Crew([functools.partial(rest, {folder!r})] * 2, ["one", "two"], lambda: None)
    {then}
"""


@pytest.fixture
def crew_of():
    made = []

    def make(*works, on_end=lambda: None):
        names = [f"process {number}" for number in range(1, len(works) + 1)]
        made.append(Crew(works, names, on_end))
        return made[-1]

    yield make
    for crew in made:
        crew.end()


def processes(folder, number):
    """The numbers of so many resting processes, once they are there."""
    return until(lambda: len(found := [int(p.name) for p in folder.iterdir()]) == number and found)


def parent(folder, then, **options):
    code = PARENT.format(tests=str(Path(__file__).parent), folder=str(folder), then=then)
    heeds = (  # nohup ignores one, a shell without job control the others in the background
        "import signal\n"
        "for one in signal.SIGHUP, signal.SIGQUIT: signal.signal(one, signal.SIG_DFL)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    )
    return subprocess.Popen([sys.executable, "-c", heeds + textwrap.dedent(code)], **options)


@pytest.mark.parametrize("number", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_a_parent_that_is_ended(tmp_path, number):
    one = parent(tmp_path, "time.sleep(60)")
    children = processes(tmp_path, 2)
    os.kill(one.pid, getattr(signal, number))
    one.wait()
    until(lambda: not any(map(lives, children)))


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1])
def test_a_parent_that_is_killed_while_they_start(tmp_path, delay):
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    one = parent(tmp_path, "print('here', flush=True); time.sleep(60)", **quiet)
    one.stdout.readline()
    threading.Event().wait(delay)
    one.kill()
    _, errors = one.communicate(timeout=PATIENCE)  # until nobody has the pipes open any more
    assert errors == ""


@pytest.mark.parametrize("then", ["os._exit(3)", "sys.exit(3)", "raise KeyboardInterrupt", ""])
def test_a_parent_that_ends_by_itself(tmp_path, then):
    one = parent(tmp_path, f'crew.wait_for("here"); {then}', stderr=subprocess.DEVNULL)
    children = processes(tmp_path, 2)
    one.wait()
    until(lambda: not any(map(lives, children)))


def test_ctrl_c_in_a_terminal_reaches_the_parent_alone(tmp_path):
    then = "\n    ".join(
        (
            "try: time.sleep(60)",
            "except KeyboardInterrupt: print(crew.loss, flush=True); time.sleep(60)",
        )
    )
    one = parent(tmp_path, then, stdout=subprocess.PIPE, text=True, start_new_session=True)
    children = processes(tmp_path, 2)
    os.killpg(one.pid, signal.SIGINT)
    assert one.stdout.readline() == "None\n" and all(map(lives, children))
    one.kill()
    one.communicate()
    until(lambda: not any(map(lives, children)))


def test_started_in_a_thread_that_ends(tmp_path, crew_of):
    made = []
    thread = threading.Thread(
        target=lambda: made.append(crew_of(functools.partial(rest, str(tmp_path))))
    )
    thread.start(), thread.join()
    made[0].wait_for("here")
    (child,) = processes(tmp_path, 1)
    assert lives(child) and made[0].loss is None


def test_one_that_is_lost_ends_all_and_is_named(tmp_path, crew_of):
    ends = []
    crew = crew_of(*[functools.partial(rest, str(tmp_path))] * 3, on_end=lambda: ends.append(1))
    crew.wait_for("here")
    children = processes(tmp_path, 3)
    os.kill(children[1], signal.SIGKILL)
    loss = crew.verdict(PATIENCE)
    assert "was killed" in loss.text and "load the checkpoint again" in loss.text
    assert loss.status is Status.NOT_ACTIVE
    until(lambda: not any(map(lives, children)))
    for _ in range(2):
        with pytest.raises(SphinxError, match="process . was killed"):
            crew.wait_for("anything")
    crew.end()
    assert until(lambda: ends) == [1] and crew.loss == loss, "the first reason stays"


@pytest.mark.parametrize("number", ["SIGTERM", "SIGSEGV"])
def test_the_signal_is_named(tmp_path, crew_of, number):
    crew = crew_of(functools.partial(rest, str(tmp_path)))
    (child,) = processes(tmp_path, 1)
    crew.wait_for("here")
    os.kill(child, getattr(signal, number))
    with pytest.raises(SphinxError, match=f"by signal {int(getattr(signal, number))}"):
        crew.wait_for("more")


def test_what_a_child_could_not_do(crew_of):
    wrong = CheckpointError("weights.pth: truncated; copy it again")
    with pytest.raises(CheckpointError, match=r"process 1: weights.pth: truncated; copy"):
        crew_of(functools.partial(fail, wrong)).wait_for("here")
    with pytest.raises(SphinxError, match="process 1: out of memory") as full:
        crew_of(functools.partial(fail, MemoryError("so much"))).wait_for("here")
    assert full.value.status is Status.OUT_OF_MEMORY
    with pytest.raises(SphinxError, match="process 1: KeyError: 'layer'; load"):
        crew_of(functools.partial(fail, KeyError("layer"))).wait_for("here")


def test_a_child_is_watched_before_torch_loads(crew_of):
    crew_of(torch_is_loaded).wait_for("torch: False")


def test_a_forked_child_ends_nobody(tmp_path, crew_of):
    crew = crew_of(functools.partial(rest, str(tmp_path)))
    (child,) = processes(tmp_path, 1)
    forked = os.fork()
    if not forked:
        crew.end()
        os._exit(0)
    os.waitpid(forked, 0)
    assert crew.loss is None and lives(child)
    crew.end()
    assert not lives(child) and "closed" in crew.loss.text


def test_a_lock_is_refused_in_a_forked_child():
    lock = OwnLock()
    read, write = os.pipe()
    with lock:  # held at the time: in the child nobody would ever release it
        forked = os.fork()
        if not forked:
            try:
                lock.acquire()
            except SphinxError as error:
                os.write(write, f"{error.status} {error}".encode())
            os._exit(0)
    os.waitpid(forked, 0)
    said = os.read(read, 1000).decode()
    assert said.startswith("NOT_ACTIVE") and "'spawn'" in said and str(os.getpid()) in said
    os.close(read), os.close(write)
    with lock:
        assert lock.acquire(timeout=1)
        lock.release()
