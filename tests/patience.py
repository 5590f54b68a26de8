"""How long tests wait for what must come: long, and in one place. Knows neither ROS nor torch."""

import time

PATIENCE = 300.0
"""Seconds in which what must come has to come: a busy machine is slow, and where all is well
nobody waits so long. What must not come is waited for in a time of its own."""


def until(condition, seconds: float = PATIENCE):
    """Wait for a condition, and return what it gives last."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.005)
    return found
