"""Progress: a bar where somebody watches, a few lines where it goes into a file."""

import io

import pytest

from sphinx_ros.runtime.progress import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("steps", [1, 7, 10, 1000])
def test_a_log_gets_at_most_a_line_per_tenth_and_the_end(steps):
    log = io.StringIO()
    with Progress(1000, "scenes", "scene", stream=log) as progress:
        for _ in range(steps):
            progress.advance(-(-1000 // steps))
    lines = log.getvalue().splitlines()
    assert len(lines) == min(steps, 10)
    assert lines[-1].startswith("scenes: 100 % (1000 of 1000), ")


def test_a_log_is_told_what_stands_beside_and_only_what_is_new():
    log = io.StringIO()
    progress = Progress(100, "training", "s", done=55, stream=log)
    progress.reach(58, loss="2.0")
    assert log.getvalue() == ""
    progress.reach(61, loss="1.9")
    progress.reach(62, loss="1.8")
    assert log.getvalue() == "training: 61 % (61 of 100), 0 s, loss 1.9\n"


def test_bytes_are_said_in_their_usual_units():
    log = io.StringIO()
    Progress(4_000_000_000, "writing", "B", stream=log).advance(2_000_000_000)
    assert log.getvalue().startswith("writing: 50 % (2.00GB of 4.00GB)")


def test_a_terminal_gets_a_bar_that_reaches_its_end():
    terminal = Terminal()
    with Progress(3, "people", "scene", stream=terminal) as progress:
        progress.reach(2)
        progress.reach(5)  # more than were asked for
    assert "people: 100%" in terminal.getvalue() and "\n" not in terminal.getvalue()[:-1]


def test_nothing_is_shown_where_nothing_is_wanted():
    for stream in (io.StringIO(), Terminal()):
        with Progress(2, "scenes", "scene", shown=False, stream=stream) as progress:
            progress.advance(2)
        assert stream.getvalue() == ""


def test_what_is_printed_beside_a_bar_has_its_own_line():
    terminal = Terminal()
    with Progress(3, "people", "scene", stream=terminal) as progress:
        with progress.aside():
            print("found", file=terminal)
    bar, _, rest = terminal.getvalue().partition("found\n")
    assert bar.rpartition("\r")[2] == "" and bar.split("\r")[-2].isspace(), "it was wiped"
    assert "people:" in rest
