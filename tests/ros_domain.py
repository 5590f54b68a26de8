"""A ROS domain that no other process of tests uses, as long as this one lives. Knows no ROS."""

import os
import socket


def _free_domain() -> tuple[int, socket.socket]:
    """A domain that no other process of tests uses, and the port that says so while it is held.

    The ports are those of ROS's own `domain_coordinator`.
    """
    for number in range(100):
        domain = 1 + (os.getpid() + number) % 100
        claim = socket.socket()
        try:
            claim.bind(("", 32768 + domain))
        except OSError:
            claim.close()
        else:
            return domain, claim
    raise RuntimeError("the domains 1 to 100 are all used by tests")


# Runs side by side, the workers of one run, and a developer's robot stay apart.
DOMAIN, _CLAIM = _free_domain()
