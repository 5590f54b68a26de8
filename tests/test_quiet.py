"""Log lines of a bad minute are a few lines."""

import logging
import re
from pathlib import Path

import pytest

import sphinx_ros
from sphinx_ros.ros.quiet import LogHandler, QuietLog, writers

ORDERS = [("warning", "error"), ("error", "warning")]


def test_the_first_of_a_kind_is_written_and_the_others_are_counted():
    written, now = [], [0.0]
    log = QuietLog(written.append, period=10, clock=lambda: now[0])
    for number in range(313):
        log.say("camera", f"bad picture {number}")
        log.say("other", "something else")
    assert written == ["bad picture 0", "something else"]
    log.flush()
    assert len(written) == 2, "the period is not over"
    now[0] = 10.0
    log.flush()
    assert written[2:] == [
        "bad picture 312 (and 311 more like this)",
        "something else (and 311 more like this)",
    ]
    log.flush()
    assert len(written) == 4
    log.say("camera", "bad again")
    assert written[-1] == "bad again"


def test_a_line_after_the_period_tells_of_those_before():
    written, now = [], [0.0]
    log = QuietLog(written.append, period=10, clock=lambda: now[0])
    for second in (0, 1, 2, 10):
        now[0] = float(second)
        log.say("x", f"at {second}")
    assert written == ["at 0", "at 10 (and 2 more like this)"]


def test_a_trace_comes_with_the_first_line_only():
    errors, warnings = [], []
    handler = LogHandler(QuietLog(errors.append), QuietLog(warnings.append))
    log = logging.getLogger("sphinx_ros")
    try:
        for number in range(100):
            try:
                raise ZeroDivisionError(f"number {number}")
            except ZeroDivisionError as error:
                log.error("a query failed: %s", error, exc_info=error)
        log.warning("mind this")
    finally:
        handler.detach()
    assert len(errors) == 1 and "Traceback" in errors[0] and "number 0" in errors[0]
    assert warnings == ["mind this"]


@pytest.fixture
def log():
    """The package's log, without the handlers of a test that failed."""
    made = logging.getLogger("sphinx_ros")
    before = list(made.handlers), made.propagate
    yield made
    made.handlers[:], made.propagate = before


@pytest.mark.parametrize("order", ORDERS)
def test_an_rclpy_logger_takes_warnings_and_errors(order, log, capfd):
    """It raises where one place of the code logs with a second severity."""
    get_logger = pytest.importorskip("rclpy.logging", reason="ROS 2 is not installed").get_logger
    write, now = writers(get_logger(f"{order[0]}_first")), [0.0]
    for_all = [QuietLog(one, clock=lambda: now[0]) for one in (write.error, write.warning)]
    handler, own = LogHandler(*for_all), QuietLog(write.warning, clock=lambda: now[0])
    for number in range(3):
        for severity in order:
            getattr(log, severity)(f"a {severity} %d", number)
        own.say("mine", f"my own {number}")
    now[0] = 100.0
    handler.flush()
    own.flush()
    said = "".join(capfd.readouterr())
    for level, what in (("WARN", "a warning"), ("ERROR", "a error"), ("WARN", "my own")):
        lines = [line for line in said.splitlines() if what in line]
        assert [line.rpartition(": ")[2] for line in lines] == [
            f"{what} 0",
            f"{what} 2 (and 1 more like this)",
        ]
        assert all(f"[{level}]" in line for line in lines)


def test_an_rclpy_logger_takes_names_of_files_that_are_no_utf_8(capfd):
    get_logger = pytest.importorskip("rclpy.logging", reason="ROS 2 is not installed").get_logger
    QuietLog(writers(get_logger("names")).error).say("file", "bad file a\udcff.pth")
    assert "[names]: bad file a\\udcff.pth" in "".join(capfd.readouterr())


def test_to_log_never_fails(log, capsys):
    def refuse(text):
        raise ValueError("no more")

    now = [0.0]
    handler = LogHandler(*(QuietLog(refuse, clock=lambda: now[0]) for _ in range(2)))
    for number in range(3):
        log.error("lost %d", number)
        log.warning("also %d", number)
    log.error("%d pictures", "no")
    now[0] = 100.0
    handler.flush()
    said = capsys.readouterr().err
    for line in ("lost 0", "also 0", "lost 2 (and 1", "also 2 (and 1", "not in the node's log"):
        assert line in said
    assert "Arguments: ('no',)" in said, "as Python tells of a text whose values do not fit"


def test_no_method_of_a_node_s_logger_is_handed_on():
    """What is called in one place for several severities fails: see `writers`."""
    handed = re.compile(r"get_logger\(\)\.(debug|info|warn|warning|error|fatal|log)\b(?!\()")
    for path in Path(sphinx_ros.__file__).parent.rglob("*.py"):
        assert not handed.search(path.read_text()), path
