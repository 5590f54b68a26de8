"""Log lines of a bad minute are a few lines."""

import logging

from sphinx_ros.ros.quiet import LogHandler, QuietLog


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
